"""A few X-rays that show what a folder holds: of every class and source, and what is known of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TypedDict, TypeVar

from cxr.data.importers.rows import Row
from cxr.data.tables.normalise import normalise_age

PREVIEWS = 10
_Thing = TypeVar("_Thing")


class Preview(TypedDict):
    """An X-ray, and what would be imported of it: its class (or findings), and what else is known, by column."""

    image: str
    label: str
    known: dict[str, str]


_KNOWN = ("patient_id", "source", "view", "sex", "age", "split")


def previews_of(rows: Sequence[Row], n: int = PREVIEWS) -> tuple[Preview, ...]:
    """Return at most ``n`` of the rows, as different as they are (:func:`varied`), in their order."""
    return tuple(
        {
            "image": row.image,
            "label": row.label or row.findings,
            "known": {name: value for name in _KNOWN if (value := _written(row, name))},
        }
        for row in varied(rows, n)
    )


def _written(row: Row, name: str) -> str:
    """Return what is known of a row as people write it: an age in years without needless decimals, "" for none."""
    value = str(getattr(row, name))
    if name == "age":
        years = normalise_age(value)
        return "" if math.isnan(years) else f"{years:.3g}"
    return value


def varied(rows: Sequence[Row], n: int) -> list[Row]:
    """Return at most ``n`` rows in their order, always the same ones, with as many classes and sources as fit.

    One after another is taken from the group (equal class, findings and source) whose class was taken least often,
    then whose source was, then the largest. Within a group they are evenly spread.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault((row.label or row.findings, row.source), []).append(place)
    taken: Counter[tuple[str, str]] = Counter()
    classes: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    for _ in range(min(n, len(rows))):
        left = [group for group in groups if taken[group] < len(groups[group])]
        group = min(left, key=lambda of: (classes[of[0]], sources[of[1]], taken[of], -len(groups[of])))
        taken[group] += 1
        classes[group[0]] += 1
        sources[group[1]] += 1
    chosen = sorted(place for group, many in taken.items() for place in spread(groups[group], many))
    return [rows[place] for place in chosen]


def spread(things: Sequence[_Thing], n: int) -> list[_Thing]:
    """Return at most ``n`` of some things, evenly spread and in their order."""
    if len(things) <= n:
        return list(things)
    return [things[k * len(things) // n] for k in range(n)]
