"""Small grey pictures made comparable: of one size, and without their own brightness and contrast."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 128
"""Side in pixels at which two pictures are compared."""
QUICK_SIDE = 48
COARSE_SIDE = 64
_COARSE_WINDOW, _QUICK_WINDOW = 25, 13
_CONTRAST = 50.0  # standard deviation in grey levels that every picture is brought to

Plane = NDArray[np.float32]


def shrink(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a picture (H, W) as a square of ``side`` pixels."""
    if picture.shape == (side, side):
        return picture
    method = cv2.INTER_AREA if min(picture.shape) >= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (side, side), interpolation=method), np.uint8)


def local_contrast(picture: Plane, window: int, floor: float) -> Plane:
    """Return how many standard deviations of its neighbourhood each pixel is above the neighbourhood's mean.

    ``floor`` is added to the variance, so that noise in flat regions stays small.
    """
    difference = picture - cv2.blur(picture, (window, window))
    scaled = difference / np.sqrt(cv2.blur(difference * difference, (window, window)) + floor)
    return np.asarray(scaled, np.float32)


class Picture:
    """One X-ray in the forms that the steps of a comparison need, each made once.

    Parameters
    ----------
    pixels
        uint8 (S, S), any side.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = shrink(np.asarray(pixels), SIDE)

    @cached_property
    def grey(self) -> Plane:
        """Grey values (SIDE, SIDE) with a mean of 0 and the same contrast in every picture."""
        smooth = cv2.GaussianBlur(self._pixels.astype(np.float32), (0, 0), 0.7)
        return np.asarray((smooth - smooth.mean()) * (_CONTRAST / max(float(smooth.std()), 1e-3)), np.float32)

    @cached_property
    def fine(self) -> Plane:
        """Local contrast (SIDE, SIDE)."""
        return local_contrast(self.grey, _COARSE_WINDOW, 9.0)

    @cached_property
    def coarse(self) -> Plane:
        """Local contrast (COARSE_SIDE, COARSE_SIDE)."""
        return np.asarray(cv2.resize(self.fine, (COARSE_SIDE, COARSE_SIDE), interpolation=cv2.INTER_AREA), np.float32)

    @cached_property
    def quick(self) -> Plane:
        """Local contrast (QUICK_SIDE, QUICK_SIDE)."""
        small = cv2.resize(cv2.GaussianBlur(self.grey, (0, 0), 1.5), (QUICK_SIDE, QUICK_SIDE), interpolation=cv2.INTER_AREA)
        return local_contrast(np.asarray(small, np.float32), _QUICK_WINDOW, 4.0)
