"""Small grey pictures made comparable: of one size, and without their own brightness and contrast."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 128
"""Side in pixels at which two pictures are compared."""
HALF_SIDE, COARSE_SIDE = 64, 32
_WINDOW, _SMALL_WINDOW = 25, 5  # pixels of SIDE and of HALF_SIDE
_CONTRAST = 50.0  # standard deviation in grey levels that every picture is brought to
_FLOOR = 9.0

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
        return _levelled(cv2.GaussianBlur(self._pixels.astype(np.float32), (0, 0), 0.7))

    @cached_property
    def contrast(self) -> Plane:
        """Local contrast (SIDE, SIDE)."""
        return local_contrast(self.grey, _WINDOW, _FLOOR)

    @cached_property
    def half_contrast(self) -> Plane:
        """Local contrast (HALF_SIDE, HALF_SIDE), from windows that show the same as those of :attr:`contrast`."""
        return local_contrast(self._half_grey, _WINDOW // 2 + 1, _FLOOR)

    @cached_property
    def coarse_contrast(self) -> Plane:
        """Local contrast (COARSE_SIDE, COARSE_SIDE), from the same windows."""
        small = cv2.resize(self.half_contrast, (COARSE_SIDE, COARSE_SIDE), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)

    @cached_property
    def half_details(self) -> Plane:
        """Local contrast (HALF_SIDE, HALF_SIDE) from windows so small that they show details alone."""
        return local_contrast(self._half_grey, _SMALL_WINDOW, _FLOOR)

    @cached_property
    def _half_grey(self) -> Plane:
        return _levelled(shrink(self._pixels, HALF_SIDE).astype(np.float32))


def _levelled(picture: NDArray) -> Plane:
    centred = picture - picture.mean()
    return np.asarray(centred * (_CONTRAST / max(float(centred.std()), 1e-3)), np.float32)
