"""NIH ChestX-ray14: frontal X-rays with up to 14 findings each."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from pathlib import Path

from cxr.data.images.base import IMAGE_SUFFIXES
from cxr.data.importers.import_options import Options
from cxr.data.importers.listing import Listing, Source, find_table, walk
from cxr.data.importers.rows import Row
from cxr.data.manifest import read_table
from cxr.data.tables.normalise import (
    is_frontal,
    label_of_findings,
    normalise_findings,
    normalise_patient,
    split_findings,
)
from cxr.errors import ManifestError

_NEEDED = ("Image Index", "Finding Labels", "Patient ID")
_LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
_SPLITS = {"train_val": "train", "test": "test"}
_LICENCE = "none stated (NIH Clinical Center: public, cite)"


def recognises(columns: Collection[str]) -> bool:
    """Return whether these are the columns of ChestX-ray14."""
    return set(_NEEDED) <= set(columns)


def read(path: Path, options: Options) -> Listing:
    """Read ``Data_Entry_2017*.csv`` and the images of ``images/`` or ``images_001/images/`` and so on, or beside it."""
    table_file = find_table(path, ["Data_Entry_2017*.csv", "Data_Entry*.csv", "Data_Entry*.csv.gz"], "NIH ChestX-ray14")
    table = read_table(table_file)
    absent = [name for name in _NEEDED if name not in table]
    if absent:
        raise ManifestError(f"{table_file} has no column {absent[0]!r}. Found: {', '.join(table.columns)}")
    listing = Listing(table_file.parent)
    files = _files_by_name(listing)
    lists = _official_lists(listing.root)
    for row in table.to_dict("records"):
        _take(row, files, lists, listing, options)
    for file in files.values():
        listing.leave_out(file, f"has no row in {table_file.name}, or a second one")
    return listing


def label_of(findings: str, options: Options) -> str:
    """Return normal for "No Finding" alone, pneumonia where it is among the findings, else ""."""
    if findings in options.aliases:
        return options.aliases[findings]
    return label_of_findings(split_findings(findings))


def _files_by_name(listing: Listing) -> dict[str, Path]:
    folders = [folder for folder in sorted(listing.root.glob("images*")) if folder.is_dir()] or [listing.root]
    folder_is_root = folders == [listing.root]
    files: dict[str, Path] = {}
    for file in (file for folder in folders for file in walk(folder, listing)):
        if folder_is_root and file.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if files.setdefault(file.name, file) is not file:
            listing.leave_out(file, f"has the name of {files[file.name].relative_to(listing.root).as_posix()}")
    return files


def _official_lists(root: Path) -> dict[str, str]:
    """Return which of the official lists names each image; empty where the lists are not there."""
    return {
        line.strip(): name
        for name, file in _LISTS.items()
        if (root / file).is_file()
        for line in (root / file).read_text(encoding="utf-8", errors="replace").splitlines()
    }


def _take(
    row: Mapping[Hashable, str], files: dict[str, Path], lists: dict[str, str], listing: Listing, options: Options
) -> None:
    name = row["Image Index"]
    file = files.pop(name, None)
    if file is None:
        listing.leave_out(name or "row without a name", "has a row, but no image in images*/ (or the row is double)")
        return
    number = normalise_patient(row["Patient ID"])
    view = row.get("View Position", "")
    if not is_frontal(view):
        listing.leave_out(file, f"view {view} is not frontal")
        return
    listing.rows.append(
        Row(
            image=str(file),
            label=label_of(row["Finding Labels"], options),
            findings=normalise_findings(row["Finding Labels"]),
            patient_id=f"nih_{int(number):08d}" if number.isdecimal() else f"nih_{number}" if number else "",
            source="nih",
            view=view,
            sex=row.get("Patient Gender", ""),
            age=row.get("Patient Age", ""),
            licence=_LICENCE,
            split=_SPLITS.get(lists.get(name, ""), ""),
            extra={"official_list": lists.get(name, "")} if lists else {},
        )
    )


SOURCE = Source(
    "nih-chestxray14",
    "NIH ChestX-ray14",
    "Data_Entry_2017*.csv and images*/: frontal X-rays with up to 14 findings each",
    read,
    Options,
    recognises,
    "Image Index",
)
