"""Draw burned-in tokens, and things that resemble them, on X-rays: pictures to train the token classifier on.

Every function draws on a uint8 image (H, W) in place and returns the box of what it drew.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cxr.data.phantom.token_sets import FONTS, glyphs
from cxr.text.boxes import TextBox, clip

HERSHEY = (0, 1, 2, 3, 4, 5, 6, 7)
LETTERS = "LLLLRRRRDDESAPGIBCXUWM*+"
WORDS = (  # noqa: SIM905
    "PORTABLE AP PA ERECT SUPINE LEFT RIGHT SITTING MOBILE UPRIGHT SEMI LATERAL STAT ICU ER LAT POST INSP EXP DX SX "
    "SUPINO LETTO URG DEBOUT COUCHE HOSPITAL CHEST Thorax kVp mAs Page Se Im SN Zoom STANDING Bed RAD AP/PA CRANIAL "
    "LL A B1 2/2 OBC GRID Ped R/L Tech LOC TORAX in piedi DECUBITO RECOSTADO Anterior"
).split()


def text_of(rng: np.random.Generator) -> str:
    """Return a word, a number, a date, a time, initials or two words."""
    what = rng.random()
    if what < 0.5:
        word = str(rng.choice(WORDS))
        return word if rng.random() < 0.8 else word.lower()
    if what < 0.62:
        return "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), rng.integers(2, 9)))
    if what < 0.72:
        sign = str(rng.choice(list("/.-")))
        return sign.join(str(rng.integers(*span)) for span in ((1, 31), (1, 13), (1990, 2022)))
    if what < 0.8:
        return f"{rng.integers(0, 24)}:{rng.integers(0, 60):02d}"
    if what < 0.9:
        return str(rng.integers(10, 10 ** int(rng.integers(2, 8))))
    return f"{rng.choice(WORDS)} {rng.choice(WORDS)}"


def written(rng: np.random.Generator, text: str, cap: int) -> np.ndarray:
    """Return ``text`` as opacity (h, w) in 0..1 in a random font, weight, width and slant."""
    if rng.random() < 0.65:
        alpha = np.asarray(glyphs(text, str(rng.choice(FONTS)), cap), np.float32)
    else:
        face, thick = int(rng.choice(HERSHEY)), max(1, round(cap * rng.uniform(0.06, 0.2)))
        (w, h), base = cv2.getTextSize(text, face, cap / 21, thick)
        canvas = np.zeros((h + base + 2 * thick + 4, w + 2 * thick + 4), np.uint8)
        cv2.putText(canvas, text, (thick + 2, h + thick + 2), face, cap / 21, 255, thick, cv2.LINE_AA)
        alpha = trimmed(canvas.astype(np.float32) / 255)
    h, w = alpha.shape
    if rng.random() < 0.4:
        width = max(2, round(w * rng.uniform(0.7, 1.35)))
        alpha = np.asarray(cv2.resize(alpha, (width, h), interpolation=cv2.INTER_LINEAR), np.float32)
    if rng.random() < 0.15:
        shear = rng.uniform(-0.35, 0.35)
        wide = alpha.shape[1] + int(abs(shear) * h) + 1
        slant = np.array([[1, shear, -min(0, shear * h)], [0, 1, 0]], np.float32)
        alpha = np.asarray(cv2.warpAffine(alpha, slant, (wide, h)), np.float32)
    if cap >= 14 and rng.random() < 0.08:  # outlined letters
        alpha = np.pad(alpha, 2)
        alpha = np.clip(cv2.dilate(alpha, np.ones((3, 3))) - cv2.erode(alpha, np.ones((3, 3))), 0, 1)
    return trimmed(alpha)


def trimmed(alpha: np.ndarray) -> np.ndarray:
    """Cut opacity to its ink."""
    rows, columns = np.flatnonzero((alpha > 0.1).any(axis=1)), np.flatnonzero((alpha > 0.1).any(axis=0))
    if not len(rows):
        return alpha
    return np.ascontiguousarray(alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def framed(rng: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    """Return a letter or word in a ring or a box."""
    h, w = alpha.shape
    pad = max(3, round(h * rng.uniform(0.2, 0.5)))
    thick = max(1, round(h * rng.uniform(0.05, 0.14)))
    out = np.pad(alpha, pad + thick)
    if w < 1.4 * h and rng.random() < 0.6:
        side = max(out.shape)
        grown = np.zeros((side, side), np.float32)
        y, x = (side - out.shape[0]) // 2, (side - out.shape[1]) // 2
        grown[y : y + out.shape[0], x : x + out.shape[1]] = out
        cv2.circle(grown, (side // 2, side // 2), side // 2 - thick, 1.0, thick, cv2.LINE_AA)
        return grown
    far = out.shape[1] - 1 - thick // 2, out.shape[0] - 1 - thick // 2
    cv2.rectangle(out, (thick // 2, thick // 2), far, 1.0, thick)
    return out


def arrow(rng: np.random.Generator, length: int) -> np.ndarray:
    """Return an arrow, an arrowhead or a block arrow, filled or in outline, as opacity (h, w), in any direction."""
    side = 3 * length
    way = rng.uniform(0, 2 * np.pi) if rng.random() < 0.7 else rng.integers(0, 4) * np.pi / 2
    along, across = np.array([np.cos(way), np.sin(way)]), np.array([-np.sin(way), np.cos(way)])
    tip = np.array([side / 2, side / 2]) + along * length / 2
    kind = rng.random()
    reach = length * (rng.uniform(0.65, 1.0) if kind < 0.25 else rng.uniform(0.2, 0.5))
    half = reach * rng.uniform(0.3, 0.6)
    notch = reach * (1 - (rng.uniform(0, 0.35) if rng.random() < 0.5 else 0))
    block = kind > 0.7
    thick = max(1, round(length * rng.uniform(0.02, 0.1)))
    # Corners as (back from the tip, aside): the head, and between its wings the shaft.
    wing, shaft = (reach, half), half * rng.uniform(0.25, 0.75) if block else thick / 2
    if kind < 0.25:
        corners = [(0, 0), wing, (notch, 0), (reach, -half)]
    else:
        corners = [(0, 0), wing, (notch, shaft), (length, shaft), (length, -shaft), (notch, -shaft), (reach, -half)]
    if 0.25 <= kind < 0.45:  # two strokes for a head, the shaft bent a little as by hand
        small, bend = rng.uniform(0.3, 1.0), length * rng.uniform(-0.35, 0.35) * (rng.random() < 0.6)
        head = [(small * reach, small * half), (0, 0), (small * reach, -small * half)]
        shaft_line = [(length * t, bend * t * t) for t in np.linspace(0, 1, 12)]
        return _stroked([_placed(line, tip, along, across) for line in (head, shaft_line)], side, thick)
    outline = _placed(corners, tip, along, across)
    if rng.random() < (0.5 if block else 0.15):
        return _stroked([np.concatenate([outline, outline[:1]])], side, thick)
    canvas = np.zeros((side, side), np.float32)
    cv2.fillPoly(canvas, [outline], 1.0, cv2.LINE_AA, 4)
    return trimmed(canvas)


def _placed(corners: list[tuple[float, float]], tip: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return points given as (back from the tip, aside) in sixteenths of pixels."""
    back, aside = np.array(corners, dtype=float).T[..., None]
    return np.round((tip - along * back + across * aside) * 16).astype(np.int32)


