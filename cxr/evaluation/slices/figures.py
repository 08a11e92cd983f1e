"""The figure that slices are compared by: accuracy, or the mean AUC of findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from cxr.evaluation.intervals import FEWEST_PATIENTS, effective_patients, mean_of_patients, patients_of_pairs
from cxr.evaluation.metrics import auc_without, patients_of, ratio, weighted_auc
from cxr.evaluation.slices.differences import Side, Statistic
from cxr.evaluation.summary import TARGET
from cxr.formatting import patients as patients_in_words
from cxr.models.card import MULTI_LABEL


class Figure(Protocol):
    """A figure in [0, 1] of any part of the X-rays of a table of predictions."""

    name: str
    patients: np.ndarray

    def comparable(self, rows: np.ndarray, rest: np.ndarray) -> list[int]:
        """Return the findings that can be measured in both parts, given as (N,) bool; [] for classes."""

    def too_small(self, rows: np.ndarray, rest: np.ndarray) -> str:
        """Return why two parts cannot be compared, "" if they can."""

    def statistic(self, rows: np.ndarray, findings: Sequence[int]) -> Statistic:
        """Return the figure of a part as a function of weights (B, N) of all images."""

    def side(self, rows: np.ndarray, findings: Sequence[int]) -> Side:
        """Return the figure of a part, over its own patients."""

    def only_class(self, rows: np.ndarray) -> str:
        """Return the label that all X-rays of a part have, "" if there are several; of findings always ""."""

    def with_class(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, str]:
        """Return the X-rays (N,) of class ``k`` in a part, and why it has no figure, "" if it has one."""


def figure_of(table: pd.DataFrame, classes: Sequence[str], task: str) -> Figure:
    """Return the figure that fits a table of predictions of a task."""
    return MeanAuc(table, classes) if task == MULTI_LABEL else Accuracy(table, classes)


def n_patients(patients: np.ndarray, rows: np.ndarray) -> int:
    """Return how many patients the X-rays ``rows`` (N,) are of."""
    return len(set(patients[rows]))


def needed(n: int, of: str) -> str:
    """Return that a part has too few patients, and how many are needed; "" if it has enough."""
    return "" if n >= FEWEST_PATIENTS else f"{patients_in_words(n)} {of}; {FEWEST_PATIENTS} are needed"


class Accuracy:
    """The share of X-rays whose predicted class is their label."""

    name = "accuracy"

    def __init__(self, table: pd.DataFrame, classes: Sequence[str]) -> None:
        self.patients = np.array(patients_of(table), dtype=object)
        self.labels, self.classes = table["label"].to_numpy(), list(classes)
        self.right = (table["label"] == table["predicted"]).to_numpy(np.float64)

    def comparable(self, rows: np.ndarray, rest: np.ndarray) -> list[int]:
        """Return []: all X-rays count."""
        return []

    def too_small(self, rows: np.ndarray, rest: np.ndarray) -> str:
        """Return which part has too few patients, "" if none."""
        return needed(n_patients(self.patients, rows), "in it") or needed(
            n_patients(self.patients, rest), "in the rest"
        )

    def statistic(self, rows: np.ndarray, findings: Sequence[int]) -> Statistic:
        """Return the accuracy of a part for weights (B, N)."""
        count = rows.astype(np.float64)[:, None]
        hits = count * self.right[:, None]
        return lambda weights: ratio(weights @ hits, weights @ count)

    def side(self, rows: np.ndarray, findings: Sequence[int]) -> Side:
        """Return the accuracy of a part."""
        right, groups = self.right[rows][:, None], self.patients[rows]
        return Side.of(
            lambda weights: ratio(weights @ right, weights.sum(1, keepdims=True)), groups, effective_patients(groups)
        )

    def only_class(self, rows: np.ndarray) -> str:
        """Return the label that all X-rays of a part have, "" if there are several."""
        labels = set(self.labels[rows])
        return str(labels.pop()) if len(labels) == 1 else ""

    def with_class(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, str]:
        """Return the X-rays with the label."""
        own = rows & (self.labels == self.classes[k])
        return own, needed(n_patients(self.patients, own), "with it")


class MeanAuc:
    """The mean AUC over findings, each over the X-rays where it is known."""

    name = "mean AUC"

    def __init__(self, table: pd.DataFrame, classes: Sequence[str]) -> None:
        self.patients, self.classes = np.array(patients_of(table), dtype=object), list(classes)
        targets, chances = (
            table[[prefix + name for name in classes]].to_numpy(np.float64) for prefix in (TARGET, "prob_")
        )
        self.known, self.true, self.chances = np.isfinite(targets), targets == 1, chances

    def _too_few(self, rows: np.ndarray, k: int) -> str:
        with_it, without = rows & self.true[:, k], rows & self.known[:, k] & ~self.true[:, k]
        return needed(n_patients(self.patients, with_it), "with it") or needed(
            n_patients(self.patients, without), "without it"
        )

    def comparable(self, rows: np.ndarray, rest: np.ndarray) -> list[int]:
        """Return the findings that enough patients of both parts have, and enough have not."""
        return [k for k in range(len(self.classes)) if not self._too_few(rows, k) and not self._too_few(rest, k)]

    def too_small(self, rows: np.ndarray, rest: np.ndarray) -> str:
        """Return that no finding can be measured in both parts, "" if one can."""
        few = needed(n_patients(self.patients, rows), "in it") or needed(n_patients(self.patients, rest), "in the rest")
        if few or self.comparable(rows, rest):
            return few
        return f"no finding that {FEWEST_PATIENTS} patients have and {FEWEST_PATIENTS} have not, in it and in the rest"

    def statistic(self, rows: np.ndarray, findings: Sequence[int]) -> Statistic:
        """Return the mean AUC of a part for weights (B, N)."""
        return _MeanAucOf(self.true, self.known & rows[:, None], self.chances, findings)

    def side(self, rows: np.ndarray, findings: Sequence[int]) -> Side:
        """Return the mean AUC of a part."""
        groups, known, true, chances = (part[rows] for part in (self.patients, self.known, self.true, self.chances))
        sizes = [
            patients_of_pairs(
                effective_patients(groups, true[:, k]), effective_patients(groups, known[:, k] & ~true[:, k])
            )
            for k in findings
        ]
        statistic = _MeanAucOf(true, known, chances, findings, with_parts=True)
        return Side.of(statistic, groups, mean_of_patients(sizes), sizes)

    def only_class(self, rows: np.ndarray) -> str:
        """Return "": an X-ray has several findings."""
        return ""

    def with_class(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, str]:
        """Return the X-rays with the finding."""
        return rows & self.true[:, k], self._too_few(rows, k)


class _MeanAucOf:
    """The mean AUC over findings as a statistic of weights, which is also fast in leaving out patients.

    With ``with_parts`` the AUC of each finding stands beside it, (B, 1 + K) instead of (B, 1).
    """

    def __init__(
        self,
        true: np.ndarray,
        known: np.ndarray,
        chances: np.ndarray,
        findings: Sequence[int],
        with_parts: bool = False,
    ) -> None:
        self.true, self.known, self.chances, self.findings = true, known, chances, findings
        self.with_parts = with_parts

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return (B, 1) for weights (B, N)."""
        aucs = [weighted_auc(self.true[:, k], self.chances[:, k], weights * self.known[:, k]) for k in self.findings]
        return self._mean(aucs, len(weights))

    def without(self, part: np.ndarray, n_parts: int) -> np.ndarray:
        """Return (P, 1) without the images of each part (N,)."""
        aucs = []
        for k in self.findings:
            known = self.known[:, k]
            aucs.append(auc_without(self.true[known, k], self.chances[known, k], part[known], n_parts))
        return self._mean(aucs, n_parts)

    def _mean(self, aucs: Sequence[np.ndarray], n: int) -> np.ndarray:
        if not len(aucs):
            return np.full((n, 1), np.nan)
        mean = np.mean(aucs, axis=0)
        return np.column_stack([mean, *aucs] if self.with_parts else [mean])
