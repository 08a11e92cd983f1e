"""The clusters of the heatmaps of one explained class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from cxr.experiments.clusters.groups.partition import (
    STABLE,
    Stability,
    by_k_means,
    coordinates,
    ends,
    placed,
    stability,
)
from cxr.experiments.clusters.groups.spectral import components
from cxr.experiments.clusters.groups.structure import Structure, structure
from cxr.experiments.clusters.limits import FEWEST_PATIENTS
from cxr.experiments.clusters.maps import PooledMaps, features, one_of_each_patient
from cxr.experiments.clusters.scores import separateness
from cxr.formatting import Estimate

MOST_CLUSTERED = 2000
"""X-rays, one of each patient, that have a place of their own on the map; the others are placed by their neighbours."""
ALONE_STABLE = 0.85
"""Similarity from which a cluster counts as stable although the others of its class are not."""

_DIVIDED = 400  # of them, by lot, that are divided into clusters; the others go with their neighbours
_BY_CHANCE = 10  # partitions of maps without clusters


@dataclass(frozen=True)
class ClassClusters:
    """The clusters of the heatmaps of a class.

    Attributes
    ----------
    target
        The explained class.
    rows
        (N,) numbers of its maps.
    sample
        (M,) places among ``rows`` of one X-ray of each patient.
    divided
        (K,) places among ``sample`` of those that were divided into clusters.
    labels, embedding, layout
        (N,) clusters from 0, their coordinates in the embedding (N, ...), and on the map (N, 2) that people see.
    structure, stability
        Of the divided ones; None where there are too few patients, or one cluster.
    """

    target: str
    rows: np.ndarray
    sample: np.ndarray
    labels: np.ndarray
    embedding: np.ndarray
    layout: np.ndarray
    divided: np.ndarray
    structure: Structure | None = None
    stability: Stability | None = None
    separateness: list[Estimate] = field(default_factory=list)
    by_chance: float | None = None

    @property
    def n_clusters(self) -> int:
        """How many clusters there are."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    @property
    def gradual(self) -> bool:
        """Whether the clusters are no groups for all that is shown, but perhaps the ends of a gradual change."""
        return self.structure is not None and self.structure.n_clusters < self.n_clusters

    @property
    def is_stable(self) -> bool:
        """Whether the clusters as a whole come again in halves of the patients."""
        return self.stability is not None and self.stability.agreement >= STABLE

    def stable(self, cluster: int) -> bool:
        """Whether a cluster comes again in halves of the patients."""
        if self.stability is None:
            return False
        return bool(self.stability.by_cluster[cluster] >= (STABLE if self.is_stable else ALONE_STABLE))


def clusters_of_class(
    maps: PooledMaps, target: str, draws: int, seed: int, step: Callable[[float], object] = lambda done: None
) -> ClassClusters:
    """Cluster the heatmaps of a class.

    Parameters
    ----------
    draws
        Of maps that change gradually, see :func:`cxr.experiments.clusters.groups.structure.structure`.
    """
    rows = maps.rows_of(target)
    patients = maps.table["patient"].to_numpy(dtype=object)[rows]
    sample = one_of_each_patient(list(patients), seed, MOST_CLUSTERED)
    points = components(features(maps.maps[rows]))
    if len(sample) < FEWEST_PATIENTS:
        nothing = np.zeros((len(rows), 2))
        return ClassClusters(target, rows, sample, np.zeros(len(rows), np.int64), nothing, nothing, np.arange(0))
    own = points[sample]
    divided = np.sort(np.random.default_rng(seed).permutation(len(own))[:_DIVIDED])
    found = structure(own[divided], draws, seed, lambda done: step(0.7 * done))
    cut = ends(own[divided], seed) if found.n_clusters == 1 else None
    of_divided, n = (cut[0], 2) if cut else (found.labels, found.n_clusters)
    embedding = coordinates(own[divided], n)
    labels, embedding_of_all = placed(points, sample[divided], of_divided, embedding)
    flat_of_all = placed(points, sample, labels[sample], layout(own, seed))[1]
    step(0.8)
    of = ClassClusters(target, rows, sample, labels, embedding_of_all, flat_of_all, divided, found)
    if n == 1:
        return of
    halves = cut[1] if cut else stability(own[divided], found, seed)
    step(0.9)
    apart = separateness(embedding, of_divided, np.arange(len(divided)))
    return replace(of, stability=halves, separateness=apart, by_chance=_by_chance(own[divided], n, seed))


def layout(points: np.ndarray, seed: int) -> np.ndarray:
    """Return places (N, 2) on a map where maps alike lie near each other (t-SNE, van der Maaten and Hinton 2008)."""
    from sklearn.manifold import TSNE

    start = points[:, :2] if points.shape[1] > 1 else np.column_stack([points[:, 0], np.zeros(len(points))])
    start = start / max(float(start[:, 0].std()), 1e-12) * 1e-4
    perplexity = float(min(30, (len(points) - 1) / 3))
    return np.asarray(TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1).fit_transform(points))


def _by_chance(points: np.ndarray, k: int, seed: int) -> float:
    """Return the mean separateness of the most separate of ``k`` clusters of maps that have none."""
    rng, largest = np.random.default_rng([seed, k]), []
    for draw in range(_BY_CHANCE):
        drawn = rng.normal(size=points.shape) * points.std(0)
        values = separateness(coordinates(drawn, k), by_k_means(drawn, k, seed + draw), np.zeros(len(points)))
        largest.append(max(value["value"] or 0.0 for value in values))
    return float(np.mean(largest))
