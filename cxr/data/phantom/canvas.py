"""Drawing primitives of the phantom: smooth curves, soft-edged layers, correlated noise.

Shapes are given in *chest coordinates*: the frame is the unit square, x to the right, y downwards, the midline of an
unposed patient at x = 0.5. A :class:`Canvas` turns them by the patient's pose into pixels of a square image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Layer = NDArray[np.float32]
Points = NDArray[np.float64]

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
_FIXED = 1 << _SHIFT


@lru_cache(maxsize=8)
def _catmull_rom(n: int) -> Points:
    """Return the (n, 4) weights of the four control points of one segment."""
    t = np.arange(n)[:, None] / n
    powers = np.concatenate([np.ones_like(t), t, t**2, t**3], axis=1)
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    return powers @ basis


def spline(points: ArrayLike, closed: bool = False, n: int = 8) -> Points:
    """Return a Catmull-Rom curve through ``points`` (K, 2) with ``n`` samples per segment."""
    p = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([p[-1:], p, p[:2]] if closed else [p[:1], p, p[-1:]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 4, axis=0)  # (segments, 2, 4)
    curve = np.einsum("nk,sck->snc", _catmull_rom(n), windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def ribbon(line: Points, width: ArrayLike) -> Points:
    """Return the outline of a band of ``width`` (a number, or one per point) along ``line`` (K, 2)."""
    tangent = np.gradient(line, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    half = np.broadcast_to(np.asarray(width, dtype=np.float64) / 2, len(line))[:, None] * normal
    return np.concatenate([line + half, (line - half)[::-1]])


def ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0, n: int = 28) -> Points:
    """Return the outline (n, 2) of an ellipse turned clockwise by ``degrees``."""
    phi = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x, y = radii[0] * np.cos(phi), radii[1] * np.sin(phi)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], axis=1)


def blur(layer: Layer, sigma: float) -> Layer:
    """Return ``layer`` blurred by a Gaussian of ``sigma`` pixels; wide ones are computed on a reduced image."""
    if sigma < 0.2:
        return layer
    if sigma <= 4:
        return np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma), np.float32)
    h, w = layer.shape
    step = int(sigma / 2)
    small = cv2.resize(layer, (max(w // step, 2), max(h // step, 2)), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(smooth, (w, h), interpolation=cv2.INTER_CUBIC), np.float32)


def noise(rng: np.random.Generator, size: int, grain: float) -> Layer:
    """Return (size, size) Gaussian noise of about unit variance with blobs of about ``grain`` pixels."""
    cells = max(round(size / grain), 2)
    if cells >= size:
        return rng.standard_normal((size, size), dtype=np.float32)
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


class Canvas:
    """A square of ``size`` pixels seen through a pose.

    Parameters
    ----------
    size : pixels of a side.
    degrees, scale, shift : the pose: turn and zoom about the centre, then a move by a share of the frame.
    """

    def __init__(
        self, size: int, degrees: float = 0.0, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self.size = size
        c, s = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
        self._matrix = np.array([[c, -s], [s, c]]) * size
        self._offset = (np.array([0.5, 0.5]) + shift) * size - self._matrix @ np.array([0.5, 0.5])
        self.unit = scale * size  # pixels per unit of chest coordinates

    def pixels(self, points: ArrayLike) -> Points:
        """Return chest coordinates (..., 2) as pixels."""
        return np.asarray(points, dtype=np.float64) @ self._matrix.T + self._offset

    def blank(self) -> NDArray[np.uint8]:
        """Return an empty layer to draw on."""
        return np.zeros((self.size, self.size), np.uint8)

    def paint(self, target: NDArray[np.uint8], shapes: Sequence[Points], value: int = 255) -> None:
        """Fill each outline on ``target`` with ``value``, anti-aliased."""
        for shape in shapes:
            fixed = np.rint(self.pixels(shape) * _FIXED).astype(np.int32)
            cv2.fillPoly(target, [fixed], value, cv2.LINE_AA, _SHIFT)

    def trace(self, target: NDArray[np.uint8], line: Points, value: int, width: float = 0.0) -> None:
        """Draw a line of ``width`` (chest units, at least one pixel) on ``target``."""
        fixed = np.rint(self.pixels(line) * _FIXED).astype(np.int32)
        cv2.polylines(target, [fixed], False, value, max(round(width * self.unit), 1), cv2.LINE_AA, _SHIFT)

    def layer(self, target: NDArray[np.uint8], soft: float = 0.0) -> Layer:
        """Return ``target`` as float32 in [0, 1], its edges softened by ``soft`` chest units."""
        return blur(target.astype(np.float32) * np.float32(1 / 255), soft * self.unit)

    def fill(self, *shapes: Points, soft: float = 0.0) -> Layer:
        """Return the union of the outlines as a layer in [0, 1]."""
        target = self.blank()
        self.paint(target, shapes)
        return self.layer(target, soft)
