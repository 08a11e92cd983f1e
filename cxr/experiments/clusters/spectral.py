"""Spectral clustering of pooled maps: how many clusters there are, if any, and which X-ray is in which.

Lapuschkin et al. 2019 (*Nature Communications* 10, 1096), "spectral relevance analysis": a graph of nearest neighbours,
the eigenvectors of its normalised Laplacian with the smallest eigenvalues as coordinates, the gap between consecutive
eigenvalues for the number of clusters, and k-means on the coordinates.

A gap is always somewhere. So each is compared with the gaps of maps without clusters: drawn from one normal
distribution with the same covariance (as in SigClust, Liu et al. 2008, *JASA* 103). Where the largest is not beyond
chance, the answer is one cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, diags, identity
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackError, eigsh

MOST_CLUSTERS = 12
FEWEST_SAMPLES = 30
SIGNIFICANT = 0.05

_DIMENSIONS = 50  # principal components that distances are measured in
FLOOR = 1e-3
_DENSE = 400  # up to as many samples, all eigenvalues at once are faster than some
_STARTS = 10  # of k-means


@dataclass(frozen=True)
class Structure:
    """Whether maps form clusters, and how many.

    Attributes
    ----------
    n_clusters
        1 where none are shown.
    p
        Of the largest gap, against maps without clusters.
    gaps
        By number of clusters, from 2: the gap between eigenvalues, in standard deviations of those without clusters.
    """

    n_clusters: int
    p: float
    gaps: dict[int, float]


def components(features: np.ndarray, most: int = _DIMENSIONS) -> np.ndarray:
    """Return the principal components (N, D) of features (N, F), at most ``most``, the strongest first."""
    centred = features - features.mean(0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    kept = singular > singular.max(initial=0.0) * 1e-6
    scores = (left * singular)[:, kept][:, :most]
    return np.asarray(scores * np.where(np.abs(scores).max(0) == scores.max(0), 1.0, -1.0))  # signs are arbitrary


def n_neighbours(n: int) -> int:
    """Return how many neighbours each of ``n`` samples has in the graph."""
    return int(min(n - 1, np.clip(round(np.sqrt(n) / 2), 5, 15)))


def affinity(points: np.ndarray) -> csr_matrix:
    """Return the graph of nearest neighbours (N, N): 1 where both are neighbours of the other, 0.5 where one is."""
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(points, n_neighbours(len(points)), include_self=False)
    return csr_matrix(0.5 * (graph + graph.T))


def spectrum(points: np.ndarray, most: int = MOST_CLUSTERS) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``most`` + 1 smallest eigenvalues of the normalised Laplacian, ascending, and their vectors (N, ...).

    Vectors are divided by the square root of the degree, so that the first is constant.
    """
    graph = affinity(points)
    degree = np.asarray(graph.sum(1)).ravel()
    root = 1 / np.sqrt(degree)
    n, wanted = len(points), min(most + 1, len(points))
    scaled = diags(root) @ graph @ diags(root)
    values, vectors = (_largest(scaled, wanted) if n > _DENSE else None) or eigh(
        scaled.toarray(), subset_by_index=[n - wanted, n - 1]
    )
    order = np.argsort(-values, kind="stable")
    own = vectors[:, order] * root[:, None]
    own /= np.abs(own).max(0, keepdims=True)
    sign = np.where(own[np.abs(own).argmax(0), np.arange(own.shape[1])] < 0, -1.0, 1.0)
    return np.clip(1 - values[order], 0, 2), own * sign


def _largest(matrix: csr_matrix, wanted: int) -> tuple[np.ndarray, np.ndarray] | None:
    if connected_components(matrix, directed=False)[0] > 1:  # several eigenvalues of 0, which iterations find badly
        return None
    try:
        shifted = matrix + identity(matrix.shape[0])  # all eigenvalues from 0 to 2: the largest are those wanted
        values, vectors = eigsh(shifted, wanted, which="LA", v0=np.ones(matrix.shape[0]), tol=1e-6)
    except ArpackError:
        return None
    return values - 1, vectors


def structure(
    points: np.ndarray, draws: int, seed: int = 0, step: Callable[[float], object] = lambda done: None
) -> Structure:
    """Return whether maps form clusters, and how many.

    Parameters
    ----------
    points
        (N, D) components of independent maps: one of each patient.
    draws
        How often maps without clusters are drawn. The smallest possible p is 1 / (draws + 1).
    """
    most = min(MOST_CLUSTERS, len(points) // 5)
    gaps = _gaps(spectrum(points, most)[0])
    rng = np.random.default_rng(seed)
    spread = points.std(0)
    without = []
    for draw in range(draws):
        without.append(_gaps(spectrum(rng.normal(size=points.shape) * spread, most)[0]))
        step((draw + 1) / draws)
    drawn = np.array(without)
    mean, deviation = drawn.mean(0), np.maximum(drawn.std(0), 1e-9)
    own, largest = (gaps - mean) / deviation, ((drawn - mean) / deviation).max(1)
    p = float((1 + (largest >= own.max()).sum()) / (1 + draws))
    chosen = 2 + int(own.argmax())
    return Structure(chosen if p < SIGNIFICANT else 1, p, {2 + k: float(gap) for k, gap in enumerate(own)})


def _gaps(values: np.ndarray) -> np.ndarray:
    """Return the gaps that speak for 2, 3, ... clusters."""
    return np.diff(np.log(np.maximum(values, FLOOR)))[1:]
