"""The data sets of this installation: ``<data_root>/<name>/manifest.csv`` and what was left out."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TypedDict, Unpack, cast

import pandas as pd

from cxr import permission
from cxr.data.importers.importing import ImportResult
from cxr.data.manifest import Manifest, write_table
from cxr.errors import ManifestError, wrong_use
from cxr.files import replacing, replacing_together, settle
from cxr.paths import check_root, data_root

EXCLUDED_FILE = "excluded.csv"
_NOTHING_EXCLUDED = pd.DataFrame(columns=["file", "reason"])
_LONGEST = 64
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST - 1}}}")


@dataclass(frozen=True)
class DataSet:
    """A data set in the library; ``n`` counts its X-rays, ``kind`` is the importer or "" if that is not known."""

    name: str
    folder: Path
    manifest_path: Path
    n: int
    kind: str


class DuplicateFacts(TypedDict):
    """Counts of X-rays that are in a data set more than once.

    Attributes
    ----------
    compared
        X-rays that were compared.
    pairs, exact
        Pairs of one X-ray, and those of them with the same pixels.
    images, groups
        X-rays that are in a pair, and groups of them.
    grouped
        Whether the manifest's ``dup_group`` holds the groups.
    """

    compared: int
    pairs: int
    exact: int
    images: int
    groups: int
    grouped: bool


class DataSetFacts(TypedDict, total=False):
    """What ``data.json`` holds about a data set; any key may be missing.

    Attributes
    ----------
    created, kind, imported_from
        When it was imported (ISO 8601), by which importer, and from which folder.
    notes
        What its user should know, one sentence each.
    split_notes, split_reason
        The same of its splits, and why it has none.
    source_splits
        Names of the splits that came with the data and are still as they were.
    locked
        Names of splits that no run looks at unless it is told to (see :mod:`cxr.data.openings`).
    duplicates
        What the last search for duplicates found.
    run
        The run that imported it, if one did.
    unfinished
        What an import that was killed has not done of what it was asked for, one sentence; "" for nothing.
    n, stamp
        Number of rows of the manifest, and what changes when it is edited by hand.
    """

    created: str
    kind: str
    imported_from: str
    notes: list[str]
    split_notes: list[str]
    split_reason: str
    source_splits: list[str]
    locked: list[str]
    duplicates: DuplicateFacts
    run: str
    unfinished: str
    n: int
    stamp: str


def check_name(name: str) -> str:
    """Return ``name`` if a data set can be called so; a ManifestError says what is allowed."""
    if not _NAME.fullmatch(name):
        raise wrong_use(
            ManifestError(f"{name!r} is not a valid name of a data set: use 1 to 64 letters, digits, '.', '_' or '-'")
        )
    return name


def proposed_name(source: Path) -> str:
    """Return a name for what is imported from a folder, or from a file in it: the folder's, as far as it can be a name.

    It is valid and not taken; "" where nothing can be made of the folder's name.
    """
    place = source.expanduser().absolute()
    folder = place.parent if place.is_file() else place
    ascii_name = unicodedata.normalize("NFKD", folder.name).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_name).strip("._-")[:_LONGEST].rstrip("._-")
    endings = ("", *(f"-{n}" for n in range(2, 1000)))
    names = (name[: _LONGEST - len(ending)] + ending for ending in endings if name)
    return next((free for free in names if not is_taken(free)), "")


def is_taken(name: str) -> bool:
    """Return whether a data set has this name; a ManifestError says if none can have it."""
    folder = _settled(data_root() / check_name(name))
    return (folder / "manifest.csv").exists()


def save_data_set(
    name: str, data: ImportResult | Manifest, *, overwrite: bool = False, **facts: Unpack[DataSetFacts]
) -> Path:
    """Put a manifest into the library and return its folder; images stay where they are.

    Manifest, what was left out and ``facts`` are replaced together: a crash
    leaves the old ones or the new ones.

    Raises
    ------
    ManifestError
        For a name that is not letters, digits, ``.``, ``_`` and ``-``, or one that is taken.
    """
    permission.ask("keep a data set")
    if is_taken(name) and not overwrite:
        raise ManifestError(f"a data set called {name!r} already exists; choose another name or overwrite it")
    result = ImportResult(data, _NOTHING_EXCLUDED, "") if isinstance(data, Manifest) else data
    stored: DataSetFacts = {
        "created": _now(),
        "kind": result.kind,
        "imported_from": str(result.manifest.root),
        "notes": list(result.notes),
    }
    folder = data_root() / name
    _write(folder, result.manifest, {**stored, **facts}, {EXCLUDED_FILE: result.excluded})
    return folder


def update_data_set(
    name: str,
    manifest: Manifest,
    *,
    tables: Mapping[str, pd.DataFrame] | None = None,
    **facts: Unpack[DataSetFacts],
) -> Path:
    """Replace the manifest of a data set, as new splits do, and keep what else is known of it; return its folder.

    ``tables`` are other files of the data set by name, which are replaced together with the manifest.
    """
    permission.ask("change a data set")
    folder = resolve_manifest(check_name(name)).parent
    _write(folder, manifest, {**_with_stored_facts(folder), **facts}, tables or {})
    return folder


def describe_data_set(name: str, kind: str) -> None:
    """Note of which kind a data set is whose files were made in its folder."""
    add_facts(name, kind=kind)


def add_facts(name: str, **facts: Unpack[DataSetFacts]) -> None:
    """Note facts about a data set beside those that are known; its manifest stays as it is."""
    folder = resolve_manifest(check_name(name)).parent
    with replacing(folder / "data.json") as draft:
        _write_facts(draft, folder / "manifest.csv", {**_with_stored_facts(folder), **facts})


def facts_beside(manifest: Path) -> DataSetFacts:
    """Return what is known of a data set besides its manifest, whose file is given; empty for any other manifest."""
    return _read_json(manifest.parent / "data.json")


def list_data_sets() -> list[DataSet]:
    """Return the data sets of the library by name; a folder without a manifest is none.

    Raises
    ------
    CxrError
        If the folder of data sets is a file or cannot be read.
    """
    root = data_root()
    check_root(root, "CXR_DATA")
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [_data_set(folder) for folder in folders if (_settled(folder) / "manifest.csv").is_file()]


def open_data_set(name: str) -> Manifest:
    """Load the manifest of a data set; a ManifestError names those there are."""
    return Manifest.load(resolve_manifest(name))


def read_excluded(name: str) -> pd.DataFrame:
    """Return ``file, reason`` of what an import left out; empty for a data set that was not imported."""
    if not _NAME.fullmatch(name) or not (_settled(data_root() / name) / EXCLUDED_FILE).is_file():
        return _NOTHING_EXCLUDED.copy()
    file = data_root() / name / EXCLUDED_FILE
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def read_notes(name: str) -> list[str]:
    """Return what an import noted of a data set: what it read otherwise than written, and what is not known."""
    if not _NAME.fullmatch(name):
        return []
    notes = _read_json(data_root() / name / "data.json").get("notes", [])
    return [str(note) for note in notes] if isinstance(notes, list) else []


def resolve_manifest(name_or_path: str | Path) -> Path:
    """Return the manifest of a data set's name, of a folder that holds ``manifest.csv``, or the file itself."""
    name = str(name_or_path)
    if _NAME.fullmatch(name) and is_taken(name):
        return data_root() / name / "manifest.csv"
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if (path / "manifest.csv").is_file():
        return path / "manifest.csv"
    names = ", ".join(data_set.name for data_set in list_data_sets()) or "none yet"
    raise wrong_use(ManifestError(f"{name!r} is neither a data set ({names}) nor a manifest's file"))


