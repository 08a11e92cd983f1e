"""Import: files of a data set become a manifest, and everything left out is named with its reason."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr.data.image import Refusal, decode
from cxr.data.manifest import COLUMNS, Manifest
from cxr.data.pool import map_in_order
from cxr.data.sources import SOURCES, Found, Options
from cxr.data.sources.base import relative
from cxr.data.splits import connected_groups, split_name
from cxr.errors import ManifestError, unknown

Progress = Callable[[int, int], None]
DOUBLES = ("picture", "image_id", "image", "label")
_REASONS_SHOWN = 3


@dataclass(frozen=True)
class ImportResult:
    """What an import gives.

    Attributes
    ----------
    manifest
        The usable X-rays, each decoded once to be sure; its root is the imported folder.
    excluded
        DataFrame ``file, reason``: every row and file left out; ``file`` is relative to the imported folder.
    kind
        Name of the importer in :data:`cxr.data.sources.SOURCES`.
    doubles
        DataFrame ``picture, image_id, image, label``: every X-ray whose picture, pixel for pixel, is there more than
        once; equal pictures have the same number. ``label`` is the findings where there is no label.
    """

    manifest: Manifest
    excluded: pd.DataFrame
    kind: str
    doubles: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(DOUBLES)))

    def with_manifest(self, manifest: Manifest) -> ImportResult:
        """Return the same result with another manifest, as splitting gives one."""
        return replace(self, manifest=manifest)


@dataclass(frozen=True)
class _Seen:
    """What decoding an image showed; ``digest`` stands for its pixels, whatever the format of the file."""

    width: int
    height: int
    digest: str


def import_data(
    kind: str,
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> ImportResult:
    """Read a data set, decode every image once, and return what is usable and what is not.

    The same picture in several files gets one ``dup_group``, joined with those of the source. Nothing is copied: the
    manifest refers to the files where they are.

    Parameters
    ----------
    kind
        An importer's name, see :data:`cxr.data.sources.SOURCES`.
    path
        The data set's folder, or its table.
    columns
        ``{our column: theirs}``, for the kind ``manifest`` alone.
    aliases
        ``{their label, finding or folder: our class}``.
    progress
        Called with ``(decoded, total)``.
    workers
        Decoding processes; None for one per core, 0 for this process.

    Raises
    ------
    ManifestError
        For an unknown kind, a folder that is not of this kind, or not one usable image.
    """
    if kind not in SOURCES:
        raise ManifestError(unknown("kind of data set", kind, SOURCES))
    if columns and kind != "manifest":
        raise ManifestError(f"`columns` maps the columns of kind 'manifest'; kind {kind!r} knows its own")
    folder = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow links
    found = SOURCES[kind].read(folder, Options(columns or {}, aliases or {}))
    usable = _decoded(found, progress, workers)
    excluded = pd.DataFrame(found.excluded, columns=["file", "reason"])
    if not usable:
        raise ManifestError(_nothing_usable(folder, kind, excluded))
    table, pictures = _filled(pd.DataFrame(usable), found.root)
    manifest = Manifest.from_table(table, found.root)
    return ImportResult(manifest, excluded, kind, _doubles(manifest.table, pictures))


def inspect(path: Path) -> _Seen | str:
    """Decode an image in a worker; its size and digest, or the reason why it is not usable."""
    try:
        pixels = decode(path)
    except Refusal as refusal:
        return str(refusal)
    if pixels.min() == pixels.max():
        return f"is blank (every pixel is {pixels[0, 0]})"
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return _Seen(pixels.shape[1], pixels.shape[0], digest.hexdigest())


def _decoded(found: Found, progress: Progress | None, workers: int | None) -> list[dict[str, Any]]:
    """Return the rows whose image decodes, with size and digest; the others are left out by name."""
    usable = []
    images = [Path(row["image"]) for row in found.rows]
    for row, image, seen in zip(found.rows, images, map_in_order(inspect, images, workers, progress), strict=True):
        if isinstance(seen, _Seen):
            usable.append(row | {"width": seen.width, "height": seen.height, "_digest": seen.digest})
        else:
            found.leave_out(image, str(seen))
    return usable


def _filled(table: pd.DataFrame, root: Path) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Set paths relative to the root and groups of equal pictures; also return the number of each row's picture."""
    for column in (c for c in COLUMNS if c in table and (c == "image" or c.endswith("_mask"))):
        table[column] = [relative(path, root) if path else "" for path in table[column].fillna("")]
    if "split" in table:
        table["split"] = [split_name(str(name)) if name else "" for name in table["split"].fillna("")]
    given = table["dup_group"].fillna("").tolist() if "dup_group" in table else [""] * len(table)
    groups = join_doubles(given, table["_digest"].tolist())
    pictures = pd.factorize(table["_digest"])[0].astype(np.int64)
    return table.assign(dup_group=groups).drop(columns="_digest"), pictures


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


def _nothing_usable(folder: Path, kind: str, excluded: pd.DataFrame) -> str:
    if excluded.empty:
        return f"{folder} holds no file for the importer {kind!r}"
    first = "; ".join(f"{row.file} {row.reason}" for row in excluded.head(_REASONS_SHOWN).itertuples())
    return f"{folder} has no usable X-ray for the importer {kind!r}: {len(excluded)} left out, first: {first}"
