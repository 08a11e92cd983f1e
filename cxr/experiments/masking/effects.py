"""What masking does to a network's answers, held against its controls, with the uncertainty of the patients drawn.

Every number compares two answers about the same image, so intervals are those of paired differences over patients and
never those of two separate samples (:mod:`cxr.evaluation.intervals`).

A network of one decision predicts a class. One of several findings says of each whether it is there: above the
threshold that its publisher states, else above a probability of 0.5. What it says of an image has changed where any
finding crosses its threshold (see also :mod:`cxr.experiments.masking.effects_by_finding`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.special import logit

from cxr.evaluation.intervals import FEWEST_PATIENTS, difference_intervals, mean_intervals, sign_flips
from cxr.evaluation.metrics import Figures, probabilities, softmax, weighted_auc
from cxr.evaluation.multilabel import THRESHOLD
from cxr.evaluation.tests import holm
from cxr.experiments.masking.shapes import ByBoxes, ByClass, ClassFlip, Comparison, Effect, LabelledEffect
from cxr.formatting import Estimate
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL, ModelCard

SMALLEST_EFFECT = 0.005
"""Of predictions that change, or of probability moved, beyond a control: what is less is called too small to matter."""

TOO_FEW_PATIENTS = f"With fewer than {FEWEST_PATIENTS} patients no difference to a control can be shown."
"""Said where differences to a control have no interval."""

Key = TypeVar("Key")


@dataclass(frozen=True)
class Answers:
    """Logits of the same N images under several conditions.

    Attributes
    ----------
    before
        (N, K), nothing masked.
    tokens
        (N, K) by mask mode, the tokens masked.
    random
        (D, N, K) by mask mode, D draws of random boxes masked.
    other
        (N, K) by mask mode, the boxes of another image masked.
    truth
        (N,) index of the label's class, -1 where it is unknown; of several findings (N, K) of 1 and 0, NaN where it is
        unknown.
    patients
        (N,) what is drawn with replacement.
    task
        ``single-label`` or ``multi-label``.
    limits
        (K,) logits above which each of several findings is said to be there; None for 0 (:func:`limits_of`).
    """

    before: np.ndarray
    tokens: dict[str, np.ndarray]
    random: dict[str, np.ndarray]
    other: dict[str, np.ndarray]
    truth: np.ndarray
    patients: Sequence[str]
    task: str = SINGLE_LABEL
    limits: np.ndarray | None = None

    @property
    def multi_label(self) -> bool:
        """Whether the network says of each finding whether it is there."""
        return self.task == MULTI_LABEL

    def only(self, chosen: np.ndarray) -> Answers:
        """Return the answers about the images where ``chosen`` (N,) is True."""
        return replace(
            self,
            before=self.before[chosen],
            tokens={mode: logits[chosen] for mode, logits in self.tokens.items()},
            random={mode: logits[:, chosen] for mode, logits in self.random.items()},
            other={mode: logits[chosen] for mode, logits in self.other.items()},
            truth=self.truth[chosen],
            patients=[patient for patient, is_chosen in zip(self.patients, chosen, strict=True) if is_chosen],
        )

    def under(self, mode: str) -> dict[str, np.ndarray]:
        """Return the logits (D, N, K) in a mask mode by what was masked: ``tokens``, ``random``, ``other``."""
        return {"tokens": self.tokens[mode][None], "random": self.random[mode], "other": self.other[mode][None]}

    def changed(self, after: np.ndarray) -> np.ndarray:
        """Return the share of draws (N,) in which the network says something else; ``after`` is (D, N, K)."""
        return self.differ(self.before, after).mean(0)

    def differ(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Return whether the network says something else of each image; arguments as :func:`decisions_differ`."""
        return decisions_differ(before, after, self.task, self.limits)


def effects(answers: Answers, classes: Sequence[str], seed: int = 0) -> dict[str, Effect]:
    """Return what each mask mode does.

    Returns
    -------
    By mode:

    - ``changed``: share of predictions that change, for ``tokens``, ``random`` (mean over draws) and ``other``, as
      ``{value, low, high}``; ``beyond_random`` and ``beyond_other``, the differences, with ``p`` (signs of patients
      flipped) and ``p_holm``, corrected over modes (Holm 1979)
    - ``moved``: how far probabilities move (:func:`moved`), and ``moved_beyond_random``, ``moved_beyond_other``
    - ``accuracy``, ``macro_f1``, ``auc``, ``recall`` by class: after minus before, for the three, on labelled images;
      accuracy with ``p`` (signs of patients flipped) and ``p_holm``, ``became_wrong``, ``became_right``
    - ``logit`` and ``probability``: mean change by class, for the three
    - ``flips``: from which class to which, with the count under random boxes, mean over draws

    Of several findings there is no accuracy and no F1, recall and flips from class to class:
    :func:`cxr.experiments.masking.effects_by_finding.effects_by_finding` has what there is instead.
    """
    results = {mode: _of_mode(answers, mode, classes, seed) for mode in answers.tokens}
    if not answers.multi_label:
        for mode, effect in results.items():
            under = answers.under(mode)
            flips = _flips(answers.before.argmax(1), under, classes)
            results[mode] = {**effect, **_of_labelled(answers, under, classes, seed), "flips": flips}
        correct([effect["accuracy"]["tokens"] for effect in results.values()])
    correct([effect["beyond_random"] for effect in results.values()])
    correct([effect["beyond_other"] for effect in results.values()])
    correct([effect["moved_beyond_random"] for effect in results.values()])
    correct([effect["moved_beyond_other"] for effect in results.values()])
    return results


