"""What masking does to each finding of a network that looks for several, which do not exclude each other.

Each finding has a probability of its own (sigmoid) and counts as there above its threshold: the publisher's, else 0.5.
Tests of single findings are
corrected over all findings and mask modes together (Holm 1979): of 14 findings one is expected to stand out by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cxr.evaluation.intervals import (
    difference_intervals,
    effective_patients,
    mean_of_patients,
    patients_of_pairs,
)
from cxr.evaluation.metrics import sigmoid, weighted_auc
from cxr.experiments.masking.effects import (
    SMALLEST_EFFECT,
    Answers,
    beyond_control,
    correct,
    effects,
    interval,
    paired_shares,
)
from cxr.experiments.masking.shapes import ByBoxes, ByClass, Effect, FindingEffect, FindingFlip, FindingsEffect

SIGNIFICANT = 0.05


def effects_by_finding(answers: Answers, classes: Sequence[str], seed: int = 0) -> dict[str, Effect]:
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
    for mode, effect in results.items():
        results[mode] = {**effect, **_of_mode(answers, answers.under(mode), classes, seed)}
    findings = [finding for effect in results.values() for finding in effect["findings"].values()]
    correct([finding["moved_beyond_random"] for finding in findings])
    correct([finding["moved_beyond_other"] for finding in findings])
    return results


def _of_mode(answers: Answers, under: Mapping[str, np.ndarray], classes: Sequence[str], seed: int) -> FindingsEffect:
    auc, auc_by_finding = _of_known(answers, under, classes, seed)
    return {
        "findings": {c: _of_finding(answers, under, k, seed) for k, c in enumerate(classes)},
        "flips": _crossings(answers, under, classes),
        "auc": auc,
        "auc_by_finding": auc_by_finding,
    }


def standing_out(findings: Mapping[str, FindingEffect]) -> list[str]:
    """Return the findings whose probability moves farther than under random boxes, the farthest first.

    What moves farther by less than :data:`cxr.experiments.masking.effects.SMALLEST_EFFECT` does not count.
    """
    beyond = {name: of["moved_beyond_random"] for name, of in findings.items()}
    values = {name: entry["value"] or 0.0 for name, entry in beyond.items()}
    significant = [name for name, entry in beyond.items() if (p := entry["p_holm"]) is not None and p < SIGNIFICANT]
    return sorted((name for name in significant if values[name] >= SMALLEST_EFFECT), key=lambda name: -values[name])


def _of_finding(answers: Answers, under: Mapping[str, np.ndarray], k: int, seed: int) -> FindingEffect:
    before = answers.before[:, k]
    cut = 0.0 if answers.limits is None else answers.limits[k]
    crossed = {name: ((logits[:, :, k] > cut) != (before > cut)).mean(0) for name, logits in under.items()}
    sizes = {name: np.abs(sigmoid(logits[:, :, k]) - sigmoid(before)).mean(0) for name, logits in under.items()}
    return {
        "changed": paired_shares(crossed, answers.patients, seed),
        "moved": paired_shares(sizes, answers.patients, seed),
        "moved_beyond_random": beyond_control(sizes["tokens"] - sizes["random"], answers.patients, seed),
        "moved_beyond_other": beyond_control(sizes["tokens"] - sizes["other"], answers.patients, seed),
    }


def _crossings(answers: Answers, under: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[FindingFlip]:
    cut = 0.0 if answers.limits is None else answers.limits
    above = answers.before > cut
    rows: list[FindingFlip] = []
    for to, was in (("present", ~above), ("absent", above)):
        counts = {name: (was & ((logits > cut) != above)).sum(1).mean(0) for name, logits in under.items()}
        rows += [
            {
                "finding": c,
                "to": to,
                "tokens": float(counts["tokens"][k]),
                "random": float(counts["random"][k]),
                "other": float(counts["other"][k]),
            }
            for k, c in enumerate(classes)
        ]
    counted = [row for row in rows if row["tokens"] or row["random"] or row["other"]]
    return sorted(counted, key=lambda row: -row["tokens"])


# --- what needs known findings -------------------------------------------------------------------------------------


def measurable(truth: np.ndarray) -> list[int]:
    """Return the columns of findings (N, K) of 1, 0 and NaN that hold both 1 and 0: those that have an AUC."""
    return [k for k in range(truth.shape[1]) if (truth[:, k] == 1).any() and (truth[:, k] == 0).any()]


def _of_known(
    answers: Answers, under: Mapping[str, np.ndarray], classes: Sequence[str], seed: int
) -> tuple[ByBoxes, dict[str, ByClass]]:
    """Return the change of the mean AUC by boxes, and that of each finding by boxes and name."""
    nothing = interval(None, None)
    columns = measurable(answers.truth)
    if not columns:
        return dict.fromkeys(under, nothing), {name: {} for name in under}
    differences = _differences(answers, under, columns)
    values = differences(np.ones((1, len(answers.truth))))[0]
    stated, true = np.isfinite(answers.truth), answers.truth == 1
    own = [
        patients_of_pairs(*(effective_patients(answers.patients, rows[:, k]) for rows in (true, stated & ~true)))
        for k in columns
    ]
    limits = difference_intervals(differences, answers.patients, [*own, mean_of_patients(own)] * len(under), seed)
    entries = iter([interval(float(v), pair) for v, pair in zip(values, limits, strict=True)])
    auc: ByBoxes = {}
    auc_by_finding: dict[str, ByClass] = {}
    for name in under:
        auc_by_finding[name] = {classes[k]: next(entries) for k in columns}
        auc[name] = next(entries)
    return auc, auc_by_finding


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
