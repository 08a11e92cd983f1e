"""What masking does to each finding of a network that looks for several, which do not exclude each other.

Each finding has a probability of its own (sigmoid) and counts as there above its threshold: the publisher's, else 0.5.
Tests of single findings are
corrected over all findings and mask modes together (Holm 1979): of 14 findings one is expected to stand out by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cxr.evaluation.intervals import (
    difference_intervals,
    effective_patients,
    mean_of_patients,
    patients_of_pairs,
)
from cxr.evaluation.metrics import sigmoid, weighted_auc
from cxr.evaluation.tests import holm
from cxr.experiments.masking.effects import SMALLEST_EFFECT, Answers, beyond_control, effects, interval, paired_shares

SIGNIFICANT = 0.05
_COMPARED = ("moved_beyond_random", "moved_beyond_other")


def effects_by_finding(answers: Answers, classes: Sequence[str], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Return what each mask mode does to a network of several findings.

    Returns
    -------
    By mode, what :func:`cxr.experiments.masking.effects.effects` tells of any network (``changed``, ``moved`` and what
    goes beyond the controls, ``logit``, ``probability``), and

    - ``findings``, by name: ``changed`` (share of images on which it crosses its threshold) and ``moved`` (mean size of
      the change of its probability) for ``tokens``, ``random`` and ``other``; ``moved_beyond_random`` and
      ``moved_beyond_other``, the differences, with ``p`` (signs of patients flipped) and ``p_holm``, corrected over all
      findings of all modes
    - ``auc``: after minus before, for the three, mean over the findings that some images have and others have not;
      ``auc_by_finding``, by condition and name, of those
    - ``flips``: how many images gain and lose each finding, ``{"finding", "to", tokens, random, other}``
    """
    results = effects(answers, classes, seed)
    for mode in results:
        results[mode] |= _of_mode(answers, answers.under(mode), classes, seed)
    for name in _COMPARED:
        entries = [finding[name] for effect in results.values() for finding in effect["findings"].values()]
        for entry, corrected in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
            entry["p_holm"] = corrected
    return results


def _of_mode(answers: Answers, under: Mapping[str, np.ndarray], classes: Sequence[str], seed: int) -> dict[str, Any]:
    findings = {c: _of_finding(answers, under, k, seed) for k, c in enumerate(classes)}
    results = {"findings": findings, "flips": _crossings(answers, under, classes)}
    return results | _of_known(answers, under, classes, seed)


def standing_out(effect: Mapping[str, Any]) -> list[str]:
    """Return the findings whose probability moves farther than under random boxes, the farthest first.

    What moves farther by less than :data:`cxr.experiments.masking.effects.SMALLEST_EFFECT` does not count.
    """
    beyond = {name: of["moved_beyond_random"] for name, of in effect["findings"].items()}
    chosen = [
        name for name, entry in beyond.items() if entry["p_holm"] < SIGNIFICANT and entry["value"] >= SMALLEST_EFFECT
    ]
    return sorted(chosen, key=lambda name: -beyond[name]["value"])


def _of_finding(answers: Answers, under: Mapping[str, np.ndarray], k: int, seed: int) -> dict[str, Any]:
    before = answers.before[:, k]
    cut = 0.0 if answers.limits is None else answers.limits[k]
    crossed = {name: ((logits[:, :, k] > cut) != (before > cut)).mean(0) for name, logits in under.items()}
    sizes = {name: np.abs(sigmoid(logits[:, :, k]) - sigmoid(before)).mean(0) for name, logits in under.items()}
    results: dict[str, Any] = {
        "changed": paired_shares(crossed, answers.patients, seed),
        "moved": paired_shares(sizes, answers.patients, seed),
    }
    for control in ("random", "other"):
        beyond = sizes["tokens"] - sizes[control]
        results[f"moved_beyond_{control}"] = beyond_control(beyond, answers.patients, seed)
    return results


def _crossings(answers: Answers, under: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[dict[str, Any]]:
    cut = 0.0 if answers.limits is None else answers.limits
    above = answers.before > cut
    rows = []
    for to, was in (("present", ~above), ("absent", above)):
        counts = {name: (was & ((logits > cut) != above)).sum(1).mean(0) for name, logits in under.items()}
        rows += [
            {"finding": c, "to": to} | {name: float(count[k]) for name, count in counts.items()}
            for k, c in enumerate(classes)
        ]
    return sorted((row for row in rows if any(row[name] for name in under)), key=lambda row: -row["tokens"])


# --- what needs known findings -------------------------------------------------------------------------------------


def measurable(truth: np.ndarray) -> list[int]:
    """Return the columns of findings (N, K) of 1, 0 and NaN that hold both 1 and 0: those that have an AUC."""
    return [k for k in range(truth.shape[1]) if (truth[:, k] == 1).any() and (truth[:, k] == 0).any()]


def _of_known(answers: Answers, under: Mapping[str, np.ndarray], classes: Sequence[str], seed: int) -> dict[str, Any]:
    nothing = interval(None, None)
    columns = measurable(answers.truth)
    if not columns:
        return {"auc": dict.fromkeys(under, nothing), "auc_by_finding": {name: {} for name in under}}
    differences = _differences(answers, under, columns)
    values = differences(np.ones((1, len(answers.truth))))[0]
    stated, true = np.isfinite(answers.truth), answers.truth == 1
    own = [
        patients_of_pairs(*(effective_patients(answers.patients, rows[:, k]) for rows in (true, stated & ~true)))
        for k in columns
    ]
    limits = difference_intervals(differences, answers.patients, [*own, mean_of_patients(own)] * len(under), seed)
    entries = iter([interval(float(v), pair) for v, pair in zip(values, limits, strict=True)])
    results: dict[str, Any] = {"auc": {}, "auc_by_finding": {}}
    for name in under:
        results["auc_by_finding"][name] = {classes[k]: next(entries) for k in columns}
        results["auc"][name] = next(entries)
    return results


def _differences(
    answers: Answers, under: Mapping[str, np.ndarray], columns: Sequence[int]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of weights (B, N): AUC of each finding and their mean, after minus before, (B, S)."""
    stated, true = np.isfinite(answers.truth), answers.truth == 1

    def aucs(logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
        each = np.column_stack([weighted_auc(true[:, k], logits[:, k], weights * stated[:, k]) for k in columns])
        return np.column_stack([each, each.mean(1)])

    def differences(weights: np.ndarray) -> np.ndarray:
        base = aucs(answers.before, weights)
        after = [np.mean([aucs(logits, weights) for logits in draws], axis=0) for draws in under.values()]
        return np.concatenate([each - base for each in after], axis=1)

    return differences
