"""Probes in memory: each question from each view, with its interval, its chance level and its test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cxr.evaluation.intervals import (
    Limits,
    effective_patients,
    jackknife,
    mean_of_patients,
    patients_of_pairs,
    share_interval,
)
from cxr.evaluation.metrics import estimate, ratio, weighted_auc
from cxr.evaluation.tests import holm
from cxr.experiments.probes.descriptors import block_weights
from cxr.experiments.probes.discriminant import N_FOLDS, Folds, dealt, permutation_test
from cxr.experiments.probes.questions import FEWEST_PATIENTS, Question, one_of_each
from cxr.experiments.probes.results import NO_PLAUSIBLE, SAME, SIGNIFICANT, ProbeEntry, is_warning, sentence
from cxr.formatting import Estimate

FEWEST_PERMUTATIONS = 1000
_FOR_EACH_PROBE = 40
SHARED_LEARNING = 1 + N_FOLDS / (N_FOLDS - 1)
"""By how much the variance of a cross-validated score is larger than over patients alone: ``benchmarks/probes.py``."""
_NONE = Estimate(value=None, low=None, high=None)

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Predictions:
    """What the probe of one question and view says of X-rays that it did not learn from.

    Attributes
    ----------
    rows
        (M,) the X-rays, as numbers of rows.
    truth, fold
        (M,) their answers from 0, and the fold in which each was tested.
    probability
        (M, K) of the answers.
    """

    question: Question
    view: str
    rows: np.ndarray
    truth: np.ndarray
    fold: np.ndarray
    probability: np.ndarray


def probe(
    descriptors: Mapping[str, np.ndarray],
    questions: Sequence[Question],
    groups: np.ndarray,
    *,
    usable: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    progress: Progress = lambda fraction, text: None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[ProbeEntry], list[Predictions]]:
    """Return an entry for each question and view, corrected for their number, and what each probe predicted.

    Parameters
    ----------
    descriptors
        By view, (N, P) of the X-rays (:func:`cxr.experiments.probes.descriptors.describe`).
    questions
        :func:`cxr.experiments.probes.questions.questions_of` the same X-rays.
    groups
        (N,) the patient of each X-ray as a number (:func:`cxr.experiments.probes.questions.groups_of`).
    usable
        By view, (N,) which X-rays show it at all; by default all of them.
    stopped
        Asked now and then; once it says so, the entries so far are returned.
    """
    pairs = [(question, view) for question in questions for view in descriptors]
    most = max(FEWEST_PERMUTATIONS, _FOR_EACH_PROBE * sum(not question.reason for question, _ in pairs))
    entries: list[ProbeEntry] = []
    predictions: list[Predictions] = []
    for done, (question, view) in enumerate(pairs):
        if stopped():
            break
        progress(done / len(pairs), f"probe {done + 1} of {len(pairs)}: {question.target}, {view}")
        counted = question.counted if usable is None or view not in usable else question.counted & usable[view]
        entry, own = _probed(descriptors[view], question, view, counted, groups, most, seed, stopped)
        entries.append(entry)
        predictions += [own] if own is not None else []
    for entry, p in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p_corrected"] = p
        entry["shown"] = p is not None and p < SIGNIFICANT
        entry["warning"] = entry["shown"] and is_warning(entry["kind"], entry["view"])
        entry["sentence"] = sentence(entry) if entry["shown"] else ""
    return entries, predictions


def _probed(
    descriptors: np.ndarray,
    question: Question,
    view: str,
    counted: np.ndarray,
    groups: np.ndarray,
    most: int,
    seed: int,
    stopped: Callable[[], bool],
) -> tuple[ProbeEntry, Predictions | None]:
    rows = np.flatnonzero(counted)
    codes, own_groups = question.codes[rows], np.unique(groups[rows], return_inverse=True)[1]
    entry = ProbeEntry(
        target=question.target,
        kind=question.kind,
        of=question.of,
        view=view,
        classes=list(question.names),
        left_out=list(question.left_out),
        n_images=len(rows),
        n_patients=len(np.unique(own_groups)),
        score=_NONE,
        auc=_NONE,
        chance=None,
        p=None,
        p_corrected=None,
        permutations=0,
        shown=False,
        warning=False,
        sentence="",
        reason=question.reason,
    )
    if question.reason:
        return entry, None
    drawn = one_of_each(own_groups, np.ones(len(rows), bool), seed)
    n_classes = len(question.names)
    if np.bincount(codes[drawn], minlength=n_classes).min() < FEWEST_PATIENTS:
        return entry | {"reason": NO_PLAUSIBLE}, None
    points = descriptors[rows].astype(np.float32)
    if not np.ptp(points, axis=0).max():
        return entry | {"reason": SAME}, None
    folds = Folds.of(points, dealt(codes, own_groups, drawn, seed), block_weights())
    test = permutation_test(folds, codes, drawn, most, seed, stopped)
    if test is None:
        return entry, None
    scores = folds.scores(codes[None], n_classes, np.ones(len(rows), bool))[0].astype(np.float64)
    likelihood = np.exp(scores - scores.max(1, keepdims=True))
    said = Predictions(question, view, rows, codes, folds.fold, likelihood / likelihood.sum(1, keepdims=True))
    entry["score"], entry["auc"] = measured(said, scores, own_groups, seed)
    return entry | {"chance": test.chance, "p": test.p, "permutations": test.n}, said


def measured(said: Predictions, scores: np.ndarray, groups: np.ndarray, seed: int = 0) -> tuple[Estimate, Estimate]:
    """Return balanced accuracy and mean AUC over classes of predictions, with their intervals over patients.

    Pairs of an AUC are compared within a fold alone.

    Parameters
    ----------
    scores
        (M, K) of the classes, from which the predictions come.
    groups
        (M,) the patient of each X-ray.
    """
    truth, n_classes = said.truth, len(said.question.names)
    hits = (scores.argmax(1) == truth).astype(np.float64)
    own = [(truth == c).astype(np.float64) for c in range(n_classes)]
    margins = [scores[:, c] - np.delete(scores, c, axis=1).max(1) for c in range(n_classes)]

    def figures(weights: np.ndarray) -> np.ndarray:
        recalls = [ratio(weights @ (hits * side), weights @ side) for side in own]
        areas = [fold_auc(side == 1, margin, said.fold, weights) for side, margin in zip(own, margins, strict=True)]
        return np.column_stack([np.mean(recalls, axis=0), np.mean(areas, axis=0)])

    with_it = [effective_patients(groups, side == 1) for side in own]
    pairs = [patients_of_pairs(n, effective_patients(groups, side == 0)) for n, side in zip(with_it, own, strict=True)]
    limits = _intervals(figures, groups, [mean_of_patients(with_it), mean_of_patients(pairs)], seed)
    values = figures(np.ones((1, len(truth))))[0]
    score, auc = (estimate(float(value), interval) for value, interval in zip(values, limits, strict=True))
    return score, auc


def _intervals(
    figures: Callable[[np.ndarray], np.ndarray], groups: np.ndarray, patients: Sequence[float], seed: int
) -> list[Limits | None]:
    """Return intervals of cross-validated shares, as :func:`cxr.evaluation.intervals.share_intervals` does otherwise.

    Folds share what is learned, so that their scores go together. The variance over patients is that of X-rays whose
    classifier stays as it is; it is multiplied as Nadeau and Bengio (2003, *Machine Learning* 52) do.
    """
    spread = jackknife(figures, groups, seed)
    if spread is None:
        return [None] * len(patients)
    wider = replace(spread, variance=spread.variance * SHARED_LEARNING)
    return [share_interval(wider, k, n / SHARED_LEARNING) for k, n in enumerate(patients)]


def fold_auc(positive: np.ndarray, score: np.ndarray, fold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (B,) areas under the ROC curve over the pairs within folds, for weights (B, N)."""
    wins, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for k in range(int(fold.max()) + 1):
        own = fold == k
        drawn = weights[:, own]
        n = (drawn @ positive[own].astype(float)) * (drawn @ (~positive[own]).astype(float))
        wins += np.where(n > 0, n * np.nan_to_num(weighted_auc(positive[own], score[own], drawn)), 0)
        pairs += n
    return ratio(wins, pairs)


def predictions_table(predictions: Sequence[Predictions], image_ids: Sequence[str]) -> pd.DataFrame:
    """Return one row for each X-ray and probe: image_id, target, view, truth, predicted, probability of the truth."""
    ids = np.asarray(image_ids, dtype=object)
    tables = []
    for said in predictions:
        names = np.asarray(said.question.names, dtype=object)
        tables.append(
            pd.DataFrame(
                {
                    "image_id": ids[said.rows],
                    "target": said.question.target,
                    "view": said.view,
                    "truth": names[said.truth],
                    "predicted": names[said.probability.argmax(1)],
                    "probability": said.probability[np.arange(len(said.rows)), said.truth].astype(np.float32),
                    "fold": said.fold.astype(np.int8),
                }
            )
        )
    columns = ["image_id", "target", "view", "truth", "predicted", "probability", "fold"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
