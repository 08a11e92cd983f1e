"""Descriptors of an X-ray's views: fixed filters and means, so that nothing is trained and nothing is downloaded.

Four blocks describe a view at 128 pixels: grey values of 16 x 16 cells after normalisation of their contrast, a
histogram of grey values, gradients by orientation in 8 x 8 cells (Dalal and Triggs 2005), and the responses of a small
convolutional network with random filters, rectified and pooled (Saxe et al. 2011, *On random weights and unsupervised
feature learning*). They are the same for every X-ray and every data set.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from cxr.data.images.resize import fit_square

SIDE = 128
_CELLS, _BINS, _GRID, _ORIENTATIONS = 16, 32, 8, 8
_FILTERS, _FILTER_SIDE, _POOLED, _SCALES = 12, 5, 3, (128, 64)
_SEED = 20211
BLOCKS: tuple[tuple[str, int], ...] = (
    ("grey values of cells", _CELLS * _CELLS),
    ("histogram", _BINS),
    ("gradients", _GRID * _GRID * _ORIENTATIONS),
    ("random filters", len(_SCALES) * _FILTERS * 2 * _POOLED * _POOLED),
)
"""Names and lengths of the parts of a description, in their order."""

LENGTH = sum(length for _, length in BLOCKS)


def block_weights() -> np.ndarray:
    """Return (P,) factors for standardised descriptors by which each block counts as much as any other."""
    return np.concatenate([np.full(length, (LENGTH / len(BLOCKS) / length) ** 0.5) for _, length in BLOCKS])


def describe(view: np.ndarray, shown: np.ndarray | None = None) -> np.ndarray:
    """Return the descriptors (P,) float32 of a grey picture (H, W) uint8; a picture of one grey has finite ones too.

    Parameters
    ----------
    shown
        bool (H, W), the pixels that are not hidden; by default all of them. Hidden ones get the mean of the others, so
        that the edge of what is hidden tells little. Without any the picture is black.
    """
    visible = view.ravel() if shown is None else view[shown]
    if not len(visible):
        view = np.zeros_like(view)
        visible = view.ravel()
    elif shown is not None:
        view = np.where(shown, view, np.uint8(round(float(visible.mean()))))
    square = fit_square(view, SIDE).astype(np.float32)
    parts = (_cells(square), _histogram(visible), _gradients(square), _random_filters(square))
    return np.concatenate(parts).astype(np.float32)


def _normalised(picture: np.ndarray) -> np.ndarray:
    return np.asarray((picture - picture.mean()) / max(float(picture.std()), 1.0))


def _cells(square: np.ndarray) -> np.ndarray:
    return cv2.resize(_normalised(square), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).ravel()


def _histogram(visible: np.ndarray) -> np.ndarray:
    counts = np.bincount(visible, minlength=256).reshape(_BINS, -1).sum(1)
    return np.asarray(np.sqrt(counts / len(visible)))


def _gradients(square: np.ndarray) -> np.ndarray:
    across, down = cv2.Sobel(square, cv2.CV_32F, 1, 0), cv2.Sobel(square, cv2.CV_32F, 0, 1)
    strength, angle = np.hypot(across, down), np.arctan2(down, across) % np.pi
    orientation = np.minimum((angle / np.pi * _ORIENTATIONS).astype(np.int64), _ORIENTATIONS - 1)
    cell = np.arange(SIDE) * _GRID // SIDE
    index = (cell[:, None] * _GRID + cell[None, :]) * _ORIENTATIONS + orientation
    sums = np.bincount(index.ravel(), weights=strength.ravel(), minlength=_GRID * _GRID * _ORIENTATIONS)
    return np.log1p(sums / (SIDE / _GRID) ** 2)


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Return (F, side, side): random, without mean, of length 1."""
    filters = np.random.default_rng(_SEED).normal(size=(_FILTERS, _FILTER_SIDE, _FILTER_SIDE))
    filters -= filters.mean((1, 2), keepdims=True)
    return np.asarray(filters / np.linalg.norm(filters, axis=(1, 2), keepdims=True)).astype(np.float32)


def _random_filters(square: np.ndarray) -> np.ndarray:
    """Return mean and largest rectified response of each filter in each third of the picture, at two scales."""
    responses = []
    for scale in _SCALES:
        picture = square if scale == SIDE else cv2.resize(square, (scale, scale), interpolation=cv2.INTER_AREA)
        edges = np.linspace(0, scale, _POOLED + 1).astype(int)
        for kernel in _filters():
            rectified = np.abs(cv2.filter2D(picture, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT))
            for pool in (np.add, np.maximum):
                rows = pool.reduceat(rectified, edges[:-1], axis=0)
                responses.append(pool.reduceat(rows, edges[:-1], axis=1).ravel() / (1 if pool is np.maximum else scale))
    return np.log1p(np.concatenate(responses))
