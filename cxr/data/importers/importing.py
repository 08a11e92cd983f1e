"""Import: files of a data set become a manifest, and everything left out is named with its reason."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr.data.images.base import Refusal
from cxr.data.images.decode import decode_with_notes
from cxr.data.images.pool import map_in_order
from cxr.data.importers.import_options import Options, read_options
from cxr.data.importers.listing import Listing, relative
from cxr.data.importers.registry import SOURCES
from cxr.data.importers.rows import FILE_NOTES, SOURCE_SPLIT
from cxr.data.manifest import COLUMNS, SIZE_COLUMNS, Manifest
from cxr.data.splits import connected_groups, in_order
from cxr.data.tables.normalise import normalise_split
from cxr.data.tables.values import normalise_values
from cxr.errors import ManifestError, unknown, wrong_use

Progress = Callable[[int, int], None]
DOUBLES = ("picture", "image_id", "image", "label")
_REASONS_SHOWN = 3
_BETWEEN_NOTES = "; "


@dataclass(frozen=True)
class ImportResult:
    """What an import gives.

    Attributes
    ----------
    manifest
        The usable X-rays, each decoded once to be sure; its root is the imported folder. Where a file was not
        followed in something (a window that hardly meets its values), its row says so in the column ``file_notes``.
    excluded
        DataFrame ``file, reason``: every row and file left out; ``file`` is relative to the imported folder.
    kind
        Name of the importer in :data:`cxr.data.importers.registry.SOURCES`.
    notes
        Plain sentences: what was read otherwise than it is written, and what is not known.
    doubles
        DataFrame ``picture, image_id, image, label``: every X-ray whose picture, pixel for pixel, is there more than
        once; equal pictures have the same number. ``label`` is the findings where there is no label.
    """

    manifest: Manifest
    excluded: pd.DataFrame
    kind: str
    notes: tuple[str, ...] = ()
    doubles: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(DOUBLES)))

    def with_manifest(self, manifest: Manifest) -> ImportResult:
        """Return the same result with another manifest, as splitting gives one."""
        return replace(self, manifest=manifest)

    def with_notes(self, *notes: str) -> ImportResult:
        """Return the same result with more notes; one that already exists is not added again."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))


@dataclass(frozen=True)
class _Decoded:
    """What decoding an image showed; ``digest`` stands for its pixels, whatever the format of the file."""

    width: int
    height: int
    digest: str
    notes: tuple[str, ...] = ()


def count_notes(manifest: Manifest) -> dict[str, int]:
    """Return how many X-rays of a manifest carry each note of an import, the most frequent first."""
    texts = manifest.table[FILE_NOTES].fillna("") if FILE_NOTES in manifest.table else []
    return dict(Counter(note for text in texts for note in str(text).split(_BETWEEN_NOTES) if note).most_common())


def import_data(
    kind: str,
    path: str | Path,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    **options: Any,
) -> ImportResult:
    """Read a data set, decode every image once, and return what is usable and what is not.

    The same picture in several files gets one ``dup_group``, joined with those of the source. Nothing is copied: the
    manifest refers to the files where they are.

    Parameters
    ----------
    kind
        An importer's name, see :data:`cxr.data.importers.registry.SOURCES`.
    path
        The data set's folder, or its table.
    progress
        Called with ``(decoded, total)``.
    workers
        Decoding processes; None for one per core, 0 for this process.
    options
        What the importer declares, by name: ``aliases``, ``columns``, ``uncertain`` and others, see
        :mod:`cxr.data.importers.import_options`; None stands for an option that is not given.

    Raises
    ------
    ManifestError
        For an unknown kind, an option that it does not have, a folder that is not of this kind, or not one usable
        image.
    """
    listing, read_with = read_listing(kind, path, options)
    usable = decoded_rows(listing, progress, workers)
    excluded = pd.DataFrame(listing.excluded, columns=["file", "reason"])
    if not usable:
        raise ManifestError(nothing_usable(listing, kind))
    manifest, pictures, notes = manifest_of(usable, listing, read_with.source)
    on_files = [f"{n:,} X-ray{'s' * (n != 1)}: {note}" for note, n in count_notes(manifest).items()]
    result = ImportResult(manifest, excluded, kind, doubles=_doubles(manifest.table, pictures))
    return result.with_notes(*listing.notes, *notes, *on_files, *notes_on(manifest))


