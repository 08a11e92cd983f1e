"""A few numbers for each X-ray, alike for copies of one X-ray however they were cropped, turned or brightened.

A descriptor is a projection that the images themselves teach: directions in which X-rays differ much, and a slightly
turned and shifted copy of an X-ray differs little from it (a linear discriminant analysis with one class per X-ray).
Crops change more than a projection can undo, so that each X-ray is also described as nine crops of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from cxr.data.audit.duplicates.pictures import local_contrast, shrink

View: TypeAlias = tuple[float, float, float, float]
"""A part of a picture as shares of its sides: height, width, top, left."""

WHOLE: View = (1.0, 1.0, 0.0, 0.0)
_OFFSETS = (0.01, 0.065, 0.12)
# Between them, what is left of a crop of 0 to 20 % per side is a shift of some 4 % and a scale of some 8 %.
VIEWS: tuple[View, ...] = (WHOLE, *((0.87, 0.87, top, left) for top in _OFFSETS for left in _OFFSETS))
DIMENSIONS = 64
_SOURCE_SIDE, _VIEW_SIDE, GRID = 64, 32, 16
_MOST_SAMPLED, _COPIES, _MOST_COPIES_EACH = 600, 2400, 40
_RIDGE = 0.05  # of the mean variance within an X-ray's copies

Plane = NDArray[np.float32]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Describer:
    """The projection from a picture to its descriptor, taught by a set of pictures.

    Attributes
    ----------
    mean, projection
        (F,) and (F, D) of the features before they are projected.
    common
        (G,) what all pictures share, up to its sign: it tells a positive from a negative.
    """

    mean: Matrix
    projection: Matrix
    common: Matrix

    @classmethod
    def fit(cls, pictures: Sequence[NDArray[np.uint8]], seed: int = 0) -> Describer:
        """Learn from a sample of pictures (:func:`sampled`), uint8 (S, S) each, and from copies slightly moved."""
        rng = np.random.default_rng(seed)
        sample = [source_of(picture) for picture in pictures]
        plain = features_of(sample, WHOLE)
        common = np.linalg.svd(plain[:, : GRID**2], full_matrices=False)[2][0].astype(np.float32)
        upright = plain * polarity_of(plain, common)[:, None]
        within = np.zeros((plain.shape[1], plain.shape[1]))
        rounds = min(max(_COPIES // len(sample), 1), _MOST_COPIES_EACH)
        for _ in range(rounds):
            copies = np.concatenate([features_of([turned(source, rng)], _moved(rng)) for source in sample])
            difference = copies * polarity_of(copies, common)[:, None] - upright
            within += difference.T @ difference / (len(sample) * rounds)
        within += np.eye(len(within)) * (_RIDGE * np.trace(within) / len(within) + 1e-6)
        mean = upright.mean(axis=0)
        between = (upright - mean).T @ (upright - mean) / len(upright)
        n = min(DIMENSIONS, len(within))
        vectors = eigh(between, within, subset_by_index=(len(within) - n, len(within) - 1))[1]
        return cls(mean.astype(np.float32), vectors.astype(np.float32), common)

    def describe(self, pictures: Sequence[NDArray[np.uint8]]) -> tuple[Matrix, Matrix]:
        """Describe pictures.

        Returns
        -------
        ndarray, ndarray
            Descriptors of length 1, (views, N, D), and the polarity (N,): positive for a positive, negative for a
            negative, near 0 (of -1 to 1) where it cannot be told.
        """
        sources = [source_of(picture) for picture in pictures]
        descriptors = np.empty((len(VIEWS), len(sources), self.projection.shape[1]), np.float32)
        polarity = np.zeros(len(sources), np.float32)
        for k, view in enumerate(VIEWS):
            features = features_of(sources, view)
            if view == WHOLE:
                polarity = np.asarray(features[:, : GRID**2] @ self.common / GRID, np.float32)
            upright = features * polarity_of(features, self.common)[:, None]
            projected = (upright - self.mean) @ self.projection
            descriptors[k] = projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-9)
        return descriptors, polarity


def sampled(rows: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """Return the rows of thumbnails to learn descriptors from: all of them, or so many drawn by lot."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST_SAMPLED])


def source_of(picture: NDArray[np.uint8]) -> Plane:
    """Return the small smoothed picture that descriptors are made of."""
    return np.asarray(cv2.GaussianBlur(shrink(picture, _SOURCE_SIDE).astype(np.float32), (0, 0), 0.8), np.float32)


def features_of(sources: Sequence[Plane], view: View) -> Matrix:
    """Return the ranks of the grey values, and the local contrast, on a grid over a view: (N, 2 * grid * grid)."""
    height, width, top, left = view
    scale_y, scale_x = height * _SOURCE_SIDE / _VIEW_SIDE, width * _SOURCE_SIDE / _VIEW_SIDE
    matrix = np.array(
        [
            [scale_x, 0, left * _SOURCE_SIDE + scale_x / 2 - 0.5],
            [0, scale_y, top * _SOURCE_SIDE + scale_y / 2 - 0.5],
        ]
    )
    greys = np.empty((len(sources), GRID * GRID), np.float32)
    contrasts = np.empty_like(greys)
    for k, source in enumerate(sources):
        part = cv2.warpAffine(
            source,
            matrix,
            (_VIEW_SIDE, _VIEW_SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        greys[k] = cv2.resize(part, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel()
        contrast = local_contrast(np.asarray(part, np.float32), 9, 4.0)
        contrasts[k] = cv2.resize(contrast, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel()
    return np.hstack([_standard(_ranks(greys)), _standard(contrasts)])


def _ranks(values: Matrix) -> Matrix:
    """Return the rank of each value in its row, ties in the middle of what they span."""
    below = np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1)
    # The mirrored rank of the negative settles ties alike for a picture and its negative.
    above = np.argsort(np.argsort(-values, axis=1, kind="stable"), axis=1)
    return (below - above).astype(np.float32)


def _standard(values: Matrix) -> Matrix:
    centred = values - values.mean(axis=1, keepdims=True)
    return np.asarray(centred / (centred.std(axis=1, keepdims=True) + 1e-6), np.float32)


def polarity_of(features: Matrix, common: Matrix) -> Matrix:
    """Return 1 or -1 for each row: whether it is on the side of what all pictures share."""
    return np.where(features[:, : GRID**2] @ common < 0, np.float32(-1), np.float32(1))


def turned(source: Plane, rng: np.random.Generator) -> Plane:
    """Return a picture turned by up to 5 degrees."""
    side = source.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-5, 5), 1)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.7 else cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(source, matrix, (side, side), borderMode=border), np.float32)


def _moved(rng: np.random.Generator) -> View:
    height, width = rng.uniform(0.93, 1.07, 2)
    top, left = rng.uniform(-0.05, 0.05, 2)
    return (float(height), float(width), float((1 - height) / 2 + top), float((1 - width) / 2 + left))
