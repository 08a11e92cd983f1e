"""Metrics of predictions with their intervals; what is not defined (a class that is absent) is None, never 0.

All of them are computed from weights of the images, so that the bootstrap does a thousand draws at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from cxr.evaluation.intervals import bootstrap, wilson
from cxr.evaluation.words import xrays
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL, TASKS

Interval = dict[str, float | None]


def summarise(table: pd.DataFrame, classes: Sequence[str], n_bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Return the metrics of a table of predictions.

    Parameters
    ----------
    table
        As ``predictions_table`` makes it: label, predicted, patient_id, prob_<class>. Rows whose label is not among
        ``classes`` are left out. An image without a patient counts as a patient of its own.
    classes
        Names of the classes, in the order of the confusion matrix.

    Returns
    -------
    ``task``, ``n``, ``n_patients``; ``accuracy``, ``macro_f1`` and ``auc`` (one against the rest, mean over classes) as
    ``{value, low, high}``; ``per_class`` with ``recall``, ``precision``, ``f1``, ``auc`` and ``support``;
    ``confusion`` (rows are labels); ``classes``; ``level``. Intervals at 95 %: Wilson's for accuracy, recall and
    precision, bootstrap over patients for F1 and AUC. Means are over the classes that the labels contain.
    """
    classes = list(classes)
    table = table[table["label"].isin(classes)]
    truth, predicted = (_codes(table[column], classes) for column in ("label", "predicted"))
    confusion = _confusion(truth, predicted, len(classes))
    correct = int(np.trace(confusion))
    f1, macro_f1 = _f1_with_intervals(truth, predicted, len(classes), patients_of(table), n_bootstrap, seed)
    aucs, auc = _auc_with_intervals(table, truth, classes, n_bootstrap, seed)
    return {
        "task": SINGLE_LABEL,
        "n": len(table),
        "n_patients": len(set(patients_of(table))),
        "accuracy": proportion(correct, len(table)),
        "macro_f1": macro_f1,
        "auc": auc,
        "per_class": {
            name: {
                "recall": proportion(confusion[i, i], confusion[i].sum()),
                "precision": proportion(confusion[i, i], confusion[:, i].sum()),
                "f1": f1[i],
                "auc": aucs[i],
                "support": int(confusion[i].sum()),
            }
            for i, name in enumerate(classes)
        },
        "confusion": confusion.tolist(),
        "classes": classes,
        "level": 0.95,
    }


def proportion(k: int, n: int) -> Interval:
    """Return ``k`` of ``n`` with Wilson's interval, None for all three where n = 0."""
    return _interval(k / n if n else None, wilson(int(k), int(n)))


def point_metrics(truth: np.ndarray, logits: np.ndarray) -> dict[str, float | None]:
    """Return accuracy and macro F1 (over the classes present) of logits (N, K) for class indices (N,)."""
    weights = np.ones((1, len(truth)))
    f1 = _f1(_weighted_confusion(truth, logits.argmax(1), logits.shape[1], weights))[0]
    accuracy = float((logits.argmax(1) == truth).mean()) if len(truth) else None
    return {"accuracy": accuracy, "macro_f1": _value(_mean_over_present(f1[None], truth, logits.shape[1])[0])}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (..., K) that sum to 1 over the classes."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return a probability in [0, 1] for each logit (...), float64."""
    return np.asarray(expit(np.asarray(logits, np.float64)))


def probabilities(logits: np.ndarray, task: str = SINGLE_LABEL) -> np.ndarray:
    """Return what a network's logits (..., K) mean: softmax over the classes, or for ``multi-label`` a sigmoid of each.

    Raises
    ------
    ValueError
        If ``task`` is neither ``single-label`` nor ``multi-label``.
    """
    if task not in TASKS:
        raise ValueError(f"task {task!r} is not one of {', '.join(TASKS)}")
    return sigmoid(logits) if task == MULTI_LABEL else softmax(logits)


def _codes(values: pd.Series, classes: list[str]) -> np.ndarray:
    return np.array([classes.index(value) for value in values], dtype=np.int64)


