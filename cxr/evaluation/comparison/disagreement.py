"""The X-rays on which two runs disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxr.evaluation.comparison.pairing import Paired
from cxr.evaluation.multilabel import THRESHOLD
from cxr.models.card import MULTI_LABEL

FIRST, SECOND, BOTH = "first", "second", "both"
"""Who alone is right; both are wrong, each in its own way."""


def disagreements(
    paired: Paired,
    first: int,
    second: int,
    finding: str = "",
    thresholds: Sequence[Mapping[str, float]] = (),
) -> pd.DataFrame:
    """Return the X-rays of which two runs say different things, those first where they are furthest apart.

    Columns: ``image_id``, ``patient``, ``label``, ``first`` and ``second`` (what each says), ``prob_first`` and
    ``prob_second`` (how probable each holds its own answer, or the finding), ``right`` (:data:`FIRST`, :data:`SECOND`,
    :data:`BOTH`: wrong) and ``apart``.

    Parameters
    ----------
    finding
        Where the task is multi-label: the finding of which they say different things, at each run's threshold.
    thresholds
        By run and finding; 0.5 where one is not given.
    """
    if paired.task == MULTI_LABEL:
        return _of_finding(paired, first, second, finding, thresholds)
    said = paired.predicted[[first, second]]
    rows = np.flatnonzero(said[0] != said[1])
    names = np.array(paired.classes, dtype=object)
    own = [paired.scores[run, rows, said[k, rows]] for k, run in enumerate((first, second))]
    right = np.where(said[0] == paired.truth, FIRST, np.where(said[1] == paired.truth, SECOND, BOTH))[rows]
    apart = np.abs(paired.scores[first, rows] - paired.scores[second, rows]).sum(1) / 2
    answers = (names[said[0, rows]], names[said[1, rows]])
    return _table(paired, rows, names[paired.truth[rows]], answers, own, right, apart)


def _of_finding(
    paired: Paired, first: int, second: int, finding: str, thresholds: Sequence[Mapping[str, float]]
) -> pd.DataFrame:
    k = paired.classes.index(finding)
    truth = paired.truth[:, k]
    limits = [thresholds[run].get(finding, THRESHOLD) if thresholds else THRESHOLD for run in (first, second)]
    chances = paired.scores[[first, second], :, k]
    said = chances > np.array(limits)[:, None]
    rows = np.flatnonzero((said[0] != said[1]) & np.isfinite(truth))
    words = np.array(["absent", "present"], dtype=object)
    right = np.where(said[0] == truth, FIRST, SECOND)[rows]
    answers = (words[said[0, rows].astype(int)], words[said[1, rows].astype(int)])
    apart = np.abs(chances[0] - chances[1])[rows]
    return _table(
        paired, rows, words[truth[rows].astype(int)], answers, [chances[0, rows], chances[1, rows]], right, apart
    )


def _table(
    paired: Paired,
    rows: np.ndarray,
    labels: np.ndarray,
    answers: tuple[np.ndarray, np.ndarray],
    chances: Sequence[np.ndarray],
    right: np.ndarray,
    apart: np.ndarray,
) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "image_id": [paired.ids[k] for k in rows],
            "patient": [paired.patients[k] for k in rows],
            "label": labels,
            "first": answers[0],
            "second": answers[1],
            "prob_first": chances[0],
            "prob_second": chances[1],
            "right": right,
            "apart": apart,
        }
    )
    return table.sort_values("apart", ascending=False, ignore_index=True)
