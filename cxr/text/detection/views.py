"""Pictures made from an X-ray for one pass of the text detector each, and the way back.

One pass over the whole picture misses lone letters at the borders, vertical words, and large circled letters, so the
detector may run on several views of the image (:data:`VIEWS`): the long side at 1000, 736 and 500 pixels, turned by 90
degrees, and four contrast-enhanced border strips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

LONG_SIDE = 1000
"""Pixels of the long side in the main view."""

_STRIP_SIDE = 1600
_MOST_ENLARGED, _STRIP_MOST_ENLARGED = 3.0, 4.0  # more only costs time: small pictures gain nothing
_PADDING = 32

Corners = np.ndarray
"""Float array (n, 4, 2): four corners (x, y) of n boxes."""


@dataclass(frozen=True)
class View:
    """A picture made from the image for one detector pass, and the way back.

    ``pixels`` is uint8 (h, w); ``to_image`` maps corners (n, 4, 2) in it to pixels of the image.
    """

    pixels: np.ndarray
    to_image: Callable[[Corners], Corners]


def resized(image: np.ndarray, long_side: float) -> tuple[np.ndarray, float]:
    """Return ``image`` with its long side at ``long_side`` pixels, and the factor it was scaled by."""
    scale = long_side / max(image.shape)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method), scale


def view_of(region: np.ndarray, long_side: float, left: int = 0, top: int = 0, enhance: bool = False) -> View:
    """Return a region of the image, whose corner lies at (left, top), as a padded view of the wanted size."""
    pixels, _ = resized(region, long_side)
    if enhance:
        pixels = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(pixels)
    scale = np.array([region.shape[1] / pixels.shape[1], region.shape[0] / pixels.shape[0]])
    shift = np.array([left, top])
    # Tokens cut by the border are found only when something lies beyond it.
    fill = float(np.median(pixels))
    padded = cv2.copyMakeBorder(pixels, _PADDING, _PADDING, _PADDING, _PADDING, cv2.BORDER_CONSTANT, value=fill)
    return View(padded, lambda corners: (corners - _PADDING) * scale + shift)


def turned(view: View) -> View:
    """Return the view turned by 90 degrees clockwise: vertical words become horizontal."""
    height = view.pixels.shape[0]
    pixels = np.ascontiguousarray(np.rot90(view.pixels, k=-1))
    return View(pixels, lambda corners: view.to_image(np.stack([corners[..., 1], height - corners[..., 0]], axis=-1)))


def _strips(image: np.ndarray, long_side: float) -> Iterator[View]:
    height, width = image.shape
    top, bottom, side = (max(1, round(share)) for share in (0.18 * height, 0.12 * height, 0.18 * width))
    yield view_of(image[:top], long_side, enhance=True)
    yield view_of(image[height - bottom :], long_side, top=height - bottom, enhance=True)
    yield view_of(image[:, :side], long_side, enhance=True)
    yield view_of(image[:, width - side :], long_side, left=width - side, enhance=True)


def _long_side(image: np.ndarray, long_side: int = LONG_SIDE) -> float:
    return min(long_side, _MOST_ENLARGED * max(image.shape))


def _whole(image: np.ndarray) -> Iterator[View]:
    yield view_of(image, _long_side(image))


def _small(image: np.ndarray) -> Iterator[View]:
    yield view_of(image, _long_side(image, 736))


def _half(image: np.ndarray) -> Iterator[View]:
    yield view_of(image, _long_side(image, LONG_SIDE // 2))


def _quarter_turn(image: np.ndarray) -> Iterator[View]:
    yield turned(view_of(image, _long_side(image)))


def _borders(image: np.ndarray) -> Iterator[View]:
    yield from _strips(image, min(_STRIP_SIDE, _STRIP_MOST_ENLARGED * max(image.shape)))


VIEWS: dict[str, Callable[[np.ndarray], Iterator[View]]] = {
    "whole": _whole,
    "small": _small,
    "half": _half,
    "turned": _quarter_turn,
    "borders": _borders,
}
"""Detector passes by name."""
