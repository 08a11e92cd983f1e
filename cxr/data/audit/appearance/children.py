"""Children among adults, by the ages that a manifest has."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pandas as pd

CHILD = 16
"""Years below which a patient counts as a child."""

_MOST = 0.5  # of the X-rays with an age: from here on it is a data set of children, in which no child stands out


class ClassChildren(TypedDict):
    """X-rays of children among those of a class whose age is known."""

    children: int
    known: int


class Children(TypedDict):
    """How many X-rays are of children: of those with a known age, and by class.

    ``known`` and ``children`` are numbers of X-rays. ``sentence`` says it in words, ``flagged`` whether each child is
    flagged.
    """

    known: int
    of: int
    children: int
    by_class: dict[str, ClassChildren]
    flagged: bool
    sentence: str


def is_child(table: pd.DataFrame) -> np.ndarray:
    """Return which rows of a manifest (N,) are of children; False where the age is unknown."""
    return np.asarray(table["age"] < CHILD)


def children(table: pd.DataFrame) -> Children:
    """Return how many X-rays of a manifest are of children, by label, or by finding where there are no labels."""
    child, known = is_child(table), table["age"].notna().to_numpy()
    classes = _classes(table)
    by_class = {
        name: ClassChildren(children=int((child & own).sum()), known=int((known & own).sum()))
        for name, own in classes.items()
    }
    n, of = int(child.sum()), int(known.sum())
    return Children(
        known=of,
        of=len(table),
        children=n,
        by_class=by_class,
        flagged=0 < n < _MOST * of,
        sentence=_sentence(n, of, len(table), by_class),
    )


def _classes(table: pd.DataFrame) -> dict[str, np.ndarray]:
    labels = sorted(set(table["label"]) - {""})
    if labels:
        return {name: (table["label"] == name).to_numpy() for name in labels}
    findings = [{name.strip() for name in text.split("|")} - {""} for text in table["findings"]]
    return {name: np.array([name in own for own in findings]) for name in sorted(set().union(*findings))}


def _sentence(n: int, known: int, of: int, by_class: dict[str, ClassChildren]) -> str:
    if not known:
        return "No age is known, so that children cannot be looked for."
    unknown = f" The age of {of - known:,} is unknown." if known < of else ""
    if not n:
        return f"None of {known:,} X-rays with a known age is of a child below {CHILD} years.{unknown}"
    if n >= _MOST * known:
        most = f"{n:,} of {known:,} X-rays with a known age are of children below {CHILD} years"
        return f"{most}: not flagged one by one.{unknown}"
    counts = [f"{name} {own['children']:,} of {own['known']:,}" for name, own in by_class.items() if own["known"]]
    each = f" By class: {', '.join(counts[:8])}{' and others' if len(counts) > 8 else ''}." if len(counts) > 1 else ""
    return f"{n:,} of {known:,} X-rays with a known age are of children below {CHILD} years.{each}{unknown}"
