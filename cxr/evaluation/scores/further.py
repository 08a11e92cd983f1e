"""Further scores of a table of predictions, of either task, with their intervals over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr.evaluation.intervals import (
    effective_patients,
    mean_of_patients,
    numbered,
    patients_of_pairs,
    ratio_intervals,
)
from cxr.evaluation.metrics import estimate, estimates_of, patients_of, probabilities, ratio
from cxr.evaluation.multilabel import THRESHOLD, weighted_average_precision
from cxr.evaluation.scores.calibration import (
    NoTemperature,
    Temperature,
    brier_scores,
    expected_calibration_error,
    fit_temperature,
    log_losses,
)
from cxr.evaluation.scores.operating_points import weighted_sensitivity_at
from cxr.evaluation.scores.results import Calibration, FurtherScores
from cxr.formatting import Estimate, counted, patients, xrays
from cxr.models.card import MULTI_LABEL

VALIDATION = "val"
NOT_FITTED = "not fitted: no validation split"
OWN_SPLIT = "not measured: the temperature is fitted on this split"
SPECIFICITIES = {"sensitivity_at_90": 0.90, "sensitivity_at_95": 0.95}
RANKED = ("average_precision", *SPECIFICITIES)
PER_CLASS = ("specificity", *RANKED)


@dataclass(frozen=True)
class Entries:
    """What is true and what was predicted of each class, (N, K) each, and the patients (N,).

    ``known`` says which entries count; of classes that exclude each other all do.
    """

    task: str
    logits: np.ndarray
    chances: np.ndarray
    true: np.ndarray
    known: np.ndarray
    predicted: np.ndarray
    groups: list[str]

    @classmethod
    def of(cls, table: pd.DataFrame, classes: Sequence[str], task: str, thresholds: Mapping[str, float]) -> Entries:
        """Return the entries of a table as :func:`cxr.evaluation.predict.predictions_table` makes it."""
        if task != MULTI_LABEL:
            table = table[table["label"].isin(list(classes))]
        logits = table[[f"logit_{c}" for c in classes]].to_numpy(np.float64)
        stored = [f"prob_{c}" for c in classes]
        known_chances = set(stored) <= set(table.columns)
        chances = table[stored].to_numpy(np.float64) if known_chances else probabilities(logits, task)
        if task == MULTI_LABEL:
            targets = table[[f"target_{c}" for c in classes]].to_numpy(np.float64)
            limits = np.array([thresholds.get(c, THRESHOLD) for c in classes])
            true, known, predicted = targets == 1, np.isfinite(targets), chances > limits
        else:
            true, predicted = (
                np.column_stack([(table[name] == c).to_numpy(bool) for c in classes]) for name in ("label", "predicted")
            )
            known = np.ones_like(true)
        return cls(task, logits, chances, true, known, predicted, patients_of(table))

    def at(self, temperature: Temperature) -> np.ndarray:
        """Return the probabilities of logits divided by a temperature."""
        return probabilities(self.logits / temperature.value, self.task)


def temperature_of(
    table: pd.DataFrame, classes: Sequence[str], task: str, thresholds: Mapping[str, float] | None = None
) -> Temperature | NoTemperature:
    """Return the temperature fitted on a table's split ``val``, or why there is none."""
    entries = Entries.of(table[table["split"] == VALIDATION], classes, task, thresholds or {})
    if not len(entries.groups) or not entries.known.any():
        return NoTemperature(NOT_FITTED)
    return fit_temperature(entries.logits, entries.true, entries.known, task, VALIDATION, entries.groups)


