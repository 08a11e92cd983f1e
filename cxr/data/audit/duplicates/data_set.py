"""Duplicates of a whole data set: found, listed beside its manifest, and grouped so that splits keep them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cxr.data.audit.duplicates.conflicts import Conflicts, find_conflicts
from cxr.data.audit.duplicates.finding import find_duplicates
from cxr.data.audit.duplicates.groups import group_duplicates, with_groups
from cxr.data.audit.duplicates.pictures import SIDE
from cxr.data.images.image_cache import ImageCache
from cxr.data.library import (
    DuplicateFacts,
    add_facts,
    facts_beside,
    list_data_sets,
    resolve_manifest,
    update_data_set,
)
from cxr.data.manifest import Manifest
from cxr.errors import ManifestError, wrong_use
from cxr.files import replacing
from cxr.formatting import counted

PAIRS_FILE = "duplicates.csv"
_COLUMNS = ("image", "label", "split", "patient_id", "source")
_DECODED = 0.4  # share of the work that decoding is, for the progress
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Duplicates:
    """X-rays that a manifest holds more than once.

    Attributes
    ----------
    manifest
        In which they were looked for; with the groups where they were joined.
    pairs
        As :func:`cxr.data.audit.duplicates.find_duplicates` returns them.
    conflicts
        Labels, splits and patients that contradict each other.
    n
        How many X-rays were compared.
    missing
        DataFrame ``image_id, file, reason`` of the images that could not be read.
    """

    manifest: Manifest
    pairs: pd.DataFrame
    conflicts: Conflicts
    n: int
    missing: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Return the pairs with file, label, split, patient and source of both X-rays."""
        rows = self.manifest.table.set_index("image_id")
        table = self.pairs.copy()
        for column in _COLUMNS:
            for side in ("a", "b"):
                table[f"{column}_{side}"] = table[f"image_id_{side}"].map(rows[column])
        return table

    def facts(self, grouped: bool) -> DuplicateFacts:
        """Return the counts that are kept with a data set."""
        groups = group_duplicates(self.pairs)
        return {
            "compared": self.n,
            "pairs": len(self.pairs),
            "exact": int((self.pairs["kind"] == "exact").sum()),
            "images": len(groups),
            "groups": len(set(groups.values())),
            "grouped": grouped,
        }


def search_manifest(
    manifest: Manifest, progress: Progress | None = None, workers: int | None = None, folder: Path | None = None
) -> Duplicates:
    """Find the duplicates of a manifest; its images are decoded first where they are not in the cache.

    An exception that ``progress`` raises ends the search; what is done by then is kept in the cache and in ``folder``,
    and the next search goes on from there.

    Raises
    ------
    ImageError
        If not one image can be read, or the cache cannot be written.
    """
    report: Progress = progress or (lambda share, text: None)
    cache = ImageCache.build(
        manifest,
        SIDE,
        workers=workers,
        progress=lambda done, total: report(_DECODED * done / max(total, 1), f"{done:,} of {total:,} X-rays decoded"),
    )
    table = manifest.table.set_index("image_id").loc[cache.ids]
    sizes = list(zip(table["width"].astype(int), table["height"].astype(int), strict=True))
    pairs = find_duplicates(
        cache.images,
        cache.ids,
        sizes=sizes,
        progress=lambda share, text: report(_DECODED + (1 - _DECODED) * share, text),
        folder=folder,
    )
    return Duplicates(manifest, pairs, find_conflicts(manifest, pairs), len(cache), cache.missing)


def search_data_set(
    data: str | Path,
    *,
    group: bool = False,
    out: Path | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    folder: Path | None = None,
) -> tuple[Duplicates, Path | None]:
    """Find the duplicates of a data set and write them to ``duplicates.csv`` beside its manifest.

    Parameters
    ----------
    data
        A data set's name, or a manifest's file.
    group
        Give each group of duplicates one ``dup_group`` in the manifest, so that the next splits keep it together.
        Splits that there are stay as they are.
    out
        Another file for the pairs; a manifest that is no data set gets a file only here.
    progress, workers, folder
        As :func:`search_manifest` takes them.

    Returns
    -------
    Duplicates, Path
        What was found, and the file of the pairs, None if none was written.

    Raises
    ------
    ManifestError
        If ``group`` is asked of a manifest that is not a data set of the library.
    """
    name = name_of(data)
    if group and name is None:
        raise _no_groups(data)
    path = resolve_manifest(data)
    duplicates = search_manifest(Manifest.load(path), progress, workers, folder)
    file = out or (path.parent / PAIRS_FILE if name is not None else None)
    together = group and name is not None and out is None  # a list without its groups would be half of the work
    if file is not None and not together:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as draft:
            duplicates.table().to_csv(draft, index=False)
    if group and name is not None:
        update_data_set(
            name,
            with_groups(duplicates.manifest, duplicates.pairs),
            tables={PAIRS_FILE: duplicates.table()} if together else {},
            duplicates=duplicates.facts(grouped=True),
            unfinished="",
        )
        duplicates = replace(duplicates, manifest=Manifest.load(path))
    elif name is not None:
        add_facts(name, duplicates=duplicates.facts(grouped=_are_grouped(duplicates)))
    return duplicates, file


