"""What the model sees of a picture: directions of edges and a coarse picture, in numbers that can be turned.

A picture that is turned by quarters, mirrored or inverted has the same numbers at other places. So one look gives the
numbers of all 16 views (:data:`VIEWS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SIDE = 64
"""Pixels of the picture's sides."""

_CELLS, _BINS, _COARSE = 8, 8, 16
_PIXELS = 0.4  # weight of the coarse picture beside the edges
N_FEATURES = _CELLS * _CELLS * _BINS + _COARSE * _COARSE


@dataclass(frozen=True)
class View:
    """One way to look at a picture, which undoes what may have been done to it.

    A picture of an upright chest that was mirrored (if ``mirrored``), then turned clockwise by ``turned`` degrees and
    inverted (if ``inverted``) is upright in this view.
    """

    turned: int = 0
    mirrored: bool = False
    inverted: bool = False

    def undo(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the upright picture (H, W) of uint8, of one to which this was done."""
        upright = np.rot90(image, self.turned // 90)
        upright = upright[:, ::-1] if self.mirrored else upright
        return 255 - upright if self.inverted else upright

    def do(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return what becomes of an upright picture (H, W) of uint8."""
        changed = 255 - image if self.inverted else image
        return np.rot90(changed[:, ::-1] if self.mirrored else changed, -(self.turned // 90))


VIEWS = tuple(
    View(turned, mirrored, inverted)
    for inverted in (False, True)
    for mirrored in (False, True)
    for turned in (0, 90, 180, 270)
)
"""All 16, that of a picture as it should be first."""


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the numbers (N, :data:`N_FEATURES`) of pictures uint8 (N, 64, 64).

    Brightness and contrast do not matter.
    """
    x = images.astype(np.float32)
    x -= x.mean((1, 2), keepdims=True)
    x /= np.maximum(x.std((1, 2), keepdims=True), 1e-3)
    coarse = x.reshape(-1, _COARSE, SIDE // _COARSE, _COARSE, SIDE // _COARSE).mean((2, 4))
    edges = _edges(x)
    return np.concatenate([edges.reshape(len(x), -1), _PIXELS * coarse.reshape(len(x), -1)], 1).astype(np.float32)


def _edges(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much each of eight directions of the gradient weighs in each cell (N, 8, 8, 8).

    That is relative to the cells around it.
    """
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    size = np.hypot(across, down)
    angle = np.arctan2(down, across) * (_BINS / (2 * np.pi))
    cell = SIDE // _CELLS
    found = np.empty((len(x), _CELLS, _CELLS, _BINS), np.float32)
    for number in range(_BINS):
        distance = np.abs((angle - number + _BINS / 2) % _BINS - _BINS / 2)
        share = size * np.maximum(0, 1 - distance)
        found[..., number] = share.reshape(-1, _CELLS, cell, _CELLS, cell).mean((2, 4))
    energy = np.pad((found**2).sum(-1), ((0, 0), (1, 1), (1, 1)), mode="edge")
    near = sum(energy[:, i : i + _CELLS, j : j + _CELLS] for i in range(3) for j in range(3)) / 9
    return np.asarray(found / np.sqrt(near + 0.01)[..., None], np.float32)


@lru_cache(maxsize=1)
def view_places() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return where each view finds its numbers among those of the picture, and their signs, (16, N_FEATURES) each."""
    edges = np.arange(_CELLS * _CELLS * _BINS).reshape(_CELLS, _CELLS, _BINS)
    coarse = np.arange(edges.size, N_FEATURES).reshape(_COARSE, _COARSE)
    places, signs = np.empty((len(VIEWS), N_FEATURES), np.int64), np.ones((len(VIEWS), N_FEATURES), np.float32)
    for row, view in enumerate(VIEWS):
        quarters = view.turned // 90
        # Rows count downwards, so that a turn against the clock takes direction k to k - 2.
        own = np.roll(np.rot90(edges, quarters), -2 * quarters, axis=2)
        pixels = np.rot90(coarse, quarters)
        if view.mirrored:
            own = own[:, ::-1, [(4 - number) % _BINS for number in range(_BINS)]]
            pixels = pixels[:, ::-1]
        if view.inverted:
            own = np.roll(own, 4, axis=2)
            signs[row, edges.size :] = -1
        places[row] = np.concatenate([own.ravel(), pixels.ravel()])
    return places, signs


def in_views(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the numbers (N, F) of pictures as those of each view (N, 16, F): as if :meth:`View.undo` came first."""
    places, signs = view_places()
    return np.asarray(numbers[:, places] * signs)
