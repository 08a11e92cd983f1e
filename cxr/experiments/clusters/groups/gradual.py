"""Maps that change gradually: points spread evenly along a curve, with noise. What clusters have to be beyond.

Of all distributions without groups these have the deepest valleys by chance: in more dimensions there is always a way
around. Noise fills valleys too, so it is chosen such that the points spread over as many dimensions as the given ones.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cxr.experiments.clusters.groups.valleys import Neighbours

_LENGTH, _BUMPS, _FURTHER = 6.0, 12, 20
_NOISES = (0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5)
_TRIES = 8


def gradual_points(rng: np.random.Generator, n: int, noise: float) -> np.ndarray:
    """Return points (n, D) at even chances along a curve that bends through many dimensions, with normal noise."""
    places = rng.random(n) * _LENGTH
    curve = np.exp(-((places[:, None] - np.linspace(0, _LENGTH, _BUMPS)) ** 2))
    return np.hstack([curve, np.zeros((n, _FURTHER))]) + noise * rng.normal(size=(n, _BUMPS + _FURTHER))


@lru_cache(maxsize=64)
def _dimensions(n: int) -> tuple[float, ...]:
    """Return over how many dimensions points with each of the noises spread, the median of some draws."""
    rng = np.random.default_rng([n, 1])
    tries = [[Neighbours(gradual_points(rng, n, noise)).dimension() for _ in range(_TRIES)] for noise in _NOISES]
    return tuple(np.maximum.accumulate(np.median(tries, axis=1)))


def noise_for(n: int, dimension: float) -> float:
    """Return the noise with which ``n`` points spread over so many dimensions."""
    return float(np.interp(dimension, _dimensions(n), _NOISES))
