"""Whether maps form clusters, and which: groups that valleys of density separate, deeper than gradual change has.

Valleys are looked for between the points themselves and in their spectral embeddings, where noise in many dimensions
counts less, each with several smoothings. The deepest of all is compared with the deepest of maps that change
gradually, so that this choice is part of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from cxr.experiments.clusters.groups.gradual import gradual_points, noise_for
from cxr.experiments.clusters.groups.spectral import components, embedding, gaps
from cxr.experiments.clusters.groups.valleys import SMOOTHINGS, Neighbours, deepest, divided, labels_of

SIGNIFICANT = 0.05

_EMBEDDED = (6, 3)  # coordinates: more tell many groups apart, fewer have less noise
_LEAST_DEVIATION = 0.1  # of depths by chance: many are 0
_FEW_DRAWS, _CLEARLY_CHANCE = 39, 0.2  # after so few, a p as large ends the drawing
_NEIGHBOURS = 5  # that label a point between groups
_FEWEST = 3  # neighbours that density is measured with, in halves


@dataclass(frozen=True)
class Structure:
    """Whether maps form clusters, and which.

    Attributes
    ----------
    labels
        (N,) from 0, the largest cluster first; all 0 where no clusters are shown.
    p
        Of the deepest valley, against maps that change gradually.
    valley
        By what factor points are sparser in the deepest valley than in the sparser of the groups that it separates.
    gaps
        By number of clusters, from 2: the gap between eigenvalues.
    space, smoothing
        Where the valley is deepest: 0 between the points, from 1 in their embeddings; and with how many neighbours.
    """

    labels: np.ndarray
    p: float
    valley: float
    gaps: dict[int, float] = field(default_factory=dict)
    space: int = 0
    smoothing: int = SMOOTHINGS[0]

    @property
    def n_clusters(self) -> int:
        """How many clusters there are, 1 where none are shown."""
        return int(self.labels.max()) + 1


def structure(
    points: np.ndarray, draws: int, seed: int = 0, step: Callable[[float], object] = lambda done: None
) -> Structure:
    """Return whether maps form clusters, and which.

    Parameters
    ----------
    points
        (N, D) components of independent maps: one of each patient.
    draws
        How often maps that change gradually are drawn. The smallest possible p is 1 / (draws + 1).
    """
    spaces = _spaces(points)
    own = np.stack([space.depths() for space in spaces])
    drawn: list[np.ndarray] = []
    for depths in _without_clusters(len(points), spaces[0].dimension(), draws, seed):
        drawn.append(depths)
        step(len(drawn) / draws)
        if len(drawn) == _FEW_DRAWS and _compared(own, drawn)[0] >= _CLEARLY_CHANCE:
            break  # more draws would not make it small
    p, mean, deviation, least_z = _compared(own, drawn)
    beyond = (own - mean) / deviation
    space, k = (int(i) for i in np.unravel_index(beyond.argmax(), beyond.shape))
    labels = np.zeros(len(points), np.int64)
    if p < SIGNIFICANT:
        groups, space, k = _most_groups(spaces, mean + deviation * least_z, beyond)
        labels = labels_of(groups, spaces[space].points, _NEIGHBOURS)
    return Structure(labels, p, float(np.exp(own[space, k])), gaps(points), space, SMOOTHINGS[k])


def _most_groups(spaces: list[Neighbours], least: np.ndarray, beyond: np.ndarray) -> tuple[list[np.ndarray], int, int]:
    """Return the groups where there are most, the space and the number of the smoothing.

    Of equally many, those with the valley that is furthest ``beyond`` (spaces, smoothings) chance.
    """
    best: tuple[int, float, list[np.ndarray], int, int] | None = None
    for space, k in zip(*np.nonzero(beyond > 0), strict=True):
        if SMOOTHINGS[k] in spaces[space].smoothings():
            groups = divided(spaces[space].tree(SMOOTHINGS[k]), float(least[space, k]))
            if best is None or (len(groups), beyond[space, k]) > best[:2]:
                best = len(groups), float(beyond[space, k]), groups, int(space), int(k)
    assert best is not None  # p is small only where some valley is beyond chance
    return best[2:]


def _compared(own: np.ndarray, drawn: list[np.ndarray]) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Return p of the deepest valley, the drawn depths' mean and deviation, and the largest in deviations by chance."""
    without = np.array(drawn)
    mean, deviation = without.mean(0), np.maximum(without.std(0), _LEAST_DEVIATION)
    largest = ((without - mean) / deviation).max((1, 2))
    p = float((1 + (largest >= ((own - mean) / deviation).max()).sum()) / (1 + len(largest)))
    return p, mean, deviation, float(np.quantile(largest, 1 - SIGNIFICANT))


def divided_again(points: np.ndarray, like: Structure) -> np.ndarray:
    """Return labels (N,) of some of the points alone, divided into as many clusters, the same way."""
    space = _spaces(points)[like.space]
    tree = space.tree(max(_FEWEST, (like.smoothing + 1) // 2))  # half as many points: half as many neighbours as near
    return labels_of(deepest(tree, like.n_clusters), space.points, _NEIGHBOURS)


def _spaces(points: np.ndarray) -> list[Neighbours]:
    embedded = embedding(points, max(_EMBEDDED))
    return [Neighbours(points, by_distance=True), *(Neighbours(embedded[:, :most]) for most in _EMBEDDED)]


def _depths(points: np.ndarray) -> np.ndarray:
    """Return the depths (spaces, smoothings) of the deepest valleys of points."""
    return np.stack([space.depths() for space in _spaces(points)])


def _without_clusters(n: int, dimension: float, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Draw maps that change gradually; yield the depths (spaces, smoothings) of their deepest valleys."""
    rng, noise = np.random.default_rng([seed, n]), noise_for(n, dimension)
    for _ in range(draws):
        yield _depths(components(gradual_points(rng, n, noise)))
