"""What a manifest must hold: each check raises a ManifestError that names the first row at fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cxr.data.tables.normalise import OLDEST
from cxr.errors import ManifestError

ROLES: tuple[str, ...] = ("", "train", "probe", "external", "intermediate")


def _rows(table: pd.DataFrame, wrong: pd.Series) -> Iterator[tuple[int, pd.Series]]:
    for position in np.flatnonzero(wrong.to_numpy()):
        yield int(position) + 1, table.iloc[position]


def check_images(table: pd.DataFrame) -> None:
    """Refuse a row without an image."""
    for row, _ in _rows(table, table["image"] == ""):
        raise ManifestError(f"row {row}: `image` is empty; it names the file of the X-ray")


def check_ids(table: pd.DataFrame) -> None:
    """Refuse an id that is given twice."""
    for row, values in _rows(table, table["image_id"].duplicated()):
        first = table["image_id"].tolist().index(values["image_id"]) + 1
        raise ManifestError(
            f"rows {first} and {row}: image_id {values['image_id']!r} occurs twice "
            f"(images {table['image'].iloc[first - 1]!r} and {values['image']!r}); ids are unique"
            + (" (`cxr data import manifest` joins rows of one image)" if table["image"].duplicated().any() else "")
        )


def check_ages(table: pd.DataFrame) -> None:
    """Refuse an age that no person has."""
    for row, values in _rows(table, table["age"].notna() & ~table["age"].between(0, OLDEST)):
        raise ManifestError(f"row {row}: age {values['age']:g} is not between 0 and {OLDEST} (empty if unknown)")


def check_roles(table: pd.DataFrame) -> None:
    """Refuse an unknown role."""
    for row, values in _rows(table, ~table["role"].isin(ROLES)):
        raise ManifestError(f"row {row}: role {values['role']!r} is not one of {', '.join(ROLES[1:])}, or empty")


def check_labels(table: pd.DataFrame, classes: Sequence[str]) -> None:
    """Refuse a label that is none of ``classes``."""
    for row, values in _rows(table, ~table["label"].isin([*classes, ""])):
        raise ManifestError(
            f"row {row}: label {values['label']!r} is not one of {', '.join(classes)} (add it to `aliases` to map it)"
        )


def values_in_several_splits(placed: pd.DataFrame, column: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each value of a column that stands in several splits, with these splits."""
    rows = placed[placed[column] != ""]
    pairs = rows[[column, "split"]].drop_duplicates().sort_values([column, "split"])
    for name, splits in pairs[pairs[column].duplicated(keep=False)].groupby(column)["split"]:
        yield str(name), splits.tolist()
