"""CheXpert (Stanford): 14 findings of 1, 0, -1 or nothing; the patient and the official split stand in the path."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from cxr.data.importers.import_options import FindingOptions
from cxr.data.importers.listing import Listing, Source, existing_folder
from cxr.data.importers.rows import Row
from cxr.data.manifest import read_table
from cxr.data.tables.columns import pick
from cxr.data.tables.findings import CHEXPERT_FINDINGS, PublicSet, count_uncertain, finding_columns, state
from cxr.data.tables.normalise import normalise_split
from cxr.errors import ManifestError

TITLE = "CheXpert"
_TABLES = ("train.csv", "valid.csv", "val.csv", "test.csv", "train.csv.gz", "valid.csv.gz")
_MANY_FINDINGS = 5
_LICENCE = "Stanford University Dataset Research Use Agreement (research only)"
_PATIENT = re.compile(r"patient[ _-]?(\d+)", re.IGNORECASE)
_BATCH = re.compile(r"\bbatch[ _-]?\d", re.IGNORECASE)
_SPLIT = re.compile(r"(?:^|/)(train|valid|val|test)/", re.IGNORECASE)


def recognises(columns: Collection[str]) -> bool:
    """Return whether these are CheXpert's columns."""
    findings = finding_columns(columns, CHEXPERT_FINDINGS)
    # The table of the test set has findings alone.
    return "Path" in columns and bool(findings) and ("Frontal/Lateral" in columns or len(findings) >= _MANY_FINDINGS)


def read(path: Path, options: FindingOptions) -> Listing:
    """Read ``train.csv`` and ``valid.csv`` of a folder (perhaps below ``CheXpert-v1.0-small/``), or one table."""
    tables = [path] if path.is_file() else _tables_in(existing_folder(path))
    read_tables = [read_table(file) for file in tables]
    for file, table in zip(tables, read_tables, strict=True):
        if not recognises(table.columns):
            raise ManifestError(
                f"{file} is not a table of {TITLE}: it has no columns 'Path' and findings. "
                f"Found: {', '.join(table.columns)}"
            )
    columns = list(dict.fromkeys(column for table in read_tables for column in table.columns))
    batches = _batches(tables[0].parent)
    rows = PublicSet.open(batches[0].parent if batches else tables[0].parent, options, columns, TITLE)
    uncertain = 0
    for table in read_tables:
        finding_names = finding_columns(table.columns, CHEXPERT_FINDINGS)
        direction = pick(table.columns, "AP/PA")
        for raw in table.to_dict("records"):
            values = {column: str(value) for column, value in raw.items()}
            states = {finding: state(values[column]) for column, finding in finding_names.items()}
            uncertain += count_uncertain([states])
            lateral = "lateral" in (values.get("Frontal/Lateral", "") or values["Path"]).casefold()
            patient = _PATIENT.search(values["Path"])
            split = _SPLIT.search(values["Path"].replace("\\", "/"))
            row = Row(
                image="",  # found by the set
                patient_id=f"chexpert_{patient[1]}" if patient else "",
                source="chexpert",
                view="L" if lateral else values.get(direction or "", "") or "frontal",
                sex=values.get("Sex", ""),
                age=values.get("Age", ""),
                licence=_LICENCE,
                split=normalise_split(split[1]) if split else "",
            )
            rows.add(_in_batch(values["Path"], batches), values, states, row)
    return rows.finish(uncertain, "from the path (patientNNNNN)")


def _batches(folder: Path) -> list[Path]:
    """Return the folders ``CheXpert-v1.0 batch N (...)`` of the full-size download, none for another layout."""
    if _BATCH.search(folder.name) is None:
        return []
    return sorted(other for other in folder.parent.iterdir() if _BATCH.search(other.name) and other.is_dir())


def _in_batch(path: str, batches: Sequence[Path]) -> str:
    """Return where an image lies in one of the batches, below its split or directly; else the path as it is."""
    split = _SPLIT.search(path.replace("\\", "/"))
    if split is None or not batches:
        return path
    patient = path.replace("\\", "/")[split.end() :]
    places = [batch / start / patient for batch in batches for start in ("", split[1])]
    return next((str(place.relative_to(batches[0].parent)) for place in places if place.is_file()), path)


def _tables_in(folder: Path) -> list[Path]:
    for place in (folder, *sorted(f for f in folder.iterdir() if f.is_dir())):
        tables = [place / name for name in _TABLES if (place / name).is_file()]
        if tables:
            return tables
    raise ManifestError(f"{folder} is not {TITLE}: it has no {' or '.join(_TABLES[:2])}")


SOURCE = Source(
    "chexpert",
    "CheXpert (Stanford)",
    "train.csv, valid.csv and train/patientNNNNN/: frontal X-rays with up to 14 findings, some uncertain",
    read,
    FindingOptions,
    recognises,
    "Path",
)
