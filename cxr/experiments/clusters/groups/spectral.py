"""The graph of pooled maps, its eigenvectors as coordinates, and the gaps between its eigenvalues.

Lapuschkin et al. 2019 (*Nature Communications* 10, 1096), "spectral relevance analysis": a graph of nearest neighbours,
and the eigenvectors of its normalised Laplacian with the smallest eigenvalues as coordinates. A gap between consecutive
eigenvalues is always somewhere, with and without clusters, so that gaps are shown but decide nothing: see
:mod:`cxr.experiments.clusters.groups.structure`.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, diags, identity
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackError, eigsh

MOST_CLUSTERS = 12

_DIMENSIONS = 50  # principal components that distances are measured in
FLOOR = 1e-3
_DENSE = 400  # up to as many samples, all eigenvalues at once are faster than some


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


def embedding(points: np.ndarray, most: int) -> np.ndarray:
    """Return coordinates (N, most) of points (N, D) whose distances are those of walks on the graph (commute times)."""
    values, vectors = spectrum(points, most)
    own = vectors[:, 1:] / np.maximum(np.sqrt((vectors[:, 1:] ** 2).mean(0)), 1e-12)
    return np.asarray(own / np.sqrt(np.maximum(values[1:], FLOOR)))


def gaps(points: np.ndarray) -> dict[int, float]:
    """Return by number of clusters, from 2, the gap between the logarithms of the eigenvalues that speaks for it."""
    values = spectrum(points, min(MOST_CLUSTERS, len(points) // 5))[0]
    own = np.diff(np.log(np.maximum(values, FLOOR)))[1:]
    return {2 + k: float(gap) for k, gap in enumerate(own)}
