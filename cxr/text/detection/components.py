"""Glyph-like components: candidates for lone letters, arrows and turned words that a text detector passes over.

Burned-in marks are thin or small, of one grey level, and have a sharp edge, whatever their direction. A white and a
black top-hat at two scales leave what is thinner than the kernel; its connected components are kept when their size,
the evenness of their ink and the step at their edge are those of ink, and joined when they are near and alike; a side
marker with initials beside it counts as both. What is longer than a glyph stays by itself, as a possible arrow. That
finds many things besides text (clips, wires, ribs' crossings), which :mod:`cxr.text.detection.token_classifier` sorts
out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr.text.boxes import TextBox, clip
from cxr.text.detection.views import resized

SCALES = ((1000, 19), (500, 31))
"""Long side of the image and side of the top-hat's kernel, in pixels of that scale."""
THRESHOLDS = (22, 56)
"""Grey levels above (or below) the surroundings; the second parts bright glyphs that the first joins."""

_SMALLEST, _LARGEST = 7, 0.13  # long side of a component: pixels, share of the picture's long side
_LONGEST_ARROW = 0.24  # share of the picture's long side; whatever else is that long has no glyph's size
_LEAST_STEP = 0.45  # gradient at the edge against the ink's contrast; ribs and vessels stay below
_MOST_UNEVEN = 0.6  # standard deviation of the ink against its contrast
_MUCH_SMALLER = 0.75  # long side of the second largest glyph of a group against the largest's
_MOST_GLYPHS = 1200  # per picture and polarity; noise gives more, and costs time
_MOST_CANDIDATES = 160


@dataclass(frozen=True)
class _Glyphs:
    """Boxes (n, 4) as x0, y0, x1, y1 in pixels of the scaled picture, and the ink's mean contrast (n)."""

    boxes: np.ndarray
    contrast: np.ndarray

    @property
    def long_side(self) -> np.ndarray:
        """Pixels (n)."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1)

    def select(self, which: np.ndarray) -> _Glyphs:
        """Return the part that ``which``, a bool (n), says."""
        return _Glyphs(self.boxes[which], self.contrast[which])

    def __iter__(self) -> Iterator[tuple[np.ndarray, float]]:
        yield from zip(self.boxes, self.contrast.tolist(), strict=True)


def components(image: np.ndarray) -> list[TextBox]:
    """Return candidate boxes of glyph-like components in a uint8 image (H, W), in its own pixels, likeliest first.

    ``score`` is the step at the edge, in grey levels of the scaled picture over 255: no probability. ``kind`` is
    "arrow" for what could only be one, being too long for a glyph.
    """
    boxes: list[TextBox] = []
    for long_side, kernel in SCALES:
        small, scale = resized(image, min(long_side, 2 * max(image.shape)))
        for glyphs in _glyphs(small, kernel):
            long = glyphs.long_side > _LARGEST * max(small.shape)
            boxes += [_to_image(*hull, scale, image.shape, "symbol") for hull in _joined(glyphs.select(~long))]
            boxes += [_to_image(*glyph, scale, image.shape, "arrow") for glyph in glyphs.select(long)]
    boxes.sort(key=lambda box: -box.score)
    return _distinct(boxes)[:_MOST_CANDIDATES]


def _glyphs(small: np.ndarray, kernel: int) -> Iterator[_Glyphs]:
    element = cv2.getStructuringElement(cv2.MORPH_RECT, (kernel, kernel))
    # Beyond the border the picture goes on as it ends: tokens that touch it keep their ink.
    framed = cv2.copyMakeBorder(small, kernel, kernel, kernel, kernel, cv2.BORDER_REPLICATE)
    gradient = cv2.magnitude(cv2.Sobel(small, cv2.CV_32F, 1, 0) / 4, cv2.Sobel(small, cv2.CV_32F, 0, 1) / 4)
    for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        hat = cv2.morphologyEx(framed, operation, element)[kernel:-kernel, kernel:-kernel]
        for threshold in THRESHOLDS:
            yield _inky(np.ascontiguousarray(hat), gradient, threshold)


def _inky(hat: np.ndarray, gradient: np.ndarray, threshold: int) -> _Glyphs:
    """Return the components of ``hat`` above ``threshold`` that have the size, evenness and edge of ink."""
    ink = (hat > threshold).astype(np.uint8)
    # Faster here than the way of labelling that OpenCV chooses, with the same components.
    count, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(ink, 8, cv2.CV_32S, cv2.CCL_BBDT)
    x, y, w, h, area = stats.T
    long, short = np.maximum(w, h), np.minimum(w, h)
    sized = (long >= _SMALLEST) & (long <= _LONGEST_ARROW * max(hat.shape)) & (short >= 2) & (area >= 12)
    sized &= area <= 0.97 * w * h
    sized[0] = False
    chosen = np.flatnonzero(sized)
    chosen = chosen[np.argsort(-area[chosen])][:_MOST_GLYPHS]
    contrast, uneven = _moments(labels, hat, count)
    edge = ink - cv2.erode(ink, np.ones((3, 3), np.uint8))
    step, _ = _moments(labels * edge, gradient, count)
    chosen = chosen[
        (step[chosen] >= _LEAST_STEP * contrast[chosen]) & (uneven[chosen] <= _MOST_UNEVEN * contrast[chosen])
    ]
    return _Glyphs(np.stack([x, y, x + w, y + h], axis=1)[chosen].astype(float), step[chosen])


def _moments(labels: np.ndarray, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of ``values`` under each label."""
    inside = labels > 0
    which, value = labels[inside], values[inside].astype(np.float64)
    n = np.maximum(np.bincount(which, minlength=count), 1)
    mean = np.bincount(which, value, minlength=count) / n
    square = np.bincount(which, value * value, minlength=count) / n
    return mean, np.sqrt(np.maximum(square - mean * mean, 0))


