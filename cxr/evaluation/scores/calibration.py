"""How far probabilities are from what happens: Brier score, log loss, calibration error, and temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr.evaluation.intervals import FEWEST_PATIENTS, Groups, Limits, effective_patients, jackknife, wilson
from cxr.evaluation.metrics import probabilities, ratio
from cxr.formatting import counted, patients, verb
from cxr.models.card import MULTI_LABEL

BINS = 15
"""Of equal width, as Guo et al. 2017 take them."""
_LEAST = float(np.finfo(np.float64).eps)
_DOUBLINGS = 40  # of the scale of logits, until it is too large


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by, fitted on ``n`` X-rays of a split."""

    value: float
    split: str
    n: int


@dataclass(frozen=True)
class NoTemperature:
    """That no temperature is fitted, and why; ``n`` X-rays of a split were there for it."""

    why: str
    split: str = ""
    n: int = 0


def log_losses(chances: np.ndarray, true: np.ndarray, task: str) -> np.ndarray:
    """Return the log loss of each image (N, 1), or of each entry (N, K) for findings; natural logarithm.

    ``true`` (N, K) says which classes are there. Probabilities are clipped as scikit-learn does.
    """
    kept = np.clip(chances, _LEAST, 1 - _LEAST)
    if task == MULTI_LABEL:
        return -np.log(np.where(true, kept, 1 - kept))
    kept = np.clip(chances, _LEAST, 1)
    return -np.log(np.where(true, kept, 1.0)).sum(1, keepdims=True)


def brier_scores(chances: np.ndarray, true: np.ndarray, task: str) -> np.ndarray:
    """Return the squared error of each image (N, 1), or of each entry (N, K) for findings, in [0, 1].

    Of classes that exclude each other it is half of the sum over classes, which for two of them is the usual score.
    """
    squares = (chances - true) ** 2
    return squares if task == MULTI_LABEL else squares.sum(1, keepdims=True) / 2


def gaps(chances: np.ndarray, true: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much each image is too confident, and its bin, (N, 1), or (N, K) for findings.

    Of classes that exclude each other the confidence is that of the predicted class.
    """
    if task == MULTI_LABEL:
        confidence, right = chances, true
    else:
        best = chances.argmax(1)[:, None]
        confidence, right = np.take_along_axis(chances, best, 1), np.take_along_axis(true, best, 1)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return confidence - right, bins


def expected_calibration_error(
    chances: np.ndarray, true: np.ndarray, known: np.ndarray, task: str, groups: Groups
) -> tuple[float, Limits | None]:
    """Return the expected calibration error and its interval over patients.

    It is the mean over bins of how far confidence and share of right ones are apart, for findings the mean over
    findings. Chance alone makes it larger than it is, the more so the fewer X-rays there are; the interval's lower end
    allows for all of that and is 0 where a calibrated network could have this error. It holds the error of these bins
    in 95 of 100 data sets or more.
    """
    too_confident, bins = gaps(chances, true, task)
    columns = [c for c in range(too_confident.shape[1]) if known[:, c].any()]
    if not columns:
        return float("nan"), None
    used = [(c, b) for c in columns for b in np.unique(bins[known[:, c], c])]
    parts = np.column_stack([too_confident[:, c] * (bins[:, c] == b) * known[:, c] for c, b in used])
    counted = known[:, [c for c, _ in used]].astype(np.float64)

    def signed(weights: np.ndarray) -> np.ndarray:
        return ratio(weights @ parts, weights @ counted) / len(columns)

    value = float(np.abs(signed(np.ones((1, len(parts))))).sum())
    estimate = jackknife(signed, groups)
    if estimate is None or not np.isfinite(estimate.variance).all():
        return value, None
    deviations = np.sqrt(estimate.variance)
    half = estimate.quantile() * float(np.sqrt((deviations**2).sum()))
    if half == 0:  # nothing differs
        half = (wilson(0, effective_patients(groups), quantile=estimate.quantile()) or (0.0, 1.0))[1]
    by_chance = float(deviations.sum()) * np.sqrt(2 / np.pi)
    return value, (max(0.0, value - by_chance - half), min(1.0, value + half))


def fit_temperature(
    logits: np.ndarray, true: np.ndarray, known: np.ndarray, task: str, split: str, groups: Groups
) -> Temperature | NoTemperature:
    """Return the temperature with the least log loss of the known entries, or why there is none.

    ``true`` and ``known`` are (N, K), as the logits; ``groups`` are the patients (N,). One temperature for all classes
    (Guo et al. 2017). The log loss is convex in the factor 1 / temperature, so the best one is where its slope is 0.
    There is no such place where every entry is right, which ever larger logits make look better still, or where the
    logits are against the truth on average, so that none at all (the same probability for everything) is best.
    """
    from scipy.optimize import brentq

    n, n_patients = len(logits), len(set(np.asarray(groups).tolist()))
    of = f"{counted(n, 'X-ray')} of {patients(n_patients)} in the split {split}"
    if n_patients < FEWEST_PATIENTS:
        why = f"cannot be fitted: only {of}, and at least {FEWEST_PATIENTS} patients are needed"
        return NoTemperature(why, split, n)
    use = known if task == MULTI_LABEL else known[:, :1]

    def slope(factor: float) -> float:
        """Return the derivative of the mean log loss by the factor of the logits."""
        chances = probabilities(logits * factor, task)
        each = (chances - true) * logits
        return float((each if task == MULTI_LABEL else each.sum(1, keepdims=True))[use].mean())

    if slope(0.0) >= 0:
        return NoTemperature(
            f"cannot be fitted: on the {of} the outputs are no better than equal probabilities, at any temperature",
            split,
            n,
        )
    if _all_right(logits, true, use, task):
        return NoTemperature(
            f"cannot be fitted: all of the {of} {verb(n)} right, so that the lower the temperature, the better",
            split,
            n,
        )
    factor = 1.0 / max(float(np.abs(logits[known]).max()), _LEAST)
    low = 0.0
    for _ in range(_DOUBLINGS):
        if slope(factor) >= 0:
            return Temperature(1.0 / float(brentq(slope, low, factor, rtol=1e-8)), split, n)
        low, factor = factor, 2 * factor
    return NoTemperature(
        f"cannot be fitted: nearly all of the {of} are right, so that the lower the temperature, the better", split, n
    )


def _all_right(logits: np.ndarray, true: np.ndarray, use: np.ndarray, task: str) -> bool:
    """Return whether each known entry has its logit on its side, or each image that of its class above all others."""
    if task == MULTI_LABEL:
        return bool((np.where(true, logits, -logits)[use] > 0).all())
    own = np.where(true, logits, -np.inf).max(1)
    others = np.where(true, -np.inf, logits).max(1)
    return bool((own > others)[use[:, 0]].all())
