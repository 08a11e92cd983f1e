"""Which X-rays to compare: each with those whose descriptors are most like its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cxr.cores import cores

NEIGHBOURS = 5
_ROWS, _COLUMNS = 256, 8192  # of a block: 8 MB, which stays near the processor
_LEAST_SIMILARITY = 0.55

Descriptors = NDArray[np.float32]


class Candidate(NamedTuple):
    """Two rows to compare, and the view of the first that is most like the whole of the second."""

    first: int
    second: int
    view: int


def nearest_pairs(
    descriptors: Descriptors, neighbours: int = NEIGHBOURS, progress: Callable[[float], None] | None = None
) -> list[Candidate]:
    """Return for each X-ray those whose whole is most like one of its views, each pair once, in order.

    Parameters
    ----------
    descriptors
        (views, N, D) of length 1; the first view is the whole.
    progress
        Called with the share that is done, 0 to 1.

    Notes
    -----
    The work grows with the square of N: 2 * views * D * N * N floating point operations, in blocks of 8 MB.
    """
    n = descriptors.shape[1]
    starts = range(0, n, _ROWS)

    def block(start: int) -> list[tuple[int, int]]:
        return _nearest(descriptors, start, min(start + _ROWS, n), min(neighbours, n - 1))

    pairs: set[tuple[int, int]] = set()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        for done, found in enumerate(pool.map(block, starts), 1):
            pairs.update(found)
            if progress is not None:
                progress(done / len(starts))
    return [_with_view(descriptors, first, second) for first, second in _once(descriptors, pairs)]


def _nearest(descriptors: Descriptors, start: int, stop: int, k: int) -> list[tuple[int, int]]:
    """Return the ``k`` nearest of rows ``start`` to ``stop``, as ``(row, nearest)``."""
    if k < 1:
        return []
    n = descriptors.shape[1]
    rows = np.arange(start, stop)
    best = np.full((len(rows), k), _LEAST_SIMILARITY, np.float32)
    places = np.full((len(rows), k), -1, np.int64)
    similarity = np.empty((len(rows), _COLUMNS), np.float32)
    of_view = np.empty_like(similarity)
    for left in range(0, n, _COLUMNS):
        right = min(left + _COLUMNS, n)
        block, other = similarity[:, : right - left], of_view[:, : right - left]
        whole = descriptors[0, left:right].T
        np.matmul(descriptors[0, start:stop], whole, out=block)
        for view in descriptors[1:]:
            np.matmul(view[start:stop], whole, out=other)
            np.maximum(block, other, out=block)
        inside = rows[(rows >= left) & (rows < right)]
        block[inside - start, inside - left] = -1
        _merge(best, places, block, left)
    return [(int(row), int(place)) for row, near in zip(rows, places, strict=True) for place in near if place >= 0]


def _merge(best: Descriptors, places: NDArray[np.int64], block: Descriptors, left: int) -> None:
    """Put what is nearer in ``block`` into ``best`` and ``places``, in place."""
    k = best.shape[1]
    for row in np.flatnonzero((block > best.min(axis=1)[:, None]).any(axis=1)):
        columns = np.flatnonzero(block[row] > best[row].min())
        values = np.concatenate([best[row], block[row, columns]])
        names = np.concatenate([places[row], columns + left])
        top = np.argpartition(-values, k - 1)[:k] if len(values) > k else np.arange(k)
        best[row], places[row] = values[top], names[top]


def _once(descriptors: Descriptors, pairs: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return each pair in one direction: that in which a view of the first is most like the whole of the second."""
    chosen = set()
    for first, second in pairs:
        one, other = _views(descriptors, first, second).max(), _views(descriptors, second, first).max()
        if one > other or (one == other and first < second):
            chosen.add((first, second))
        else:
            chosen.add((second, first))
    return sorted(chosen)


def _views(descriptors: Descriptors, first: int, second: int) -> Descriptors:
    return np.asarray(descriptors[:, first] @ descriptors[0, second], np.float32)


def _with_view(descriptors: Descriptors, first: int, second: int) -> Candidate:
    return Candidate(first, second, int(_views(descriptors, first, second).argmax()))
