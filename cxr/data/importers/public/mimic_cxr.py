"""MIMIC-CXR (JPG or DICOM): metadata per image, findings per study, an official split, patients by number."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from cxr.data.importers.import_options import FindingOptions
from cxr.data.importers.listing import Listing, Source, existing_folder
from cxr.data.importers.rows import Row
from cxr.data.manifest import read_table
from cxr.data.tables.columns import pick
from cxr.data.tables.findings import CHEXPERT_FINDINGS, PublicSet, State, count_uncertain, finding_columns, state
from cxr.data.tables.normalise import normalise_patient
from cxr.errors import ManifestError

TITLE = "MIMIC-CXR"
_LICENCE = "PhysioNet Credentialed Health Data License 1.5.0"
_STUDY = ("subject_id", "study_id")


def recognises(columns: Collection[str]) -> bool:
    """Return whether these are the columns of one of MIMIC-CXR's tables."""
    names = set(columns)
    labels = bool(finding_columns(names, CHEXPERT_FINDINGS)) and pick(columns, "path", "image", "filename") is None
    return set(_STUDY) <= names and (labels or {"dicom_id", "ViewPosition"} <= names or {"dicom_id", "split"} <= names)


def read(path: Path, options: FindingOptions) -> Listing:
    """Read ``*-metadata.csv[.gz]`` with ``*-chexpert`` or ``*-negbio`` and ``*-split`` beside it, and ``files/``.

    ``path`` is the folder or any of its tables; one that holds views and findings of images is enough alone.
    """
    folder = existing_folder(path.parent if path.is_file() else path)
    chosen_table = read_table(path) if path.is_file() else None
    complete = chosen_table is not None and {"dicom_id", "ViewPosition"} <= set(chosen_table.columns)
    metadata = chosen_table if complete else _table(folder, "metadata")
    if metadata is None:
        raise ManifestError(f"{folder} is not {TITLE}: it has no *metadata.csv or *metadata.csv.gz")
    absent = [name for name in ("dicom_id", *_STUDY) if name not in metadata]
    if absent:
        raise ManifestError(f"the metadata of {TITLE} in {folder} have no column {absent[0]!r}")
    if finding_columns(metadata.columns, CHEXPERT_FINDINGS):
        labels = metadata
    elif chosen_table is not None and finding_columns(chosen_table.columns, CHEXPERT_FINDINGS):
        labels = chosen_table
    else:
        labels = _table(folder, "chexpert") if _has(folder, "chexpert") else _table(folder, "negbio")
    studies, finding_of = _by_study(labels)
    splits = _by_image(_table(folder, "split"))
    columns = [*metadata.columns, *finding_of]
    rows = PublicSet.open(folder, options, columns, TITLE)
    uncertain = 0
    for raw in metadata.to_dict("records"):
        values = {str(column): str(value) for column, value in raw.items()}
        key = normalise_patient(values["subject_id"]), normalise_patient(values["study_id"])
        study = studies.get(key, {})
        states: dict[str, State] = {finding: state(study.get(column, "")) for column, finding in finding_of.items()}
        uncertain += count_uncertain([states])
        row = Row(
            image="",  # found by the set
            patient_id=f"mimic_{key[0]}" if key[0] else "",
            source="mimic-cxr",
            view=values.get("ViewPosition", "") or values.get("ViewCodeSequence_CodeMeaning", ""),
            licence=_LICENCE,
            split=splits.get(values["dicom_id"], values.get("split", "")),
            extra={"study_id": key[1]},
        )
        rows.add(_image(rows, *key, values["dicom_id"]), values | study, states, row)
    if labels is None:
        rows.listing.notes.append("findings: none, for no *chexpert.csv or *negbio.csv lies beside the metadata")
    return rows.finish(uncertain, "subject_id")


def _image(rows: PublicSet, subject: str, study: str, image: str) -> str:
    """Return where an image lies below the folder, as JPEG or DICOM, or its name alone to be looked for."""
    place = f"p{subject[:2]}/p{subject}/s{study}/{image}"
    names = [f"{top}{place}{ending}" for top in ("files/", "") for ending in (".jpg", ".dcm", ".png")]
    return next((name for name in names if (rows.listing.root / name).is_file()), f"{image}.jpg")


def _files(folder: Path, table_name: str) -> list[Path]:
    return [file for ending in ("csv", "csv.gz") for file in sorted(folder.glob(f"*{table_name}.{ending}"))]


def _has(folder: Path, table_name: str) -> bool:
    return bool(_files(folder, table_name))


def _table(folder: Path, table_name: str) -> pd.DataFrame | None:
    files = _files(folder, table_name)
    return read_table(files[0]) if files else None


def _by_study(labels: pd.DataFrame | None) -> tuple[dict[tuple[str, str], dict[str, str]], dict[str, str]]:
    """Return the row of each study, and ``{column: finding}``."""
    if labels is None or not set(_STUDY) <= set(labels.columns):
        return {}, {}
    finding_of = finding_columns(labels.columns, CHEXPERT_FINDINGS)
    return {
        (normalise_patient(row["subject_id"]), normalise_patient(row["study_id"])): {c: row[c] for c in finding_of}
        for row in labels.to_dict("records")
    }, finding_of


def _by_image(splits: pd.DataFrame | None) -> dict[str, str]:
    if splits is None or not {"dicom_id", "split"} <= set(splits.columns):
        return {}
    return dict(zip(splits["dicom_id"], splits["split"], strict=True))


SOURCE = Source(
    "mimic-cxr",
    "MIMIC-CXR",
    "*-metadata.csv, *-chexpert.csv, *-split.csv and files/: frontal X-rays with up to 14 findings",
    read,
    FindingOptions,
    recognises,
    "dicom_id",
)
