"""The columns of a manifest, and how columns of other names and their numbers become them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cxr.data.tables.text_table import one_text
from cxr.errors import ManifestError, unknown, wrong_use

MASKS: tuple[str, ...] = ("lung", "lesion", "token")
MASK_COLUMNS: tuple[str, ...] = tuple(f"{name}_mask" for name in MASKS)
PATH_COLUMNS: tuple[str, ...] = ("image", *MASK_COLUMNS)
SIZE_COLUMNS: tuple[str, ...] = ("width", "height")
COLUMNS: tuple[str, ...] = (
    "image_id",
    *PATH_COLUMNS,
    "label",
    "findings",
    "patient_id",
    "dup_group",
    "source",
    "view",
    "sex",
    "age",
    "licence",
    "role",
    "split",
    *SIZE_COLUMNS,
)
TEXT_COLUMNS: tuple[str, ...] = tuple(c for c in COLUMNS if c not in ("age", *SIZE_COLUMNS))

_AGE_WITH_UNIT = re.compile(r"^(\d{1,3})([YMWD])$")
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def is_our_own(table: pd.DataFrame) -> bool:
    """Return whether :meth:`Manifest.save` wrote a table: it has every one of our columns."""
    return set(COLUMNS) <= set(table.columns)


def rename_columns(table: pd.DataFrame, columns: Mapping[str, str], path: Path) -> pd.DataFrame:
    """Return a table with ``{our column: theirs}`` renamed; a ManifestError names a column that is not there."""
    for column, source_column in columns.items():
        if column not in COLUMNS:
            raise wrong_use(ManifestError(unknown("column in the mapping", column, COLUMNS)))
        if source_column not in table:
            raise wrong_use(
                ManifestError(
                    f"{path.name} has no column {source_column!r} (mapped to {column!r}). Found: {column_names(table)}"
                )
            )
    renamed = {column: table[source_column] for column, source_column in columns.items()}
    # A column that is mapped away goes, unless its name is one of ours: mapping `label` to `findings` keeps both.
    gone = {*columns, *(source_column for source_column in columns.values() if source_column not in COLUMNS)}
    other_columns = table.drop(columns=list(gone), errors="ignore")
    return pd.concat([pd.DataFrame(renamed, index=table.index), other_columns], axis=1)


def column_names(table: pd.DataFrame) -> str:
    """Return the names of a table's columns for an error."""
    return ", ".join(map(str, table.columns)) or "none"


def ages_in_years(values: pd.Series) -> pd.Series:
    """Return ages as numbers, NaN for unknown; a ManifestError names the row of one that is no number."""
    return pd.Series([_age(value, row) for row, value in enumerate(values, 1)], index=values.index, dtype="float64")


def _age(value: object, row: int) -> float:
    text = one_text(value)
    if not text:
        return math.nan
    with_unit = _AGE_WITH_UNIT.match(text)
    if with_unit:
        return int(with_unit[1]) * _YEARS_PER_UNIT[with_unit[2]]
    try:
        return float(text)
    except ValueError:
        raise ManifestError(f"row {row}: age {text!r} is not a number of years (leave it empty if unknown)") from None


def whole_sizes(values: pd.Series) -> pd.Series:
    """Return sizes in pixels, 0 for unknown."""
    return pd.to_numeric(values, errors="coerce").fillna(0).astype("int64")
