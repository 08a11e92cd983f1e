"""The classes that an audit compares: labels that exclude each other, or findings of which each is by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr.errors import ManifestError
from cxr.evaluation.truth import UNCERTAIN, finding_names, finding_targets, is_normal
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL

FEWEST_IMAGES_OF_A_FINDING = 10
MOST_FINDINGS = 30


@dataclass(frozen=True)
class Classes:
    """Which class each X-ray has.

    Attributes
    ----------
    names
        (K,) of the classes or findings.
    targets
        (N, K) of 0 and 1, NaN where unknown. Of labels, one in each row is 1, or all are NaN.
    task
        ``single-label`` or ``multi-label``.
    """

    names: tuple[str, ...]
    targets: np.ndarray
    task: str

    @property
    def known(self) -> np.ndarray:
        """(N,) whether anything is known of an X-ray."""
        return np.asarray(np.isfinite(self.targets).any(1))

    def rows(self, chosen: np.ndarray) -> Classes:
        """Return the classes of some rows, by a mask or by numbers."""
        return Classes(self.names, self.targets[chosen], self.task)

    @property
    def questions(self) -> list[np.ndarray]:
        """What a property may predict, as codes (N,) from 0, -1 where unknown: the label, or each finding."""
        if self.task == SINGLE_LABEL:
            return [np.where(self.known, np.nan_to_num(self.targets).argmax(1), -1)]
        return [np.where(np.isfinite(column), np.nan_to_num(column), -1).astype(int) for column in self.targets.T]


def classes_of(table: pd.DataFrame, by: str = "auto") -> Classes:
    """Return the classes of a manifest's rows.

    Raises
    ------
    ManifestError
        If there is no class to be compared with another.
    """
    labels = sorted(set(table["label"]) - {""})
    if by == "label" or (by == "auto" and (len(labels) > 1 or not _findings(table))):
        if len(labels) < 2:
            there = f"one label, {labels[0]!r}" if labels else "no labels"
            raise ManifestError(f"the X-rays have {there}: an audit compares two classes or more")
        label = table["label"].to_numpy()
        targets = np.array([[np.nan if own == "" else float(own == name) for name in labels] for own in label])
        return Classes(tuple(labels), targets, SINGLE_LABEL)
    names = _findings(table)
    if not names:
        raise ManifestError(
            f"the X-rays name no findings that {FEWEST_IMAGES_OF_A_FINDING} X-rays or more have: an audit compares "
            "those that have a finding with those that have not"
        )
    return Classes(tuple(names), finding_targets(table, names).astype(np.float64), MULTI_LABEL)


def _findings(table: pd.DataFrame) -> Sequence[str]:
    """Return the findings on enough X-rays, the most frequent ones if there are many, in the order of their names."""
    counts = pd.Series(
        [
            name
            for text in table["findings"]
            for name in set(finding_names(text))
            if not name.startswith(UNCERTAIN) and not is_normal(name)
        ],
        dtype=object,
    ).value_counts()
    return sorted(counts[counts >= FEWEST_IMAGES_OF_A_FINDING].index[:MOST_FINDINGS])
