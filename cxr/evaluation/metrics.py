"""Metrics of predictions with their intervals; what is not defined (a class that is absent) is None, never 0.

All of them are computed from weights of the images, so that leaving out each patient takes one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import expit

from cxr.earlier_names import dropped
from cxr.evaluation.intervals import (
    LEVEL,
    effective_patients,
    mean_of_patients,
    numbered,
    patients_of_pairs,
    share_intervals,
)
from cxr.evaluation.results import Brief, Summary
from cxr.formatting import Estimate, xrays
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL, TASKS


@dropped("n_bootstrap")
def summarise(table: pd.DataFrame, classes: Sequence[str], seed: int = 0) -> Summary:
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
    ``confusion`` (rows are labels); ``classes``; ``level``. Intervals at 95 % are over patients
    (:func:`cxr.evaluation.intervals.share_intervals`). Means are over the classes that the labels contain.
    """
    classes = list(classes)
    table = table[table["label"].isin(classes)]
    truth, predicted = (_codes(table[column], classes) for column in ("label", "predicted"))
    confusion = _confusion(truth, predicted, len(classes))
    figures = Figures(truth, predicted, _scores(table, classes), len(classes))
    estimates = figures.estimates(patients_of(table), seed)
    return {
        "task": SINGLE_LABEL,
        "n": len(table),
        "n_patients": len(set(patients_of(table))),
        "accuracy": estimates["accuracy"][0],
        "macro_f1": estimates["macro_f1"][0],
        "auc": estimates["auc"][0],
        "per_class": {
            name: {
                "recall": estimates["recall"][c],
                "precision": estimates["precision"][c],
                "f1": estimates["f1"][c],
                "auc": estimates["auc_by_class"][c],
                "support": int(confusion[c].sum()),
            }
            for c, name in enumerate(classes)
        },
        "confusion": confusion.tolist(),
        "classes": classes,
        "level": LEVEL,
    }


def point_metrics(truth: np.ndarray, logits: np.ndarray) -> dict[str, float | None]:
    """Return accuracy and macro F1 (over the classes present) of logits (N, K) for class indices (N,)."""
    weights = np.ones((1, len(truth)))
    f1 = _f1(_weighted_confusion(truth, logits.argmax(1), logits.shape[1], weights))[0]
    accuracy = float((logits.argmax(1) == truth).mean()) if len(truth) else None
    return {"accuracy": accuracy, "macro_f1": _value(_mean_over(f1[None], list(np.unique(truth)))[0, 0])}


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
    """Return the patient of each row of image_id and patient_id; an image without one is a patient of its own."""
    pairs = zip(table["patient_id"], table["image_id"], strict=True)
    return [f"patient {patient}" if patient else f"image {image}" for patient, image in pairs]