def correct(tests: Sequence[Comparison]) -> None:
    """Add ``p_holm`` to tests that belong together: their ``p`` corrected for their number (Holm 1979)."""
    for test, corrected in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = corrected


def _of_mode(answers: Answers, mode: str, classes: Sequence[str], seed: int) -> Effect:
    under = answers.under(mode)
    changed = {name: answers.changed(logits) for name, logits in under.items()}
    distance = {name: moved(answers.before, logits, answers.task) for name, logits in under.items()}

    def beyond(numbers: Mapping[str, np.ndarray], control: str) -> Comparison:
        return beyond_control(numbers["tokens"] - numbers[control], answers.patients, seed)

    return {
        "changed": paired_shares(changed, answers.patients, seed),
        "beyond_random": beyond(changed, "random"),
        "beyond_other": beyond(changed, "other"),
        "moved": paired_shares(distance, answers.patients, seed),
        "moved_beyond_random": beyond(distance, "random"),
        "moved_beyond_other": beyond(distance, "other"),
        "logit": _moves(answers, under, classes, np.asarray, seed),
        "probability": _moves(answers, under, classes, lambda logits: probabilities(logits, answers.task), seed),
    }


def paired_means(columns: Mapping[Key, np.ndarray], patients: Sequence[str], seed: int = 0) -> dict[Key, Estimate]:
    """Return the mean of each column (N,) as ``{value, low, high}``, limits None where nothing differs."""
    return _means(columns, patients, seed, bounded=False)


def paired_shares(columns: Mapping[Key, np.ndarray], patients: Sequence[str], seed: int = 0) -> dict[Key, Estimate]:
    """Return the mean of each column (N,) of shares, or of other numbers in [0, 1], as ``{value, low, high}``."""
    return _means(columns, patients, seed, bounded=True)


def _means(columns: Mapping[Key, np.ndarray], patients: Sequence[str], seed: int, bounded: bool) -> dict[Key, Estimate]:
    if not len(patients):
        return {name: {"value": None, "low": None, "high": None} for name in columns}
    values = np.column_stack(list(columns.values())).astype(np.float64)
    limits = mean_intervals(values, patients, seed, bounded=bounded)
    return {name: interval(float(values[:, k].mean()), limits[k]) for k, name in enumerate(columns)}


def interval(value: float | None, limits: tuple[float, float] | None) -> Estimate:
    """Return ``{value, low, high}``, without limits None for both."""
    low, high = limits or (None, None)
    return {"value": value, "low": low, "high": high}


def beyond_control(beyond: np.ndarray, patients: Sequence[str], seed: int = 0) -> Comparison:
    """Return the mean of differences (N,) as ``{value, low, high, p}``, as :func:`sign_flips` says it."""
    test = sign_flips(beyond, patients, seed)
    value = test.value if len(beyond) else None
    return {"value": value, "low": test.low, "high": test.high, "p": test.p}


def limits_of(card: ModelCard) -> np.ndarray:
    """Return the logits (K,) above which a network says of each finding that it is there: 0 is a probability of 0.5."""
    return np.array([logit(card.thresholds.get(name, THRESHOLD)) for name in card.classes])


def decisions_differ(
    before: np.ndarray, after: np.ndarray, task: str = SINGLE_LABEL, limits: np.ndarray | None = None
) -> np.ndarray:
    """Return whether a network says something else of each image, bool (..., N), of logits (N, K) and (..., N, K)."""
    if task == MULTI_LABEL:
        cut = 0.0 if limits is None else limits
        return np.asarray(((before > cut) != (after > cut)).any(-1))
    return np.asarray(before.argmax(-1) != after.argmax(-1))


def moved(before: np.ndarray, after: np.ndarray, task: str = SINGLE_LABEL) -> np.ndarray:
    """Return how far the probabilities of N images moved, 0 to 1 (N,), mean over draws.

    Of classes it is half the sum of the changes' sizes, of findings their mean.

    Parameters
    ----------
    before
        Logits (N, K).
    after
        Logits (D, N, K) of D draws.
    """
    sizes = np.abs(probabilities(after, task) - probabilities(before, task))
    return np.asarray(sizes.mean(2).mean(0) if task == MULTI_LABEL else sizes.sum(2).mean(0) / 2)


