"""Metrics of findings, of which an X-ray may have several: each by itself, over the images where it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from cxr.evaluation.intervals import LEVEL, effective_patients, mean_of_patients, numbered, patients_of_pairs
from cxr.evaluation.metrics import estimates_of, ratio, weighted_auc
from cxr.evaluation.results import ClassScores, Summary
from cxr.formatting import Estimate
from cxr.models.card import MULTI_LABEL

THRESHOLD = 0.5
RANKED = ("auc", "average_precision")


def multilabel_metrics(targets: np.ndarray, logits: np.ndarray) -> dict[str, float | None]:
    """Return mean F1, AUC and average precision of logits (N, K) for targets (N, K) of 0 and 1, NaN where unknown.

    Means are over the classes with both values; for F1 a class is said to be there above logit 0. There is no accuracy:
    most findings are absent in most X-rays, so the share of right entries is high for any network.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    stated, true, predicted = np.isfinite(targets), targets == 1, logits > 0
    both = _with_both_values(stated, true)
    hits = (predicted & true).sum(0)
    f1 = 2 * hits / np.maximum((predicted & stated).sum(0) + true.sum(0), 1)
    pairs = [(true[stated[:, c], c], logits[stated[:, c], c]) for c in both]
    values = {
        "macro_f1": f1[both],
        "auc": np.array([roc_auc_score(*pair) for pair in pairs]),
        "average_precision": np.array([average_precision_score(*pair) for pair in pairs]),
    }
    return {name: float(value.mean()) if both else None for name, value in values.items()}


