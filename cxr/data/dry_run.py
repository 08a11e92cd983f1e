"""What an import would give: its X-rays, what it leaves out and why, and its splits; nothing is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from cxr.data.importers.importing import (
    Progress,
    decoded_rows,
    manifest_of,
    notes_on,
    nothing_usable,
    read_listing,
    source_splits,
)
from cxr.data.importers.listing import Listing
from cxr.data.importers.previews import spread
from cxr.data.importers.rows import FILE_NOTES
from cxr.data.manifest import Manifest
from cxr.data.splits import in_order, split_manifest
from cxr.errors import ManifestError

CHECKED = 100


class Reason(TypedDict):
    """A reason for leaving out files, how many there are, and the first of them."""

    reason: str
    n: int
    first: str


@dataclass(frozen=True)
class DryRun:
    """What an import would give.

    Attributes
    ----------
    kind, path
        The importer and what it reads.
    n, patients
        X-rays, as far as images were not decoded without knowing that they can be; and their known patients.
    checked, unreadable
        Images that were decoded, and how many of them cannot be used.
    counts
        X-rays by class (or findings where there are no classes), the most frequent first.
    sources
        X-rays by source.
    left_out
        Files that are left out, by reason.
    excluded
        The same, ``file, reason`` each.
    notes
        What would be read otherwise than it is written, and what is not known.
    source_splits
        The splits that come with the data.
    splits, split_reason
        X-rays per split, and why there would be none.
    """

    kind: str
    path: str
    n: int
    patients: int
    checked: int
    unreadable: int
    counts: dict[str, int]
    sources: dict[str, int]
    left_out: tuple[Reason, ...]
    excluded: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    source_splits: dict[str, int]
    splits: dict[str, int]
    split_reason: str

    def as_dict(self) -> dict[str, object]:
        """Return the same in plain values."""
        return asdict(self)


def dry_run(
    kind: str,
    path: str | Path,
    *,
    checked: int | None = CHECKED,
    splits: str = "make",
    seed: int = 0,
    progress: Progress | None = None,
    workers: int | None = None,
    **options: Any,
) -> DryRun:
    """Return what an import would give; nothing is written.

    Parameters
    ----------
    kind, path, options, progress, workers
        As :func:`cxr.data.import_data` takes them.
    checked
        Decode so many images, evenly spread; None decodes all of them, which finds what an import finds.
    splits, seed
        As :func:`cxr.data.jobs.import_data_set` takes them. X-rays with equal pixels are known only as far as they
        were decoded, so the splits of an import may differ by some X-rays.

    Raises
    ------
    ManifestError
        Where an import would raise one.
    """
    listing, read_with = read_listing(kind, path, options)
    rows = listing.rows
    sample = rows if checked is None else spread(rows, checked)
    decoding = replace(listing, rows=sample, excluded=listing.excluded, notes=[])
    usable = decoded_rows(decoding, progress, workers)
    readable, decoded = {str(row["image"]) for row in usable}, {row.image for row in sample}
    unchecked = [
        row.as_columns() | {"width": 0, "height": 0, FILE_NOTES: row.file_notes, "_digest": f"{k}"}
        for k, row in enumerate(rows)
        if row.image not in decoded
    ]
    if not readable and not unchecked:
        raise ManifestError(nothing_usable(listing, kind))
    order = {row.image: k for k, row in enumerate(rows)}
    every = sorted([*usable, *unchecked], key=lambda row: order[str(row["image"])])
    manifest, _, notes = manifest_of(every, listing, read_with.source)
    sizes, reason = _splits(manifest, splits, seed)
    table = manifest.table
    labels = table["label"].where(table["label"] != "", table["findings"]).replace("", "(none)")
    patients = table.loc[table["patient_id"] != "", "patient_id"].nunique()
    return DryRun(
        kind=kind,
        path=str(path),
        n=len(manifest),
        patients=int(patients),
        checked=len(sample),
        unreadable=len(sample) - len(usable),
        counts=_counted(labels),
        sources=_counted(table["source"].replace("", "(unknown)")),
        left_out=_reasons(listing),
        excluded=tuple((left_out.file, left_out.reason) for left_out in listing.excluded),
        notes=tuple(dict.fromkeys((*listing.notes, *notes, *notes_on(manifest)))),
        source_splits=source_splits(manifest),
        splits=sizes,
        split_reason=reason,
    )


def _splits(manifest: Manifest, splits: str, seed: int) -> tuple[dict[str, int], str]:
    """Return the X-rays per split that an import would make, or why there would be none."""
    if splits == "none" or (splits == "keep" and not manifest.splits):
        return {}, "none were requested" if splits == "none" else "none come with the data"
    official = manifest.splits if splits in ("make", "keep") else ()
    try:
        if splits in ("make", "new"):
            whole = manifest if official else manifest.with_splits({})
            manifest, _ = split_manifest(whole, {} if official else None, seed=seed, keep=official)
    except ManifestError as error:
        return {}, str(error)
    counts = Counter(name for name in manifest.table["split"] if name)
    return {name: counts[name] for name in in_order(counts)}, ""


def _counted(values: pd.Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in values.value_counts().items()}


def _reasons(listing: Listing) -> tuple[Reason, ...]:
    first: dict[str, str] = {}
    for left_out in listing.excluded:
        first.setdefault(left_out.reason, left_out.file)
    counts = Counter(left_out.reason for left_out in listing.excluded)
    return tuple({"reason": reason, "n": n, "first": first[reason]} for reason, n in counts.most_common())
