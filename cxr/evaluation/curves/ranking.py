"""ROC and precision-recall curves of one class, with bands over patients.

A band is pointwise: at each place of the horizontal axis its interval is at 95 %; that the whole curve lies in it is
less certain. Patients are drawn with replacement, and each draw has its own curve, so that the choice of the threshold
counts as uncertain too. The variance of the draws gives the interval that shares have everywhere else
(:func:`cxr.evaluation.intervals.share_interval`): where all draws agree, at 0 or 1, it still has a width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr.evaluation.curves.one_class import OneClass
from cxr.evaluation.intervals import LEVEL, Jackknife, effective_patients, share_interval
from cxr.evaluation.metrics import ratio
from cxr.evaluation.resampling import draws_of

N_DRAWS = 400
MOST_THRESHOLDS = 160
"""As many thresholds in a draw; more scores than that are taken at their quantiles."""
GRID = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True)
class Band:
    """The interval of a curve at places ``x`` (G,), pointwise; NaN where there is none."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Curve:
    """A curve of one class: points (M,) with the threshold of each, and the band, None with fewer than two patients.

    A class is said to be there where its score is at least the threshold. The first threshold is infinite.
    """

    x: np.ndarray
    y: np.ndarray
    thresholds: np.ndarray
    band: Band | None

    def thinned(self, most: int) -> Curve:
        """Return the curve with at most ``most`` points, for a screen; ends and band stay."""
        if len(self.x) <= most:
            return self
        # Equal steps along the curve, so that steep parts keep as many points as flat ones.
        along = np.r_[0.0, np.cumsum(np.abs(np.diff(self.x)) + np.abs(np.diff(self.y)))]
        places = np.unique(np.searchsorted(along, np.linspace(0, along[-1], most)).clip(0, len(along) - 1))
        kept = np.unique(np.r_[0, places, len(along) - 1])
        return Curve(self.x[kept], self.y[kept], self.thresholds[kept], self.band)


def roc(one: OneClass, *, band: bool = True, seed: int = 0) -> Curve:
    """Return sensitivity (y) over 1 - specificity (x); empty where the class is not defined."""
    thresholds, hits, alarms = _cumulated(one)
    if one.undefined:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0), None)
    x, y = np.r_[0.0, alarms / alarms[-1]], np.r_[0.0, hits / hits[-1]]
    places = GRID[1 / alarms[-1] <= GRID]
    return Curve(x, y, np.r_[np.inf, thresholds], _band(one, places, seed, precision=False) if band else None)


def precision_recall(one: OneClass, *, band: bool = True, seed: int = 0) -> Curve:
    """Return precision (y) over recall (x), the highest threshold first; empty where the class is not defined."""
    thresholds, hits, alarms = _cumulated(one)
    if one.undefined:
        return Curve(np.zeros(0), np.zeros(0), np.zeros(0), None)
    x, y = hits / hits[-1], hits / (hits + alarms)
    places = GRID[1 / hits[-1] <= GRID]
    return Curve(
        np.r_[0.0, x],
        np.r_[y[0], y],
        np.r_[np.inf, thresholds],
        _band(one, places, seed, precision=True) if band else None,
    )


def _cumulated(one: OneClass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distinct scores (M,), the highest first, and how many positives and negatives reach each."""
    order = np.argsort(-one.score, kind="stable")
    score, positive = one.score[order], one.positive[order]
    ends = np.flatnonzero(np.r_[np.diff(score) != 0, True]) if len(score) else np.zeros(0, np.int64)
    return score[ends], np.cumsum(positive)[ends].astype(float), np.cumsum(~positive)[ends].astype(float)


def _band(one: OneClass, places: np.ndarray, seed: int, *, precision: bool) -> Band | None:
    if one.n_patients < 2 or not len(places):
        return None
    positives, negatives = _reaching(one, _few_thresholds(one))
    everyone = np.ones((one.n_patients, 1), np.float32)
    value = _at(positives, negatives, everyone, places, precision=precision)[0]
    drawn = [
        _at(positives, negatives, counts, places, precision=precision)
        for counts in draws_of(one.n_patients, N_DRAWS, seed)
    ]
    values = np.concatenate(drawn)
    variance = np.nanvar(np.where(np.isfinite(values).all(1, keepdims=True), values, np.nan), axis=0)
    patients = effective_patients(one.groups, one.positive)
    estimate = Jackknife(value, variance, np.full(len(value), patients), one.n_patients - 1)
    limits = [share_interval(estimate, k, patients, LEVEL) or (np.nan, np.nan) for k in range(len(value))]
    low, high = np.array(limits).T
    return Band(places, low, high)


def _few_thresholds(one: OneClass) -> np.ndarray:
    """Return thresholds, the highest first, that follow positives and negatives alike."""
    half = MOST_THRESHOLDS // 2
    parts = []
    for scores in (one.score[one.positive], one.score[~one.positive]):
        distinct = np.unique(scores)
        few = len(distinct) <= half
        parts.append(distinct if few else np.quantile(scores, np.linspace(0, 1, half), method="nearest"))
    return np.unique(np.concatenate(parts))[::-1]


def _reaching(one: OneClass, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many positives and negatives of each patient reach each threshold, float32 (P, T)."""
    # The first threshold that a score reaches; all lower ones are reached too.
    first = np.searchsorted(-thresholds, -one.score, side="left")
    inside = first < len(thresholds)
    tables = []
    for rows in (one.positive & inside, ~one.positive & inside):
        cell = one.groups[rows] * len(thresholds) + first[rows]
        counts = np.bincount(cell, minlength=one.n_patients * len(thresholds))
        tables.append(counts.reshape(one.n_patients, -1).cumsum(1, dtype=np.float32))
    return tables[0], tables[1]


def _at(
    positives: np.ndarray, negatives: np.ndarray, counts: np.ndarray, places: np.ndarray, *, precision: bool
) -> np.ndarray:
    """Return (C, G) sensitivities at false alarm rates, or precisions at recalls, for draws (P, C).

    Between two thresholds hits and false alarms go up together (Davis and Goadrich 2006).
    """
    hits, alarms = (counts.T @ table for table in (positives, negatives))
    sensitivity, rate = (ratio(table, table[:, -1:]) for table in (hits, alarms))
    shares = ratio(hits[:, -1], hits[:, -1] + alarms[:, -1])
    values = np.full((len(hits), len(places)), np.nan)
    for k, (y, x) in enumerate(zip(sensitivity, rate, strict=True)):
        if not (np.isfinite(x[-1]) and np.isfinite(y[-1])):
            continue  # a draw without the class, or with nothing else
        if precision:
            false = _interpolated(places, y, x, last=False)
            values[k] = ratio(shares[k] * places, shares[k] * places + (1 - shares[k]) * false)
        else:
            values[k] = _interpolated(places, x, y, last=True)
    return values


def _interpolated(places: np.ndarray, x: np.ndarray, y: np.ndarray, *, last: bool) -> np.ndarray:
    """Return the curve at ``places``; where several points have one x, the last (highest) or the first of them."""
    steps = np.arange(len(x) + 1) * 1e-9
    x, y = np.r_[0.0, x] + steps, np.r_[0.0, y]
    return np.interp(places + (steps[-1] if last else 0.0), x, y)
