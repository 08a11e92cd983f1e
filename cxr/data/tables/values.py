"""The columns of a table that others wrote, with values as ours, and one sentence for each that changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxr.data.tables.normalise import (
    is_exact_age,
    is_missing,
    normalise_age,
    normalise_findings,
    normalise_path,
    normalise_patient,
    normalise_sex,
    normalise_split,
    normalise_view,
)

OUR_SPLITS = ("train", "val", "test", "external", "probe")
_SHOWN = 8
_ROUNDED = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+")


def pairs(changed: Mapping[tuple[str, str], int], limit: int = _SHOWN) -> str:
    """Return "Train -> train (12), valid -> val (6)", the commonest first."""
    order = sorted(changed.items(), key=lambda item: (-item[1], item[0]))
    more = f", and {len(order) - limit} more" if len(order) > limit else ""
    return ", ".join(f"{a or '(empty)'} -> {b or 'unknown'} ({n})" for (a, b), n in order[:limit]) + more


def listed(values: Iterable[str], limit: int = _SHOWN) -> str:
    """Return the first values, and how many more there are."""
    names = list(values)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def normalise_values(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of text with our columns' values as :mod:`cxr.data.tables.normalise` reads them, and what changed.

    Labels are not touched but for words of a missing value: see :func:`cxr.data.tables.normalise.map_labels`. Unknown
    columns stay as they are. ``age`` becomes a float, NaN for unknown.
    """
    notes: list[str] = []
    table = table.copy()
    readers: dict[str, Callable[[str], str]] = {
        "split": normalise_split,
        "view": normalise_view,
        "sex": normalise_sex,
        "patient_id": normalise_patient,
        "findings": normalise_findings,
        **dict.fromkeys(("source", "licence", "dup_group", "role", "image_id"), _value_or_blank),
    }
    for column, reader in readers.items():
        if column in table:
            table[column], changed = _read_column(table[column], reader)
            notes += _column_notes(column, changed)
            notes += _patient_doubts(table[column]) if column == "patient_id" else []
    if "split" in table:
        notes += _odd_splits(table["split"])
    if "age" in table:
        table["age"], more = _read_ages(table["age"])
        notes += more
    return table, notes


def normalise_paths(paths: Sequence[str], root: Path) -> tuple[list[str], list[str]]:
    """Return paths with / where they were written with \\ or a drive and are no file as they are, and what changed."""
    normalised = [
        normalise_path(path) if ("\\" in path or path[1:2] == ":") and not (root / path).is_file() else path
        for path in paths
    ]
    n = sum(a != b for a, b in zip(paths, normalised, strict=True))
    return normalised, [f"paths: {n:,} written with back slashes or a drive, read with /"] if n else []


def _value_or_blank(text: str) -> str:
    return "" if is_missing(text) else text.strip()


def _read_column(values: pd.Series, reader: Callable[[str], str]) -> tuple[pd.Series, Counter[tuple[str, str]]]:
    counts = Counter(values.tolist())
    readings = {text: reader(text) for text in counts}
    changed = Counter({(text.strip(), new): n for text, n in counts.items() if (new := readings[text]) != text.strip()})
    return pd.Series([readings[text] for text in values], index=values.index, dtype="str"), changed


def _column_notes(column: str, changed: Counter[tuple[str, str]]) -> list[str]:
    """Say what was missing by word and what was read otherwise; ids by an example alone."""
    missing = {key: n for key, n in changed.items() if not key[1] and is_missing(key[0])}
    other = {key: n for key, n in changed.items() if key not in missing}
    notes = []
    if missing:
        notes.append(f"{column}: {sum(missing.values()):,} missing (written {listed(sorted(a for a, _ in missing))})")
    if other and column == "patient_id":
        (old, new), _ = min(other.items())
        notes.append(f"patient_id: {sum(other.values())} with a decimal point, {old!r} read as {new!r}")
    elif other:
        notes.append(f"{column}: {pairs(other, 4 if column == 'findings' else _SHOWN)}")
    return notes


def _patient_doubts(patients: pd.Series) -> list[str]:
    """Warn of ids that a spreadsheet rounded, and of ids that differ by leading zeros alone."""
    counts = Counter(patients.tolist())
    notes = []
    if rounded := sorted(name for name in counts if _ROUNDED.fullmatch(name)):
        n = sum(counts[name] for name in rounded)
        notes.append(
            f"patient_id: {n:,} written as a spreadsheet rounds numbers ({listed(map(repr, rounded), 3)}): several "
            "patients may have become one; export the column as text"
        )
    plain = {name for name in counts if name.isdecimal()}
    padded = sorted(name for name in plain if name != (short := name.lstrip("0") or "0") and short in plain)
    if padded:
        examples = listed([f"{name!r} and {name.lstrip('0') or '0'!r}" for name in padded], 3)
        notes.append(f"patient_id: {examples} differ by leading zeros alone; taken as different patients")
    return notes


def _odd_splits(splits: pd.Series) -> list[str]:
    odd = sorted(set(splits) - {*OUR_SPLITS, ""})
    return [f"split: {listed(odd)} kept as written; training uses train and val"] if odd else []


def _read_ages(values: pd.Series) -> tuple[pd.Series, list[str]]:
    if values.dtype.kind == "f":
        return values, []
    counts = Counter(str(value) for value in values)
    ages = {text: normalise_age(text) for text in counts}
    bounds = {t: n for t, n in counts.items() if ages[t] == ages[t] and not is_exact_age(t)}
    wrong = {t: n for t, n in counts.items() if ages[t] != ages[t] and t.strip()}
    notes = []
    if bounds:
        readings = [f"'{t.strip()}' read as {ages[t]:.4g} ({bounds[t]})" for t in sorted(bounds)]
        notes.append(f"age: {listed(readings)}")
    if wrong:
        wrong_texts = listed(sorted(repr(t.strip()) for t in wrong))
        notes.append(f"age: {sum(wrong.values()):,} unknown (written {wrong_texts})")
    return pd.Series([ages[str(v)] for v in values], index=values.index, dtype="float64"), notes
