"""How the columns of a manifest divide X-rays: by their values, and numbers by bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from cxr.data.manifest_columns import COLUMNS, SIZE_COLUMNS
from cxr.errors import ManifestError, unknown, wrong_use
from cxr.evaluation.slices.results import Column
from cxr.evaluation.summary import TARGET

AGE_EDGES = (18.0, 40.0, 65.0)
MOST_GROUPS = 20
"""Columns with more values are no categories; they are divided only where somebody names them."""
_USUAL = ("source", "view", "sex", "age")
_BANDS = 4
_OF_THE_NETWORK = ("predicted", "correct", "confidence", "seen")
_OF_THE_NETWORK_PREFIXES = ("logit_", "prob_", TARGET)


@dataclass(frozen=True)
class Division:
    """The group of each X-ray (N,) in a column, None without a value; ``names`` are in their order.

    ``edges`` are those of bands of numbers: a value that equals one lies above it.
    """

    column: str
    groups: np.ndarray
    names: tuple[str, ...]
    edges: tuple[float, ...] = ()

    def parts(self) -> list[tuple[str | None, np.ndarray]]:
        """Return each group with its X-rays (N,) bool, those without a value last."""
        missing = np.array([group is None for group in self.groups], dtype=bool)
        named: list[tuple[str | None, np.ndarray]] = [(name, self.groups == name) for name in self.names]
        return named + ([(None, missing)] if missing.any() else [])

    def to_dict(self) -> Column:
        """Return how many X-rays each group has, and the edges."""
        counts = {name: int(rows.sum()) for name, rows in self.parts()}
        missing = counts.pop(None, 0)
        return {"groups": {str(name): n for name, n in counts.items()}, "missing": missing, "edges": list(self.edges)}


def joined(table: pd.DataFrame, rows: pd.DataFrame | None) -> pd.DataFrame:
    """Return what is known of each X-ray of predictions beside them: their further columns, and those of a manifest.

    ``rows`` is the manifest's table; X-rays that it lacks have no values there.
    """
    own = [
        name
        for name in table.columns
        if name not in _OF_THE_NETWORK and not str(name).startswith(_OF_THE_NETWORK_PREFIXES)
    ]
    known = table[own].reset_index(drop=True)
    if rows is None:
        return known
    others = [name for name in rows.columns if name not in known.columns]
    return pd.concat(
        [known, rows.set_index("image_id")[others].reindex(known["image_id"]).reset_index(drop=True)], axis=1
    )


def slice_rows(table: pd.DataFrame, where: Mapping[str, str | None]) -> np.ndarray:
    """Return which X-rays (N,) of a table, as :func:`joined` makes it, a slice holds.

    Raises
    ------
    ManifestError
        If there is no such column or group.
    """
    inside = np.ones(len(table), dtype=bool)
    for column, group in where.items():
        if column not in table.columns:
            raise wrong_use(ManifestError(unknown("column", column, table.columns)))
        parts = dict(divided(column, table[column]).parts())
        if group not in parts:
            raise wrong_use(ManifestError(unknown(f"group of {column}", group or "none", map(str, parts))))
        inside &= parts[group]
    return inside


def divisions(table: pd.DataFrame, by: Sequence[str] = ()) -> tuple[list[Division], dict[str, str]]:
    """Return how the columns of a table divide it, and why others do not.

    Parameters
    ----------
    by
        Columns; by default source, view, sex and age, and those that are not of every manifest, if they have 2 to 20
        values or are numbers.

    Raises
    ------
    ManifestError
        If there is no such column.
    """
    for name in by:
        if name not in table.columns:
            raise wrong_use(ManifestError(unknown("column", name, table.columns)))
    others = [name for name in table.columns if name not in COLUMNS]
    columns = list(dict.fromkeys(by or [name for name in (*_USUAL, *others) if name in table.columns]))
    found: list[Division] = []
    skipped: dict[str, str] = {}
    for name in columns:
        division = divided(name, table[name])
        reason = _reason(division, named=bool(by) or name in _USUAL)
        if reason:
            skipped[name] = reason
        else:
            found.append(division)
    return found, skipped


def divided(column: str, values: pd.Series) -> Division:
    """Return the groups of a column: bands of ages and of numbers with many values, else its values."""
    texts = np.array([_text(value) for value in values], dtype=object)
    if column in SIZE_COLUMNS:
        texts[texts == "0"] = None  # as manifests write that a size is not known
    present = [text for text in texts if text is not None]
    names = set(present)
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64)
    if present and np.isfinite(numbers).sum() == len(present):
        if column == "age":
            return _banded(column, numbers, AGE_EDGES)
        if len(names) > _BANDS * 2:
            return _banded(column, numbers, tuple(_quartiles(numbers[np.isfinite(numbers)])))
        return Division(column, texts, tuple(sorted(names, key=float)))
    return Division(column, texts, tuple(sorted(names)))


def band_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Return ``below 18``, ``18 to below 40``, ..., ``65 and more``."""
    between = [f"{low:g} to below {high:g}" for low, high in pairwise(edges)]
    return (f"below {edges[0]:g}", *between, f"{edges[-1]:g} and more")


def _banded(column: str, numbers: np.ndarray, edges: tuple[float, ...]) -> Division:
    names = band_names(edges)
    bands = np.digitize(numbers, edges)
    groups = np.array(
        [names[band] if np.isfinite(number) else None for band, number in zip(bands, numbers, strict=True)],
        dtype=object,
    )
    return Division(column, groups, tuple(name for name in names if (groups == name).any()), edges)


def _quartiles(numbers: np.ndarray) -> list[float]:
    """Return edges as they are written: with four digits, each above the smallest number."""
    quantiles = np.quantile(numbers, np.arange(1, _BANDS) / _BANDS)
    return sorted({edge for value in quantiles if (edge := float(f"{value:.4g}")) > numbers.min()}) or [
        float(numbers.max())
    ]


def _reason(division: Division, *, named: bool) -> str:
    n = len(division.parts())
    if not division.names:
        return "no X-ray has a value"
    if n < 2:
        return f"all X-rays have the same value, {division.names[0]}"
    if n > MOST_GROUPS and not named:
        return f"{n:,} values, more than {MOST_GROUPS}: name it with --by to compare them all"
    return ""


def _text(value: object) -> str | None:
    """Return a value as people write it, None where there is none."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None