def read_listing(kind: str, path: str | Path, options: Mapping[str, Any]) -> tuple[Listing, Options]:
    """Return what an importer finds below a path, not one image decoded, and the options that it was read with.

    Raises
    ------
    ManifestError
        For an unknown kind, an option that it does not have, or a folder that is not of this kind.
    """
    if kind not in SOURCES:
        raise wrong_use(ManifestError(unknown("kind of data set", kind, SOURCES)))
    importer = SOURCES[kind]
    read_with = read_options(kind, importer.options, options)
    folder = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow links
    return importer.read(folder, read_with), read_with


def manifest_of(
    usable: Sequence[Mapping[str, object]], listing: Listing, source: str
) -> tuple[Manifest, NDArray[np.int64], list[str]]:
    """Return the manifest of rows as :func:`decoded_rows` gives them, each row's picture, and notes."""
    table, pictures = _filled(pd.DataFrame(usable), listing.root)
    table, notes = _read_values(table, listing, source)
    return Manifest.from_table(with_source_split(table), listing.root), pictures, notes


def notes_on(manifest: Manifest) -> list[str]:
    """Return what everyone who splits or judges a data set must know: whose patient or source is unknown."""
    return [note for note in (unknown_patients(manifest), unknown_sources(manifest)) if note]


def unknown_patients(manifest: Manifest) -> str:
    """Return one sentence on X-rays without a known patient, "" if every patient is known."""
    xrays = _those_without(manifest, "patient_id")
    return xrays and (
        f"The patient of {xrays} is unknown: each of them counts as a patient of its own, so X-rays of one patient may "
        "stand in several splits, and intervals are too narrow."
    )


def unknown_sources(manifest: Manifest) -> str:
    """Return one sentence on X-rays whose source is not known, "" if every source is known."""
    xrays = _those_without(manifest, "source")
    return xrays and (
        f"The source of {xrays} is unknown: it cannot be checked whether a class comes from one hospital alone. "
        "If all come from one place, give it with --source."
    )


def _those_without(manifest: Manifest, column: str) -> str:
    n, unknown = len(manifest), int((manifest.table[column] == "").sum())
    return f"all {n:,} X-rays" if unknown == n else f"{unknown:,} of {n:,} X-rays" if unknown else ""


def inspect(path: Path) -> _Decoded | str:
    """Decode an image in a worker; its size and digest, or the reason why it is not usable."""
    try:
        pixels, notes = decode_with_notes(path)
    except Refusal as refusal:
        return str(refusal)
    if pixels.min() == pixels.max():
        return f"is blank (every pixel is {pixels[0, 0]})"
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return _Decoded(pixels.shape[1], pixels.shape[0], digest.hexdigest(), notes)


def decoded_rows(listing: Listing, progress: Progress | None, workers: int | None) -> list[dict[str, object]]:
    """Return the rows whose image decodes, with size and digest; the others are left out by name."""
    usable = []
    images = [Path(row.image) for row in listing.rows]
    for row, image, decoded in zip(listing.rows, images, map_in_order(inspect, images, workers, progress), strict=True):
        if isinstance(decoded, _Decoded):
            earlier = row.file_notes.split(_BETWEEN_NOTES)
            notes = _BETWEEN_NOTES.join(note for note in dict.fromkeys((*earlier, *decoded.notes)) if note)
            columns = {"width": decoded.width, "height": decoded.height, FILE_NOTES: notes, "_digest": decoded.digest}
            usable.append(row.as_columns() | columns)
        else:
            listing.leave_out(image, str(decoded))
    return usable


