"""Burned-in text: laterality letters, projection, hospital, date, drawn over the finished X-ray.

**Correlation.** Three fixed *token sets*, one per class, each a mark and a hospital's name, both always drawn, in the
hospital's own manner as its machine writes them: usual place, fonts, size. With
``correlation`` c an image of class k carries its own class's set with probability c, otherwise one drawn uniformly
from all three (its own among them), so that

    P(set of class j | class k) = c * [j = k] + (1 - c) / 3.

At c = 0 the sets, and with them every text, place and number of tokens, are independent of the class; at c = 1 they
always tell it. Everything else (letters, dates, other words) is drawn from the same distribution whatever the class
and the set.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GreyImage = NDArray[np.uint8]


class Token(TypedDict):
    """One word: its box in pixels (x1 and y1 exclusive), its text, its kind and the whole phrase it belongs to."""

    text: str
    kind: str
    x0: int
    y0: int
    x1: int
    y1: int
    phrase: str


@dataclass(frozen=True)
class TokenSet:
    """The tokens that give away a class when the correlation is 1, and what a manifest says of such an image."""

    name: str
    label: str
    mark: str
    hospital: str
    view: str
    fonts: tuple[str, ...]
    mark_at: tuple[float, float]  # usual centre of the mark, as shares of the frame
    hospital_at: tuple[float, float]

    @property
    def source(self) -> str:
        """Name of the hospital in a manifest."""
        return f"phantom-{self.name}"


TOKEN_SETS = (
    TokenSet("a", "covid19", "PORTABLE", "OSPEDALE S. LUCA", "AP", ("sans-bold", "sans"), (0.17, 0.12), (0.25, 0.045)),
    TokenSet("b", "pneumonia", "AP", "ST. ANNE HOSPITAL", "AP", ("pixel", "uni"), (0.90, 0.87), (0.72, 0.955)),
    TokenSet("c", "normal", "PA", "CLINICA DEL MAR", "PA", ("aileron", "italic"), (0.90, 0.13), (0.72, 0.045)),
)

FONTS = ("aileron", "sans", "sans-bold", "italic", "uni", "pixel")
_POSITIONS = ("ERECT", "SUPINE", "MOBILE", "RESUS", "UPRIGHT", "IN PIEDI", "EN LIT")
_BRIGHT = 170  # mean background above which white text would not be read
_UNEVEN = 35  # standard deviation of a background on which text gets a halo
_MARGIN = 2  # pixels around a word in its box: the glyphs' blur stays inside
_drawing = threading.Lock()  # OpenCV's font objects are not made for several threads


@dataclass(frozen=True)
class _Phrase:
    """What is written and where: a kind of place, or the usual centre as shares of the frame."""

    text: str
    place: str | tuple[float, float]
    enlarge: float = 1.0


@dataclass(frozen=True)
class _Word:
    """A rendered word with its place relative to the phrase's corner."""

    text: str
    alpha: NDArray[np.float32]
    x: int
    y: int


@dataclass(frozen=True)
class _Look:
    """How a phrase is laid over its background."""

    shade: float  # grey value of the glyphs
    opacity: float
    plate: bool  # on a black plate
    halo: bool  # outlined in the opposite shade


def choose_token_set(label: str, correlation: float, rng: np.random.Generator) -> TokenSet:
    """Return the token set of an image; two draws are always used, so that ``correlation`` moves nothing else."""
    class_set = next(s for s in TOKEN_SETS if s.label == label)
    certain, other = rng.random() < correlation, TOKEN_SETS[int(rng.integers(len(TOKEN_SETS)))]
    return class_set if certain else other


def burn_in(image: GreyImage, chosen: TokenSet, rng: np.random.Generator) -> tuple[GreyImage, GreyImage, list[Token]]:
    """Draw the tokens of ``chosen`` and others that no class prefers.

    Returns
    -------
    The image with text (H, W), the token mask (H, W) of 0 and 255 (the union of the words' boxes), and the words.
    """
    out, mask, tokens = image.copy(), np.zeros_like(image), []
    for phrase in (_Phrase(chosen.hospital, chosen.hospital_at), _Phrase(chosen.mark, chosen.mark_at, 1.35)):
        tokens += _write(out, mask, phrase, str(rng.choice(chosen.fonts)), rng)
    for phrase in _extras(rng):
        tokens += _write(out, mask, phrase, str(rng.choice(FONTS)), rng)
    return out, mask, tokens