def further_scores(
    table: pd.DataFrame,
    classes: Sequence[str],
    task: str,
    temperature: Temperature | NoTemperature = NoTemperature(NOT_FITTED),  # noqa: B008 - it cannot change
    thresholds: Mapping[str, float] | None = None,
) -> FurtherScores:
    """Return the further scores of predictions of one split.

    Parameters
    ----------
    table
        As ``predictions.parquet`` holds it: label and predicted, or ``target_<class>`` of findings, ``logit_<class>``,
        ``prob_<class>``, patient_id and image_id.
    temperature
        Of :func:`temperature_of`.
    thresholds
        By finding, the probability above which it is said to be there; 0.5 for the others.
    """
    entries = Entries.of(table, classes, task, thresholds or {})
    both = [c for c in range(len(classes)) if (entries.true & entries.known)[:, c].any() and _negatives(entries)[c]]
    scaled: Calibration
    if isinstance(temperature, NoTemperature):
        scaled = {"why": temperature.why}
    else:
        own = set(table["split"]) == {temperature.split}
        scaled = {"temperature": temperature.value, "fitted_on": temperature.split, "n_fitted": temperature.n}
        scaled |= {"why": OWN_SPLIT} if own else _calibration(entries, entries.at(temperature))
    shares = _shares(entries, both)
    overall = {name: values[0] for name, values in shares.items() if name not in PER_CLASS}
    of_chances = _calibration(entries, entries.chances)
    overall |= {"brier": of_chances["brier"], "log_loss": of_chances["log_loss"], "ece": of_chances["ece"]}
    return {
        "overall": overall,
        "per_class": {name: {score: shares[score][c] for score in PER_CLASS} for c, name in enumerate(classes)},
        "scaled": scaled,
        "undefined": _undefined(entries, classes),
        "errors": _errors(entries),
    }


def _negatives(entries: Entries) -> np.ndarray:
    return np.asarray((entries.known & ~entries.true).any(0))


def _shares(entries: Entries, both: list[int]) -> dict[str, list[Estimate]]:
    """Return the scores in [0, 1]: those by class, and means of them over the classes where they are defined."""
    k = entries.true.shape[1]
    nothing: Estimate = {"value": None, "low": None, "high": None}
    if not len(entries.groups):
        means = ("balanced_accuracy", "macro_recall", "macro_precision", "macro_f1", "macro_specificity")
        return {name: [nothing] for name in (*means, *(f"mean_{name}" for name in RANKED))} | {
            name: [nothing] * k for name in PER_CLASS
        }
    parts = [(entries.known & part).astype(float) for part in _cells(entries)]
    present = [c for c in range(k) if parts[0][:, c].any() or parts[2][:, c].any()]

    def values(weights: np.ndarray) -> dict[str, np.ndarray]:
        tp, fp, fn, tn = (weights @ part for part in parts)
        recall, specificity, precision = ratio(tp, tp + fn), ratio(tn, tn + fp), ratio(tp, tp + fp)
        f1 = ratio(2 * tp, 2 * tp + fp + fn)
        balanced = recall if entries.task != MULTI_LABEL else (recall + specificity) / 2
        ranked = {name: np.full((len(weights), k), np.nan) for name in RANKED}
        for c in both:
            known = weights * entries.known[:, c]
            arguments = (entries.true[:, c], entries.chances[:, c], known)
            ranked["average_precision"][:, c] = weighted_average_precision(*arguments)
            for name, least in SPECIFICITIES.items():
                ranked[name][:, c] = weighted_sensitivity_at(least, *arguments)
        return {
            "balanced_accuracy": _mean(balanced, present if entries.task != MULTI_LABEL else both),
            "macro_recall": _mean(recall, present),
            "macro_precision": _mean(precision, present),
            "macro_f1": _mean(f1, present),
            "macro_specificity": _mean(specificity, both),
            **{f"mean_{name}": _mean(ranked[name], both) for name in RANKED},
            "specificity": specificity,
            **ranked,
        }

    parts_of_means = {"mean_average_precision": ("average_precision", both)}
    numbers, scaled = _patients(entries, present, both), ("average_precision", "mean_average_precision")
    return estimates_of(values, numbers, entries.groups, 0, means=parts_of_means, stabilised=scaled)


def _cells(entries: Entries) -> list[np.ndarray]:
    true, predicted = entries.true, entries.predicted
    return [true & predicted, ~true & predicted, true & ~predicted, ~true & ~predicted]