def _scores(table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray | None:
    names = [f"prob_{name}" for name in classes]
    return table[names].to_numpy(np.float64) if set(names) <= set(table.columns) else None


_OVERALL = ("accuracy", "macro_f1", "auc")
_BY_CLASS = ("recall", "precision", "f1", "auc_by_class")


class Figures:
    """Classes (N,) and what a network says, with the figures that weights of the images give.

    ``scores`` (N, K) are the probabilities, None where they are not known.
    """

    def __init__(self, truth: np.ndarray, predicted: np.ndarray, scores: np.ndarray | None, n: int) -> None:
        self.truth, self.predicted, self.scores, self.n = truth, predicted, scores, n
        self.present = [c for c in range(n) if (truth == c).any()]
        self.ranked = [c for c in self.present if scores is not None and (truth != c).any()]

    def values(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return (B, 1) of each figure and (B, K) of those by class, for weights (B, N); NaN where not defined."""
        confusion = _weighted_confusion(self.truth, self.predicted, self.n, weights)
        return self._figures(confusion, partial(weighted_auc, weights=weights))

    def without(self, part: np.ndarray, n_parts: int) -> dict[str, np.ndarray]:
        """Return (P, 1) of each figure and (P, K) of those by class, without the images of each part.

        As :meth:`values` with weights of 0 and 1, without a pass over all images for each part.
        """
        cells = (part * self.n + self.truth) * self.n + self.predicted
        of_parts = np.bincount(cells, minlength=n_parts * self.n**2).reshape(n_parts, self.n, self.n)
        confusion = (of_parts.sum(0) - of_parts).astype(np.float64)
        return self._figures(confusion, partial(auc_without, part=part, n_parts=n_parts))

    def _figures(
        self, confusion: np.ndarray, auc: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> dict[str, np.ndarray]:
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        f1 = _f1(confusion)
        aucs = np.full((len(confusion), self.n), np.nan)
        for c in self.ranked:
            assert self.scores is not None
            aucs[:, c] = auc(self.truth == c, self.scores[:, c])
        return {
            "accuracy": ratio(hits.sum(1, keepdims=True), confusion.sum((1, 2))[:, None]),
            "macro_f1": _mean_over(f1, self.present),
            "auc": _mean_over(aucs, self.ranked),
            "recall": ratio(hits, confusion.sum(2)),
            "precision": ratio(hits, confusion.sum(1)),
            "f1": f1,
            "auc_by_class": aucs,
        }

    def patients(self, groups: Sequence[str]) -> dict[str, list[float]]:
        """Return for each figure for how many independent images its own stand at the least."""
        numbers = numbered(groups)
        labelled = [effective_patients(numbers, self.truth == c) for c in range(self.n)]
        of_other_classes = [effective_patients(numbers, self.truth != c) for c in range(self.n)]
        predicted_patients = [effective_patients(numbers, self.predicted == c) for c in range(self.n)]
        either = [effective_patients(numbers, (self.truth == c) | (self.predicted == c)) for c in range(self.n)]
        aucs = [patients_of_pairs(*pair) for pair in zip(labelled, of_other_classes, strict=True)]
        return {
            "accuracy": [effective_patients(numbers)],
            "macro_f1": [mean_of_patients([either[c] for c in self.present])],
            "auc": [mean_of_patients([aucs[c] for c in self.ranked])],
            "recall": labelled,
            "precision": predicted_patients,
            "f1": either,
            "auc_by_class": aucs,
        }

    def estimates(self, groups: Sequence[str], seed: int) -> dict[str, list[Estimate]]:
        """Return each figure as ``{value, low, high}``."""
        if not len(self.truth):
            nothing = _interval(None, None)
            return {name: [nothing] for name in _OVERALL} | {name: [nothing] * self.n for name in _BY_CLASS}
        means = {"auc": ("auc_by_class", self.ranked)}
        return estimates_of(self.values, self.patients(groups), groups, seed, self.without, means)


@dataclass(frozen=True)
class FastStatistic:
    """Statistics of weights and without parts (:class:`cxr.evaluation.resampling.leaving_out.LeavesOut`)."""

    of_weights: Callable[[np.ndarray], np.ndarray]
    of_rest: Callable[[np.ndarray, int], np.ndarray]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return (B, S) for weights (B, N)."""
        return self.of_weights(weights)

    def without(self, part: np.ndarray, n_parts: int) -> np.ndarray:
        """Return (P, S) without the images of each part."""
        return self.of_rest(part, n_parts)


def estimates_of(
    values: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    patients: Mapping[str, Sequence[float]],
    groups: Sequence[str],
    seed: int,
    without: Callable[[np.ndarray, int], Mapping[str, np.ndarray]] | None = None,
    means: Mapping[str, tuple[str, Sequence[int]]] | None = None,
    stabilised: Sequence[str] = (),
) -> dict[str, list[Estimate]]:
    """Return figures in [0, 1] as lists of ``{value, low, high}``.

    Parameters
    ----------
    values
        Returns (B, S) of each figure for weights (B, N), NaN where it is not defined.
    patients
        As many numbers of each figure (:func:`cxr.evaluation.intervals.share_intervals`).
    without
        Returns (P, S) of each figure without the images of each of P parts, where there is a faster way than weights.
    means
        By the name of a mean of AUC or average precision the name of these, and of which of their columns it is.
    stabilised
        Figures that are not linear in the images: average precision and means of it.
    """

    def stacked(figures: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.column_stack([figures[name] for name in patients])

    def of_weights(weights: np.ndarray) -> np.ndarray:
        return stacked(values(weights))

    statistic: Callable[[np.ndarray], np.ndarray] = of_weights
    if without is not None:
        statistic = FastStatistic(of_weights, lambda part, n_parts: stacked(without(part, n_parts)))
    starts = dict(zip(patients, np.cumsum([0, *map(len, patients.values())]).tolist(), strict=False))
    parts = {
        starts[mean]: [starts[name] + c for c in columns] for mean, (name, columns) in (means or {}).items() if columns
    }
    numbers = [n for each in patients.values() for n in each]
    scaled = [starts[name] + k for name in stabilised for k in range(len(patients[name]))]
    limits = iter(share_intervals(statistic, groups, numbers, seed, means=parts, stabilised=scaled))
    whole = values(np.ones((1, len(groups))))
    return {name: [estimate(value, next(limits)) for value in whole[name][0]] for name in patients}


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, NaN where ``whole`` is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _weighted_confusion(truth: np.ndarray, predicted: np.ndarray, n: int, weights: np.ndarray) -> np.ndarray:
    """Return (B, n, n) confusion matrices for weights (B, N)."""
    cell = np.eye(n * n)[truth * n + predicted]
    return (weights @ cell).reshape(len(weights), n, n)


def _f1(confusion: np.ndarray) -> np.ndarray:
    """Return (B, n) F1 values; NaN for a class without labels."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    labels, predicted = confusion.sum(2), confusion.sum(1)
    return np.where(labels > 0, 2 * hits / np.maximum(labels + predicted, 1e-12), np.nan)


def _mean_over(values: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Return (B, 1) means over some columns of (B, K); NaN where there is none, or one of them is not defined."""
    if not len(columns):
        return np.full((len(values), 1), np.nan)
    return np.asarray(values[:, list(columns)].mean(1, keepdims=True))


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


def auc_without(positive: np.ndarray, score: np.ndarray, part: np.ndarray, n_parts: int) -> np.ndarray:
    """Return (P,) areas under the ROC curve without the images of each part; ``part`` (N,) is the part of each.

    As :func:`weighted_auc` with weights of 0 and 1, from the pairs that each part takes away: one sorting of all
    images instead of a pass over them for each part.
    """
    positives = np.bincount(part, positive, n_parts)
    negatives = np.bincount(part, ~positive, n_parts)
    pairs = (positives.sum() - positives) * (negatives.sum() - negatives)
    below, above = _pairs_won(positive, score, np.zeros_like(part))
    inside, _ = _pairs_won(positive, score, part)
    won = np.bincount(part, below, n_parts)  # by a positive of the part
    lost = np.bincount(part, above, n_parts)  # by a negative of the part
    within = np.bincount(part, inside, n_parts)  # both are of the part: taken away twice
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (below.sum() - won - lost + within) / pairs, np.nan)


def _pairs_won(positive: np.ndarray, score: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) for each positive the negatives of its part below it, for each negative the positives above it.

    Ties count half; negatives have 0 in the first, positives in the second.
    """
    order = np.lexsort((score, part))
    score, part, there = score[order], part[order], positive[order]
    new_part = np.r_[True, np.diff(part) != 0]
    starts = np.flatnonzero(new_part | np.r_[True, np.diff(score) != 0])
    tie = np.cumsum(np.isin(np.arange(len(score)), starts)) - 1
    won = np.zeros((2, len(score)))
    for row, (mine, others) in enumerate(((there, ~there), (~there, there))):
        counts = np.add.reduceat(others.astype(np.float64), starts)
        before = np.cumsum(counts) - counts
        of_part = np.maximum.accumulate(np.where(new_part[starts], np.arange(len(starts)), 0))
        below = before - before[of_part] + counts / 2
        if row == 0:
            won[0, order] = np.where(mine, below[tie], 0)
        else:
            totals = np.bincount(np.cumsum(new_part) - 1, others)[np.cumsum(new_part)[starts] - 1]
            won[1, order] = np.where(mine, (totals - below)[tie], 0)
    return won[0], won[1]


def estimate(value: float, limits: tuple[float, float] | None) -> Estimate:
    """Return ``{value, low, high}``, None for all three where ``value`` is not finite."""
    return _interval(float(value), limits) if np.isfinite(value) else _interval(None, None)


def _value(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _interval(value: float | None, limits: tuple[float, float] | None) -> Estimate:
    low, high = limits or (None, None)
    return {"value": value, "low": low, "high": high}


def headline(summary: Summary | Brief) -> str:
    """Return a summary's accuracy, or mean AUC of findings, in words.

    Such as ``accuracy 85.0 % (77.0 to 91.0), 120 X-rays of 96 patients``.
    """
    accuracy = summary.get("accuracy")
    name, unit, scale, digits = ("accuracy", " %", 100, 1) if accuracy else ("mean AUC", "", 1, 3)
    score = accuracy or summary["auc"]
    value, low, high = score["value"], score["low"], score["high"]
    if value is None:
        return f"no {name}, {xrays(summary['n'], summary.get('n_patients'))}"
    limits = "" if low is None or high is None else f" ({scale * low:.{digits}f} to {scale * high:.{digits}f})"
    of = xrays(summary["n"], summary.get("n_patients"))
    return f"{name} {scale * value:.{digits}f}{unit}{limits}, {of}"
