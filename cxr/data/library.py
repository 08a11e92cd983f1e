"""The data sets of this installation: ``<data_root>/<name>/manifest.csv`` and what was left out."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from cxr.data.importing import ImportResult
from cxr.data.manifest import Manifest
from cxr.errors import ManifestError
from cxr.paths import data_root

_NOTHING_EXCLUDED = pd.DataFrame(columns=["file", "reason"])
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class DataSet:
    """A data set in the library; ``n`` counts its X-rays, ``kind`` is the importer or "" if that is not known."""

    name: str
    folder: Path
    manifest_path: Path
    n: int
    kind: str


def check_name(name: str) -> str:
    """Return ``name`` if a data set can be called so; a ManifestError says what is allowed."""
    if not _NAME.fullmatch(name):
        raise ManifestError(f"{name!r} is no name for a data set: 1 to 64 letters, digits, '.', '_' or '-'")
    return name


def save_data_set(name: str, data: ImportResult | Manifest, *, overwrite: bool = False) -> Path:
    """Put a manifest into the library and return its folder; images stay where they are.

    Raises
    ------
    ManifestError
        For a name that is not letters, digits, ``.``, ``_`` and ``-``, or one that is taken.
    """
    folder = data_root() / check_name(name)
    if (folder / "manifest.csv").exists() and not overwrite:
        raise ManifestError(f"a data set called {name!r} is there already; choose another name or overwrite it")
    result = ImportResult(data, _NOTHING_EXCLUDED, "") if isinstance(data, Manifest) else data
    result.manifest.save(folder / "manifest.csv")
    result.excluded.to_csv(folder / "excluded.csv", index=False)
    _write_facts(folder, kind=result.kind, imported_from=str(result.manifest.root), notes=list(result.notes))
    return folder


def update_data_set(name: str, manifest: Manifest) -> Path:
    """Replace the manifest of a data set, as new splits do, and keep what else is known of it; return its folder."""
    folder = resolve_manifest(check_name(name)).parent
    manifest.save(folder / "manifest.csv")
    _write_facts(folder)
    return folder


def describe_data_set(name: str, kind: str) -> None:
    """Note of which kind a data set is whose files were made in its folder."""
    _write_facts(resolve_manifest(check_name(name)).parent, kind=kind)


def list_data_sets() -> list[DataSet]:
    """Return the data sets of the library by name; a folder without a manifest is none."""
    root = data_root()
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [_data_set(folder) for folder in folders if (folder / "manifest.csv").is_file()]


def open_data_set(name: str) -> Manifest:
    """Load the manifest of a data set; a ManifestError names those there are."""
    return Manifest.load(resolve_manifest(name))


def read_excluded(name: str) -> pd.DataFrame:
    """Return ``file, reason`` of what an import left out; empty for a data set that was not imported."""
    file = data_root() / name / "excluded.csv"
    if not _NAME.fullmatch(name) or not file.is_file():
        return _NOTHING_EXCLUDED.copy()
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
    in_library = data_root() / name / "manifest.csv"
    if _NAME.fullmatch(name) and in_library.is_file():
        return in_library
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if (path / "manifest.csv").is_file():
        return path / "manifest.csv"
    names = ", ".join(data_set.name for data_set in list_data_sets()) or "none yet"
    raise ManifestError(f"{name!r} is neither a data set ({names}) nor a manifest's file")


def _data_set(folder: Path) -> DataSet:
    facts = _read_json(folder / "data.json")
    manifest = folder / "manifest.csv"
    n = facts.get("n")
    if not isinstance(n, int) or facts.get("stamp") != _stamp(manifest):
        n = _count_rows(manifest)
    return DataSet(folder.name, folder, manifest, n, str(facts.get("kind", "")))


def _write_facts(folder: Path, **known: str | list[str]) -> None:
    """Write data.json: what was known, what is ``known`` now, and the count that spares reading the manifest."""
    manifest = folder / "manifest.csv"
    facts = {"created": datetime.now(UTC).isoformat(timespec="seconds"), **_read_json(folder / "data.json"), **known}
    _write_json(folder / "data.json", {**facts, "n": _count_rows(manifest), "stamp": _stamp(manifest)})


def _stamp(manifest: Path) -> str:
    """Return what changes when someone edits the manifest by hand."""
    info = manifest.stat()
    return f"{info.st_size}-{info.st_mtime_ns}"


def _count_rows(manifest: Path) -> int:
    try:
        return len(pd.read_csv(manifest, dtype=str, usecols=[0]))
    except (OSError, ValueError):
        return 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    partial.replace(path)
