"""One class against the rest: which X-rays have it, what a network says of them, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr.evaluation.intervals import numbered
from cxr.evaluation.scores.calibration import Temperature
from cxr.evaluation.scores.further import Entries
from cxr.formatting import xrays


@dataclass(frozen=True)
class OneClass:
    """The X-rays (N,) for which it is known whether they have a class.

    Attributes
    ----------
    positive
        (N,) bool: whether they have it.
    score
        (N,) its probability, in [0, 1].
    groups
        (N,) the patients as numbers from 0.
    """

    name: str
    positive: np.ndarray
    score: np.ndarray
    groups: np.ndarray

    @property
    def n(self) -> int:
        """How many X-rays there are."""
        return len(self.positive)

    @property
    def n_patients(self) -> int:
        """How many patients they are of."""
        return int(self.groups.max(initial=-1)) + 1

    @property
    def prevalence(self) -> float:
        """The share of X-rays with the class, NaN without an X-ray."""
        return float(self.positive.mean()) if self.n else float("nan")

    @property
    def undefined(self) -> str:
        """Why there is no curve, "" where there is one."""
        if not self.n:
            return f"of no X-ray it is known whether it has {self.name}"
        if not self.positive.any():
            return f"no X-ray of {self.name} among {xrays(self.n)}: nothing can be ranked above the rest"
        if self.positive.all():
            return f"all {xrays(self.n)} are of {self.name}: there is no rest to rank it above"
        return ""

    @property
    def in_words(self) -> str:
        """How many X-rays have it and how many have not."""
        with_it, without = self.positive, ~self.positive
        parts = (xrays(int(rows.sum()), len(set(self.groups[rows].tolist()))) for rows in (with_it, without))
        return " with {name}, ".join(parts).replace("{name}", self.name) + " without"

    def sums(self, columns: np.ndarray) -> np.ndarray:
        """Return the sums (P, S) over each patient's X-rays of columns (N, S)."""
        values = np.asarray(columns, np.float64)
        if not self.n:
            return np.zeros((0, values.shape[1]))
        order = np.argsort(self.groups, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(self.groups[order]) > 0])
        return np.add.reduceat(values[order], starts, axis=0)


def one_class(
    positive: np.ndarray, score: np.ndarray, groups: Sequence[object] | np.ndarray, name: str = "positive"
) -> OneClass:
    """Return one class of X-rays (N,) with their scores (N,) and patients (N,)."""
    patients = numbered(groups) if len(groups) else np.zeros(0, np.int64)
    return OneClass(name, np.asarray(positive, bool), np.asarray(score, np.float64), patients)


def classes_of(
    table: pd.DataFrame,
    classes: Sequence[str],
    task: str,
    thresholds: Mapping[str, float] | None = None,
    temperature: Temperature | None = None,
) -> dict[str, OneClass]:
    """Return each class of a table of predictions against the rest, of either task.

    Parameters
    ----------
    table
        As ``predictions.parquet`` holds it. Rows whose label is none of the ``classes`` are left out, and for a finding
        those where it is not known.
    temperature
        Logits are divided by it first; None for the probabilities as they are.
    """
    entries = Entries.of(table, classes, task, thresholds or {})
    chances = entries.chances if temperature is None else entries.at(temperature)
    groups = np.asarray(entries.groups, dtype=object)
    by_name = {}
    for c, name in enumerate(classes):
        known = entries.known[:, c]
        by_name[name] = one_class(entries.true[known, c], chances[known, c], groups[known], name)
    return by_name
