"""Which fingerprint of a list is of the same X-ray as a picture: a few are proposed by numbers, the sketch decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cxr.data.audit.duplicates.descriptors import Matrix, Plane, View, source_of
from cxr.data.fingerprints.making import (
    GRID,
    LEAST_SIDE,
    MIDDLE,
    Fingerprints,
    details_of,
    numbers_of,
    projection,
    sampled_view,
    sketches_of,
    warped,
)
from cxr.machine import cores

THRESHOLD = 0.8
"""Least agreement of a picture's details with a sketch that counts as one X-ray, see benchmarks/seen_before.py."""
_PROPOSED, _FITTED, _ROUGH = 24, 4, 0.8
# What was the middle of the X-ray is, in a crop or in a wider picture, another part of it.
_COARSE = ((0.8, (0.1,)), (0.9, (0.0, 0.05, 0.1)))
_FINE = ((0.73, (0.08, 0.135, 0.19)), (0.8, (0.1,)), (0.89, (0.0, 0.055, 0.11)), (1.0, (-0.06, 0.0, 0.06)))
_ROWS, _LISTED = 64, 8192  # of a block
_FIT_SIDE = round(GRID / MIDDLE[0])  # a picture of this side has the scale of a sketch
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
_GAIN = 1.5
_LEAST_SCALE, _MOST_SCALE, _LEAST_INSIDE = 0.6, 1.6, 0.5


def _views(axis: Sequence[tuple[float, Sequence[float]]], *, square: bool) -> tuple[View, ...]:
    parts = [(share, offset) for share, offsets in axis for offset in offsets]
    return tuple((h, w, top, left) for h, top in parts for w, left in parts if h == w or not square)


COARSE_VIEWS, FINE_VIEWS = _views(_COARSE, square=True), _views(_FINE, square=False)


class Match(NamedTuple):
    """The fingerprint that is most like a picture: its row (-1: none), and how well details agree, 1 at most."""

    row: int
    score: float

    @property
    def same(self) -> bool:
        """Whether they are of one X-ray."""
        return self.row >= 0 and self.score >= THRESHOLD


def nearest_fingerprints(
    pictures: Sequence[NDArray[np.uint8]],
    listed: Fingerprints,
    progress: Callable[[float], None] | None = None,
) -> list[Match]:
    """Return for each picture, uint8 (S, S), the fingerprint of ``listed`` (N, WIDTH) that is most like it.

    The work grows with the number of pictures times N; the list takes 192 bytes more of memory for each of its entries.
    """
    if not len(listed):
        return [Match(-1, -1.0)] * len(pictures)
    numbers = numbers_of(listed)
    starts = range(0, len(pictures), _ROWS)
    matches: list[Match] = []
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        blocks = pool.map(lambda start: _of_block(pictures[start : start + _ROWS], listed, numbers), starts)
        for done, block in enumerate(blocks, 1):
            matches += block
            if progress is not None:
                progress(done / len(starts))
    return matches


def _of_block(pictures: Sequence[NDArray[np.uint8]], listed: Fingerprints, numbers: Matrix) -> list[Match]:
    near = _proposed([source_of(picture) for picture in pictures], numbers)
    return [
        _decided(details_of(picture), sketches_of(listed[rows]), rows)
        for picture, rows in zip(pictures, near, strict=True)
    ]


def _proposed(sources: Sequence[Plane], numbers: Matrix) -> NDArray[np.int64]:
    """Return for each picture the rows of ``numbers`` that are most like one of its views, (n, at most 24)."""
    views = [projection().numbers(sources, view) for view in COARSE_VIEWS]
    best = np.zeros((len(sources), 0), np.float32)
    places = np.zeros((len(sources), 0), np.int64)
    for left in range(0, len(numbers), _LISTED):
        part = numbers[left : left + _LISTED].T
        similarity = views[0] @ part
        for view in views[1:]:
            np.maximum(similarity, view @ part, out=similarity)
        values = np.hstack([best, similarity])
        columns = np.hstack([places, np.broadcast_to(np.arange(left, left + part.shape[1]), similarity.shape)])
        k = min(_PROPOSED, values.shape[1])
        top = np.argpartition(-values, k - 1, axis=1)[:, :k]
        best, places = np.take_along_axis(values, top, 1), np.take_along_axis(columns, top, 1)
    return places


def _decided(details: Plane, sketches: Plane, rows: NDArray[np.int64]) -> Match:
    """Compare a picture with sketches: roughly with all, then fitted with those that agree most."""
    views = _rough([sampled_view(np.tanh(_GAIN * details), view) for view in FINE_VIEWS])
    agreement = views @ _rough(sketches).T
    matches = []
    for place in np.argsort(-np.abs(agreement).max(axis=0), kind="stable")[:_FITTED]:
        view = int(np.abs(agreement[:, place]).argmax())
        sign = np.float32(1 if agreement[view, place] > 0 else -1)  # a negative disagrees everywhere
        matches.append(Match(int(rows[place]), _fitted(details * sign, sketches[place], FINE_VIEWS[view])))
    return max(matches, key=lambda match: match.score)


def _rough(planes: Iterable[Plane]) -> Matrix:
    """Return planes without their finest details, which agree only where the fit is exact: (n, points) of length 1."""
    rough = np.stack([cv2.GaussianBlur(plane, (0, 0), _ROUGH).ravel() for plane in planes])
    rough -= rough.mean(axis=1, keepdims=True)
    return np.asarray(rough / np.maximum(np.linalg.norm(rough, axis=1, keepdims=True), 1e-6), np.float32)


def _fitted(details: Plane, sketch: Plane, view: View) -> float:
    """Return how well a picture agrees with a sketch, once an affine map (ECC) lays it over the sketch."""
    height, width, top, left = view
    down, right = height / MIDDLE[0], width / MIDDLE[1]
    start = [[right, 0, left * _FIT_SIDE + (right - 1) / 2], [0, down, top * _FIT_SIDE + (down - 1) / 2]]
    small = cv2.resize(details, (_FIT_SIDE, _FIT_SIDE), interpolation=cv2.INTER_AREA)
    everywhere = np.full(small.shape, 255, np.uint8)
    try:
        matrix = cv2.findTransformECC(
            sketch, small, np.array(start, np.float32), cv2.MOTION_AFFINE, _STEPS, everywhere, 3
        )[1].astype(np.float64)
    except cv2.error:  # the fit left the picture
        return -1.0
    if not np.isfinite(matrix).all():
        return -1.0
    scales = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if scales.min() < _LEAST_SCALE or scales.max() > _MOST_SCALE:
        return -1.0
    scale = LEAST_SIDE / _FIT_SIDE
    matrix *= scale
    matrix[:, 2] += scale / 2 - 0.5
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones_like(details), matrix, (GRID, GRID), flags=flags) > 0
    if inside.mean() < _LEAST_INSIDE:
        return -1.0
    one, other = np.tanh(_GAIN * warped(details, matrix))[inside], sketch[inside]
    # As a share of what the picture's own sketch would reach: bits say less of a picture with little detail.
    return _correlation(one, other) / max(_correlation(one, np.where(one > 0, np.float32(1), np.float32(-1))), 0.1)


def _correlation(one: Plane, other: Plane) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum() + 1e-9))
