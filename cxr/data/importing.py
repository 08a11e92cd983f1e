"""Import: files of a data set become a manifest, and everything left out is named with its reason."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr.data.digests import file_digest
from cxr.data.image import Refusal, decode_with_notes
from cxr.data.manifest import COLUMNS, Manifest
from cxr.data.pool import map_in_order
from cxr.data.sources import SOURCES, Found, Options
from cxr.data.sources.base import FILE_NOTES, relative
from cxr.errors import ManifestError, unknown

Progress = Callable[[int, int], None]
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
        Name of the importer in :data:`cxr.data.sources.SOURCES`.
    """

    manifest: Manifest
    excluded: pd.DataFrame
    kind: str

    @property
    def notes(self) -> dict[str, int]:
        """How many X-rays each note of the manifest's column ``file_notes`` is on, the most frequent first."""
        return count_notes(self.manifest)

    def with_manifest(self, manifest: Manifest) -> ImportResult:
        """Return the same result with another manifest, as splitting gives one."""
        return replace(self, manifest=manifest)


@dataclass(frozen=True)
class _Seen:
    """What decoding an image showed."""

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
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    modalities: Sequence[str] = (),
    progress: Progress | None = None,
    workers: int | None = None,
) -> ImportResult:
    """Read a data set, decode every image once, and return what is usable and what is not.

    Files with the same bytes share a ``dup_group``. Nothing is copied: the manifest refers to the files where they are.

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
    modalities
        DICOM modalities to take besides those of X-rays, such as ``SC``, for the kind ``dicom`` alone.
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
    if modalities and kind != "dicom":
        raise ManifestError(f"`modalities` are those of kind 'dicom'; kind {kind!r} has none")
    folder = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow links
    found = SOURCES[kind].read(folder, Options(columns or {}, aliases or {}, modalities))
    usable = _decoded(found, progress, workers)
    excluded = pd.DataFrame(found.excluded, columns=["file", "reason"])
    if not usable:
        raise ManifestError(_nothing_usable(folder, kind, excluded))
    table = _filled(pd.DataFrame(usable), found.root)
    return ImportResult(Manifest.from_table(table, found.root), excluded, kind)


def inspect(path: Path) -> _Seen | str:
    """Decode an image in a worker; its size and digest, or the reason why it is not usable."""
    try:
        pixels, notes = decode_with_notes(path)
    except Refusal as refusal:
        return str(refusal)
    if pixels.min() == pixels.max():
        return f"is blank (every pixel is {pixels[0, 0]})"
    digest = file_digest(path)
    return _Seen(pixels.shape[1], pixels.shape[0], digest, notes) if digest else "changed while it was read"


def _decoded(found: Found, progress: Progress | None, workers: int | None) -> list[dict[str, Any]]:
    """Return the rows whose image decodes, with size and digest; the others are left out by name."""
    usable = []
    images = [Path(row["image"]) for row in found.rows]
    for row, image, seen in zip(found.rows, images, map_in_order(inspect, images, workers, progress), strict=True):
        if isinstance(seen, _Seen):
            earlier = str(row.get(FILE_NOTES) or "").split(_BETWEEN_NOTES)
            notes = _BETWEEN_NOTES.join(note for note in dict.fromkeys((*earlier, *seen.notes)) if note)
            shown = {"width": seen.width, "height": seen.height, FILE_NOTES: notes, "_digest": seen.digest}
            usable.append(row | shown)
        else:
            found.leave_out(image, str(seen))
    return usable


def _filled(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Set paths relative to the root and groups of files with the same bytes; drop notes if there are none."""
    if not (table[FILE_NOTES] != "").any():
        table = table.drop(columns=FILE_NOTES)
    for column in (c for c in COLUMNS if c in table and (c == "image" or c.endswith("_mask"))):
        table[column] = [relative(path, root) if path else "" for path in table[column].fillna("")]
    given = table["dup_group"].tolist() if "dup_group" in table else [""] * len(table)
    return table.assign(dup_group=_same_bytes(given, table["_digest"].to_numpy())).drop(columns="_digest")


def _same_bytes(groups: list[str], digests: NDArray[np.object_]) -> list[str]:
    """Put files of the same bytes into one group; groups of the source that they belong to become one."""
    members: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        members[digest].append(position)
    for digest, positions in members.items():
        if len(positions) > 1:
            joined = {groups[i] for i in positions} - {""}
            name = min(joined, default=f"bytes-{digest[:12]}")
            groups = [name if group in joined else group for group in groups]
            for position in positions:
                groups[position] = name
    return groups


def _nothing_usable(folder: Path, kind: str, excluded: pd.DataFrame) -> str:
    if excluded.empty:
        return f"{folder} holds no file for the importer {kind!r}"
    first = "; ".join(f"{row.file} {row.reason}" for row in excluded.head(_REASONS_SHOWN).itertuples())
    return f"{folder} has no usable X-ray for the importer {kind!r}: {len(excluded)} left out, first: {first}"
