"""Importing, splitting and making data sets: what commands, pages and the worker share.

An import is kept as soon as its images are read. Its splits are a step of their own: one that fails leaves the data set
without splits, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import pandas as pd

from cxr.data.importers.import_options import given_options
from cxr.data.importers.importing import ImportResult, import_data, source_splits, unknown_patients
from cxr.data.importers.registry import SOURCES
from cxr.data.importers.rows import SOURCE_SPLIT
from cxr.data.library import (
    DataSetFacts,
    add_facts,
    check_name,
    describe_data_set,
    facts_beside,
    is_taken,
    list_data_sets,
    resolve_manifest,
    save_data_set,
    update_data_set,
)
from cxr.data.manifest import Manifest
from cxr.data.notes import import_notes, split_notes, straddling_notes, two_labels
from cxr.data.phantom import write_demo
from cxr.data.splits import in_order, split_manifest
from cxr.errors import CxrError, ManifestError, unknown, wrong_use
from cxr.paths import data_root

if TYPE_CHECKING:
    from cxr.data.settings import DemoParams, ImportParams
    from cxr.runs.folder import RunFolder

DEMO = "synthetic"
SPLITS: Mapping[str, str] = {
    "make": "use those that come with the data, else make them",
    "keep": "only those that come with the data",
    "new": "make new ones, also where the data come with some",
    "none": "no splits, not even those that come with the data",
}
DECLINING = ("new", "none")  # choices that do not use the splits of the source
VALIDATION: Mapping[str, float] = {"train": 0.9, "val": 0.1}
Progress = Callable[[float, str], None]
_NOT_WANTED = "none were requested"
_NO_ASIDE = pd.DataFrame(columns=["image_id", "image", "reason"])


class ImportSummary(TypedDict):
    """What a command prints, and a run stores, of an import; see :class:`Imported`."""

    name: str
    kind: str
    splits: dict[str, int] | None
    source_splits: dict[str, int] | None
    split_reason: str | None
    notes: list[str]
    two_labels: list[list[dict[Hashable, str]]]


@dataclass(frozen=True)
class Imported:
    """A data set as an import left it in the library.

    Attributes
    ----------
    name, folder
        Of the data set; the name may differ from the one that was requested if another import took it meanwhile.
    result
        What was imported, with the splits that it has now.
    split_reason
        Why there are no splits, "" if there are.
    notes
        What a user should know, one sentence each.
    """

    name: str
    folder: Path
    result: ImportResult
    split_reason: str
    notes: tuple[str, ...]

    @property
    def splits(self) -> dict[str, int] | None:
        """X-rays per split, None if there are no splits."""
        return split_sizes(self.result.manifest)

    def as_dict(self) -> ImportSummary:
        """Return what a command or a run reports of the import in plain values."""
        pairs = two_labels(self.result.doubles)
        return {
            "name": self.name,
            "kind": self.result.kind,
            "splits": self.splits,
            "source_splits": source_splits(self.result.manifest) or None,
            "split_reason": self.split_reason or None,
            "notes": list(self.notes),
            "two_labels": [rows[["image_id", "image", "label"]].to_dict("records") for rows in pairs],
        }


@dataclass(frozen=True)
class Divided:
    """A data set after its splits were made: the manifest, rows set aside (``image_id, image, reason``), and notes."""

    name: str
    folder: Path
    manifest: Manifest
    set_aside: pd.DataFrame
    notes: tuple[str, ...]


def split_sizes(manifest: Manifest) -> dict[str, int] | None:
    """Return the number of X-rays in each split, None if there are no splits."""
    counts = manifest.table["split"].value_counts()
    return {name: int(counts[name]) for name in in_order(manifest.splits)} or None


def import_data_set(
    kind: str,
    path: str | Path,
    name: str,
    *,
    splits: str = "make",
    seed: int = 0,
    overwrite: bool = False,
    find_duplicates: bool = False,
    run: str = "",
    search_progress: Progress | None = None,
    search_folder: Path | None = None,
    **options: Any,
) -> Imported:
    """Read a data set, keep it in the library, then make its splits and keep it with them.

    Parameters
    ----------
    kind, path, options
        As :func:`cxr.data.import_data` takes them.
    name
        What the data set is called.
    splits
        A key of :data:`SPLITS`. ``make`` uses splits that come with the data, and only takes rows that share a patient
        or a picture with a held-out one out of the others. Whatever is chosen, the column ``source_split`` remembers
        the splits that come with the data.
    seed
        Of the splits that are made.
    overwrite
        Replace a data set of this name.
    find_duplicates
        Also find X-rays that are there twice in different pictures, and group them, so that splits keep them together;
        ``search_progress`` is called with the share that is done, and a text; what is done of the search is kept in
        ``search_folder``.
    run
        The run that imports; it may replace what it kept itself before it was killed.

    Raises
    ------
    ManifestError
        For a name that is not possible or taken, before anything is read, and as :func:`cxr.data.import_data` does.
        Splits that cannot be made are no error.
    """
    if splits not in SPLITS:
        raise wrong_use(ManifestError(unknown("choice of splits", splits, SPLITS)))
    overwrite = overwrite or _is_of_run(name, run)
    check_free(name, overwrite)
    result = import_data(kind, path, **options)
    if note := _source_split_note(result.manifest, splits):
        result = result.with_notes(note)
    if splits in DECLINING:
        result = result.with_manifest(result.manifest.with_splits({}))
    kept_as = name if overwrite or not is_taken(name) else _free_name(name)
    notes = list(dict.fromkeys((*result.notes, *import_notes(result))))
    if kept_as != name:
        notes.append(f"Another import has taken the name {name} meanwhile: this data set is called {kept_as}.")
    official = in_order(result.manifest.splits)
    about: DataSetFacts = {
        "notes": notes,
        "source_splits": official,
        "split_reason": _NOT_WANTED if not official else "",
        "run": run,
    }
    if splits in ("make", "new") and not official:
        about["split_reason"] = "they have not been made yet"
    if find_duplicates:
        about["unfinished"] = _unfinished_search(kept_as, run)
    folder = save_data_set(kept_as, result, overwrite=overwrite, **about)
    if find_duplicates:
        notes += _grouped_duplicates(kept_as, search_progress, search_folder, options.get("workers"))
        add_facts(kept_as, notes=notes, unfinished="")
    result = result.with_manifest(Manifest.load(folder / "manifest.csv"))
    return _with_splits(kept_as, folder, result, splits, seed, notes)


def check_free(name: str, overwrite: bool = False) -> None:
    """Raise a ManifestError if a new data set cannot have this name: hours of reading come after this."""
    if is_taken(name) and not overwrite:
        raise ManifestError(f"a data set called {name!r} already exists: choose another name or overwrite it")


def split_data_set(
    data: str | Path,
    *,
    name: str | None = None,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    keep: Collection[str] = (),
) -> Divided:
    """Make new splits of a data set, without those of the splits in ``keep``, and keep the result.

    Parameters
    ----------
    data
        A data set's name, or a manifest's file.
    name
        Keep the result as this new data set; needed where ``data`` is no data set of the library.
    fractions, seed, keep
        As :func:`cxr.data.split_manifest` takes them.

    Raises
    ------
    ManifestError
        If the splits cannot be made, or ``name`` is taken or missing; what there was stays as it is.
    """
    in_library = str(data) in {data_set.name for data_set in list_data_sets()}
    if name is not None:
        check_free(name)
    elif not in_library:
        raise ManifestError(f"{str(data)!r} is not the name of a data set: give the result a name with --name")
    before = Manifest.load(resolve_manifest(data))
    facts = facts_beside(resolve_manifest(data)) if in_library else {}
    before = _remembering(before, facts.get("source_splits", ()))
    manifest, set_aside = split_manifest(before, fractions, seed=seed, keep=keep)
    official = [split for split in facts.get("source_splits", ()) if split in keep]
    notes = [*split_notes(manifest, set_aside, keep), *_replaced_notes(facts.get("source_splits", ()), keep)]
    notes += [facts["unfinished"]] if facts.get("unfinished") else []
    about: DataSetFacts = {"split_notes": notes, "split_reason": "", "source_splits": official}
    folder = save_data_set(name, manifest, **about) if name else update_data_set(str(data), manifest, **about)
    patients = unknown_patients(manifest)
    return Divided(name or str(data), folder, manifest, set_aside, (*notes, *([patients] if patients else [])))


def run_import(folder: RunFolder, params: ImportParams, progress: Progress) -> None:
    """Import a data set and save it under its name."""
    imported = import_data_set(
        params.kind,
        params.path,
        params.name,
        splits=params.splits,
        seed=params.seed,
        overwrite=params.overwrite,
        find_duplicates=params.find_duplicates,
        search_progress=progress,
        search_folder=folder.path / "parts",
        run=folder.id,
        progress=lambda done, total: progress(done / max(total, 1), f"{done:,} of {total:,} files read"),
        **given_options((source.options for source in SOURCES.values()), params.options),
    )
    n, left_out = len(imported.result.manifest), len(imported.result.excluded)
    folder.write_json("results.json", {"data": imported.name, "images": n, "left_out": left_out} | imported.as_dict())
    without = f"; kept without splits: {imported.split_reason}" if imported.split_reason else ""
    progress(1.0, f"{n:,} X-rays imported, {left_out:,} left out{without}")


def run_demo(folder: RunFolder, params: DemoParams, progress: Progress) -> None:
    """Make the synthetic X-rays and keep them under their name."""
    name = check_name(params.name)
    manifest = write_demo(
        data_root() / name,
        params.n,
        params.correlation,
        params.seed,
        params.size,
        params.workers,
        progress=lambda done, total: progress(done / max(total, 1), f"{done:,} of {total:,} X-rays made"),
    )
    describe_data_set(name, DEMO)
    folder.write_json("results.json", {"data": name, "images": len(manifest), "left_out": 0})
    progress(1.0, f"{len(manifest):,} synthetic X-rays made")


def _with_splits(name: str, folder: Path, result: ImportResult, splits: str, seed: int, notes: list[str]) -> Imported:
    """Make the splits of a data set that is in the library already, if they are wanted and can be made."""
    manifest, set_aside, official, reason = result.manifest, _NO_ASIDE, result.manifest.splits, ""
    try:
        if splits in ("make", "new"):
            manifest, set_aside = split_manifest(manifest, {} if official else None, seed=seed, keep=official)
    except ManifestError as error:
        reason = str(error)
    if not reason and not manifest.splits:
        reason = _NOT_WANTED
    split_sentences = [] if reason else [*split_notes(manifest, set_aside, official), *straddling_notes(manifest)]
    update_data_set(name, manifest, split_notes=split_sentences, split_reason=reason)
    return Imported(name, folder, result.with_manifest(manifest), reason, (*notes, *split_sentences))


def _unfinished_search(name: str, run: str) -> str:
    """Return what is said of a data set for as long as the search for its duplicates has not come to its end."""
    again = f"`cxr runs resume {run}` goes on with the import, " if run else ""
    return (
        "The search for duplicates, which the import was asked for, has not come to its end: splits that are made now "
        f"do not keep them together. {again}{'or ' if again else ''}`cxr data duplicates {name} --group` finds and "
        "groups them."
    )


def _grouped_duplicates(name: str, progress: Progress | None, folder: Path | None, workers: int | None) -> list[str]:
    """Find and group the duplicates of a data set that has just been imported; return what is to be known of them."""
    from cxr.data.audit.duplicates.data_set import duplicate_notes, search_data_set

    try:
        duplicates, file = search_data_set(name, group=True, progress=progress, workers=workers, folder=folder)
    except CxrError as error:  # the import itself is whole
        return [f"Duplicates were not looked for: {error}. `cxr data duplicates {name} --group` tries again."]
    found = duplicate_notes(duplicates, conflicts_only=True)
    return [*found, f"`{file}` lists them."] if len(duplicates.pairs) else found


def _source_split_note(manifest: Manifest, splits: str) -> str:
    """Return one sentence on the splits that come with the data, and on what becomes of them; "" if there are none."""
    sizes = source_splits(manifest)
    if not sizes:
        return ""
    used = "declined" if splits in DECLINING or not manifest.splits else "used"
    counts = ", ".join(f"{name} {n}" for name, n in sizes.items())
    return f"Splits that come with the data: {counts}; {used} (--splits {splits}). `{SOURCE_SPLIT}` remembers them."


def _remembering(manifest: Manifest, official: Collection[str]) -> Manifest:
    """Return a manifest that remembers the splits of its source, before others replace them."""
    table = manifest.table
    if SOURCE_SPLIT in table or not official:
        return manifest
    return manifest.with_table(table.assign(**{SOURCE_SPLIT: table["split"].where(table["split"].isin(official), "")}))


def _is_of_run(name: str, run: str) -> bool:
    return bool(run) and is_taken(name) and facts_beside(resolve_manifest(name)).get("run") == run


def _free_name(name: str) -> str:
    return next(other for n in range(2, 10_000) if not is_taken(other := f"{name[:58]}-{n}"))


def _replaced_notes(source_splits: Collection[str], keep: Collection[str]) -> list[str]:
    if "test" not in source_splits or "test" in keep:
        return []
    return [
        "The test split that came with the data was replaced: figures on the new one cannot be compared with others'. "
        "Import the data set again to get it back; `--keep test` leaves it as it is."
    ]
