"""Statistics over seeds: means with intervals, paired differences, exact p values. Pure functions on numbers.

Seeds are repetitions of the same training on the same patients: every interval here says how much the *training*
varies, none says how another group of patients would do.

A study asks many questions at once: several pairs of recipes, each by several measures. An interval of one comparison
alone misses the truth in one of twenty; among 70 comparisons some would always look like a difference. What is claimed
therefore goes by simultaneous intervals, which all hold together in 95 % of studies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
_TIE = 1e-12  # sums of the same numbers in another order differ by rounding

Interval = tuple[float, float]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its t interval.

    ``low`` and ``high`` are None with fewer than two seeds, and where all seeds have the same value: an interval
    without width would say that nothing varies, while there were too few seeds to see it.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    smallest: float | None
    largest: float | None

    @property
    def constant(self) -> bool:
        """Whether several seeds have the same value, so that there is no interval."""
        return self.n > 1 and self.low is None


@dataclass(frozen=True)
class Difference:
    """A paired difference over seeds.

    Attributes
    ----------
    mean
        The mean with the interval of this comparison alone.
    p
        The exact p of this comparison alone (:func:`sign_flip_p`).
    together
        The interval that holds for all comparisons of the study at once, None where there is none.
    """

    mean: Mean
    p: float | None
    together: Interval | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval that holds for all comparisons at once excludes 0."""
        return self.together is not None and not self.together[0] <= 0 <= self.together[1]


def mean_over_seeds(
    values: Sequence[float], level: float = LEVEL, *, limits: tuple[float, float] = (-math.inf, math.inf)
) -> Mean:
    """Return the mean of ``values`` (n,) with Student's t interval of the mean, n - 1 degrees of freedom.

    The interval ends at ``limits``, the smallest and the largest value that there can be.
    """
    x = np.asarray(values, dtype=float)
    if not len(x):
        return Mean(None, None, None, 0, None, None)
    mean, smallest, largest = float(x.mean()), float(x.min()), float(x.max())
    if len(x) < 2 or _alike(x):
        return Mean(mean, None, None, len(x), smallest, largest)
    half = float(stdtrit(len(x) - 1, 0.5 + level / 2) * x.std(ddof=1) / np.sqrt(len(x)))
    return Mean(mean, max(limits[0], mean - half), min(limits[1], mean + half), len(x), smallest, largest)


def _alike(x: np.ndarray) -> bool:
    return float(np.ptp(x)) <= _TIE * max(1.0, float(np.abs(x).max()))


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of the mean under all 2^n flips of sign; None without differences.

    Exact if the differences are symmetric around 0 under the hypothesis. Its smallest value is 2 / 2^n.
    """
    x = np.asarray(differences, dtype=float)
    if not len(x):
        return None
    sums = np.zeros(1)
    for value in x:
        sums = np.concatenate([sums + value, sums - value])
    observed = abs(x.sum())
    return float(np.mean(np.abs(sums) >= observed - _TIE * max(1.0, np.abs(x).sum())))


def smallest_p(n: int) -> float:
    """Return the smallest p that :func:`sign_flip_p` can give with ``n`` differences."""
    return min(1.0, 2.0 / 2**n)


def paired(
    first: Mapping[int, float], second: Mapping[int, float], n_comparisons: int = 1, largest: float | None = None
) -> Difference:
    """Return ``first`` minus ``second``, each {seed: value}, over the seeds that both have.

    The interval ``together`` is Student's t at the level that Bonferroni's correction leaves to each of
    ``n_comparisons``: it holds however much each recipe varies and however the comparisons hang together.

    Parameters
    ----------
    n_comparisons
        How many comparisons of the study it is to hold for at once.
    largest
        The largest difference that there can be; the interval ends there.
    """
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    end = math.inf if largest is None else largest
    alone = mean_over_seeds(differences, limits=(-end, end))
    together = mean_over_seeds(differences, 1 - (1 - LEVEL) / n_comparisons, limits=(-end, end))
    interval = None if together.low is None or together.high is None else (together.low, together.high)
    return Difference(alone, sign_flip_p(differences), interval)


def half_width(n_seeds: int, n_comparisons: int = 1) -> float:
    """Return how many standard errors an interval that holds for ``n_comparisons`` at once reaches to each side."""
    return float(stdtrit(n_seeds - 1, 1 - (1 - LEVEL) / (2 * n_comparisons)))


def area(curve: Mapping[int, float], k: int, *, start: bool) -> float | None:
    """Return the mean height of a curve {epoch: value} over its first ``k`` epochs; None if one of them lacks.

    Trapezoids, divided by the length of the stretch: from epoch 0 (before the first step) if ``start``, else from
    epoch 1. The result has the unit of the values.
    """
    epochs = range(0 if start else 1, k + 1)
    if any(epoch not in curve for epoch in epochs):
        return None
    heights = np.array([curve[epoch] for epoch in epochs])
    return float(heights[0]) if len(heights) == 1 else float(np.trapezoid(heights) / (len(heights) - 1))


def late(curve: Mapping[int, float], k: int) -> float | None:
    """Return the mean of the last ``k`` epochs of a curve {epoch: value}; None if one of them lacks."""
    if not curve or k < 1:
        return None
    last = max(curve)
    epochs = range(last - k + 1, last + 1)
    return None if any(epoch not in curve for epoch in epochs) else float(np.mean([curve[epoch] for epoch in epochs]))


def first_reached(curve: Mapping[int, float], level: float, horizon: int, *, lower: bool = False) -> int | None:
    """Return the first epoch up to ``horizon`` whose value reaches ``level``, or None if none does.

    ``lower``: reached means at most ``level``.
    """
    reached = (e for e in sorted(curve) if e <= horizon and (curve[e] <= level if lower else curve[e] >= level))
    return next(reached, None)
