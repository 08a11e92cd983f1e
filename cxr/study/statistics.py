"""Statistics over seeds: means with intervals, paired differences, exact p values. Pure functions on numbers.

Seeds are repetitions of the same training on the same patients: every interval here says how much the *training*
varies, none says how another group of patients would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
_TIE = 1e-12  # sums of the same numbers in another order differ by rounding


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its t interval; ``low`` and ``high`` are None with fewer than two seeds."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    smallest: float | None
    largest: float | None


@dataclass(frozen=True)
class Difference:
    """A paired difference over seeds: its mean with interval, the exact p value, and p after Holm's correction."""

    mean: Mean
    p: float | None
    p_holm: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0; one without width, where all seeds differ alike, shows nothing."""
        low, high = self.mean.low, self.mean.high
        return low is not None and high is not None and high - low > _TIE and (low > 0 or high < 0)


def mean_over_seeds(values: Sequence[float], level: float = LEVEL) -> Mean:
    """Return the mean of ``values`` (n,) with Student's t interval of the mean, n - 1 degrees of freedom."""
    x = np.asarray(values, dtype=float)
    if not len(x):
        return Mean(None, None, None, 0, None, None)
    mean, smallest, largest = float(x.mean()), float(x.min()), float(x.max())
    if len(x) < 2:
        return Mean(mean, None, None, 1, smallest, largest)
    half = float(stats.t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return Mean(mean, mean - half, mean + half, len(x), smallest, largest)


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


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number by Holm's step-down method; None stays None and is not counted."""
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[index] = highest
    return corrected


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Return ``first`` minus ``second``, each {seed: value}, over the seeds that both have."""
    seeds = sorted(first.keys() & second.keys())
    differences = [first[seed] - second[seed] for seed in seeds]
    return Difference(mean_over_seeds(differences), sign_flip_p(differences))


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
