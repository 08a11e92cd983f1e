"""VinDr-CXR (Vingroup): several readers per image, as boxes (Kaggle, annotations_*.csv) or as columns per finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cxr.data.importers.import_options import FindingOptions
from cxr.data.importers.listing import Listing, Source, existing_folder
from cxr.data.importers.rows import Row
from cxr.data.manifest import read_table
from cxr.data.tables.findings import PublicSet, State, add_dicom_facts, count_uncertain, state, without_label
from cxr.data.tables.normalise import NO_FINDING, normalise_finding, normalise_split
from cxr.errors import ManifestError

TITLE = "VinDr-CXR"
_LICENCE = "PhysioNet Credentialed Health Data License 1.5.0 (on Kaggle: its competition's rules)"
_TABLES = (
    *("image_labels_train.csv", "image_labels_test.csv", "annotations_train.csv", "annotations_test.csv"),
    "train.csv",
)
_FACTS = frozenset(
    ("image_id", "rad_id", "class_name", "class_id", "x_min", "y_min", "x_max", "y_max", "width", "height")
)


@dataclass
class _Readings:
    """Who read an image, and which readers saw what."""

    readers: set[str] = field(default_factory=set)
    saw: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def states(self, findings: Collection[str]) -> dict[str, State]:
        """Return yes for what more than half of the readers saw, uncertain for what fewer saw, no for the rest."""
        return {name: self._state(len(self.saw.get(name, ()))) for name in findings}

    def _state(self, n: int) -> State:
        return "yes" if 2 * n > len(self.readers) else "uncertain" if n else "no"


def recognises(columns: Collection[str]) -> bool:
    """Return whether these are the columns of VinDr-CXR's boxes or readings."""
    names = set(columns)
    boxes = {"image_id", "class_name"} <= names and bool({"rad_id", "x_min"} & names)
    return boxes or (({"image_id", "rad_id"} <= names or "image_id" in names) and "No finding" in names)


def read(path: Path, options: FindingOptions) -> Listing:
    """Read the tables of a folder (or of its ``annotations/``), or one table; images are ``train/ID.dicom`` and so on.

    A finding is there if more than half of an image's readers saw it, and uncertain if fewer did.
    """
    tables = [path] if path.is_file() else _tables_in(existing_folder(path))
    root = tables[0].parent.parent if tables[0].parent.name == "annotations" else tables[0].parent
    readings: dict[str, _Readings] = defaultdict(_Readings)
    findings: dict[str, None] = {}
    n_rows = 0
    for file in tables:
        table = read_table(file)
        if not recognises(table.columns):
            present = ", ".join(table.columns)
            raise ManifestError(
                f"{file} is not a table of {TITLE}: it has no 'image_id' with readings. Found: {present}"
            )
        n_rows += len(table)
        _collect(table, readings, findings)
    options_without_label = without_label(options, ("class_name", "class_id"))
    rows = PublicSet.open(root, options_without_label, ["image_id", "class_name", *findings], TITLE, knows_views=False)
    uncertain = 0
    for name, reading in readings.items():
        states = reading.states(findings)
        if states.get(NO_FINDING) == "uncertain":
            states[NO_FINDING] = "no"
        uncertain += count_uncertain([states])
        _add(rows, name, states)
    rows.listing.notes.append(
        f"rows: {n_rows:,} rows of {len(readings):,} X-rays (boxes and readers), joined; "
        "a finding counts if more than half of the readers saw it"
    )
    add_dicom_facts(rows.listing)
    return rows.finish(uncertain, "unknown: VinDr-CXR names no patients")


def _add(rows: PublicSet, name: str, states: Mapping[str, State]) -> None:
    match = rows.files.find(name)
    folder = match.file.parent.name if match.file is not None else ""
    split = normalise_split(folder)
    split = split if split in ("train", "val", "test") else ""
    row = Row(image="", source="vindr", licence=_LICENCE, split=split)
    codes = {"yes": "1", "no": "0", "uncertain": "-1", "": ""}
    raw = {finding: codes[value] for finding, value in states.items()}
    raw |= {"image_id": name, "class_name": "|".join(f for f, value in states.items() if value == "yes")}
    rows.add(name, raw, states, row)


def _collect(table: pd.DataFrame, readings: dict[str, _Readings], findings: dict[str, None]) -> None:
    readers = table["rad_id"] if "rad_id" in table else [""] * len(table)
    if "class_name" in table:
        for name, reader, text in zip(table["image_id"], readers, table["class_name"], strict=True):
            finding = normalise_finding(text)
            readings[name].readers.add(reader)
            if finding:
                findings[finding] = None
                readings[name].saw[finding].add(reader)
        return
    for column in (c for c in table.columns if c not in _FACTS):
        finding = normalise_finding(column)
        findings[finding] = None
        for name, reader, value in zip(table["image_id"], readers, table[column], strict=True):
            readings[name].readers.add(reader)
            if state(value) == "yes":
                readings[name].saw[finding].add(reader)


def _tables_in(folder: Path) -> list[Path]:
    """Return the readings of a folder, else its boxes: both say the same."""
    for place in (folder, folder / "annotations"):
        for names in (_TABLES[:2], _TABLES[2:4], _TABLES[4:]):
            tables = [place / name for name in names if (place / name).is_file()]
            if tables:
                return tables
    raise ManifestError(f"{folder} is not {TITLE}: it has no {' or '.join((_TABLES[0], _TABLES[2], _TABLES[4]))}")


SOURCE = Source(
    "vindr",
    "VinDr-CXR",
    "image_labels_*.csv, annotations_*.csv or Kaggle's train.csv, and images: findings of several readers",
    read,
    FindingOptions,
    recognises,
    "image_id",
)
