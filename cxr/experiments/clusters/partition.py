"""Dividing maps into a given number of clusters, and how well halves of the patients agree on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr.experiments.clusters.spectral import spectrum

STABLE = 0.75
"""Mean Jaccard similarity from which a cluster counts as stable (Hennig 2007, *Comput Stat Data Anal* 52)."""
HALVES = 20

_STARTS = 10  # of k-means
_NEIGHBOURS = 5  # that place a map which was not clustered itself


@dataclass(frozen=True)
class Partition:
    """Maps divided into clusters.

    Attributes
    ----------
    labels
        (N,) from 0, the largest cluster first.
    embedding
        (N, max(2, k - 1)) coordinates: eigenvectors of the graph, without the constant one.
    """

    labels: np.ndarray
    embedding: np.ndarray


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


def partition(points: np.ndarray, k: int, seed: int = 0) -> Partition:
    """Divide points (N, D) into ``k`` clusters."""
    vectors = spectrum(points, max(k, 3))[1][:, 1:]
    embedding = vectors[:, : max(2, k - 1)]
    if k < 2:
        return Partition(np.zeros(len(points), np.int64), embedding)
    return Partition(_k_means(embedding[:, : k - 1], k, seed), embedding)


def _k_means(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    labels = KMeans(k, n_init=_STARTS, random_state=seed).fit_predict(points)
    sizes = np.bincount(labels, minlength=k)
    first = np.array([np.flatnonzero(labels == c)[0] if sizes[c] else len(labels) for c in range(k)])
    order = np.lexsort((first, -sizes))  # of equal sizes, whichever has the first map
    return np.argsort(order)[labels]


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


def stability(points: np.ndarray, labels: np.ndarray, seed: int = 0, halves: int = HALVES) -> Stability:
    """Return how far the clusters ``labels`` (N,) of independent points (N, D) come again in random halves of them."""
    from sklearn.metrics import adjusted_rand_score

    k, rng = int(labels.max()) + 1, np.random.default_rng(seed)
    agreements, jaccards = [], []
    for half in range(halves):
        rows = np.sort(rng.permutation(len(points))[: (len(points) + 1) // 2])
        again, own = partition(points[rows], k, seed + half).labels, labels[rows]
        agreements.append(adjusted_rand_score(own, again))
        jaccards.append([_most_similar(own == c, again) for c in range(k)])
    return Stability(float(np.mean(agreements)), np.asarray(np.nanmean(np.array(jaccards), axis=0)))


def _most_similar(own: np.ndarray, again: np.ndarray) -> float:
    if not own.any():
        return float("nan")
    others = [again == c for c in np.unique(again)]
    return float(max((own & other).sum() / (own | other).sum() for other in others))