def _data_set(folder: Path) -> DataSet:
    facts = _read_json(folder / "data.json")
    manifest = folder / "manifest.csv"
    n = facts.get("n")
    if not isinstance(n, int) or facts.get("stamp") != _stamp(manifest):
        n = _count_rows(manifest)
    return DataSet(folder.name, folder, manifest, n, str(facts.get("kind", "")))


def _settled(folder: Path) -> Path:
    """Return a folder, after finishing what a killed process began to replace in it."""
    with contextlib.suppress(OSError):  # read-only: the files are those of before
        settle(folder)
    return folder


def _with_stored_facts(folder: Path) -> DataSetFacts:
    return {"created": _now(), **_read_json(folder / "data.json")}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(folder: Path, manifest: Manifest, facts: DataSetFacts, tables: Mapping[str, pd.DataFrame]) -> None:
    """Replace the files of a data set together."""
    with replacing_together(folder) as draft:
        write_table(manifest.table_seen_from(folder), draft / "manifest.csv")
        for file, table in tables.items():
            table.to_csv(draft / file, index=False)
        _write_facts(draft / "data.json", draft / "manifest.csv", facts)


def _write_facts(path: Path, manifest: Path, facts: DataSetFacts) -> None:
    """Write data.json: the facts, and the count of rows that spares reading the manifest."""
    counted = {**facts, "n": _count_rows(manifest), "stamp": _stamp(manifest)}
    path.write_text(json.dumps(counted, indent=2), encoding="utf-8")


def _stamp(manifest: Path) -> str:
    """Return what changes when someone edits the manifest by hand."""
    info = manifest.stat()
    return f"{info.st_size}-{info.st_mtime_ns}"


def _count_rows(manifest: Path) -> int:
    try:
        return _rows_of(str(manifest), _stamp(manifest))
    except (OSError, ValueError):
        return 0


@lru_cache(maxsize=256)
def _rows_of(manifest: str, stamp: str) -> int:
    return len(pd.read_csv(manifest, dtype=str, usecols=[0]))


def _read_json(path: Path) -> DataSetFacts:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(DataSetFacts, facts) if isinstance(facts, dict) else {}