def summarise_findings(
    targets: np.ndarray,
    chances: np.ndarray,
    classes: Sequence[str],
    patients: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Summary:
    """Return the metrics of findings.

    Parameters
    ----------
    targets
        (N, K) of 0 and 1, NaN where unknown: such an entry counts in no figure of its class.
    chances
        (N, K) probabilities in [0, 1], in the order of ``classes``.
    patients
        (N,) the patient of each image.
    thresholds
        By class, the probability above which it is said to be there; 0.5 for classes without one.

    Returns
    -------
    ``task``, ``n``, ``n_patients``; ``auc`` and ``average_precision``, means over the classes with both values, as
    ``{value, low, high}``; ``per_class`` with both of them, and at ``threshold`` (``published``: by whom the network
    is from) ``sensitivity``, ``specificity``, ``precision`` and ``f1``, the numbers of images ``known``, ``positive``
    and ``negative``, and ``confusion``: ``[[true negatives, false positives], [false negatives, true positives]]``;
    ``classes``; ``level``. Intervals at 95 % are over patients (:func:`cxr.evaluation.intervals.share_intervals`).
    """
    published = {name: float(value) for name, value in (thresholds or {}).items()}
    limits = [published.get(name, THRESHOLD) for name in classes]
    entries = _Entries(targets, chances, np.asarray(limits))
    means, per_class = _estimates(entries, patients, seed)
    return {
        "task": MULTI_LABEL,
        "n": len(targets),
        "n_patients": len(set(patients)),
        "auc": means["auc"],
        "average_precision": means["average_precision"],
        "per_class": {
            name: _scores(figures, limit, name in published, entries.numbers(c))
            for c, (name, limit, figures) in enumerate(zip(classes, limits, per_class, strict=True))
        },
        "classes": list(classes),
        "level": LEVEL,
    }


def _scores(figures: Mapping[str, Estimate], threshold: float, published: bool, numbers: _Numbers) -> ClassScores:
    return {
        "auc": figures["auc"],
        "average_precision": figures["average_precision"],
        "sensitivity": figures["sensitivity"],
        "specificity": figures["specificity"],
        "precision": figures["precision"],
        "f1": figures["f1"],
        "threshold": threshold,
        "published": published,
        **numbers,
    }


def outcomes(targets: np.ndarray, chances: np.ndarray, threshold: float) -> pd.Series:
    """Return for each image what came of one finding: ``true positive``, ``false negative``, ..., "" where unknown.

    ``targets`` (N,) are 0, 1 or NaN, ``chances`` (N,) probabilities; above the threshold the finding is said to be
    there.
    """
    right, predicted = targets == (np.asarray(chances) > threshold), np.asarray(chances) > threshold
    names = np.char.add(np.where(right, "true ", "false "), np.where(predicted, "positive", "negative"))
    return pd.Series(np.where(np.isfinite(targets), names, ""))


def thresholds_in_words(summary: Summary) -> str:
    """Return where the thresholds come from at which a summary counts findings as there."""
    default = [name for name, scores in summary["per_class"].items() if not scores["published"]]
    if not default:
        return "A finding counts as present above the threshold that the network's publisher states."
    if len(default) == len(summary["per_class"]):
        return f"A finding counts as present above probability {THRESHOLD:g}: the network states no thresholds."
    return (
        f"A finding counts as present above the threshold that the network's publisher states, and above {THRESHOLD:g} "
        f"for {', '.join(default)}, where none is stated."
    )


_Ranking = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A figure (B,) of what is there (N,), scores (N,) and weights (B, N)."""


class _Numbers(TypedDict):
    known: int
    positive: int
    negative: int
    confusion: list[list[int]]


class _Entries:
    """Targets and what a network says, (N, K) each, with the figures that weights of the images give."""

    def __init__(self, targets: np.ndarray, chances: np.ndarray, limits: np.ndarray) -> None:
        self.known, self.true, self.chances = np.isfinite(targets), targets == 1, np.asarray(chances)
        predicted = self.chances > limits
        right, wrong = self.known & (predicted == self.true), self.known & (predicted != self.true)
        self.parts = {
            name: part.astype(np.float64)
            for name, part in (
                ("tn", right & ~predicted),
                ("fp", wrong & predicted),
                ("fn", wrong & ~predicted),
                ("tp", right & predicted),
            )
        }
        self.both = _with_both_values(self.known, self.true)

    def numbers(self, c: int) -> _Numbers:
        """Return how many images of a class are known, positive, negative, and its confusion matrix."""
        tn, fp, fn, tp = (int(part[:, c].sum()) for part in self.parts.values())
        known = tn + fp + fn + tp
        return {"known": known, "positive": fn + tp, "negative": tn + fp, "confusion": [[tn, fp], [fn, tp]]}

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return (B, K) values of each measure for weights (B, N); NaN where one is not defined."""
        tn, fp, fn, tp = (weights @ part for part in self.parts.values())
        return {
            "auc": self._ranked(weighted_auc, weights),
            "average_precision": self._ranked(weighted_average_precision, weights),
            "sensitivity": ratio(tp, tp + fn),
            "specificity": ratio(tn, tn + fp),
            "precision": ratio(tp, tp + fp),
            "f1": np.where(tp + fn > 0, ratio(2 * tp, 2 * tp + fp + fn), np.nan),
        }

    def patients(self, groups: Sequence[str]) -> dict[str, list[float]]:
        """Return for each measure and class for how many independent images its own stand at the least."""
        columns, numbers = range(self.known.shape[1]), numbered(groups)
        tn, fp, fn, tp = self.parts.values()
        positive, negative, predicted, either = (
            [effective_patients(numbers, part[:, c]) for c in columns]
            for part in (tp + fn, tn + fp, tp + fp, tp + fp + fn)
        )
        pairs = [patients_of_pairs(*pair) for pair in zip(positive, negative, strict=True)]
        own = {
            "auc": pairs,
            "average_precision": positive,
            "sensitivity": positive,
            "specificity": negative,
            "precision": predicted,
            "f1": either,
        }
        means = {f"mean {name}": [mean_of_patients([own[name][c] for c in self.both])] for name in RANKED}
        return means | own

    def _ranked(self, measure: _Ranking, weights: np.ndarray) -> np.ndarray:
        values = np.full((len(weights), self.known.shape[1]), np.nan)
        for c in self.both:
            values[:, c] = measure(self.true[:, c], self.chances[:, c], weights * self.known[:, c])
        return values


def _estimates(
    entries: _Entries, patients: Sequence[str], seed: int
) -> tuple[dict[str, Estimate], list[dict[str, Estimate]]]:
    """Return the means over classes, and the figures of each class, with their intervals."""

    def means_and_figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        figures = entries.figures(weights)
        nothing = np.full((len(weights), 1), np.nan)
        means = {
            f"mean {name}": figures[name][:, entries.both].mean(1, keepdims=True) if entries.both else nothing
            for name in RANKED
        }
        return means | figures

    parts = {f"mean {name}": (name, entries.both) for name in RANKED}
    scaled = ("average_precision", "mean average_precision")
    estimates = estimates_of(
        means_and_figures, entries.patients(patients), patients, seed, means=parts, stabilised=scaled
    )
    means = {name: estimates.pop(f"mean {name}")[0] for name in RANKED}
    return means, [{name: values[c] for name, values in estimates.items()} for c in range(entries.known.shape[1])]


def weighted_average_precision(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (B,) average precisions for weights (B, N): precision at each score, weighted by the recall it adds.

    NaN for a draw without a positive or without a negative, where no ranking is.
    """
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) < 0])
    drawn = weights[:, order]
    hits = np.add.reduceat(drawn * positive[order], starts, axis=1)
    shown = np.add.reduceat(drawn, starts, axis=1)
    total, drawn_at_all = hits.sum(1), shown.sum(1)
    precision = ratio(hits.cumsum(1), shown.cumsum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(hits > 0, hits * precision, 0).sum(1) / total
    return np.where((total > 0) & (total < drawn_at_all), values, np.nan)


def _with_both_values(stated: np.ndarray, true: np.ndarray) -> list[int]:
    return [c for c in range(stated.shape[1]) if 0 < true[:, c].sum() < stated[:, c].sum()]
