"""What a data set holds, as commands print it: X-rays by class, split and source, notes, and what was left out."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, NotRequired, TypedDict

from cxr.cli.output import say, show_table

if TYPE_CHECKING:
    import pandas as pd

    from cxr.data import Manifest

SHOWN_REASONS = 10


class Count(TypedDict):
    """How many X-rays a class has in a split from a source."""

    label: str
    split: str
    source: str
    n: int


class Contents(TypedDict):
    """What is printed of a data set; below ``counts`` stands what is known after an import or a split alone."""

    manifest: str
    n: int
    classes: list[str]
    hash: str
    counts: list[Count]
    name: NotRequired[str]
    kind: NotRequired[str]
    splits: NotRequired[dict[str, int] | None]
    source_splits: NotRequired[dict[str, int] | None]
    split_reason: NotRequired[str | None]
    notes: NotRequired[list[str]]
    two_labels: NotRequired[list[list[dict[Hashable, str]]]]
    excluded: NotRequired[list[dict[str, str]]]
    aside: NotRequired[list[dict[str, str]]]


def contents_of(manifest: Manifest, path: str) -> Contents:
    """Return what a manifest holds; ``path`` is where it stands."""
    return {
        "manifest": path,
        "n": len(manifest),
        "classes": list(manifest.classes),
        "hash": manifest.hash(),
        "counts": _counts(manifest.table),
    }


def _counts(table: pd.DataFrame) -> list[Count]:
    """Return the images of each class, split and source; the splits of a class in the order train, val, test."""
    from cxr.data.splits import in_order

    place = {name: position for position, name in enumerate(in_order(set(table["split"])))}
    counts = table.groupby(["label", "split", "source"], sort=True).size().rename("n").reset_index()
    ordered = counts.sort_values(["label", "split", "source"], key=lambda c: c.map(place) if c.name == "split" else c)
    rows: list[Count] = ordered.to_dict("records")
    return rows


def show_contents(contents: Contents) -> None:
    """Print the counts."""
    say(f"{contents['n']:,} X-rays, {contents['manifest']}")
    rows = [[row["label"] or "-", row["split"] or "-", row["source"] or "-", row["n"]] for row in contents["counts"]]
    show_table("", ["class", "split", "source", "images"], rows)


def show_known(contents: Contents) -> None:
    """Print the counts, why there are no splits, and the notes."""
    show_contents(contents)
    if contents.get("split_reason"):
        say(f"kept without splits: {contents['split_reason']}")
    for text in contents["notes"]:
        say(f"note: {text}")


def show_import(contents: Contents) -> None:
    """Print what was imported, and the first files that were left out with their reasons."""
    show_known(contents)
    excluded = contents["excluded"]
    if excluded:
        say(f"{len(excluded):,} left out:")
        for row in excluded[:SHOWN_REASONS]:
            say(f"  {row['file']}: {row['reason']}")
        if len(excluded) > SHOWN_REASONS:
            say(f"  and {len(excluded) - SHOWN_REASONS} more, see excluded.csv beside the manifest")