def name_of(data: str | Path) -> str | None:
    """Return the name of the data set of the library that a name or a manifest's file means, None if it is another."""
    sets = list_data_sets()
    file = Path(data).resolve()
    return next((own.name for own in sets if str(data) == own.name or file == own.manifest_path.resolve()), None)


def check_groups(data: str | Path) -> None:
    """Raise a ManifestError if groups cannot be kept, as ``data`` is no data set of the library."""
    if name_of(data) is None:
        raise _no_groups(data)


def _no_groups(data: str | Path) -> ManifestError:
    return wrong_use(
        ManifestError(f"{str(data)!r} is not the name of a data set: only a data set can keep groups. Import it first")
    )


def group_found(name: str) -> None:
    """Group what the last search of a data set has found, so that the next splits keep it together.

    Raises
    ------
    ManifestError
        If the list of that search is not there, or names X-rays that the data set does not have any more.
    """
    path = resolve_manifest(name)
    file, manifest, facts = path.parent / PAIRS_FILE, Manifest.load(path), facts_beside(path).get("duplicates")
    try:
        pairs = pd.read_csv(file, dtype={"image_id_a": str, "image_id_b": str}, keep_default_na=False)
        named = {*pairs["image_id_a"], *pairs["image_id_b"]}
    except (OSError, ValueError, KeyError):
        named = None
    if named is None or facts is None or not named <= set(manifest.ids):
        raise ManifestError(
            f"the list of duplicates of {name!r} is missing or of other X-rays: look for them again with "
            f"`cxr data duplicates {name} --group`"
        )
    update_data_set(name, with_groups(manifest, pairs), duplicates={**facts, "grouped": True}, unfinished="")


def _are_grouped(duplicates: Duplicates) -> bool:
    """Return whether the manifest's groups hold all pairs already, from an earlier search."""
    grouped = with_groups(duplicates.manifest, duplicates.pairs).table["dup_group"]
    return len(duplicates.pairs) > 0 and bool((grouped == duplicates.manifest.table["dup_group"]).all())


def duplicate_notes(duplicates: Duplicates, *, conflicts_only: bool = False) -> list[str]:
    """Return what a user should know of the duplicates of a data set, one sentence each, the count first.

    ``conflicts_only`` leaves out splits: they are made afterwards.
    """
    facts, conflicts = duplicates.facts(grouped=False), duplicates.conflicts
    if not facts["pairs"]:
        notes = [f"No X-ray is there twice, of {facts['compared']:,} compared."]
    else:
        notes = [
            f"{counted(facts['images'], 'X-ray')} of {facts['compared']:,} {_are(facts['images'])} there more than "
            f"once: {counted(facts['groups'], 'group')}, {counted(facts['pairs'], 'pair')}, {facts['exact']:,} with "
            "the same pixels."
        ]
    if n := len(conflicts.labels):
        notes.append(f"{counted(n, 'pair')} of one X-ray {_are(n)} under two labels.")
    if n := len(conflicts.patients_in_classes):
        notes.append(f"{counted(n, 'patient')} {_has(n)} X-rays of more than one class.")
    if n := len(duplicates.missing):
        notes.append(f"{counted(n, 'X-ray')} could not be read and {'was' if n == 1 else 'were'} left out.")
    if conflicts_only:
        return notes
    if n := len(conflicts.splits):
        notes.append(f"{counted(n, 'pair')} of one X-ray {_are(n)} in two splits.")
    if n := len(conflicts.patients_in_splits):
        notes.append(f"{counted(n, 'patient')} {_has(n)} X-rays in more than one split.")
    return notes


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _has(count: int) -> str:
    return "has" if count == 1 else "have"
