"""What a threshold on the probability of a class does: sensitivity, specificity, predictive values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr.evaluation.curves.one_class import OneClass
from cxr.evaluation.intervals import Limits, effective_patients, share_intervals
from cxr.evaluation.metrics import estimate, ratio
from cxr.formatting import Estimate, percent, xrays

_NEXT_TO_NOTHING = 1e-12


@dataclass(frozen=True)
class OperatingPoint:
    """What a class above a threshold means.

    Attributes
    ----------
    sensitivity, specificity
        In these X-rays, with their intervals over patients.
    ppv, npv
        Positive and negative predictive value where ``prevalence`` of all X-rays have the class.
    counts
        ``[[true negatives, false positives], [false negatives, true positives]]``.
    """

    name: str
    threshold: float
    prevalence: float
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    counts: tuple[tuple[int, int], tuple[int, int]]
    n_positive_patients: int
    n_negative_patients: int


def operating_point(one: OneClass, threshold: float, prevalence: float | None = None) -> OperatingPoint:
    """Return what it means to say that a class is there above ``threshold``.

    Parameters
    ----------
    prevalence
        In (0, 1), taken as known: predictive values leave its uncertainty out. None for that of these X-rays.

    Raises
    ------
    ValueError
        If ``prevalence`` is not between 0 and 1.
    """
    share = one.prevalence if prevalence is None else prevalence
    if prevalence is not None and not 0 < prevalence < 1:
        raise ValueError(f"prevalence {prevalence!r} is not between 0 and 1")
    above = one.score > threshold
    cells = np.column_stack([one.positive & above, one.positive, ~one.positive & ~above, ~one.positive])
    sums = one.sums(cells)

    def shares(weights: np.ndarray) -> np.ndarray:
        tp, positive, tn, negative = (weights @ sums).T
        return np.column_stack([ratio(tp, positive), ratio(tn, negative)])

    patients = [effective_patients(one.groups, rows) for rows in (one.positive, ~one.positive)] if one.n else [0.0, 0.0]
    limits = share_intervals(shares, np.arange(one.n_patients), patients)
    values = shares(np.ones((1, one.n_patients)))[0] if one.n else np.full(2, np.nan)
    sensitivity, specificity = (estimate(value, ends) for value, ends in zip(values, limits, strict=True))
    tp, positive, tn, negative = (int(n) for n in cells.sum(0))
    return OperatingPoint(
        one.name,
        threshold,
        share,
        sensitivity,
        specificity,
        predictive_value(sensitivity, _complement(specificity), share),
        predictive_value(specificity, _complement(sensitivity), 1 - share),
        ((tn, negative - tn), (positive - tp, tp)),
        len(set(one.groups[one.positive].tolist())),
        len(set(one.groups[~one.positive].tolist())),
    )


def predictive_value(hit: Estimate, false_alarm: Estimate, share: float) -> Estimate:
    """Return the share of those that are right among all that are called so.

    It is ``share * hit / (share * hit + (1 - share) * false_alarm)``. Its interval is put together on the logarithm of
    ``hit / false_alarm`` from those of both (Zou and Donner 2008, *Statistics in Medicine* 27), as if no patient had
    X-rays on both sides: a patient who has makes it wider than need be where high scores go together.

    Parameters
    ----------
    hit, false_alarm
        Rates in [0, 1] with their intervals.
    share
        The share of X-rays that hits are among, in (0, 1).
    """
    rate, false = hit["value"], false_alarm["value"]
    if rate is None or false is None or not 0 < share < 1 or rate + false == 0:
        return {"value": None, "low": None, "high": None}
    ends = _log_ratio(rate, false, hit, false_alarm)
    value = share * rate / (share * rate + (1 - share) * false)
    return estimate(value, None if ends is None else (_value(ends[0], share), _value(ends[1], share)))


def _value(log_ratio: float, share: float) -> float:
    return float(1 / (1 + (1 - share) / share * np.exp(min(-log_ratio, 700))))


def _log_ratio(rate: float, false: float, hit: Estimate, false_alarm: Estimate) -> Limits | None:
    """Return the interval of log(rate / false); the limits of rates of 0 are taken at next to nothing."""
    ends = (hit["low"], hit["high"], false_alarm["low"], false_alarm["high"])
    if any(end is None for end in ends):
        return None
    first, second, low, high, false_low, false_high = (
        float(np.log(max(x or 0.0, _NEXT_TO_NOTHING))) for x in (rate, false, *ends)
    )
    value = first - second
    below, above = np.hypot(first - low, false_high - second), np.hypot(high - first, second - false_low)
    return float(value - below), float("inf") if false == 0 else float(value + above)


def _complement(share: Estimate) -> Estimate:
    value, low, high = (None if x is None else 1 - x for x in (share["value"], share["low"], share["high"]))
    return {"value": value, "low": high, "high": low}


def point_in_words(point: OperatingPoint) -> list[str]:
    """Return what a threshold does in three sentences, each with its interval and what it is of."""
    (tn, fp), (fn, tp) = point.counts
    name, share = point.name, f"{100 * point.prevalence:.3g} %"
    with_it, without = xrays(tp + fn, point.n_positive_patients), xrays(tn + fp, point.n_negative_patients)
    called, not_called = tp + fp, tn + fn
    first = f"{tp:,} of {with_it} with {name} lie above it: sensitivity {percent(point.sensitivity)}."
    second = f"{tn:,} of {without} without it do not: specificity {percent(point.specificity)}."
    third = f"Where {share} of X-rays have it, "
    third += (
        f"{percent(point.ppv)} of those above have it (positive predictive value)"
        if called
        else "nothing can be said of those above: there is none here"
    )
    third += (
        f", and {percent(point.npv)} of those below do not (negative predictive value)."
        if not_called
        else "; none is below."
    )
    return [first, second, third]
