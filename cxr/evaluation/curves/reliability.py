"""Calibration curves: how often a class is there among X-rays that get about the same probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr.evaluation.curves.one_class import OneClass
from cxr.evaluation.intervals import effective_patients, share_intervals
from cxr.evaluation.metrics import estimate, ratio
from cxr.formatting import Estimate

MOST_BINS = 10
_IN_A_BIN = 12
"""With fewer X-rays than that in a bin on average, there are fewer bins."""


@dataclass(frozen=True)
class ReliabilityBin:
    """X-rays with about the same probability.

    Attributes
    ----------
    probability
        Their mean probability.
    share
        The share of them that has the class, with its interval over patients.
    low, high
        The smallest and the largest probability among them.
    """

    probability: float
    share: Estimate
    low: float
    high: float
    n: int
    n_patients: int


def reliability(one: OneClass, most: int = MOST_BINS) -> list[ReliabilityBin]:
    """Return bins of as equal numbers of X-rays as ties allow, at most ``most``; none without an X-ray.

    Equal probabilities stay in one bin. Intervals are of each bin alone.
    """
    if not one.n:
        return []
    of = bins_of(one.score, max(1, min(most, one.n // _IN_A_BIN)))
    inside = of[:, None] == np.arange(of.max() + 1)
    counted, there = one.sums(inside), one.sums(inside & one.positive[:, None])

    def shares(weights: np.ndarray) -> np.ndarray:
        return ratio(weights @ there, weights @ counted)

    patients = [effective_patients(one.groups, inside[:, b]) for b in range(inside.shape[1])]
    limits = share_intervals(shares, np.arange(one.n_patients), patients)
    whole = shares(np.ones((1, one.n_patients)))[0]
    bins = []
    for b, (share, ends) in enumerate(zip(whole, limits, strict=True)):
        score, groups = one.score[inside[:, b]], one.groups[inside[:, b]]
        bins.append(
            ReliabilityBin(
                float(score.mean()),
                estimate(share, ends),
                float(score.min()),
                float(score.max()),
                len(score),
                len(set(groups.tolist())),
            )
        )
    return bins


def bins_of(score: np.ndarray, n: int) -> np.ndarray:
    """Return the bin (N,) of each score, numbered from 0 by score, of about N / ``n`` scores each."""
    edges = np.unique(np.quantile(score, np.arange(1, n) / n, method="inverted_cdf")) if n > 1 else np.zeros(0)
    return np.unique(np.searchsorted(edges, score, side="left"), return_inverse=True)[1]


@dataclass(frozen=True)
class Histogram:
    """How many X-rays with and without a class have a score between two ``edges`` (B + 1,); counts are (B,)."""

    edges: np.ndarray
    with_class: np.ndarray
    without: np.ndarray


def histogram(one: OneClass, bins: int = 40) -> Histogram:
    """Return the numbers of X-rays by score, in ``bins`` of equal width from 0 to 1."""
    edges = np.linspace(0, 1, bins + 1)
    counts = [np.histogram(np.clip(one.score[rows], 0, 1), edges)[0] for rows in (one.positive, ~one.positive)]
    return Histogram(edges, counts[0], counts[1])