def _stroked(lines: list[np.ndarray], side: int, thick: int) -> np.ndarray:
    canvas = np.zeros((side, side), np.float32)
    cv2.polylines(canvas, lines, False, 1.0, thick, cv2.LINE_AA, 4)
    return trimmed(canvas)


@dataclass(frozen=True)
class Drawn:
    """What was drawn where: ``kind`` is word, letter, arrow or nothing."""

    box: TextBox
    kind: str


def draw_token(rng: np.random.Generator, image: np.ndarray) -> Drawn | None:
    """Draw a word, a letter or an arrow; None where it would be hidden beyond the border."""
    side, kind = max(image.shape), str(rng.choice(["word", "letter", "arrow"], p=[0.42, 0.34, 0.24]))
    if kind == "arrow":
        alpha = arrow(rng, max(10, round(side * np.exp(rng.uniform(np.log(0.018), np.log(0.11))))))
    elif kind == "letter":
        cap = max(7, round(side * np.exp(rng.uniform(np.log(0.011), np.log(0.075)))))
        alpha = written(rng, str(rng.choice(list(LETTERS))), cap)
    else:
        alpha = written(rng, text_of(rng), max(7, round(side * np.exp(rng.uniform(np.log(0.009), np.log(0.04))))))
    if kind != "arrow":
        alpha = framed(rng, alpha) if rng.random() < (0.2 if kind == "letter" else 0.06) else alpha
        alpha = _turned(rng, alpha)
    corner = _place(rng, image.shape, alpha.shape, anywhere=kind == "arrow" or rng.random() < 0.25)
    blur = rng.uniform(0.0, 0.9) if rng.random() < 0.75 else rng.uniform(0.9, 1.8)
    box = blend(rng, image, np.pad(alpha, 3), (corner[0] - 3, corner[1] - 3), blur)
    return None if box is None else Drawn(box, kind)


