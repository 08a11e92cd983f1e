"""BRAX (Hospital Israelita Albert Einstein): CheXpert's 14 findings in one table, PNG or DICOM, patients by id."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cxr.data.importers.import_options import FindingOptions
from cxr.data.importers.listing import Listing, Source, find_table
from cxr.data.importers.rows import Row
from cxr.data.manifest import read_table
from cxr.data.tables.findings import CHEXPERT_FINDINGS, PublicSet, count_uncertain, finding_columns, state
from cxr.data.tables.normalise import normalise_patient
from cxr.errors import ManifestError

TITLE = "BRAX"
_IMAGE_COLUMNS = ("PngPath", "DicomPath")
_LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"


def recognises(columns: Collection[str]) -> bool:
    """Return whether these are the columns of BRAX's table."""
    names = set(columns)
    return (
        "PatientID" in names and bool(names & set(_IMAGE_COLUMNS)) and bool(finding_columns(names, CHEXPERT_FINDINGS))
    )


def read(path: Path, options: FindingOptions) -> Listing:
    """Read ``master_spreadsheet*.csv`` and the images of ``images/`` or ``Anonymized_DICOMs/`` beside it."""
    file = find_table(path, ["master_spreadsheet*.csv", "master_spreadsheet*.csv.gz"], TITLE)
    table = read_table(file)
    if not recognises(table.columns):
        raise ManifestError(
            f"{file} is not a table of {TITLE}: it has no 'PatientID', 'PngPath' and findings. "
            f"Found: {', '.join(table.columns)}"
        )
    columns = finding_columns(table.columns, CHEXPERT_FINDINGS)
    rows = PublicSet.open(file.parent, options, list(table.columns), TITLE)
    uncertain = 0
    for raw in table.to_dict("records"):
        values = {str(column): str(value) for column, value in raw.items()}
        states = {finding: state(values[column]) for column, finding in columns.items()}
        uncertain += count_uncertain([states])
        patient = normalise_patient(values["PatientID"])
        row = Row(
            image="",  # found by the set
            patient_id=f"brax_{patient}" if patient else "",
            source="brax",
            view=values.get("ViewPosition", ""),
            sex=values.get("PatientSex", ""),
            age=values.get("PatientAge", "").replace(" or more", "+"),
            licence=_LICENCE,
        )
        rows.add(_image(rows, values), values, states, row)
    return rows.finish(uncertain, "PatientID")


def _image(rows: PublicSet, values: dict[str, str]) -> str:
    """Return the path of the PNG, or that of the DICOM file where only that is there."""
    names = [values[column] for column in _IMAGE_COLUMNS if values.get(column)]
    return next((name for name in names if (rows.listing.root / name).is_file()), names[0] if names else "")


SOURCE = Source(
    "brax",
    "BRAX (Brazil)",
    "master_spreadsheet*.csv and images/: frontal X-rays with up to 14 findings, some uncertain",
    read,
    FindingOptions,
    recognises,
    "PngPath",
)
