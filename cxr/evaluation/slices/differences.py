"""The difference of a figure between two sets of X-rays, of which some patients may be in both.

Each side has its interval over patients (:mod:`cxr.evaluation.intervals`); the interval of the difference is put
together from their ends (Newcombe 1998, *Statistics in Medicine* 17, method 10; Zou and Donner 2008, *ibid.* 27, for
sides that go together). So a side without an error still counts as uncertain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cxr.evaluation.intervals import LEVEL, Groups, Jackknife, Limits, jackknife, share_interval
from cxr.evaluation.resampling.leaving_out import values_without

_SMALLEST_P = 1e-6
_HALVINGS = 20
Statistic = Callable[[np.ndarray], np.ndarray]
"""Values (B, 1) in [0, 1] for weights (B, N) of images."""


@dataclass(frozen=True)
class Side:
    """A figure in [0, 1] of a set of X-rays.

    Attributes
    ----------
    estimate
        None with fewer than two patients.
    patients
        For how many independent X-rays they stand at the least.
    """

    value: float
    estimate: Jackknife | None
    patients: float

    @classmethod
    def of(cls, statistic: Statistic, groups: Groups, patients: float, parts: Sequence[float] = ()) -> Side:
        """Return the figure that ``statistic`` gives for images of the patients ``groups`` (N,).

        With ``parts`` it gives (B, 1 + K): a mean and what it is a mean of, which stand for so many independent images
        each (:meth:`cxr.evaluation.intervals.Jackknife.with_means`).
        """
        estimate = jackknife(statistic, groups)
        if estimate is not None and parts and min(parts) > 0:
            estimate = estimate.with_means({0: range(1, 1 + len(parts))}, [patients, *parts])
        value = statistic(np.ones((1, len(groups))))[0, 0] if len(groups) else np.nan
        return cls(float(value), estimate, patients)

    def limits(self, level: float = LEVEL) -> Limits | None:
        """Return the interval, None where there is none."""
        return None if self.estimate is None else share_interval(self.estimate, 0, self.patients, level)


def difference_limits(first: Side, second: Side, correlation: float = 0.0, level: float = LEVEL) -> Limits | None:
    """Return the interval of ``first`` less ``second``, None where one of them has none."""
    one, other = first.limits(level), second.limits(level)
    if one is None or other is None:
        return None
    value = first.value - second.value
    below = _distance(first.value - one[0], other[1] - second.value, correlation)
    above = _distance(one[1] - first.value, second.value - other[0], correlation)
    return max(-1.0, value - below), min(1.0, value + above)


def difference_p(first: Side, second: Side, correlation: float = 0.0) -> float | None:
    """Return the two-sided p of no difference: at 1 - p the interval just reaches 0. None without an interval.

    It is never below 0.000001.
    """
    if difference_limits(first, second, correlation) is None:
        return None
    if first.value == second.value:
        return 1.0
    low, high = np.log(_SMALLEST_P), 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        limits = difference_limits(first, second, correlation, 1 - float(np.exp(middle)))
        holds = limits is not None and limits[0] <= 0 <= limits[1]
        low, high = (middle, high) if holds else (low, middle)
    return float(np.exp(high))


def correlation_of(first: Statistic, second: Statistic, groups: Groups) -> float:
    """Return how far two figures of the same patients ``groups`` (N,) go together, -1 to 1; 0 where one never changes.

    Both statistics take weights of all images.
    """
    estimate = jackknife(_Together(first, second), groups)
    if estimate is None:
        return 0.0
    one, other, apart = estimate.variance
    spread = np.sqrt(one * other)
    if not (np.isfinite(apart) and spread > 0):
        return 0.0
    return float(np.clip((one + other - apart) / (2 * spread), -1, 1))


@dataclass(frozen=True)
class _Together:
    """Two statistics and their difference, (B, 3)."""

    first: Statistic
    second: Statistic

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return self._beside(self.first(weights), self.second(weights))

    def without(self, part: np.ndarray, n_parts: int) -> np.ndarray:
        """Return (P, 3) without the images of each part (N,)."""
        return self._beside(values_without(self.first, part, n_parts), values_without(self.second, part, n_parts))

    @staticmethod
    def _beside(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.column_stack([one, other, one - other])


def _distance(first: float, second: float, correlation: float) -> float:
    return float(np.sqrt(max(0.0, first**2 + second**2 - 2 * correlation * first * second)))