def _patients(entries: Entries, present: list[int], both: list[int]) -> dict[str, list[float]]:
    """Return for how many independent images those of each score stand at the least."""
    tp, fp, fn, tn = (entries.known & part for part in _cells(entries))
    columns, numbers = range(entries.true.shape[1]), numbered(entries.groups)
    positive, negative, said, either = (
        [effective_patients(numbers, part[:, c]) for c in columns] for part in (tp | fn, fp | tn, tp | fp, tp | fp | fn)
    )
    pairs = [patients_of_pairs(*pair) for pair in zip(positive, negative, strict=True)]
    over = {
        "balanced_accuracy": (positive, present) if entries.task != MULTI_LABEL else (pairs, both),
        "macro_recall": (positive, present),
        "macro_precision": (said, present),
        "macro_f1": (either, present),
        "macro_specificity": (negative, both),
        **{f"mean_{name}": (positive, both) for name in RANKED},
    }
    means = {name: [mean_of_patients([numbers[c] for c in chosen])] for name, (numbers, chosen) in over.items()}
    return means | {"specificity": negative} | dict.fromkeys(RANKED, positive)


def _mean(values: np.ndarray, columns: list[int]) -> np.ndarray:
    return values[:, columns].mean(1, keepdims=True) if columns else np.full((len(values), 1), np.nan)


def _calibration(entries: Entries, chances: np.ndarray) -> Calibration:
    """Return Brier score, log loss and calibration error of probabilities (N, K)."""
    n = len(entries.groups)
    if not n:
        nothing: Estimate = {"value": None, "low": None, "high": None}
        return {"brier": nothing, "log_loss": nothing, "ece": nothing}
    known = entries.known if entries.task == MULTI_LABEL else entries.known[:, :1]
    counted = [c for c in range(known.shape[1]) if known[:, c].any()]
    squares, losses = (
        np.where(known, score(chances, entries.true, entries.task), 0.0)[:, counted]
        for score in (brier_scores, log_losses)
    )
    weights_of = known[:, counted].astype(np.float64)

    def mean_of(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.asarray(ratio(weights @ columns, weights @ weights_of).mean(1, keepdims=True))

    def mean_loss(weights: np.ndarray) -> np.ndarray:
        return mean_of(losses, weights)

    independent = {"brier": [effective_patients(entries.groups)]}
    brier = estimates_of(lambda w: {"brier": mean_of(squares, w)}, independent, entries.groups, 0)["brier"][0]
    if entries.task != MULTI_LABEL and chances.shape[1] > 2:
        brier = _doubled(brier)
    loss = float(mean_loss(np.ones((1, n)))[0, 0])
    error, limits = expected_calibration_error(chances, entries.true, known, entries.task, entries.groups)
    return {
        "brier": brier,
        "log_loss": estimate(loss, ratio_intervals(mean_loss, entries.groups)[0]),
        "ece": estimate(error, limits),
    }


def _doubled(score: Estimate) -> Estimate:
    """Return the sum over three classes and more of a score that is half of it."""
    value, low, high = (None if x is None else 2 * x for x in (score["value"], score["low"], score["high"]))
    return {"value": value, "low": low, "high": high}


def _undefined(entries: Entries, classes: Sequence[str]) -> dict[str, str]:
    there, negatives = (entries.true & entries.known).any(0), _negatives(entries)
    reasons: dict[str, str] = {}
    for c, name in enumerate(classes):
        if not there[c]:
            reasons[name] = "no X-ray of it: no recall, F1, AUC or average precision, and in no mean of these"
        elif not negatives[c]:
            reasons[name] = "no X-ray without it: no specificity, AUC or average precision, and in no mean of these"
        elif not (entries.predicted & entries.known)[:, c].any():
            reasons[name] = "never predicted: it has no precision, so there is no mean precision"
    return reasons


def _errors(entries: Entries) -> str:
    wrong = ((entries.predicted != entries.true) & entries.known).any(1)
    n = int(wrong.sum())
    n_with_error = len({group for group, bad in zip(entries.groups, wrong, strict=True) if bad})
    of_them = f" ({patients(n_with_error)} with at least one)" if n else ""
    return f"{counted(n, 'error')} in {xrays(len(wrong), len(set(entries.groups)))}{of_them}"
