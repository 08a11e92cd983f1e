"""Take tokens out of an X-ray, and place control boxes that cover as much of the same X-ray but no token.

Every mode changes pixels inside the boxes (grown by the margin) and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cxr.errors import TextError, unknown
from cxr.text.boxes import TextBox, coverage, grow, intersection

DEFAULT_MARGIN = 0.1
"""Fraction of a box's shorter side by which it grows before it is masked: letters have soft rims."""
_RING = 0.5
_INPAINT_RADIUS = 5.0
_INPAINT_LONG_SIDE = 1024
_TRIES = 100

Fill = Callable[[np.ndarray, Sequence[TextBox]], np.ndarray]


@dataclass(frozen=True)
class MaskMode:
    """A way of masking: ``fill(image, grown boxes)`` returns a new image."""

    title: str
    description: str
    fill: Fill


def _black(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    out = image.copy()
    out[coverage(boxes, image.shape)] = 0
    return out


def _local_mean(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    out, tokens = image.copy(), coverage(boxes, image.shape)
    for box in boxes:
        # The ring leaves out neighbouring tokens; where they are all there is, the whole image speaks.
        ring = coverage([grow(box, _RING, image.shape)], image.shape) & ~tokens
        around = image[ring] if ring.any() else image[~tokens]
        value = float(around.mean()) if around.size else 0.0
        out[box.y0 : box.y1, box.x0 : box.x1] = round(value)
    return out


def _inpaint(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    """Fill with OpenCV's Telea inpainting, at no more than 1024 px: its time grows with the masked pixels."""
    mask = coverage(boxes, image.shape)
    scale = min(1.0, _INPAINT_LONG_SIDE / max(image.shape))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Any small pixel that a token touches is masked, so that no ink is mixed into the fill.
    small_mask = (cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.inpaint(small, small_mask, _INPAINT_RADIUS, cv2.INPAINT_TELEA)
    large = cv2.resize(filled, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(mask, large, image)


MASK_MODES: dict[str, MaskMode] = {
    "black": MaskMode("Black", "Boxes become black, as a censored picture does; itself a strong new mark.", _black),
    "mean": MaskMode("Local mean", "Boxes take the mean grey of a ring around each of them.", _local_mean),
    "inpaint": MaskMode("Inpainting", "Boxes are filled from their rim (Telea 2004, OpenCV).", _inpaint),
}
"""Mask modes by the name that pages, the command line and run folders use."""


def mask_text(
    image: np.ndarray, boxes: Sequence[TextBox], mode: str = "mean", margin: float = DEFAULT_MARGIN
) -> np.ndarray:
    """Return ``image`` (uint8, (H, W)) with the boxes masked; the given array is left alone.

    Parameters
    ----------
    mode
        A name in :data:`MASK_MODES`.
    margin
        How far a box grows first: below 1 a fraction of its shorter side, from 1 on pixels.

    Raises
    ------
    TextError
        Unknown mode, negative margin, or an image that is not uint8 (H, W).
    """
    if mode not in MASK_MODES:
        raise TextError(unknown("mask mode", mode, MASK_MODES))
    grown = grown_boxes(boxes, margin, image.shape)
    if image.dtype != np.uint8 or image.ndim != 2:
        raise TextError(f"tokens are masked on uint8 images of shape (H, W), not {image.dtype} of shape {image.shape}")
    return MASK_MODES[mode].fill(image, grown) if grown else image.copy()


def grown_boxes(boxes: Sequence[TextBox], margin: float, shape: Sequence[int]) -> list[TextBox]:
    """Return the boxes as masking covers them: grown by ``margin``, cut to the image, empty ones dropped."""
    if not margin >= 0:
        raise TextError(f"margin {margin!r} is not allowed. Accepted: 0 and above (below 1 a fraction, else pixels)")
    return [box for box in (grow(b, margin, shape) for b in boxes) if box.area]


def control_boxes(boxes: Sequence[TextBox], shape: Sequence[int], rng: np.random.Generator) -> list[TextBox]:
    """Return boxes of the same number and sizes at random places off ``boxes`` and off each other.

    They tell the effect of a token from the effect of a patch. Where no free place turns up in 100 draws, the draw
    that overlaps the least is taken.
    """
    height, width = shape[:2]
    placed: list[TextBox] = []
    for box in sorted(boxes, key=lambda b: -b.area):
        best, least = box, np.inf
        for _ in range(_TRIES):
            x0 = int(rng.integers(0, width - box.width + 1))
            y0 = int(rng.integers(0, height - box.height + 1))
            draw = replace(box, x0=x0, y0=y0, x1=x0 + box.width, y1=y0 + box.height, text="", kind="symbol")
            overlap = sum(intersection(draw, other) for other in (*boxes, *placed))
            if overlap < least:
                best, least = draw, overlap
            if not overlap:
                break
        placed.append(best)
    return placed
