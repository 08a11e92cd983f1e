"""What duplicates spoil: labels that contradict each other, and splits that share an X-ray or a patient."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from cxr.data.manifest import Manifest

_OF_PAIR = ("image_id_a", "image_id_b")


@dataclass(frozen=True)
class Conflicts:
    """What is wrong with a data set because of its duplicates and patients.

    Attributes
    ----------
    labels
        Pairs of one X-ray under two labels (of findings where there are no labels): the columns of the pairs, and
        ``label_a, label_b``.
    splits
        Pairs of one X-ray in two splits: the columns of the pairs, and ``split_a, split_b``.
    patients_in_classes
        ``patient_id, classes, images``: patients with X-rays of more than one class.
    patients_in_splits
        ``patient_id, splits, images``: patients with X-rays in more than one split.
    """

    labels: pd.DataFrame
    splits: pd.DataFrame
    patients_in_classes: pd.DataFrame
    patients_in_splits: pd.DataFrame

    def counts(self) -> dict[str, int]:
        """Return how many rows each table has."""
        return {name: len(getattr(self, name)) for name in self.__dataclass_fields__}


def find_conflicts(manifest: Manifest, pairs: pd.DataFrame) -> Conflicts:
    """Return what is wrong with a manifest, given the pairs of its duplicates; pairs of other images do not count."""
    table = manifest.table.set_index("image_id")
    labels = table["label"].where(table["label"] != "", table["findings"])
    known = pairs[pairs["image_id_a"].isin(table.index) & pairs["image_id_b"].isin(table.index)]
    return Conflicts(
        _differing(known, labels, "label"),
        _differing(known, table["split"], "split"),
        _several(table, "label", "classes"),
        _several(table, "split", "splits"),
    )


def _differing(pairs: pd.DataFrame, values: pd.Series, name: str) -> pd.DataFrame:
    """Return the pairs whose two values are known and differ, with the values."""
    a, b = (pairs[column].map(values).astype(str) for column in _OF_PAIR)
    both = pairs.assign(**{f"{name}_a": a, f"{name}_b": b})
    return both[(a != "") & (b != "") & (a != b)].reset_index(drop=True)


def _several(table: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    """Return the patients with more than one value of a column, in order, the values joined by ``|``."""
    known = table[(table["patient_id"] != "") & (table[column] != "")]
    rows = [
        (str(patient), "|".join(sorted(set(values))), len(values))
        for patient, values in known.groupby("patient_id")[column]
        if values.nunique() > 1
    ]
    return pd.DataFrame(rows, columns=["patient_id", name, "images"])
