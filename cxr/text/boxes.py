"""Boxes around burned-in tokens, and the plain geometry that detection, masking and controls share.

Coordinates are whole pixels of the image that was given, axis-aligned and half-open: ``x0 <= x < x1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypedDict, cast

import numpy as np

from cxr.errors import TextError

KINDS = ("word", "letter", "number", "arrow", "scale", "symbol")


class BoxValues(TypedDict):
    """The fields of a :class:`TextBox`, as JSON and tables hold them."""

    x0: int
    y0: int
    x1: int
    y1: int
    text: str
    score: float
    kind: str


@dataclass(frozen=True)
class TextBox:
    """One token: ``x0 <= x < x1`` and ``y0 <= y < y1`` in pixels.

    ``text`` is the transcription ("" where nothing was read), ``score`` the detector's confidence in 0..1 and
    ``kind`` one of :data:`KINDS`: arrow and scale (the ticks of a ruler) are recognised by their looks, symbol is all
    that is neither read nor recognised.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    text: str = ""
    score: float = 1.0
    kind: str = "symbol"

    @property
    def width(self) -> int:
        """Columns covered."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Rows covered."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Pixels covered; 0 for an empty box."""
        return max(0, self.width) * max(0, self.height)

    def to_dict(self) -> BoxValues:
        """Return the fields as plain values, as JSON and tables take them."""
        return cast(BoxValues, asdict(self))


def kind_of(text: str) -> str:
    """Return the kind of a transcription: one letter, digits (dates and times too), a word, or a symbol.

    >>> [kind_of(t) for t in ("L", "12.03.2020", "PORTABLE", "->", "")]
    ['letter', 'number', 'word', 'symbol', 'symbol']
    """
    letters = sum(c.isalpha() for c in text)
    digits = sum(c.isdigit() for c in text)
    if letters + digits == 0:
        return "symbol"
    if digits >= letters:
        return "number"
    return "letter" if letters == 1 else "word"


def intersection(a: TextBox, b: TextBox) -> int:
    """Return the number of pixels that two boxes share."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return width * height if width > 0 and height > 0 else 0


def iou(a: TextBox, b: TextBox) -> float:
    """Return intersection over union in 0..1."""
    common = intersection(a, b)
    return common / (a.area + b.area - common) if common else 0.0


def clip(box: TextBox, shape: Sequence[int]) -> TextBox:
    """Return ``box`` cut to an image of ``shape`` (H, W); it may become empty."""
    height, width = shape[:2]
    x0, x1 = (int(min(max(x, 0), width)) for x in (box.x0, box.x1))
    y0, y1 = (int(min(max(y, 0), height)) for y in (box.y0, box.y1))
    return replace(box, x0=x0, y0=y0, x1=x1, y1=y1)


def grow(box: TextBox, margin: float, shape: Sequence[int]) -> TextBox:
    """Return ``box`` grown on every side and cut to the image.

    A ``margin`` below 1 is a fraction of the box's shorter side (rounded up), 1 and above are pixels.
    """
    by = int(np.ceil(margin * min(box.width, box.height))) if margin < 1 else round(margin)
    return clip(replace(box, x0=box.x0 - by, y0=box.y0 - by, x1=box.x1 + by, y1=box.y1 + by), shape)


def merge(boxes: Iterable[TextBox], max_area: float = np.inf, same: float = 0.3, inside: float = 0.6) -> list[TextBox]:
    """Return one box per token out of the boxes of several passes.

    Two boxes are one token when their IoU is at least ``same`` or when ``inside`` of the smaller lies in the larger;
    they become their hull with the better score, unless the hull would exceed ``max_area`` pixels.
    """
    merged: list[TextBox] = []
    for box in sorted(boxes, key=lambda b: (-b.score, b.y0, b.x0)):
        _absorb(merged, box, max_area, same, inside)
    return sorted(merged, key=lambda b: (b.y0, b.x0, b.y1, b.x1))


def _absorb(merged: list[TextBox], box: TextBox, max_area: float, same: float, inside: float) -> None:
    # The hull may touch a third box, so it is put in again until nothing fits it.
    for i, other in enumerate(merged):
        common = intersection(box, other)
        if not common or (iou(box, other) < same and common < inside * min(box.area, other.area)):
            continue
        hull = _hull(box, other)
        del merged[i]
        larger = max(box, other, key=lambda b: b.score)
        _absorb(merged, hull if hull.area <= max_area else larger, max_area, same, inside)
        return
    merged.append(box)


def _hull(a: TextBox, b: TextBox) -> TextBox:
    best = max(a, b, key=lambda box: box.score)
    return replace(best, x0=min(a.x0, b.x0), y0=min(a.y0, b.y0), x1=max(a.x1, b.x1), y1=max(a.y1, b.y1))


def coverage(boxes: Iterable[TextBox], shape: Sequence[int]) -> np.ndarray:
    """Return a bool mask (H, W): True where any of the boxes lies."""
    mask = np.zeros(tuple(shape[:2]), dtype=bool)
    for box in boxes:
        inner = clip(box, shape)
        mask[inner.y0 : inner.y1, inner.x0 : inner.x1] = True
    return mask


def checked_xray(image: np.ndarray, doing: str) -> np.ndarray:
    """Return an image as an array if it is one X-ray, uint8 (H, W); ``doing`` begins the error of any other.

    Raises
    ------
    TextError
        For another shape or type, an empty image, several images at once, or no image.
    """
    try:
        array = np.asarray(image)
    except ValueError:  # a list of images of several sizes
        array = np.asarray(None)
    if array.dtype == object:
        raise TextError(f"{doing} on one uint8 image of shape (H, W) at a time, not on a {type(image).__name__}")
    if array.dtype != np.uint8 or array.ndim != 2 or not array.size:
        raise TextError(f"{doing} on uint8 images of shape (H, W), not {array.dtype} of shape {array.shape}")
    return array
