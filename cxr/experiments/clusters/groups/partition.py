"""Coordinates of clustered maps, where maps that were not clustered belong, and how well halves agree on clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxr.experiments.clusters.groups.spectral import spectrum
from cxr.experiments.clusters.groups.structure import Structure, divided_again

STABLE = 0.75
"""Mean Jaccard similarity from which a cluster counts as stable (Hennig 2007, *Comput Stat Data Anal* 52)."""
HALVES = 20

_STARTS = 10  # of k-means
_NEIGHBOURS = 5  # that place a map which was not clustered itself


@dataclass(frozen=True)
class Stability:
    """How far clusters come again when half of the patients are clustered alone.

    Attributes
    ----------
    agreement
        Mean adjusted Rand index (Hubert and Arabie 1985) over the halves: 1 if equal, about 0 by chance.
    by_cluster
        (k,) mean Jaccard similarity of each cluster with the most similar one of a half.
    """

    agreement: float
    by_cluster: np.ndarray


def coordinates(points: np.ndarray, k: int) -> np.ndarray:
    """Return coordinates (N, max(2, k - 1)) of points in ``k`` clusters: eigenvectors, without the constant one."""
    return spectrum(points, max(k, 3))[1][:, 1:][:, : max(2, k - 1)]


def by_k_means(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return labels (N,) of points that are cut into ``k`` clusters in any case, by k-means on their coordinates."""
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(k, n_init=_STARTS, random_state=seed).fit_predict(coordinates(points, k)[:, : k - 1]))


def placed(
    points: np.ndarray, known: np.ndarray, labels: np.ndarray, coordinates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N,) and coordinates (N, ...) of all points, of those that were clustered their own.

    The others get the most frequent label and the mean place of their nearest neighbours among the clustered ones.

    Parameters
    ----------
    known
        (M,) numbers of the points that ``labels`` (M,) and ``coordinates`` (M, ...) are of.
    """
    from sklearn.neighbors import NearestNeighbors

    all_labels, all_coordinates = np.zeros(len(points), np.int64), np.zeros((len(points), coordinates.shape[1]))
    rest = np.setdiff1d(np.arange(len(points)), known)
    all_labels[known], all_coordinates[known] = labels, coordinates
    if len(rest):
        near = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(known))).fit(points[known])
        places = near.kneighbors(points[rest], return_distance=False)
        votes = np.stack([(labels[places] == c).sum(1) for c in range(labels.max() + 1)], axis=1)
        all_labels[rest] = votes.argmax(1)
        all_coordinates[rest] = coordinates[places].mean(1)
    return all_labels, all_coordinates


def stability(points: np.ndarray, found: Structure, seed: int = 0, halves: int = HALVES) -> Stability:
    """Return how far the clusters of independent points (N, D) come again in random halves of them."""
    return _stability(len(points), found.labels, lambda rows: divided_again(points[rows], found), seed, halves)


def _stability(
    n: int, labels: np.ndarray, again: Callable[[np.ndarray], np.ndarray], seed: int, halves: int
) -> Stability:
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(seed)
    agreements, jaccards = [], []
    for _ in range(halves):
        rows = np.sort(rng.permutation(n)[: (n + 1) // 2])
        alone, own = again(rows), labels[rows]
        agreements.append(adjusted_rand_score(own, alone))
        jaccards.append([_most_similar(own == c, alone) for c in range(int(labels.max()) + 1)])
    return Stability(float(np.mean(agreements)), np.asarray(np.nanmean(np.array(jaccards), axis=0)))


def ends(points: np.ndarray, seed: int) -> tuple[np.ndarray, Stability] | None:
    """Return two halves that points (N, D) without groups are cut into, and how far they come again.

    None where halves of the points are cut otherwise. They are the ends of a gradual change, or groups that too few
    points show.
    """
    labels = by_k_means(points, 2, seed)
    labels = labels if labels.mean() <= 0.5 else 1 - labels  # the larger one first
    found = _stability(len(points), labels, lambda rows: by_k_means(points[rows], 2, seed), seed, HALVES)
    return (labels, found) if found.agreement >= STABLE else None


def _most_similar(own: np.ndarray, again: np.ndarray) -> float:
    if not own.any():
        return float("nan")
    others = [again == c for c in np.unique(again)]
    return float(max((own & other).sum() / (own | other).sum() for other in others))
