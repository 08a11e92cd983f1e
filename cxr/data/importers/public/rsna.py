"""The RSNA pneumonia challenge: one row per box, X-rays of NIH ChestX-ray14 under new names, DICOM."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from cxr.data.importers.import_options import TableOptions
from cxr.data.importers.listing import Listing, Source, existing_folder
from cxr.data.importers.rows import Row
from cxr.data.manifest import read_table
from cxr.data.tables.findings import PublicSet, State, add_dicom_facts, state, without_label, yes_or_no
from cxr.data.tables.normalise import NO_FINDING
from cxr.errors import ManifestError

TITLE = "RSNA pneumonia challenge"
_LICENCE = "none stated (RSNA: challenge terms; images of the NIH Clinical Center: public, cite)"
_COLUMNS = frozenset(("patientId", "x", "y", "width", "height", "Target", "class"))
_CLASSES: dict[str, dict[str, State]] = {
    "normal": {NO_FINDING: "yes", "Pneumonia": "no"},
    "lung opacity": {"Pneumonia": "yes"},
    "no lung opacity / not normal": {"Pneumonia": "no", "Not Normal": "yes"},
}


def recognises(columns: Collection[str]) -> bool:
    """Return whether these are the columns of the boxes or of the detailed classes."""
    names = set(columns)
    return "patientId" in names and bool({"Target", "class"} & names) and names <= _COLUMNS


def read(path: Path, options: TableOptions) -> Listing:
    """Read ``*train_labels.csv`` and, where it lies beside it, ``*detailed_class_info.csv``; images are ``*/ID.dcm``.

    Rows of one image are joined. Pneumonia (opacity) becomes ``pneumonia``; without the detailed classes other X-rays
    are ``no pneumonia``, with them ``normal`` or, if they show something else, without a label. An image whose rows
    disagree is left out. ``--column label=Target`` makes it ``pneumonia`` and ``no pneumonia`` in any case.
    """
    folder = existing_folder(path.parent if path.is_file() else path)
    table_files = [path] if path.is_file() else []
    tables = {
        "Target": _table(table_files, folder, "*train_labels.csv*", "Target"),
        "class": _table(table_files, folder, "*class_info.csv*", "class"),
    }
    if not any(tables.values()):
        raise ManifestError(f"{folder} is not {TITLE}: it has no *train_labels.csv and no *detailed_class_info.csv")
    values_of: dict[str, dict[str, set[str]]] = {}
    columns, n_rows = ["patientId"], 0
    for column, file in tables.items():
        if file is None:
            continue
        table = read_table(file)
        absent = [name for name in ("patientId", column) if name not in table]
        if absent:
            raise ManifestError(f"{file} has no column {absent[0]!r}. Found: {', '.join(table.columns)}")
        columns += [name for name in table.columns if name not in columns]
        n_rows = max(n_rows, len(table))
        for name, value in zip(table["patientId"], table[column], strict=True):
            values_of.setdefault(name, {}).setdefault(column, set()).add(value)
    by_target = tables["class"] is None or options.columns.get("label") == "Target"
    options = without_label(options, ("Target", "class"))
    rows = PublicSet.open(folder, options, columns, TITLE, knows_views=False)
    patients = _nih_patients(folder)
    for name, values in values_of.items():
        if conflict := _conflict(values):
            rows.listing.leave_out(name or "row without a name", conflict)
            continue
        raw = {column: next(iter(values.get(column, {""}))) for column in columns} | {"patientId": name}
        row = Row(image="", patient_id=patients.get(name, ""), source="rsna", licence=_LICENCE)
        by_rule = by_target and "label" not in options.columns
        rows.add(name, raw, _states(raw), row, yes_or_no(raw.get("Target", ""), "Pneumonia") if by_rule else None)
    if n_rows > len(values_of):
        n_xrays = len(values_of)
        rows.listing.notes.append(
            f"rows: {n_rows:,} rows of {n_xrays:,} X-rays (several boxes each), joined to one each"
        )
    add_dicom_facts(rows.listing)
    label_states = "pneumonia where Target is 1, no pneumonia where it is 0" if by_target else ""
    return rows.finish(0, _patient_note(bool(patients)), label_states)


def _states(raw: dict[str, str]) -> dict[str, State]:
    detailed = _CLASSES.get(raw.get("class", "").casefold())
    return dict(detailed) if detailed is not None else {"Pneumonia": state(raw.get("Target", ""))}


def _conflict(values: dict[str, set[str]]) -> str:
    for column, column_values in values.items():
        if len(column_values) > 1:
            return f"has rows that disagree: {column} {' and '.join(map(repr, sorted(column_values)))}"
    return ""


def _table(tables: list[Path], folder: Path, pattern: str, column: str) -> Path | None:
    for file in tables:
        if column in read_table(file):
            return file
    return next((file for file in sorted(folder.glob(pattern)) if file.is_file()), None)


def _nih_patients(folder: Path) -> dict[str, str]:
    """Return the NIH patient of each image where the challenge's table of names lies beside the labels."""
    for file in sorted(folder.glob("*mappings*.json")):
        try:
            pairs = json.loads(file.read_text(encoding="utf-8"))
            return {str(pair["subset_img_id"]): f"nih_{str(pair['img_id']).split('_')[0]}" for pair in pairs}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ManifestError(f"{file} is not a table of names of the {TITLE} ({error}); move it away") from None
    return {}


def _patient_note(known: bool) -> str:
    if known:
        return "of NIH ChestX-ray14, from the challenge's table of names"
    return (
        "unknown: patientId names the image; the challenge's table of names (*mappings*.json) beside the labels would "
        "give the NIH patients"
    )


SOURCE = Source(
    "rsna",
    "RSNA pneumonia challenge",
    "*train_labels.csv, *detailed_class_info.csv and DICOM images: pneumonia (opacity), normal, other",
    read,
    TableOptions,
    recognises,
    "patientId",
)
