"""From an image file to a grey square; alone in its module because each decoding process has to load it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr.data.images.base import Refusal
from cxr.data.images.decode import decode

FITS = ("stretch", "pad", "crop")
RESIZER_VERSION: int = 1  # raise it when the same decoded image would give another square


def decode_square(path: Path, size: int, fit: str) -> NDArray[np.uint8] | str:
    """Decode and resize in a worker; the reason instead of an exception."""
    try:
        return fit_square(decode(path), size, fit)
    except Refusal as refusal:
        return str(refusal)


def decode_treated(
    item: tuple[Path, Any], apply: Callable[[NDArray[np.uint8], Any], NDArray[np.uint8]], size: int, fit: str
) -> NDArray[np.uint8] | str:
    """Do the same with ``apply(image, what)`` in between, at the size of the file; ``treatment`` None leaves it out."""
    path, treatment = item
    try:
        image = decode(path)
        return fit_square(image if treatment is None else apply(image, treatment), size, fit)
    except Refusal as refusal:
        return str(refusal)


def fit_square(image: NDArray[np.uint8], size: int, fit: str = "stretch") -> NDArray[np.uint8]:
    """Bring a grey image (H, W) to (size, size): area means where it shrinks, bilinear where it grows."""
    height, width = image.shape
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
    if fit != "pad":
        return _resize(image, size, size)
    scale = size / max(height, width)
    inner = _resize(image, max(round(width * scale), 1), max(round(height * scale), 1))
    square = np.zeros((size, size), np.uint8)
    top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
    square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return square


def _resize(image: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    shrunk_to = (min(width, image.shape[1]), min(height, image.shape[0]))
    if shrunk_to != image.shape[::-1]:
        image = cv2.resize(image, shrunk_to, interpolation=cv2.INTER_AREA)
    if shrunk_to != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image
