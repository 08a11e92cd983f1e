"""The sensitivity that a class reaches at a given specificity."""

from __future__ import annotations

import numpy as np

from cxr.evaluation.metrics import ratio

_SLACK = 1e-9  # weights are added up in another order than they are compared


def weighted_sensitivity_at(
    specificity: float, positive: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return (B,) the largest sensitivity of any threshold with at least this specificity, for weights (B, N).

    Above a threshold a class is said to be there; scores that are equal are on one side of it. NaN for a draw without
    a positive or without a negative.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    drawn = weights[:, order]
    hits = np.cumsum(drawn * positive[order], axis=1)[:, ends]
    alarms = np.cumsum(drawn * ~positive[order], axis=1)[:, ends]
    negatives, positives = alarms[:, -1:], hits[:, -1:]
    allowed = alarms <= (1 - specificity) * negatives + _SLACK
    best = np.where(allowed, hits, 0).max(1, keepdims=True)
    return np.where(negatives > 0, ratio(best, positives), np.nan)[:, 0]
