"""Valleys of density between groups of points: what separates groups from gradual change.

Points lie densely inside a group and sparsely between groups. Where maps change gradually, from one kind to another by
all steps in between, there is no such valley, however far the ends lie apart.

Density is measured by the distance to the ``smoothing``-th nearest neighbour. Points are joined in the order of rising
distance (single linkage of mutual reachability distances, as in HDBSCAN: Campello et al. 2013, *PAKDD*). Where two
groups meet, the valley's depth is the logarithm of how many neighbours a typical point has within the distance at which
they meet, over those within the distance at which the sparser group began (prominence, as in ToMATo: Chazal et al.
2013, *J ACM* 60). Counting neighbours instead of taking distances makes the depth the same in few and in many
dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SMOOTHINGS = (5, 8, 12, 20, 30)
"""Neighbours that density is measured with: few see small groups, many see shallow valleys between large ones."""


@dataclass(frozen=True)
class _Tree:
    """How points are joined: rows (two nodes) of scipy's linkage, and each join's depth."""

    joins: np.ndarray
    depths: np.ndarray
    smoothing: int

    @property
    def n(self) -> int:
        return len(self.joins) + 1


class Neighbours:
    """The distances between points (N, D), and what is read from them.

    Attributes
    ----------
    points
        (N, D), as given.

    ``by_distance``: an empty gap counts by its width too, not only by the neighbours that it would hold; as if points
    filled one dimension, the fewest that there can be.
    """

    def __init__(self, points: np.ndarray, by_distance: bool = False) -> None:
        from scipy.spatial.distance import pdist, squareform

        self.points, self._by_distance = points, by_distance
        self._condensed = pdist(points)
        self._sorted = np.sort(squareform(self._condensed), axis=1)
        self._typical = np.median(self._sorted, axis=0)
        self._pairs = np.triu_indices(len(points), 1)

    @property
    def n(self) -> int:
        """How many points there are."""
        return len(self._typical)

    def dimension(self) -> float:
        """Return how many dimensions the points spread over, at the scale at which they are fewest.

        The exponent by which the number of neighbours of a typical point grows with the distance.
        """
        counts = np.unique(np.geomspace(5, max(6, self.n / 5), 8).astype(int))
        counts = counts[2 * counts < self.n]
        near, far = np.maximum(self._typical[counts], 1e-12), np.maximum(self._typical[2 * counts], 1e-12)
        return float((np.log(2) / np.maximum(np.log(far / near), 1e-6)).min())

    def smoothings(self) -> list[int]:
        """Return the smoothings that so many points allow."""
        return [k for k in SMOOTHINGS if 4 * k <= self.n]

    def tree(self, smoothing: int) -> _Tree:
        """Join the points; the depth of a join of fewer than ``smoothing`` points on one side is 0."""
        from scipy.cluster.hierarchy import linkage

        radius = self._sorted[:, smoothing]
        first, second = self._pairs
        joins = linkage(np.maximum(self._condensed, np.maximum(radius[first], radius[second])), "single")
        n, rising = self.n, self._typical + np.arange(self.n) * 1e-12
        counts = np.interp(joins[:, 2], rising, np.log(np.maximum(np.arange(n), 0.5)))
        levels = [counts.tolist()]  # lists: many times faster than arrays, number by number
        if self._by_distance:
            levels.append(np.log(np.maximum(joins[:, 2], 1e-12)).tolist())
        depths = np.max([_depths(joins, level, smoothing) for level in levels], axis=0)
        return _Tree(joins[:, :2].astype(int), depths, smoothing)

    def depths(self) -> np.ndarray:
        """Return the depth of the deepest valley for each of :data:`SMOOTHINGS`, 0 where points are too few for it."""
        own = self.smoothings()
        return np.array([self.tree(k).depths.max(initial=0.0) if k in own else 0.0 for k in SMOOTHINGS])


def _depths(joins: np.ndarray, levels: list[float], smoothing: int) -> list[float]:
    """Return how far the level of each join is above that at which the later of its two sides began."""
    n = len(joins) + 1
    began, sizes, depths = [np.inf] * (2 * n - 1), [1] * (2 * n - 1), [0.0] * (n - 1)
    for k, (a, b) in enumerate(joins[:, :2].astype(int).tolist()):
        sizes[n + k] = sizes[a] + sizes[b]
        if min(sizes[a], sizes[b]) >= smoothing:
            depths[k] = levels[k] - max(began[a], began[b])
        earliest = min(began[a], began[b])
        began[n + k] = levels[k] if earliest == np.inf and sizes[n + k] >= smoothing else earliest
    return depths


def divided(tree: _Tree, least: float) -> list[np.ndarray]:
    """Return the groups of points (numbers) that valleys of a depth above ``least`` separate.

    Points that were joined only above a valley are in none. Without such a valley, one group of all points.
    """
    groups: dict[int, list[int]] = {}
    for k, (a, b) in enumerate(tree.joins):
        node = tree.n + k
        if tree.depths[k] > least:
            groups[node] = groups.pop(int(a), [int(a)]) + groups.pop(int(b), [int(b)])
        elif a in groups or b in groups:
            groups[node] = groups.pop(int(a), []) + groups.pop(int(b), [])
    (roots,) = groups.values() or ([2 * tree.n - 2],)
    return [_leaves(tree, root) for root in roots]


def deepest(tree: _Tree, n_groups: int) -> list[np.ndarray]:
    """Return the ``n_groups`` groups that the deepest valleys separate; fewer where there are no more valleys."""
    order = np.sort(tree.depths)[::-1]
    limit = order[n_groups - 1] if n_groups - 1 < len(order) else 0.0
    return divided(tree, max(float(limit), 0.0))


def _leaves(tree: _Tree, node: int) -> np.ndarray:
    waiting, leaves = [node], []
    while waiting:
        own = waiting.pop()
        if own < tree.n:
            leaves.append(own)
        else:
            waiting += [int(child) for child in tree.joins[own - tree.n]]
    return np.sort(np.array(leaves, np.int64))


def labels_of(groups: Sequence[np.ndarray], points: np.ndarray, neighbours: int) -> np.ndarray:
    """Return labels (N,) of points (N, D) from 0, the largest group first; points in no group get their neighbours'."""
    from sklearn.neighbors import KNeighborsClassifier

    labels = np.full(len(points), -1)
    for label, group in enumerate(groups):
        labels[group] = label
    known = labels >= 0
    if not known.all():
        nearest = KNeighborsClassifier(min(neighbours, int(known.sum()))).fit(points[known], labels[known])
        labels[~known] = nearest.predict(points[~known])
    sizes = np.bincount(labels, minlength=len(groups))
    first = np.array([np.flatnonzero(labels == k)[0] for k in range(len(groups))])
    order = np.lexsort((first, -sizes))  # of equal sizes, whichever has the first point
    return np.asarray(np.argsort(order)[labels], np.int64)