def _moves(
    answers: Answers,
    under: dict[str, np.ndarray],
    classes: Sequence[str],
    turn: Callable[[np.ndarray], np.ndarray],
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    """Return how far each class's number moves, mean over images (and draws)."""
    before = turn(answers.before)
    columns: dict[tuple[str, str], np.ndarray] = {}
    for name, draws in under.items():
        moved = np.mean([turn(logits) for logits in draws], axis=0) - before
        columns |= {(name, c): moved[:, k] for k, c in enumerate(classes)}
    means = paired_means(columns, answers.patients, seed)
    return {name: {c: means[name, c] for c in classes} for name in under}


def _flips(before: np.ndarray, under: dict[str, np.ndarray], classes: Sequence[str]) -> list[ClassFlip]:
    n = len(classes)
    counts = {
        name: np.mean([np.bincount(before * n + logits.argmax(1), minlength=n * n) for logits in draws], axis=0)
        for name, draws in under.items()
    }
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b]
    rows: list[ClassFlip] = [
        {
            "from": classes[a],
            "to": classes[b],
            "tokens": float(counts["tokens"][a * n + b]),
            "random": float(counts["random"][a * n + b]),
            "other": float(counts["other"][a * n + b]),
        }
        for a, b in pairs
    ]
    counted = [row for row in rows if row["tokens"] or row["random"] or row["other"]]
    return sorted(counted, key=lambda row: -row["tokens"])


# --- what needs labels ---------------------------------------------------------------------------------------------


def _of_labelled(answers: Answers, under: dict[str, np.ndarray], classes: Sequence[str], seed: int) -> LabelledEffect:
    labelled = answers.truth >= 0
    measures: dict[str, ByBoxes] = {measure: {} for measure in ("macro_f1", "auc")}
    accuracy: dict[str, Comparison] = {}
    recall: dict[str, ByClass] = {name: {} for name in under}
    truth, before = answers.truth[labelled], answers.before[labelled]
    present = [k for k in range(len(classes)) if (truth == k).any()]
    names = ["accuracy", "macro_f1", "auc", *(f"recall {classes[k]}" for k in present)]
    draws = {name: logits[:, labelled] for name, logits in under.items()}
    differences = _differences(truth, before, draws, present)
    values = np.full(len(names) * len(draws), np.nan)
    limits: list[tuple[float, float] | None] = [None] * len(values)
    if labelled.any():
        patients = [patient for patient, is_labelled in zip(answers.patients, labelled, strict=True) if is_labelled]
        values = differences(np.ones((1, len(truth))))[0]
        own = Figures(truth, before.argmax(1), softmax(before), len(classes)).patients(patients)
        of = [*own["accuracy"], *own["macro_f1"], *own["auc"], *(own["recall"][k] for k in present)]
        limits = difference_intervals(differences, patients, of * len(draws), seed)
    entries = [interval(float(v) if np.isfinite(v) else None, i) for v, i in zip(values, limits, strict=True)]
    for (name, measure), entry in zip(((n, m) for n in draws for m in names), entries, strict=True):
        if measure.startswith("recall "):
            recall[name][measure.removeprefix("recall ")] = entry
        elif measure == "accuracy":
            accuracy[name] = {"value": entry["value"], "low": entry["low"], "high": entry["high"]}
        else:
            measures[measure][name] = entry
    right, still = before.argmax(1) == truth, draws["tokens"][0].argmax(1) == truth
    if labelled.any():
        accuracy["tokens"] = beyond_control(still.astype(float) - right, patients, seed)
    of_tokens = accuracy["tokens"]
    of_tokens["p"] = of_tokens.get("p")
    of_tokens["became_wrong"] = int((right & ~still).sum())
    of_tokens["became_right"] = int((~right & still).sum())
    return {
        "accuracy": accuracy,
        "macro_f1": measures["macro_f1"],
        "auc": measures["auc"],
        "recall": recall,
    }


def _differences(
    truth: np.ndarray, before: np.ndarray, draws: dict[str, np.ndarray], present: list[int]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of weights (B, N): each measure of each condition (mean over draws) minus before, (B, S)."""

    def differences(weights: np.ndarray) -> np.ndarray:
        base = _measures(truth, before, weights, present)
        after = [
            np.mean([_measures(truth, logits, weights, present) for logits in each], axis=0) for each in draws.values()
        ]
        return np.concatenate([each - base for each in after], axis=1)

    return differences


def _measures(truth: np.ndarray, logits: np.ndarray, weights: np.ndarray, present: list[int]) -> np.ndarray:
    """Return (B, S): accuracy, macro F1, AUC and the recall of each class that is present, for weights (B, N)."""
    predicted, chances = logits.argmax(1), softmax(logits)
    hits = {k: weights @ ((truth == k) & (predicted == k)) for k in present}
    labelled = {k: weights @ (truth == k) for k in present}
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = {k: hits[k] / labelled[k] for k in present}
        f1 = [2 * hits[k] / (labelled[k] + weights @ (predicted == k)) for k in present]
        aucs = [
            weighted_auc(truth == k, chances[:, k], weights)
            if 0 < (truth == k).sum() < len(truth)
            else np.nan * hits[k]
            for k in present
        ]
    accuracy = weights @ (predicted == truth) / weights.sum(1)
    return np.column_stack([accuracy, np.mean(f1, axis=0), np.mean(aucs, axis=0), *(recall[k] for k in present)])
