"""Find scale bars: rulers of evenly spaced ticks, with or without a line along them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from cxr.text.boxes import TextBox, clip, merge
from cxr.text.detection.views import LONG_SIDE, resized

_CONTRAST = 40  # grey levels of a tick above or below its surroundings
_REACH = 41  # widest gap between ticks, in pixels at a long side of 1000
_LEAST_TICKS = 8
_LEAST_LENGTH, _THICKNESS = 80, (2, 48)  # pixels at a long side of 1000
_MOST_IRREGULAR = 0.16  # standard deviation of the ticks' distance over its mean


def scale_bars(image: np.ndarray) -> list[TextBox]:
    """Return the scale bars of a uint8 image (H, W) as boxes of kind "scale", level or upright."""
    small, scale = resized(image, min(LONG_SIDE, 2 * max(image.shape)))
    framed = cv2.copyMakeBorder(small, 16, 16, 16, 16, cv2.BORDER_REPLICATE)
    hats = [
        cv2.morphologyEx(framed, how, np.ones((13, 13), np.uint8)) for how in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)
    ]
    boxes: list[TextBox] = []
    for hat in (*hats, np.maximum(*hats)):  # light ticks, dark ones, and light ones with a dark shadow
        ink = np.ascontiguousarray((hat[16:-16, 16:-16] > _CONTRAST).astype(np.uint8))
        boxes += [TextBox(x, y, x + w, y + h) for x, y, w, h in _level(ink)]
        boxes += [TextBox(y, x, y + h, x + w) for x, y, w, h in _level(np.ascontiguousarray(ink.T))]
    return merge([_in_image(box, scale, image.shape) for box in boxes])


def _level(ink: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Yield x, y, width, height of rows of ticks that stand side by side."""
    closed = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, np.ones((1, _REACH), np.uint8))
    # Most pictures have no run that long: a running mean tells that in a fraction of the time.
    if cv2.boxFilter(255 * closed, -1, (_LEAST_LENGTH, 1)).max() < 255:
        return
    # This way of labelling is faster here than the one OpenCV chooses, with the same components.
    count, _, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(closed, 8, cv2.CV_32S, cv2.CCL_BBDT)
    for x, y, w, h, _ in stats[1:count]:
        long_enough = w >= _LEAST_LENGTH and w >= 4 * h
        if long_enough and _THICKNESS[0] <= h <= _THICKNESS[1] and _has_ticks(ink[y : y + h, x : x + w]):
            yield int(x), int(y), int(w), int(h)


def _has_ticks(ink: np.ndarray) -> bool:
    """Whether columns of much ink come at even distances, thinner than the gaps between them."""
    profile = ink.sum(axis=0).astype(float)
    along = np.median(profile)  # the line that joins the ticks, if there is one
    high = profile > along + max(0.5, 0.34 * (np.percentile(profile, 97) - along))
    starts = np.flatnonzero(np.diff(np.concatenate([[0], high.astype(np.int8)])) == 1)
    if len(starts) < _LEAST_TICKS or high.mean() > 0.6:
        return False
    gaps = np.diff(starts)
    # Scaling to whole pixels moves a tick by one; a tick may be missing.
    even = np.abs(gaps - np.median(gaps)) <= np.maximum(1.5, _MOST_IRREGULAR * np.median(gaps))
    return bool(even.mean() >= 0.85)


def _in_image(box: TextBox, scale: float, shape: tuple[int, ...]) -> TextBox:
    x0, y0 = int(box.x0 / scale), int(box.y0 / scale)
    x1, y1 = int(np.ceil(box.x1 / scale)), int(np.ceil(box.y1 / scale))
    return clip(TextBox(x0, y0, x1, y1, score=1.0, kind="scale"), shape)
