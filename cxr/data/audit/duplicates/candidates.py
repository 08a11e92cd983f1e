"""Which X-rays to compare: each with those whose descriptors are most like its own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cxr.machine import cores

NEIGHBOURS = 5
_ROWS, _COLUMNS = 256, 1024  # of a block: 1 MB, which stays in the processor's own memory
_LEAST_SIMILARITY = 0.55
_PAIRS = 4096  # whose views are compared together

Descriptors = NDArray[np.float32]
Rows = NDArray[np.int64]


class Candidate(NamedTuple):
    """Two rows to compare, and the view of the first that is most like the whole of the second."""

    first: int
    second: int
    view: int


def nearest_rows(descriptors: Descriptors, start: int, stop: int, neighbours: int = NEIGHBOURS) -> Rows:
    """Return for rows ``start`` to ``stop`` those whose whole is most like one of their views: (row, nearest), (M, 2).

    Descriptors are (views, N, D) of length 1; the first view is the whole. The work of all N rows grows with the square
    of N: 2 * views * D * N * N floating point operations, in blocks of 1 MB.
    """
    starts = range(start, stop, _ROWS)
    k = min(neighbours, descriptors.shape[1] - 1)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        blocks = list(pool.map(lambda first: _nearest(descriptors, first, min(first + _ROWS, stop), k), starts))
    return np.concatenate([np.zeros((0, 2), np.int64), *blocks])


def candidates_of(descriptors: Descriptors, pairs: Rows) -> list[Candidate]:
    """Return each pair of rows once, in order.

    Its first row is the one of which a view is most like the whole of the second.
    """
    n = descriptors.shape[1]
    low, high = np.divmod(np.unique(pairs.min(axis=1) * n + pairs.max(axis=1)), n)
    directed = []
    for left in range(0, len(low), _PAIRS):
        one, other = low[left : left + _PAIRS], high[left : left + _PAIRS]
        forth, back = _of_views(descriptors, one, other), _of_views(descriptors, other, one)
        kept = forth.max(axis=1) >= back.max(axis=1)
        view = np.where(kept, forth.argmax(axis=1), back.argmax(axis=1))
        directed.append(np.stack([np.where(kept, one, other), np.where(kept, other, one), view], axis=1))
    rows = np.concatenate([np.zeros((0, 3), np.int64), *directed])
    return [Candidate(*row) for row in rows[np.lexsort((rows[:, 1], rows[:, 0]))].tolist()]


def _of_views(descriptors: Descriptors, first: Rows, second: Rows) -> Descriptors:
    """Return how like the views of the first are to the whole of the second, (pairs, views)."""
    similarity = np.einsum("vpd,pd->pv", descriptors[:, first], descriptors[0, second])
    return np.asarray(similarity, np.float32)


def _nearest(descriptors: Descriptors, start: int, stop: int, k: int) -> Rows:
    """Return the ``k`` nearest of one block of rows, as pairs (row, nearest)."""
    n = descriptors.shape[1]
    rows = np.arange(start, stop)
    best = _Best(len(rows), max(k, 0))
    similarity = np.empty((len(rows), _COLUMNS), np.float32)
    of_view = np.empty_like(similarity)
    for left in range(0, n if k > 0 else 0, _COLUMNS):
        right = min(left + _COLUMNS, n)
        block, other = similarity[:, : right - left], of_view[:, : right - left]
        whole = descriptors[0, left:right].T
        np.matmul(descriptors[0, start:stop], whole, out=block)
        for view in descriptors[1:]:
            np.matmul(view[start:stop], whole, out=other)
            np.maximum(block, other, out=block)
        inside = rows[(rows >= left) & (rows < right)]
        block[inside - start, inside - left] = -1
        best.add(block, left)
    return np.stack([best.rows + start, best.columns], axis=1)


class _Best:
    """The ``k`` highest values of each of ``n`` rows so far: their rows, columns and values, row by row."""

    def __init__(self, n: int, k: int) -> None:
        self.rows, self.columns = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._values = np.zeros(0, np.float32)
        self._least = np.full(n, _LEAST_SIMILARITY, np.float32)  # what a further value has to exceed
        self._k = k

    def add(self, block: Descriptors, left: int) -> None:
        """Take in a block of values whose first column is ``left``."""
        row, column = np.nonzero(block > self._least[:, None])
        if not len(row):
            return
        rows = np.concatenate([self.rows, row])
        columns = np.concatenate([self.columns, column + left])
        values = np.concatenate([self._values, block[row, column]])
        order = np.lexsort((-values, rows))
        place = np.arange(len(order)) - np.searchsorted(rows[order], rows[order])  # among the values of its row
        chosen = order[place < self._k]
        self.rows, self.columns, self._values = rows[chosen], columns[chosen], values[chosen]
        last = order[place == self._k - 1]
        self._least[rows[last]] = values[last]


def grouped(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return candidates, which are in order, by their first row."""
    groups: list[list[Candidate]] = []
    for candidate in candidates:
        if groups and groups[-1][0].first == candidate.first:
            groups[-1].append(candidate)
        else:
            groups.append([candidate])
    return groups
