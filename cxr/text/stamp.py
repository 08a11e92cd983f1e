"""Draw a token onto an X-ray: a word, or what stands in a box of another X-ray; and the same patch without letters.

A **patch** is how much of each pixel is inked (0 to 1) and the grey of the ink. Stamping moves every pixel of the
box by ``contrast * ink`` of the way from its own grey to the ink's, so black ground and white bone both stay under
the letters. Pixels outside the box never change.

**The control.** A network may answer to a bright patch and not to letters, so the same box is filled a second time:

- ``shuffled``: the patch is cut into four rows of tiles, which change places and are mirrored. Greys, ink, strokes and
  the box are those of the token, only the letters are gone. The default: nothing else differs.
- ``plate``: the ink is spread evenly over the box, a plain rectangle.

Either way ink is added or taken evenly until the box has the mean grey of the stamped one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cxr.data.phantom.token_sets import FONTS, glyphs
from cxr.errors import TextError, unknown, wrong_use
from cxr.text.boxes import TextBox, checked_xray, grow, kind_of

PLACES: dict[str, tuple[float, float]] = {
    f"{row}-{column}".strip("-") or "centre": (x, y)
    for row, y in (("top", 0.0), ("", 0.5), ("bottom", 1.0))
    for column, x in (("left", 0.0), ("", 0.5), ("right", 1.0))
}
"""Centre of the token by name, as shares of width and height; it is pushed inwards until the token is whole."""
COLOURS = {"white": 255.0, "black": 0.0}
TAKES = ("ink", "bright", "dark", "all")
"""What is taken of a box: its ink, which is recognised as bright or dark or declared to be, or all that is in it."""
LONGEST_WORD = 60

_BORDER = 0.015  # of the image's height, kept free at its edges
_MASTER = 256  # pixels: height at which words are drawn before they are scaled
_TILE_ROWS = 4  # strokes are a sixth of a letter's height, so that a tile holds a piece of one
_FAINT = 0.25  # of the strongest ink: what is below is the grain of the X-ray
_THICKEST = 2 / 3  # of the box's shorter side: no stroke is wider
_RARELY_DARK = 7  # burned-in text is bright, unless what is darker than the box's rim outdoes what is brighter by far
_LEAST_HAT = 8  # grey levels: less could hardly be seen
_MATCHING_STEPS = 30
_NO_LETTER = "\ue000"  # of the area for private use: no font has it


@dataclass(frozen=True)
class Patch:
    """What is stamped: ``ink`` (h, w), float32 in 0..1, ``grey`` (h, w), float32 in 0..255, and what it says."""

    ink: np.ndarray
    grey: np.ndarray
    text: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.ink.shape[0], self.ink.shape[1]

    def scaled(self, height: int) -> Patch:
        """Return the patch at another height in pixels, its proportions kept."""
        width = max(1, round(self.shape[1] * height / self.shape[0]))
        return Patch(_resized(self.ink, width, height), _resized(self.grey, width, height), self.text)


def _resized(values: np.ndarray, width: int, height: int) -> np.ndarray:
    smaller = height < values.shape[0]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (width, height), interpolation=method), np.float32)


# --- patches -------------------------------------------------------------------------------------------------------


def word_patch(word: str, font: str = "sans-bold", colour: str = "white") -> Patch:
    """Return a word (or several, or one letter) as a patch, cut to its ink.

    Raises
    ------
    TextError
        Unknown font or colour, no word, one of more than 60 characters, or one that the font cannot draw.
    """
    if font not in FONTS:
        raise wrong_use(TextError(unknown("font", font, FONTS)))
    if colour not in COLOURS:
        raise wrong_use(TextError(unknown("colour", colour, COLOURS)))
    word = " ".join(word.split())
    if not 0 < len(word) <= LONGEST_WORD or not word.isprintable():
        raise wrong_use(
            TextError(f"word {word!r} cannot be stamped. Accepted: 1 to {LONGEST_WORD} printable characters")
        )
    try:
        if any(_is_missing(letter, font) for letter in set(word.replace(" ", ""))):
            raise IndexError
        ink = glyphs(word, font, _MASTER)
    except (UnicodeError, IndexError):
        others = ", ".join(name for name in FONTS if name != font)
        raise TextError(f"font {font!r} cannot draw {word!r}; another one may: {others}") from None
    return Patch(np.array(ink), np.full(ink.shape, COLOURS[colour], np.float32), word)


def _is_missing(letter: str, font: str) -> bool:
    """Return whether a font draws a letter as the box that stands for whatever it does not know."""
    return font != "pixel" and np.array_equal(glyphs(letter, font, 32), glyphs(_NO_LETTER, font, 32))


def cut_patch(image: np.ndarray, box: TextBox, take: str = "ink") -> Patch:
    """Return what stands in a box of an X-ray as a patch.

    Parameters
    ----------
    image
        uint8 (H, W).
    box
        In its pixels.
    take
        One of :data:`TAKES`. ``ink``: what is thinner than two thirds of the box's shorter side and brighter than what
        surrounds it (or darker, where hardly anything is brighter); ``bright`` and ``dark`` decide that; ``all``: the
        box as it is, with its ground, which suits letters on a plate of their own.

    Raises
    ------
    TextError
        For an image that is not uint8 (H, W), a box that does not lie in it or holds no ink, or an unknown ``take``.
    """
    if take not in TAKES:
        raise wrong_use(TextError(unknown("part of a token to take", take, TAKES)))
    image = checked_xray(image, "tokens are cut out")
    height, width = image.shape
    if not (0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height):
        sides = ", ".join(map(str, (box.x0, box.y0, box.x1, box.y1)))
        raise TextError(f"box {sides} is not within the X-ray of {width} x {height} px (0 <= x0 < x1 <= {width})")
    inside = np.s_[box.y0 : box.y1, box.x0 : box.x1]
    if take == "all":
        cut = image[inside].astype(np.float32)
        return Patch(np.ones_like(cut), cut, box.text)
    ink, grey = _ink_of(image, box, take)
    return Patch(ink, np.full(ink.shape, grey, np.float32), box.text)


def _ink_of(image: np.ndarray, box: TextBox, take: str) -> tuple[np.ndarray, float]:
    """Return how much of each pixel of a box is inked (h, w) and the grey of the ink.

    The ground under the ink is a morphological opening (closing, where the ink is dark) by a disc that no stroke holds.
    """
    wide = grow(box, 0.5, image.shape)
    window = image[wide.y0 : wide.y1, wide.x0 : wide.x1]
    within = np.s_[box.y0 - wide.y0 : box.y1 - wide.y0, box.x0 - wide.x0 : box.x1 - wide.x0]
    token = window[within].astype(np.float32)
    if take == "ink":
        rim = np.median(np.concatenate([token[0], token[-1], token[:, 0], token[:, -1]]))
        above, below = np.percentile(token, 97) - rim, rim - np.percentile(token, 3)
        take = "dark" if below > _RARELY_DARK * above else "bright"
    side = max(3, round(min(box.width, box.height) * _THICKEST)) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    method = cv2.MORPH_CLOSE if take == "dark" else cv2.MORPH_OPEN
    ground = cv2.morphologyEx(window, method, disc)[within].astype(np.float32)
    hat = np.clip(ground - token if take == "dark" else token - ground, 0, None)
    strongest = float(np.percentile(hat, 97))
    if strongest < _LEAST_HAT:
        raise TextError(f"box {box.x0}, {box.y0}, {box.x1}, {box.y1} holds no ink that stands out from its ground")
    grey = float(np.median(token[hat > 0.8 * strongest]))
    share = hat / np.maximum(np.abs(grey - ground), _LEAST_HAT)
    return np.clip((share - _FAINT) / (1 - _FAINT), 0, 1).astype(np.float32), grey


# --- places --------------------------------------------------------------------------------------------------------


def place_of(text: str) -> tuple[float, float]:
    """Return the centre, as shares of width and height, that a name of :data:`PLACES` or ``"0.8,0.1"`` means."""
    if text in PLACES:
        return PLACES[text]
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise wrong_use(TextError(unknown("place", text, PLACES) + "; or x,y as shares from 0 to 1, such as 0.8,0.1"))
    return x, y


def box_for(
    shape: Sequence[int], patch: Patch, place: tuple[float, float], tokens: Sequence[TextBox] = (), image_name: str = ""
) -> TextBox:
    """Return the box (h, w of the patch) of an image (H, W) that lies nearest to ``place`` and hides no token.

    Parameters
    ----------
    image_name
        How an error calls the image.

    Raises
    ------
    TextError
        If the patch is too large for the image, or no place is free of tokens.
    """
    (height, width), (h, w) = shape[:2], patch.shape
    name = f"“{patch.text}”" if patch.text else "the token"
    image = f"{image_name or 'the X-ray'} of {width} x {height} px"
    if h > height or w > width:
        raise TextError(f"{name} at this size is {w} x {h} px, too large for {image}: choose a smaller size")
    border = round(_BORDER * height)
    low_x, low_y = min(border, (width - w) // 2), min(border, (height - h) // 2)
    high_x, high_y = width - w - low_x, height - h - low_y
    want_x = int(np.clip(round(place[0] * width - w / 2), low_x, high_x))
    want_y = int(np.clip(round(place[1] * height - h / 2), low_y, high_y))
    step = max(1, h // 3)
    xs = np.unique([*range(low_x, high_x + 1, step), high_x, want_x])
    ys = np.unique([*range(low_y, high_y + 1, step), high_y, want_y])
    grid_x, grid_y = (axis.ravel() for axis in np.meshgrid(xs, ys))
    free = np.ones(grid_x.shape, bool)
    for token in tokens:
        free &= (grid_x >= token.x1) | (grid_x + w <= token.x0) | (grid_y >= token.y1) | (grid_y + h <= token.y0)
    if not free.any():
        raise TextError(f"{name} at this size has no room beside the {len(tokens):,} tokens of {image}")
    distance = np.where(free, (grid_x - want_x) ** 2 + (grid_y - want_y) ** 2, np.inf)
    x, y = int(grid_x[distance.argmin()]), int(grid_y[distance.argmin()])
    return TextBox(x, y, x + w, y + h, patch.text, kind=kind_of(patch.text))


# --- drawing -------------------------------------------------------------------------------------------------------


def stamp_patch(image: np.ndarray, patch: Patch, box: TextBox, contrast: float = 1.0) -> np.ndarray:
    """Return a copy of ``image`` (uint8, (H, W)) with ``patch`` in ``box``, which has its size.

    Parameters
    ----------
    contrast
        Above 0 to 1: how far fully inked pixels go from their own grey to the ink's.

    Raises
    ------
    TextError
        For another contrast, an image that is not uint8 (H, W), or a box of another size than the patch.
    """
    if not 0 < contrast <= 1:
        raise TextError(f"contrast {contrast!r} is not allowed. Accepted: above 0, at most 1")
    out = checked_xray(image, "words are stamped").copy()
    inside = np.s_[box.y0 : box.y1, box.x0 : box.x1]
    ground = out[inside].astype(np.float32)
    if ground.shape != patch.shape:
        raise TextError(
            f"a patch of {patch.shape[1]} x {patch.shape[0]} px does not fit a box with {ground.shape[1]} x "
            f"{ground.shape[0]} px on the X-ray. Accepted: a box of the patch's size within the X-ray (see box_for)"
        )
    drawn = ground + np.float32(contrast) * patch.ink * (patch.grey - ground)
    out[inside] = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    return out


def _shuffled(patch: Patch, rng: np.random.Generator) -> Patch:
    height, width = patch.shape
    rows, columns = _TILE_ROWS, max(_TILE_ROWS, round(_TILE_ROWS * width / height))
    tall, wide = -(-height // rows), -(-width // columns)
    order = rng.permutation(rows * columns)
    flips = rng.integers(0, 4, rows * columns)

    def moved(values: np.ndarray) -> np.ndarray:
        grid = _resized(values, columns * wide, rows * tall)
        tiles = grid.reshape(rows, tall, columns, wide).swapaxes(1, 2).reshape(-1, tall, wide)
        turned = [
            tiles[k][:: -1 if flip & 1 else 1, :: -1 if flip & 2 else 1] for k, flip in zip(order, flips, strict=True)
        ]
        mixed = np.stack(turned).reshape(rows, columns, tall, wide).swapaxes(1, 2).reshape(grid.shape)
        return _resized(np.ascontiguousarray(mixed), width, height)

    return Patch(np.clip(moved(patch.ink), 0, 1), moved(patch.grey))


def _plate(patch: Patch, rng: np.random.Generator) -> Patch:
    ink = max(float(patch.ink.mean()), 1e-6)
    grey = float((patch.ink * patch.grey).mean()) / ink
    return Patch(np.full_like(patch.ink, ink), np.full_like(patch.grey, grey))


CONTROLS: dict[str, Callable[[Patch, np.random.Generator], Patch]] = {"shuffled": _shuffled, "plate": _plate}
"""Ways to take the letters out of a patch, by name."""


def without_letters(
    image: np.ndarray, patch: Patch, box: TextBox, rng: np.random.Generator, control: str = "shuffled"
) -> Patch:
    """Return a patch without letters that gives ``box`` of ``image`` the mean grey that ``patch`` gives it."""
    if control not in CONTROLS:
        raise wrong_use(TextError(unknown("control", control, CONTROLS)))
    ground = image[box.y0 : box.y1, box.x0 : box.x1].astype(np.float32)
    other = CONTROLS[control](patch, rng)
    return replace(other, ink=_matched(other, ground, float((patch.ink * (patch.grey - ground)).sum())))


def _matched(patch: Patch, ground: np.ndarray, change: float) -> np.ndarray:
    """Return the ink, raised or lowered evenly within 0..1, that changes the sum of greys by ``change``."""
    direction = patch.grey - ground
    rising = direction.sum() > 0
    low, high = -1.0, 1.0
    for _ in range(_MATCHING_STEPS):
        middle = (low + high) / 2
        reached = float((np.clip(patch.ink + middle, 0, 1) * direction).sum())
        if (reached < change) == rising:
            low = middle
        else:
            high = middle
    return np.clip(patch.ink + np.float32((low + high) / 2), 0, 1)
