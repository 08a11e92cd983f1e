"""Whether two pictures are one X-ray: laid over each other, do their details agree?

Any two chests agree in the large. So what is compared is the contrast within small windows, after an affine map was
fitted that lays one picture over the other (ECC, Evangelidis and Psarakis 2008), and only where both show something.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr.data.audit.duplicates.descriptors import View
from cxr.data.audit.duplicates.pictures import SIDE, Picture, Plane

THRESHOLD = 0.86
"""Least correlation of details of two pictures that count as one X-ray."""
LEAST_AREA = 0.25
"""Least share of the picture in which both must show details."""
_LEAST_COARSE = 0.75  # agreement after the coarse fit: copies have more, half of the pairs of two X-rays have less
_LEAST_DETAILS = 0.43  # then, of their details: of pairs of two X-rays that look alike, one in ten has more
_NO_FIT = -2.0
_SMOOTHING = 3  # pixels of a window
_WINDOW, _FLAT = 9, 1.5
_MARGIN = 2
_MOST_SCALE, _MOST_TURN = 1.6, 0.3  # of an affine map that is still a crop and a small turn

Affine = NDArray[np.float32]


@dataclass(frozen=True)
class Registration:
    """How two pictures lie over each other.

    Attributes
    ----------
    score
        Correlation of details where the pictures overlap, -1 to 1.
    area
        Share of the second picture in which both show details, 0 to 1.
    matrix
        (2, 3) from pixels of the second picture to pixels of the first, at :data:`SIDE`.
    inverted
        Whether one is the negative of the other.
    """

    score: float
    area: float
    matrix: Affine
    inverted: bool

    @property
    def same(self) -> bool:
        """Whether the two pictures are one X-ray."""
        return self.score >= THRESHOLD and self.area >= LEAST_AREA

    def reversed(self) -> Registration:
        """Return how the first picture lies over the second."""
        return replace(self, matrix=np.asarray(cv2.invertAffineTransform(self.matrix), np.float32))


def register(first: Picture, second: Picture, view: View, inverted: bool) -> Registration | None:
    """Lay two pictures over each other, beginning with ``view`` of the first on the whole of the second.

    Cheaper steps come first; None stands for a pair that is plainly of two X-rays.
    """
    sign = -1.0 if inverted else 1.0
    height, width, top, left = view
    start = np.array([[width, 0, left * SIDE], [0, height, top * SIDE]], np.float32)
    # Eight steps are enough to tell two X-rays apart; a copy is fitted further below.
    agreement, matrix = _fitted(first.coarse_contrast, second.coarse_contrast * sign, start, steps=8)
    if agreement < _LEAST_COARSE:
        return None
    if _correlation(first.half_details, second.half_details * sign, matrix) < _LEAST_DETAILS:
        return None
    for one, other, steps in (
        (first.half_contrast, second.half_contrast, 15),
        (first.contrast, second.contrast, 10),
    ):
        agreement, matrix = _fitted(one, other * sign, matrix, steps=steps)
        if agreement <= _NO_FIT:
            return None
    if not _plausible(matrix):
        return None
    score, area = _agreement(first.grey, second.grey * sign, matrix)
    return Registration(score, area, matrix, inverted)


def overlay(picture: NDArray[np.uint8] | Plane, matrix: Affine) -> Plane:
    """Return a picture (S, S) as it lies over the other one; ``matrix`` is in pixels of :data:`SIDE`."""
    side = picture.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, _at(matrix, side), (side, side), flags=flags), np.float32)


def overlap(matrix: Affine, side: int = SIDE) -> Plane:
    """Return 1 where both pictures are, else 0, (side, side); a narrow margin of each does not count."""
    margin = _MARGIN * side // SIDE
    inner = np.zeros((side, side), np.float32)
    inner[margin:-margin, margin:-margin] = 1
    return np.asarray((overlay(inner, matrix) > 0.99) * inner, np.float32)


def _at(matrix: Affine, side: int) -> Affine:
    """Return a map in pixels of another side than :data:`SIDE`."""
    return np.asarray(matrix * np.array([1, 1, side / SIDE], np.float32), np.float32)


def _fitted(first: Plane, second: Plane, start: Affine, steps: int) -> tuple[float, Affine]:
    """Return how well the two agree, -1 to 1, under the affine map that was fitted, and the map."""
    side = first.shape[0]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-4)
    try:
        agreement, matrix = cv2.findTransformECC(
            second, first, _at(start, side), cv2.MOTION_AFFINE, criteria, _everywhere(side), _SMOOTHING
        )
    except cv2.error:  # the fit left the picture, or there is nothing to fit
        return _NO_FIT, start
    if not np.isfinite(matrix).all():
        return _NO_FIT, start
    return float(agreement), np.asarray(matrix * [1, 1, SIDE / side], np.float32)


@cache
def _everywhere(side: int) -> NDArray[np.uint8]:
    return np.full((side, side), 255, np.uint8)


def _plausible(matrix: Affine) -> bool:
    """Return whether a map is what crops and small turns are: no mirror, no large turn, no large change of scale."""
    linear = matrix[:, :2].astype(np.float64)
    if np.linalg.det(linear) <= 0:
        return False
    scales = np.linalg.svd(linear, compute_uv=False)
    turn = np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])
    return bool(scales.max() < _MOST_SCALE and scales.min() > 1 / _MOST_SCALE and abs(turn) < _MOST_TURN)


def _correlation(first: Plane, second: Plane, matrix: Affine) -> float:
    mask = overlap(matrix, first.shape[0]) > 0
    if not mask.any():
        return 0.0
    one, other = overlay(first, matrix)[mask], second[mask]
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum() + 1e-9))


def _agreement(first: Plane, second: Plane, matrix: Affine) -> tuple[float, float]:
    """Return the correlation of details, and the share of the picture that has any in both."""
    mask = overlap(matrix)
    weights = cv2.blur(mask, (_WINDOW, _WINDOW)) + 1e-6
    one, spread_of_one = _details(overlay(first, matrix), mask, weights)
    other, spread_of_other = _details(second, mask, weights)
    counted = mask * (np.minimum(spread_of_one, spread_of_other) > _FLAT)
    product, squares = (one * other * counted).sum(), (one * one * counted).sum() * (other * other * counted).sum()
    return float(product / np.sqrt(squares + 1e-6)), float(counted.mean())


def _details(picture: Plane, mask: Plane, weights: Plane) -> tuple[Plane, Plane]:
    """Return the contrast of each pixel within its window, what is outside the overlap left out, and the spread."""
    window = (_WINDOW, _WINDOW)
    difference = (picture - cv2.blur(picture * mask, window) / weights) * mask
    spread = np.sqrt(np.maximum(cv2.blur(difference * difference, window) / weights, 0))
    return np.asarray(difference / (spread + _FLAT), np.float32), np.asarray(spread, np.float32)