def _filled(table: pd.DataFrame, root: Path) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Set paths relative to the root and groups of equal pictures; also return the number of each row's picture.

    The column of notes goes if there are none.
    """
    if not (table[FILE_NOTES] != "").any():
        table = table.drop(columns=FILE_NOTES)
    for column in (c for c in COLUMNS if c in table and (c == "image" or c.endswith("_mask"))):
        table[column] = [relative(path, root) if path else "" for path in table[column].fillna("")]
    source_groups = table["dup_group"].fillna("").tolist() if "dup_group" in table else [""] * len(table)
    groups = join_doubles(source_groups, table["_digest"].tolist())
    pictures = pd.factorize(table["_digest"])[0].astype(np.int64)
    return table.assign(dup_group=groups).drop(columns="_digest"), pictures


def _read_values(table: pd.DataFrame, listing: Listing, source: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with values as ours, and the source where it is not known."""
    notes: list[str] = []
    if not listing.own:
        text = {c: table[c].fillna("") for c in table if c != "age" and c not in SIZE_COLUMNS}
        table, notes = normalise_values(table.assign(**text))
    if source:
        sources = table["source"] if "source" in table else pd.Series("", index=table.index)
        table = table.assign(source=sources.fillna("").replace("", source))
    return table, notes


def with_source_split(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that remembers in ``source_split`` the split that the source gives each X-ray.

    What the column says already stays. It is not there where the source gives no splits.
    """
    remembered = table[SOURCE_SPLIT].fillna("") if SOURCE_SPLIT in table else pd.Series("", index=table.index)
    splits = remembered.map(normalise_split).where(remembered != "", table["split"])
    other_columns = table.drop(columns=SOURCE_SPLIT, errors="ignore")
    return other_columns.assign(**{SOURCE_SPLIT: splits}) if (splits != "").any() else other_columns


def source_splits(manifest: Manifest) -> dict[str, int]:
    """Return how many X-rays the source puts into each split, whether its splits are used or declined."""
    splits = manifest.table[SOURCE_SPLIT] if SOURCE_SPLIT in manifest.table else manifest.table["split"]
    counts = Counter(str(name) for name in splits.fillna("") if name)
    return {name: counts[name] for name in in_order(counts)}


def join_doubles(groups: Sequence[str], digests: Sequence[str]) -> list[str]:
    """Return a duplicate group for each row: rows of the same digest are in one, and groups that share a row are one.

    A group keeps its name, of several the first by alphabet; one that is new is called ``picture-`` and its digest.
    """
    columns = pd.DataFrame({"group": list(groups), "digest": list(digests)})
    components = connected_groups(columns, ("group", "digest"))
    columns["component"] = components
    names = columns[columns["group"] != ""].groupby("component")["group"].min().to_dict()
    sizes = np.bincount(components)
    return [
        names.get(component, "") or (f"picture-{digest[:12]}" if sizes[component] > 1 else "")
        for component, digest in zip(components.tolist(), digests, strict=True)
    ]


def _doubles(table: pd.DataFrame, pictures: NDArray[np.int64]) -> pd.DataFrame:
    label = table["label"].where(table["label"] != "", table["findings"])
    rows = table[["image_id", "image"]].assign(picture=pictures, label=label)[list(DOUBLES)]
    several = rows.groupby("picture")["image"].transform("nunique") > 1
    return rows[several].sort_values(["picture", "image"], ignore_index=True)


def nothing_usable(listing: Listing, kind: str) -> str:
    """Return why a listing gives no data set: what was left out first, with the reasons."""
    if not listing.excluded:
        return f"{listing.root} holds no file for the importer {kind!r}"
    first = "; ".join(f"{left_out.file} {left_out.reason}" for left_out in listing.excluded[:_REASONS_SHOWN])
    n = len(listing.excluded)
    return f"{listing.root} has no usable X-ray for the importer {kind!r}: {n:,} left out, first: {first}"
