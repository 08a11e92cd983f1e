"""A data set for somebody else: its manifest, what is known of it and, if wanted, its images, in a folder or a ZIP."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr.data.library import EXCLUDED_FILE, resolve_manifest
from cxr.data.manifest import PATH_COLUMNS, Manifest
from cxr.errors import ManifestError, wrong_use

_BESIDE = ("data.json", EXCLUDED_FILE, "duplicates.csv")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What was written: the folder or the ZIP, X-rays, files that were copied, and those that were not there."""

    path: Path
    n: int
    copied: int
    missing: tuple[str, ...]


def export_data_set(data: str | Path, out: Path, *, images: bool = False, progress: Progress | None = None) -> Exported:
    """Write a data set to a folder, or to a ZIP where ``out`` ends so.

    Parameters
    ----------
    data
        A data set's name, or a manifest's file.
    out
        A folder that is not there or empty, or a file ``.zip`` that is not there.
    images
        Also copy images and masks, as they are, to ``images/``; the manifest then has their paths relative to itself,
        and can be imported with the kind ``manifest`` on any machine. Else it names them where they lie.
    progress
        Called with ``(copied, total)``.

    Raises
    ------
    ManifestError
        If there is no such data set, or something at ``out`` already.
    """
    path = resolve_manifest(data)
    manifest = Manifest.load(path)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise wrong_use(ManifestError(f"{out} exists already: give a new folder, or a file that ends in .zip"))
    if out.suffix.lower() != ".zip":
        out.mkdir(parents=True, exist_ok=True)
        copied, missing = _write(manifest, path.parent, out, images, progress)
        return Exported(out, len(manifest), copied, missing)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as made:
        folder = Path(made) / out.stem
        folder.mkdir()
        copied, missing = _write(manifest, path.parent, folder, images, progress)
        archive = shutil.make_archive(str(Path(made) / "archive"), "zip", made, out.stem)
        shutil.move(archive, out)
    return Exported(out, len(manifest), copied, missing)


def manifest_zip(data: str | Path) -> bytes:
    """Return a ZIP of a data set's tables, without images, as a page offers it."""
    path = resolve_manifest(data)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        table = Manifest.load(path).table_seen_from(path.parent / "-")
        archive.writestr("manifest.csv", table.to_csv(index=False))
        for name in _BESIDE:
            if (path.parent / name).is_file():
                archive.write(path.parent / name, name)
    return content.getvalue()


def _write(
    manifest: Manifest, folder: Path, out: Path, images: bool, progress: Progress | None
) -> tuple[int, tuple[str, ...]]:
    table = manifest.table_seen_from(out)
    copied = 0
    missing: tuple[str, ...] = ()
    if images:
        table, copied, missing = _copied(manifest, out, progress)
    table.to_csv(out / "manifest.csv", index=False)
    for name in _BESIDE:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    return copied, missing


def _copied(manifest: Manifest, out: Path, progress: Progress | None) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """Copy images and masks, and return the table with their new paths; a file that is not there keeps none."""
    table, missing = manifest.table.copy(), []
    names = {value for column in PATH_COLUMNS for value in table[column] if value}
    places = {name: f"images/{k:06d}{Path(name).suffix.lower()}" for k, name in enumerate(sorted(names))}
    (out / "images").mkdir(exist_ok=True)
    for done, (name, place) in enumerate(places.items(), 1):
        try:
            shutil.copyfile(manifest.resolve(name), out / place)
        except OSError:
            missing.append(name)
        if progress is not None:
            progress(done, len(places))
    gone = set(missing)
    for column in PATH_COLUMNS:
        table[column] = ["" if name in gone and column != "image" else places.get(name, "") for name in table[column]]
    return table, len(places) - len(missing), tuple(missing)