def _turned(rng: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    if rng.random() < 0.25:
        alpha = alpha[:, ::-1]
    if rng.random() < 0.25:
        alpha = np.rot90(alpha, k=int(rng.choice([1, 2, 3], p=[0.42, 0.16, 0.42])))
    if rng.random() < 0.35:
        h, w = alpha.shape
        turn = np.deg2rad(rng.normal(0, 8))
        wide, tall = int(w + abs(h * np.sin(turn)) + 3), int(h + abs(w * np.sin(turn)) + 3)
        matrix = cv2.getRotationMatrix2D((w / 2, h / 2), np.rad2deg(turn), 1.0)
        matrix[:, 2] += (wide - w) / 2, (tall - h) / 2
        alpha = trimmed(cv2.warpAffine(np.ascontiguousarray(alpha), matrix, (wide, tall)))
    return np.ascontiguousarray(alpha)


def _place(rng: np.random.Generator, shape: tuple[int, ...], size: tuple[int, ...], anywhere: bool) -> tuple[int, int]:
    (height, width), (h, w) = shape[:2], size[:2]
    x, y = rng.uniform(0, max(1, width - w)), rng.uniform(0, max(1, height - h))
    if not anywhere:
        edge, depth = rng.integers(4), rng.beta(1, 3)
        x, y = (
            (x, depth * 0.25 * height),
            (x, height - h - depth * 0.12 * height),
            (depth * 0.2 * width, y),
            (width - w - depth * 0.2 * width, y),
        )[edge]
        if rng.random() < 0.12:  # cut by the border
            away = rng.uniform(0.05, 0.5)
            x, y = ((x, -away * h), (x, height - (1 - away) * h), (-away * w, y), (width - (1 - away) * w, y))[edge]
    return round(x), round(y)


def blend(
    rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray, corner: tuple[int, int], blur: float
) -> TextBox | None:
    """Lay opacity over the image, white, black or grey, at times on a plate or with a rim; return its ink's box."""
    if blur > 0.2:
        alpha = cv2.GaussianBlur(alpha, (0, 0), blur)
    (x, y), (h, w) = corner, alpha.shape
    inner = clip(TextBox(x, y, x + w, y + h), image.shape)
    if inner.width < 5 or inner.height < 5:
        return None
    alpha = alpha[inner.y0 - y : inner.y1 - y, inner.x0 - x : inner.x1 - x]
    ground = image[inner.y0 : inner.y1, inner.x0 : inner.x1].astype(np.float32)
    shade, style = _shade(rng, ground), rng.random()
    if style < 0.12:
        ground = np.full_like(ground, rng.uniform(0, 25) if shade > 128 else rng.uniform(190, 255))
    elif style < 0.2:
        rim = np.clip(2 * cv2.dilate(alpha, np.ones((3, 3))), 0, 0.9)
        ground = ground * (1 - rim) + (20 if shade > 128 else 235) * rim
    opacity = rng.uniform(0.75, 1.0) if rng.random() < 0.8 else rng.uniform(0.45, 0.8)
    # What could not be told from its ground is no token for anybody.
    strength = opacity * abs(shade - float(ground[alpha > 0.5].mean() if (alpha > 0.5).any() else ground.mean()))
    if strength < 22:
        shade = 0.0 if shade > 128 else 255.0
    mixed = ground * (1 - opacity * alpha) + shade * opacity * alpha
    image[inner.y0 : inner.y1, inner.x0 : inner.x1] = np.clip(mixed, 0, 255).round()
    rows, columns = np.flatnonzero((alpha > 0.15).any(axis=1)), np.flatnonzero((alpha > 0.15).any(axis=0))
    if len(rows) < 5 or len(columns) < 3:
        return None
    x0, y0 = inner.x0 + int(columns[0]), inner.y0 + int(rows[0])
    return TextBox(x0, y0, x0 + int(columns[-1] - columns[0]) + 1, y0 + int(rows[-1] - rows[0]) + 1)


def _shade(rng: np.random.Generator, ground: np.ndarray) -> float:
    what = rng.random()
    if what < 0.62:
        return float(rng.uniform(190, 255))
    if what < 0.8:
        return float(rng.uniform(0, 45))
    return float(np.clip(ground.mean() + rng.choice([-1, 1], p=[0.3, 0.7]) * rng.uniform(35, 90), 0, 255))
