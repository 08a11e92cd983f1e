"""PadChest (Alicante): one row per image, findings as a list in text, patients by number, 16-bit PNG."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cxr.data.importers.import_options import TableOptions
from cxr.data.importers.listing import Listing, Source, find_table
from cxr.data.importers.rows import Row
from cxr.data.manifest import read_table
from cxr.data.tables.findings import PublicSet, list_states, without_label
from cxr.data.tables.normalise import NO_FINDING, is_missing, normalise_patient, split_findings
from cxr.errors import ManifestError

TITLE = "PadChest"
_NEEDED = ("ImageID", "PatientID", "Labels")
_LICENCE = "PadChest Dataset Research Use Agreement (research only)"
# A comparison with an earlier report, or a remark on quality, says nothing of what is there.
_NO_FINDINGS = frozenset({"unchanged", "suboptimal study"})
_UNUSABLE = frozenset({"exclude"})


def recognises(columns: Collection[str]) -> bool:
    """Return whether these are PadChest's columns."""
    return set(_NEEDED) <= set(columns) and bool({"Projection", "StudyDate_DICOM", "PatientBirth"} & set(columns))


def read(path: Path, options: TableOptions) -> Listing:
    """Read ``PADCHEST*.csv[.gz]`` and the images beside it or in its folders ``0`` to ``54``."""
    file = find_table(path, ["PADCHEST*.csv", "PADCHEST*.csv.gz", "*padchest*.csv", "*.csv", "*.csv.gz"], TITLE)
    table = read_table(file)
    absent = [name for name in _NEEDED if name not in table]
    if absent:
        raise ManifestError(f"{file} has no column {absent[0]!r}. Found: {', '.join(table.columns)}")
    options = without_label(options, ("Labels",))
    all_findings = {name for text in table["Labels"].unique() for name in split_findings(text)}
    rows = PublicSet.open(file.parent, options, [*table.columns, *sorted(all_findings)], TITLE)
    for raw in table.to_dict("records"):
        values = {str(column): str(value) for column, value in raw.items()}
        labels = split_findings(values["Labels"])
        if _UNUSABLE & {name.casefold() for name in labels} or values.get("Projection", "") == "EXCLUDE":
            rows.listing.leave_out(values["ImageID"], "is labelled 'exclude' by PadChest")
            continue
        labels = [name for name in labels if name.casefold() not in _NO_FINDINGS]
        findings = [NO_FINDING if name.casefold() == "normal" else name for name in labels]
        patient = normalise_patient(values["PatientID"])
        row = Row(
            image="",  # found by the set
            patient_id=f"padchest_{patient}" if patient else "",
            source="padchest",
            view=values.get("Projection", "") or values.get("ViewPosition_DICOM", ""),
            sex=values.get("PatientSex_DICOM", ""),
            age=_age(values.get("StudyDate_DICOM", ""), values.get("PatientBirth", "")),
            licence=_LICENCE,
            extra={"method_label": values.get("MethodLabel", "")},
        )
        states = {name: "1" if name in labels else "0" for name in all_findings if labels}
        rows.add(_image(rows, values), dict.fromkeys(all_findings, "") | states | values, list_states(findings), row)
    return rows.finish(0, "PatientID")


def _image(rows: PublicSet, values: dict[str, str]) -> str:
    folder = normalise_patient(values.get("ImageDir", ""))
    inside = f"{folder}/{values['ImageID']}"
    return inside if folder and (rows.listing.root / inside).is_file() else values["ImageID"]


def _age(date: str, birth: str) -> str:
    """Return whole years from the year of the X-ray (20140915) and the year of birth (1950.0), "" for unknown."""
    if is_missing(date) or is_missing(birth):
        return ""
    years = date.strip()[:4], normalise_patient(birth)[:4]
    return str(int(years[0]) - int(years[1])) if all(year.isdecimal() for year in years) else ""


SOURCE = Source(
    "padchest",
    "PadChest (BIMCV)",
    "PADCHEST*.csv and images: frontal X-rays with lists of findings",
    read,
    TableOptions,
    recognises,
    "ImageID",
)
