"""What a fingerprint holds: 48 numbers to find it by, and a sketch of 32 x 32 bits to decide by.

Both show the middle of the X-ray, 80 % of each side: a crop of up to 10 % on each side still has all of it. The numbers
are a projection that was learnt once (:mod:`cxr.data.fingerprints.fitting`) and comes with the package. The sketch says
of each point whether it is brighter or darker than what is close around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr.data.audit.duplicates.descriptors import Matrix, Plane, View, features_of, polarity_of, source_of
from cxr.data.audit.duplicates.pictures import local_contrast, shrink
from cxr.machine import cores

FORM = "1"
"""Fingerprints of different forms cannot be compared: they are made in another way."""
LEAST_SIDE = 64
"""Side in pixels below which pictures show too little detail."""
MIDDLE: View = (0.8, 0.8, 0.1, 0.1)
DIMENSIONS, GRID = 48, 32
WIDTH = DIMENSIONS + GRID * GRID // 8
_WINDOW, _FLOOR, _SMOOTHING = 4, 9.0, 0.4
_SCALE = 254.0  # of a number from -0.5 to 0.5 to a signed byte
_AT_ONCE = 128

Fingerprints = NDArray[np.uint8]


@dataclass(frozen=True)
class Projection:
    """From features of a view to numbers: mean (F,), directions (F, D), and what all X-rays share, (G,)."""

    mean: Matrix
    directions: Matrix
    common: Matrix

    def numbers(self, sources: Sequence[Plane], view: View) -> Matrix:
        """Return the numbers of a view of pictures as :func:`source_of` gives them, (N, D), each of length 1."""
        features = features_of(sources, view)
        upright = features * polarity_of(features, self.common)[:, None]
        projected = (upright - self.mean) @ self.directions
        return np.asarray(projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9), np.float32)


@cache
def projection() -> Projection:
    """Return the projection that comes with the package."""
    file = resources.files("cxr.data.fingerprints") / "projection.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        mean, directions, common = (arrays[name].astype(np.float32) for name in ("mean", "directions", "common"))
    return Projection(mean, directions, common)


def details_of(picture: NDArray[np.uint8]) -> Plane:
    """Return how much brighter each point is than what is close around it, (64, 64); 0 is as bright."""
    small = shrink(np.asarray(picture), LEAST_SIDE).astype(np.float32)
    levelled = (small - small.mean()) * (50.0 / max(float(small.std()), 1e-3))
    details = local_contrast(np.asarray(levelled, np.float32), _WINDOW, _FLOOR)
    return np.asarray(cv2.GaussianBlur(details, (0, 0), _SMOOTHING), np.float32)


def sampled_view(details: Plane, view: View) -> Plane:
    """Return a view of details on the grid of a sketch, (GRID, GRID); beyond the rim the rim goes on."""
    height, width, top, left = view
    side = details.shape[0]
    down, right = height * side / GRID, width * side / GRID
    matrix = np.array([[right, 0, left * side + right / 2 - 0.5], [0, down, top * side + down / 2 - 0.5]])
    return warped(details, matrix)


def warped(details: Plane, matrix: NDArray[np.float64]) -> Plane:
    """Return details on the grid of a sketch; ``matrix`` (2, 3) is from points of the grid to pixels."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(details, matrix, (GRID, GRID), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32)


def fingerprints_of(pictures: Iterable[NDArray[np.uint8]]) -> Fingerprints:
    """Return the fingerprints (N, WIDTH) of decoded pictures, uint8 (S, S) each, S best :data:`LEAST_SIDE` or more.

    Pictures of one single grey have none and are left out.
    """
    with ThreadPoolExecutor(cores()) as pool:
        made = list(pool.map(_made, _batches(pictures)))
    return np.concatenate([np.zeros((0, WIDTH), np.uint8), *made])


def _batches(pictures: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    remaining = iter(pictures)
    while batch := list(islice(remaining, _AT_ONCE)):
        yield batch


def _made(pictures: Sequence[NDArray[np.uint8]]) -> Fingerprints:
    shown = [picture for picture in pictures if picture.min() < picture.max()]
    if not shown:
        return np.zeros((0, WIDTH), np.uint8)
    numbers = projection().numbers([source_of(picture) for picture in shown], MIDDLE)
    signed = np.clip(np.round(numbers * _SCALE), -127, 127).astype(np.int8)
    sketches = [np.packbits(sampled_view(details_of(picture), MIDDLE).ravel() > 0) for picture in shown]
    return np.hstack([signed.view(np.uint8), np.stack(sketches)])


def numbers_of(fingerprints: Fingerprints) -> Matrix:
    """Return the numbers of fingerprints, (N, DIMENSIONS), each of length 1."""
    numbers = np.ascontiguousarray(fingerprints[:, :DIMENSIONS]).view(np.int8).astype(np.float32)
    return np.asarray(numbers / np.maximum(np.linalg.norm(numbers, axis=1, keepdims=True), 1e-9), np.float32)


def sketches_of(fingerprints: Fingerprints) -> Plane:
    """Return the sketches of fingerprints, (N, GRID, GRID) of -1 and 1."""
    bits = np.unpackbits(np.ascontiguousarray(fingerprints[:, DIMENSIONS:]), axis=1)
    return (2 * bits.astype(np.float32) - 1).reshape(-1, GRID, GRID)
