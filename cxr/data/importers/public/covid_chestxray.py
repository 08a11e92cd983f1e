"""The covid-chestxray-dataset of Cohen et al.: web and journal images with a ``metadata.csv``."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path

from cxr.data.importers.import_options import Options
from cxr.data.importers.listing import Listing, Source, class_of, find_table, walk
from cxr.data.importers.rows import Row
from cxr.data.manifest import read_table
from cxr.data.tables.normalise import is_frontal, is_missing, normalise_patient
from cxr.errors import ManifestError

_NEEDED = ("patientid", "finding", "view", "modality", "filename")
# Findings of the older, flat lists that are a pneumonia or its germ; newer lists say "Pneumonia/Bacterial/...".
# ARDS alone is none: it has other causes.
_PNEUMONIAS = frozenset(
    (
        *("pneumonia", "bacterial", "viral", "fungal", "lipoid", "aspiration"),
        *("sars", "mers", "mers-cov", "varicella", "influenza", "h1n1", "herpes"),
        *("streptococcus", "klebsiella", "legionella", "mycoplasma", "chlamydophila", "e.coli", "nocardia"),
        *("staphylococcus", "mrsa", "pneumocystis", "aspergillosis"),
    )
)


def recognises(columns: Collection[str]) -> bool:
    """Return whether these are the columns of ``metadata.csv``."""
    return set(_NEEDED) <= set(columns)


def read(path: Path, options: Options) -> Listing:
    """Read ``metadata.csv``: frontal X-rays with COVID-19, another pneumonia or no finding."""
    table_file = find_table(path, ["metadata.csv", "metadata.csv.gz"], "covid-chestxray-dataset")
    table = read_table(table_file)
    absent = [name for name in _NEEDED if name not in table]
    if absent:
        raise ManifestError(f"{table_file} has no column {absent[0]!r}. Found: {', '.join(table.columns)}")
    listing = Listing(table_file.parent)
    row_of_file: dict[str, int] = {}
    for number, row in enumerate(table.to_dict("records"), 1):
        _take(row, number, row_of_file, listing, options)
    _leave_out_unnamed(listing, set(row_of_file))
    return listing


def label_of(finding: str, options: Options) -> str:
    """Return the class of a finding, old style ("COVID-19, ARDS") or new ("Pneumonia/Viral/COVID-19"), or ""."""
    if finding in options.aliases:
        return options.aliases[finding]
    words = {word for word in re.split(r"[,/|\s]+", finding.casefold()) if word}
    if words & {"covid-19", "covid19", "sars-cov-2"}:
        return "covid19"
    if words & _PNEUMONIAS:
        return "pneumonia"
    return "normal" if class_of(finding, {}) == "normal" else ""


def _take(
    row: Mapping[Hashable, str], number: int, row_of_file: dict[str, int], listing: Listing, options: Options
) -> None:
    file = f"{row.get('folder') or 'images'}/{row['filename']}"
    if not row["filename"]:
        listing.leave_out(f"row {number}", "names no file")
        return
    first = row_of_file.setdefault(file, number)
    label = label_of(row["finding"], options)
    reason = _reason_against(row, label) if first == number else f"is in row {first} already (this is row {number})"
    if reason:
        listing.leave_out(file, reason)
    else:
        listing.rows.append(_manifest_row(row, listing.root / file, label))


def _reason_against(row: Mapping[Hashable, str], label: str) -> str:
    if row["modality"].casefold() not in {"x-ray", "xray"}:
        return f"modality {row['modality'] or 'unknown'} is not X-ray"
    if is_missing(row["view"]) or not is_frontal(row["view"]):
        return f"view {row['view'] or 'unknown'} is not frontal (PA, AP, AP Supine or AP Erect)"
    if not label:
        return f"finding {row['finding'] or 'unknown'!r} is not COVID-19, pneumonia or no finding"
    return ""


def _manifest_row(row: Mapping[Hashable, str], image: Path, label: str) -> Row:
    findings = "|".join(part.strip() for part in row["finding"].split(",") if part.strip())
    patient = normalise_patient(row["patientid"])
    return Row(
        image=str(image),
        label=label,
        findings=findings,
        patient_id=f"cohen_{patient}" if patient else "",
        source="cohen",
        view=row["view"],
        sex=row.get("sex", ""),
        age=row.get("age", ""),
        licence=row.get("license", ""),
        extra={"date": row.get("date", ""), "location": row.get("location", "")},
    )


def _leave_out_unnamed(listing: Listing, file_names: set[str]) -> None:
    folder = listing.root / "images"
    if folder.is_dir():
        for file in walk(folder, listing):
            if file.relative_to(listing.root).as_posix() not in file_names:
                listing.leave_out(file, "has no row in metadata.csv")


SOURCE = Source(
    "covid-chestxray",
    "covid-chestxray-dataset (Cohen et al.)",
    "metadata.csv and images/: frontal X-rays with COVID-19, another pneumonia or no finding",
    read,
    Options,
    recognises,
    "filename",
)