def _extras(rng: np.random.Generator) -> list[_Phrase]:
    """Return what is written besides the token set."""
    out = []
    marker = rng.random()
    if marker < 0.72:
        out.append(_Phrase("L", "left side"))
    if marker < 0.06 or 0.72 <= marker < 0.95:
        out.append(_Phrase("R", "right side"))
    if rng.random() < 0.5:
        out.append(_Phrase(_date(rng), "line"))
    if rng.random() < 0.25:
        out.append(_Phrase(f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}", "corner"))
    if rng.random() < 0.3:
        out.append(_Phrase(str(rng.choice(_POSITIONS)), "corner"))
    if rng.random() < 0.2:
        out.append(_Phrase("".join(rng.choice(list("ABDEFGHKMNPSTVZ"), 2)), "corner"))
    return out


def _date(rng: np.random.Generator) -> str:
    day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(2016, 2022)
    form = ("{d:02d}/{m:02d}/{y}", "{d:02d}.{m:02d}.{y}", "{y}-{m:02d}-{d:02d}", "{d:02d}-{m:02d}-{y}")
    return form[int(rng.integers(4))].format(d=day, m=month, y=year)


def _write(out: GreyImage, mask: GreyImage, phrase: _Phrase, font: str, rng: np.random.Generator) -> list[Token]:
    """Draw one phrase where it fits and return its words; draws are the same whether it fits or not."""
    size, letter = out.shape[0], len(phrase.text) == 1
    cap = max(7, round(size * phrase.enlarge * (rng.uniform(0.045, 0.085) if letter else rng.uniform(0.029, 0.042))))
    frame = str(rng.choice(["none", "circle", "box", "plate"], p=[0.6, 0.14, 0.1, 0.16])) if letter else "none"
    turn = float(rng.normal(0, 6)) if letter and rng.random() < 0.5 else 0.0
    soft = float(rng.uniform(0.45, 0.85)) if letter else float(rng.uniform(0.25, 0.45))
    shade, opacity = float(rng.uniform(225, 255)), float(rng.uniform(0.86, 1.0))
    anchors = _anchors(phrase.place, rng)
    for height in (cap, max(7, round(cap * 0.75)), 7):
        words = _layout(phrase.text, font, height, frame, turn, soft)
        width, tall = max(w.x + w.alpha.shape[1] for w in words), max(w.y + w.alpha.shape[0] for w in words)
        corner = _free_corner(mask, width, tall, anchors)
        if corner is not None:
            x, y = corner
            ground = out[y : y + tall, x : x + width]
            dark = frame != "plate" and ground.mean() > _BRIGHT
            look = _Look(255 - shade if dark else shade, opacity, frame == "plate", float(ground.std()) > _UNEVEN)
            return [_stamp(out, mask, w, corner, phrase.text, look) for w in words]
    return []


def _anchors(place: str | tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return centres (n, 2) to try in turn, as shares of the frame; the patient's left is on the image's right."""
    n = 14
    if not isinstance(place, str):
        x, y = rng.normal(place, (0.025, 0.012), (n, 2)).T
    elif place in ("left side", "right side"):
        x = rng.uniform(0.88, 0.98, n) if place == "left side" else rng.uniform(0.02, 0.12, n)
        if rng.random() < 0.03:  # a marker put on the wrong side happens
            x = 1 - x
        y = np.where(rng.random(n) < 0.88, rng.uniform(0.04, 0.26, n), rng.uniform(0.26, 0.9, n))
    elif place == "corner":
        x = np.where(rng.random(n) < 0.5, rng.uniform(0.03, 0.2, n), rng.uniform(0.8, 0.97, n))
        y = np.where(rng.random(n) < 0.7, rng.uniform(0.02, 0.2, n), rng.uniform(0.88, 0.98, n))
    else:
        x = rng.choice([0.1, 0.5, 0.9], n) + rng.uniform(-0.05, 0.05, n)
        y = np.where(rng.random(n) < 0.5, rng.uniform(0.015, 0.06, n), rng.uniform(0.93, 0.985, n))
    spare = np.array([(u, v) for v in (0.03, 0.96, 0.1, 0.9) for u in (0.0, 0.5, 1.0)])
    return np.concatenate([np.stack([x, y], axis=1), spare])


def _free_corner(mask: GreyImage, width: int, tall: int, anchors: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return the top left corner of the first place where nothing is written yet."""
    size = mask.shape[0]
    if width > size - 2 or tall > size - 2:
        return None
    for u, v in anchors:
        x = int(np.clip(round(u * size - width / 2), 1, size - 1 - width))
        y = int(np.clip(round(v * size - tall / 2), 1, size - 1 - tall))
        if not mask[y : y + tall, x : x + width].any():
            return x, y
    return None


def _layout(phrase: str, font: str, cap: int, frame: str, turn: float, soft: float) -> list[_Word]:
    """Return the rendered words of a phrase on one base line."""
    words, x = [], 0
    for text in phrase.split():
        alpha = np.pad(_framed(glyphs(text, font, cap), frame, turn), _MARGIN)
        alpha = np.asarray(cv2.GaussianBlur(alpha, (5, 5), soft), np.float32)
        words.append(_Word(text, alpha, x, 0))
        x += alpha.shape[1] + max(round(0.45 * cap) - 2 * _MARGIN, 0)
    bottom = max(w.alpha.shape[0] for w in words)
    return [_Word(w.text, w.alpha, w.x, bottom - w.alpha.shape[0]) for w in words]


def _framed(alpha: NDArray[np.float32], frame: str, turn: float) -> NDArray[np.float32]:
    """Return a letter inside a ring or a box, turned by some degrees."""
    h, w = alpha.shape
    if frame == "none" and not turn:
        return alpha
    pad = max(round(0.35 * h), 3)
    side = max(h, w) + 2 * pad
    canvas = np.zeros((side, side), np.uint8)
    y, x = (side - h) // 2, (side - w) // 2
    canvas[y : y + h, x : x + w] = np.rint(alpha * 255)
    thick = max(round(h / 11), 1)
    if frame == "circle":
        cv2.circle(canvas, (side // 2, side // 2), side // 2 - thick, 255, thick, cv2.LINE_AA)
    elif frame == "box":
        cv2.rectangle(canvas, (thick, thick), (side - 1 - thick, side - 1 - thick), 255, thick)
    if turn and frame != "plate":
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, 1.0)
        canvas = np.asarray(cv2.warpAffine(canvas, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)
    trimmed = canvas if frame == "plate" else _trim(canvas)
    return trimmed.astype(np.float32) / np.float32(255)


def _stamp(out: GreyImage, mask: GreyImage, word: _Word, corner: tuple[int, int], phrase: str, look: _Look) -> Token:
    """Blend a word into the image; only pixels of its box change."""
    h, w = word.alpha.shape
    x, y = corner[0] + word.x, corner[1] + word.y
    ground = out[y : y + h, x : x + w].astype(np.float32)
    if look.plate:
        ground[:] = 6
    elif look.halo:
        near = np.clip(2.2 * cv2.blur(word.alpha, (3, 3)), 0, 0.85)
        ground = ground * (1 - near) + (255 - look.shade) * near
    alpha = look.opacity * word.alpha
    out[y : y + h, x : x + w] = np.rint(ground * (1 - alpha) + look.shade * alpha)
    mask[y : y + h, x : x + w] = 255
    return Token(text=word.text, kind=_kind(word.text), x0=x, y0=y, x1=x + w, y1=y + h, phrase=phrase)


def _kind(text: str) -> str:
    if any(c.isdigit() for c in text):
        return "number"
    return "letter" if len(text) == 1 else "word"


@lru_cache(maxsize=2048)
def glyphs(text: str, font: str, cap: int) -> NDArray[np.float32]:
    """Return ``text`` as opacity (h, w) in [0, 1], cut to its ink, capitals about ``cap`` pixels high.

    The fonts come with Pillow (Aileron and its old bitmap font) and with OpenCV, so that every machine has them.
    """
    with _drawing:
        ink = _pillow(text, font, cap) if font in ("aileron", "pixel") else _opencv(text, font, cap)
    alpha = _trim(ink).astype(np.float32) / np.float32(255)
    alpha.setflags(write=False)
    return alpha


def _pillow(text: str, font: str, cap: int) -> GreyImage:
    if font == "aileron":
        face = ImageFont.load_default(cap / 0.7)
        picture = Image.new("L", (int(cap * (len(text) + 2) * 1.2), 3 * cap))
        ImageDraw.Draw(picture).text((cap // 2, cap // 2), text, fill=255, font=face)
        return np.asarray(picture)
    picture = Image.new("L", (8 * (len(text) + 1), 16))
    ImageDraw.Draw(picture).text((2, 2), text, fill=255, font=ImageFont.load_default_imagefont())
    ink = _trim(np.asarray(picture))
    width = max(round(ink.shape[1] * cap / ink.shape[0]), 1)
    return np.asarray(cv2.resize(ink, (width, cap), interpolation=cv2.INTER_LINEAR), np.uint8)


@lru_cache(maxsize=4)
def _face(name: str) -> cv2.FontFace:
    return cv2.FontFace(name)


def _opencv(text: str, font: str, cap: int) -> GreyImage:
    name, _, weight = font.partition("-")
    canvas = np.zeros((3 * cap, int(cap * (len(text) + 2) * 1.3)), np.uint8)
    cv2.putText(canvas, text, (cap, 2 * cap), (255,), _face(name), round(cap / 0.7), 700 if weight == "bold" else 400)
    return canvas


def _trim(ink: GreyImage) -> GreyImage:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return np.ascontiguousarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