def _confusion(truth: np.ndarray, predicted: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(truth * n + predicted, minlength=n * n).reshape(n, n)


def patients_of(table: pd.DataFrame) -> list[str]:
    """Return what the bootstrap draws for each row of image_id and patient_id: an image without a patient by itself."""
    pairs = zip(table["patient_id"], table["image_id"], strict=True)
    return [f"patient {patient}" if patient else f"image {image}" for patient, image in pairs]


def _f1_with_intervals(
    truth: np.ndarray, predicted: np.ndarray, n: int, patients: list[str], n_bootstrap: int, seed: int
) -> tuple[list[Interval], Interval]:
    """Return F1 of each class and their mean."""
    if not len(truth):
        return [_interval(None, None)] * n, _interval(None, None)

    def statistic(weights: np.ndarray) -> np.ndarray:
        f1 = _f1(_weighted_confusion(truth, predicted, n, weights))
        return np.column_stack([f1, _mean_over_present(f1, truth, n)])

    return _with_intervals(statistic, patients, n_bootstrap, seed)


def _auc_with_intervals(
    table: pd.DataFrame, truth: np.ndarray, classes: list[str], n_bootstrap: int, seed: int
) -> tuple[list[Interval], Interval]:
    """Return the AUC of each class against the rest and their mean; the value itself is scikit-learn's."""
    nothing = _interval(None, None)
    names = [f"prob_{name}" for name in classes]
    if not len(truth) or not set(names) <= set(table.columns):
        return [nothing] * len(classes), nothing
    scores = table[names].to_numpy(np.float64)
    values = [_roc_auc(truth == c, scores[:, c]) for c in range(len(classes))]
    defined = [c for c, value in enumerate(values) if value is not None]
    if not defined:
        return [nothing] * len(classes), nothing

    def statistic(weights: np.ndarray) -> np.ndarray:
        aucs = np.column_stack([weighted_auc(truth == c, scores[:, c], weights) for c in defined])
        return np.column_stack([aucs, aucs.mean(1)])

    intervals = bootstrap(statistic, patients_of(table), n_bootstrap, seed)
    per_class = [nothing] * len(classes)
    for c, limits in zip(defined, intervals, strict=False):
        per_class[c] = _interval(values[c], limits)
    return per_class, _interval(float(np.mean([values[c] for c in defined])), intervals[-1])


def _with_intervals(
    statistic: Any, patients: list[str], n_bootstrap: int, seed: int
) -> tuple[list[Interval], Interval]:
    values = statistic(np.ones((1, len(patients))))[0]
    intervals = bootstrap(statistic, patients, n_bootstrap, seed)
    *each, mean = [_interval(_value(v), limits) for v, limits in zip(values, intervals, strict=True)]
    return each, mean


def _weighted_confusion(truth: np.ndarray, predicted: np.ndarray, n: int, weights: np.ndarray) -> np.ndarray:
    """Return (B, n, n) confusion matrices for weights (B, N)."""
    cell = np.eye(n * n)[truth * n + predicted]
    return (weights @ cell).reshape(len(weights), n, n)


def _f1(confusion: np.ndarray) -> np.ndarray:
    """Return (B, n) F1 values; NaN for a class without labels."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    labels, said = confusion.sum(2), confusion.sum(1)
    return np.where(labels > 0, 2 * hits / np.maximum(labels + said, 1e-12), np.nan)


def _mean_over_present(values: np.ndarray, truth: np.ndarray, n: int) -> np.ndarray:
    """Return (B,) means of (B, n) over the classes that are among the labels; NaN in a draw without one of them."""
    present = np.bincount(truth, minlength=n) > 0
    return values[:, present].mean(1) if present.any() else np.full(len(values), np.nan)


def _roc_auc(positive: np.ndarray, score: np.ndarray) -> float | None:
    return float(roc_auc_score(positive, score)) if 0 < positive.sum() < len(positive) else None


def weighted_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (B,) areas under the ROC curve for weights (B, N): the Mann-Whitney statistic, ties count half.

    NaN for a draw without a positive or without a negative.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    drawn = weights[:, order]
    positives = np.add.reduceat(drawn * positive[order], starts, axis=1)
    negatives = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(1) * negatives.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (positives * below).sum(1) / pairs, np.nan)


def estimate(value: float, limits: tuple[float, float] | None) -> Interval:
    """Return ``{value, low, high}``, None for all three where ``value`` is not finite."""
    return _interval(float(value), limits) if np.isfinite(value) else _interval(None, None)


def _value(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _interval(value: float | None, limits: tuple[float, float] | None) -> Interval:
    low, high = limits or (None, None)
    return {"value": value, "low": low, "high": high}


def headline(summary: Mapping[str, Any]) -> str:
    """Return a summary's accuracy, or mean AUC of findings, in words.

    Such as ``accuracy 85.0 % (77.0 to 91.0), 120 X-rays of 96 patients``.
    """
    name, unit, scale, digits = ("accuracy", " %", 100, 1) if "accuracy" in summary else ("mean AUC", "", 1, 3)
    found = summary["accuracy" if "accuracy" in summary else "auc"]
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if value is None:
        return f"no {name}, {xrays(summary['n'], summary.get('n_patients'))}"
    limits = "" if low is None or high is None else f" ({scale * low:.{digits}f} to {scale * high:.{digits}f})"
    of = xrays(summary["n"], summary.get("n_patients"))
    return f"{name} {scale * value:.{digits}f}{unit}{limits}, {of}"
