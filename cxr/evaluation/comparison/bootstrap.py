"""The paired bootstrap: patients drawn with replacement, all runs measured on each draw (Efron and Tibshirani 1993).

It knows nothing of the few patients of a small set: its intervals are those of percentiles, which are too short there.
It stands beside the intervals of the comparison as a reference that many readers know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cxr.evaluation.comparison.measures import Measures
from cxr.evaluation.intervals import LEVEL, numbered
from cxr.evaluation.metrics import ratio
from cxr.evaluation.resampling import draws_of

N_DRAWS = 2000


@dataclass(frozen=True)
class Resampled:
    """A difference of a measure, with the interval and the two-sided p of its draws; None with too few defined."""

    value: float
    low: float | None
    high: float | None
    p: float | None


class MeasuresOfDraws:
    """The measures of all runs, from numbers of times that each patient is drawn.

    Shares are sums over patients, so a draw takes one product. An AUC takes the X-rays in the order of their scores.
    """

    def __init__(self, measures: Measures) -> None:
        self.names = measures.names
        self.patient = numbered(measures.paired.patients)
        self.n_patients = int(self.patient.max()) + 1
        paired, self.several = measures.paired, measures.several
        if self.several:
            self.averaged = measures.findings
            parts = {k: (measures.positive[:, k], measures.known[:, k]) for k in self.averaged}
        else:
            figures = measures.by_run[0]
            self.averaged = figures.ranked
            parts = {k: (paired.truth == k, np.ones(len(paired.truth), bool)) for k in self.averaged}
            self.labels = self._by_patient(np.eye(figures.n)[paired.truth][:, figures.present])
            self.hits = [
                self._by_patient(np.eye(figures.n)[paired.truth] * (predicted == paired.truth)[:, None])
                for predicted in paired.predicted
            ]
            self.present = figures.present
        self.aucs = [
            {k: _DrawnAuc(positive, scores[:, k], known, self.patient) for k, (positive, known) in parts.items()}
            for scores in paired.scores
        ]

    def _by_patient(self, columns: np.ndarray) -> np.ndarray:
        sums = np.zeros((self.n_patients, columns.shape[1]), np.float32)
        np.add.at(sums, self.patient, columns)
        return sums

    def values(self, run: int, counts: np.ndarray) -> np.ndarray:
        """Return (C, M) measures of a run for draws (P, C), NaN where one is not defined."""
        aucs = {k: auc.values(counts) for k, auc in self.aucs[run].items()}
        undefined = np.full(counts.shape[1], np.nan)
        mean = np.mean([aucs[k] for k in self.averaged], axis=0) if self.averaged else undefined
        if self.several:
            classes = range(len(self.names) - 1)
            return np.column_stack([mean, *(aucs.get(k, undefined) for k in classes)])
        hits, labels = ((counts.T @ sums).astype(np.float64) for sums in (self.hits[run], self.labels))
        accuracy = ratio(hits.sum(1), labels.sum(1))
        balanced = ratio(hits[:, self.present], labels).mean(1)
        return np.column_stack([accuracy, balanced, mean])


class _DrawnAuc:
    """The AUC of a class for numbers of times (P, C) that patients are drawn; ties count half."""

    def __init__(self, positive: np.ndarray, score: np.ndarray, known: np.ndarray, patient: np.ndarray) -> None:
        with_it, without = np.flatnonzero(positive & known), np.flatnonzero(~positive & known)
        without = without[np.argsort(score[without], kind="stable")]
        self.positives, self.negatives = patient[with_it], patient[without]
        below = np.searchsorted(score[without], score[with_it], side="left")
        not_above = np.searchsorted(score[without], score[with_it], side="right")
        self.below, self.not_above = below, None if (below == not_above).all() else not_above

    def values(self, counts: np.ndarray) -> np.ndarray:
        """Return the AUC of each draw, NaN where it holds no positive or no negative."""
        drawn = counts[self.positives]
        before = np.zeros((len(self.negatives) + 1, counts.shape[1]), np.float32)
        np.cumsum(counts[self.negatives], axis=0, out=before[1:])
        lower = before[self.below]
        if self.not_above is not None:
            lower += before[self.not_above]
            lower *= np.float32(0.5)
        lower *= drawn
        return ratio(lower.sum(0, dtype=np.float64), drawn.sum(0, dtype=np.float64) * before[-1])


def paired_bootstrap(
    measures: Measures, pairs: Sequence[tuple[int, int]], n_draws: int = N_DRAWS, seed: int = 0
) -> Iterator[tuple[tuple[int, int], str, Resampled]]:
    """Yield for each pair of runs and each measure the difference, first minus second.

    ``p`` is twice the share of draws on the other side of 0 (those at 0 count on both), at least 2 / (draws + 1) and
    at most 1. The interval is that of percentiles.
    """
    of_draws = MeasuresOfDraws(measures)
    runs = range(len(of_draws.aucs))
    whole = [of_draws.values(run, np.ones((of_draws.n_patients, 1), np.float32))[0] for run in runs]
    drawn = [[of_draws.values(run, counts) for run in runs] for counts in draws_of(of_draws.n_patients, n_draws, seed)]
    for first, second in pairs:
        apart = np.concatenate([values[first] - values[second] for values in drawn])
        for m, name in enumerate(of_draws.names):
            yield (first, second), name, _resampled(float(whole[first][m] - whole[second][m]), apart[:, m])


def _resampled(value: float, draws: np.ndarray) -> Resampled:
    defined = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(defined) < len(draws) / 2:
        return Resampled(value, None, None, None)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    least = min((defined <= 0).sum(), (defined >= 0).sum())
    return Resampled(value, float(low), float(high), float(min(1.0, 2 * (1 + least) / (1 + len(defined)))))