def _joined(glyphs: _Glyphs) -> list[tuple[np.ndarray, float]]:
    """Return (hull, contrast) of glyphs that are near, of like size and contrast, and stand in a line.

    One that is much larger than the rest of its group is returned by itself too.
    """
    boxes, contrast = glyphs.boxes, glyphs.contrast
    n = len(boxes)
    if not n:
        return []
    low, high = boxes[:, :2], boxes[:, 2:]
    size, long = high - low, glyphs.long_side
    gap = np.maximum(low[:, None], low[None]) - np.minimum(high[:, None], high[None])  # (n, n, 2), below 0: overlap
    smaller = np.minimum(long[:, None], long[None])
    near = (gap.max(axis=2) <= 0.55 * smaller) & (
        gap.min(axis=2) <= -0.4 * np.minimum(size[:, None], size[None]).min(2)
    )
    alike = smaller >= 0.5 * np.maximum(long[:, None], long[None])
    alike &= np.minimum(contrast[:, None], contrast[None]) >= 0.5 * np.maximum(contrast[:, None], contrast[None])
    within = gap.max(axis=2) <= -0.9 * np.minimum(size[:, None], size[None]).min(2)  # a letter in its ring
    i, j = np.nonzero((near & alike) | within)
    _, group = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)
    out = []
    for member in range(group.max() + 1):
        in_group = group == member
        hull = np.concatenate([low[in_group].min(axis=0), high[in_group].max(axis=0)])
        out.append((hull, float(contrast[in_group].mean())))
        if (largest := _stands_out(long, in_group)) is not None:
            out.append((boxes[largest], float(contrast[largest])))
    return out


def _stands_out(long: np.ndarray, in_group: np.ndarray) -> int | None:
    """Return the glyph of a group that is much larger than the others: a side marker, initials beside it."""
    members = np.flatnonzero(in_group)
    if len(members) < 2:
        return None
    second, first = np.argsort(long[members])[-2:]
    return int(members[first]) if long[members[second]] < _MUCH_SMALLER * long[members[first]] else None


def _to_image(box: np.ndarray, contrast: float, scale: float, shape: tuple[int, ...], kind: str) -> TextBox:
    x0, y0 = np.floor((box[:2] - 0.5) / scale).astype(int)
    x1, y1 = np.ceil((box[2:] + 0.5) / scale).astype(int)
    score = round(min(1.0, contrast / 255), 4)
    return clip(TextBox(int(x0), int(y0), int(x1), int(y1), score=score, kind=kind), shape)


def _distinct(boxes: list[TextBox]) -> list[TextBox]:
    """Leave out boxes that repeat an earlier one (IoU 0.6): scales and thresholds see the same ink."""
    if not boxes:
        return []
    corners = np.array([[b.x0, b.y0, b.x1, b.y1] for b in boxes], dtype=float)
    low, high = corners[:, :2], corners[:, 2:]
    common = (np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])).clip(0).prod(axis=2)
    area = (high - low).prod(axis=1)
    again = common > 0.6 * (area[:, None] + area[None] - common)
    chosen: list[int] = []
    for i in range(len(boxes)):
        if not again[i, chosen].any():
            chosen.append(i)
    return [boxes[i] for i in chosen]
