"""What was done to one X-ray to get the other, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr import formatting
from cxr.data.audit.duplicates.pictures import SIDE, shrink
from cxr.data.audit.duplicates.registration import Registration, overlap, overlay

Size = tuple[int, int]
"""Width and height in pixels; (0, 0) for unknown."""

_LEAST_CROP, _LEAST_TURN, _LEAST_SHIFT = 0.03, 0.7, 8.0  # share of a side, degrees, grey levels
_LEAST_GAIN = 1.15


def describe_change(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    registration: Registration,
    sizes: tuple[Size, Size] = ((0, 0), (0, 0)),
) -> str:
    """Return in words how the second X-ray differs from the first, such as ``b cropped by 12 %, inverted``."""
    words = [*_crops(registration), *_turn(registration, sizes)]
    if registration.inverted:
        words.append("inverted")
    words += _greys(first, second, registration)
    if rescaled := describe_sizes(sizes):
        words.append(rescaled)
    return ", ".join(words) or "saved again"


def describe_sizes(sizes: tuple[Size, Size]) -> str:
    """Return ``rescaled`` if both sizes are known and differ, else an empty text."""
    return "rescaled" if all(min(size) > 0 for size in sizes) and sizes[0] != sizes[1] else ""


def _crops(registration: Registration) -> list[str]:
    """Return which of the two shows less than the other, by the larger share of a side."""
    shares = np.linalg.norm(registration.matrix[:, :2].astype(np.float64), axis=0)
    cuts = {"b": 1 - float(shares.min()), "a": 1 - 1 / float(shares.max())}
    return [f"{name} cropped by {formatting.share(cut)}" for name, cut in cuts.items() if cut >= _LEAST_CROP]


def _turn(registration: Registration, sizes: tuple[Size, Size]) -> list[str]:
    linear = registration.matrix[:, :2].astype(np.float64)
    (width_a, height_a), (width_b, height_b) = (size if min(size) > 0 else (1, 1) for size in sizes)
    linear = np.diag([width_a, height_a]) @ linear @ np.diag([1 / width_b, 1 / height_b])
    degrees = abs(float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))))
    return [f"turned by {degrees:.0f} degrees" if degrees >= 1.5 else "turned by 1 degree"] * (degrees >= _LEAST_TURN)


def _greys(first: NDArray[np.uint8], second: NDArray[np.uint8], registration: Registration) -> list[str]:
    mask = overlap(registration.matrix) > 0
    one = overlay(shrink(first, SIDE), registration.matrix)[mask]
    other = shrink(second, SIDE).astype(np.float32)[mask]
    if registration.inverted:
        other = 255 - other
    shift, gain = float(other.mean() - one.mean()), float(other.std()) / max(float(one.std()), 1e-3)
    words = []
    if abs(shift) >= _LEAST_SHIFT:
        words.append("brighter" if shift > 0 else "darker")
    if max(gain, 1 / max(gain, 1e-3)) >= _LEAST_GAIN:
        words.append("more contrast" if gain > 1 else "less contrast")
    return words
