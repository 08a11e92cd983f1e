"""Published tests that treat X-rays as independent: McNemar's of right and wrong, DeLong's of AUC.

Where patients have several X-rays they claim too much. They stand beside the tests over patients for readers who know
them, and agree with those roughly where each patient has one X-ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtr, ndtri  # the same functions in scipy.stats take a second to load

from cxr.evaluation.intervals import LEVEL


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of McNemar's test (1947), 1 where the two never differ.

    Parameters
    ----------
    only_first, only_second
        How many X-rays one of the two alone has right.
    """
    n = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5))) if n else 1.0


@dataclass(frozen=True)
class AucDifference:
    """The difference of two AUC with its interval and p; without limits where the variance is not known."""

    first: float
    second: float
    low: float | None
    high: float | None
    p: float | None

    @property
    def value(self) -> float:
        """The first minus the second."""
        return self.first - self.second


def delong(positive: np.ndarray, first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> AucDifference | None:
    """Return the difference of two AUC of the same X-rays by DeLong's test, None without a positive or a negative.

    DeLong, DeLong and Clarke-Pearson 1988, *Biometrics* 44; placements by midranks as in Sun and Xu 2014, *IEEE Signal
    Processing Letters* 21.

    Parameters
    ----------
    positive
        (N,) bool.
    first, second
        (N,) scores, higher where a positive is more likely.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return None
    of_positives, of_negatives = zip(*(placements(positive, score) for score in (first, second)), strict=True)
    aucs = [float(np.mean(part)) for part in of_positives]
    if min(m, n) < 2:
        return AucDifference(aucs[0], aucs[1], None, None, None)
    variance = np.var(of_positives[0] - of_positives[1], ddof=1) / m
    variance += np.var(of_negatives[0] - of_negatives[1], ddof=1) / n
    value = aucs[0] - aucs[1]
    if variance <= 0:  # nothing differs, or all of it alike
        return AucDifference(aucs[0], aucs[1], None, None, None if value else 1.0)
    error = float(np.sqrt(variance))
    half = float(ndtri(0.5 + level / 2)) * error
    return AucDifference(aucs[0], aucs[1], value - half, value + half, float(2 * ndtr(-abs(value) / error)))


def placements(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each positive the share of negatives below it, for each negative that of positives above it.

    Ties count half. The mean of either is the AUC.
    """
    positives, negatives = score[positive], score[~positive]
    ranks = _midranks(np.concatenate([positives, negatives]))
    m, n = len(positives), len(negatives)
    return (ranks[:m] - _midranks(positives)) / n, 1 - (ranks[m:] - _midranks(negatives)) / m


def _midranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1 on; values that are equal share the mean of theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2
