"""A folder of DICOM files, walked to the bottom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxr.data.dicom import DicomHeader, read_header
from cxr.data.pool import map_in_order
from cxr.data.sources.base import Found, Options, age_in_years, existing_folder, known_class, sex_letter, walk

_MODALITIES = ("CR", "DX")
_CHEST = frozenset({"", "CHEST", "THORAX", "LUNG", "LUNGS"})
_VIEWS = frozenset({"", "PA", "AP"})


def read(path: Path, options: Options) -> Found:
    """Take the frontal chest X-rays (modality CR or DX) among all DICOM files below a folder.

    A file that is silent about its view or body part is kept. The label is that of the innermost folder whose name
    stands for a class, else "".
    """
    found = Found(existing_folder(path))
    files = list(walk(found.root, found))
    for file, header in zip(files, map_in_order(read_header, files), strict=True):
        if not isinstance(header, DicomHeader):
            found.leave_out(file, str(header))
        elif reason := _reason_against(header):
            found.leave_out(file, reason)
        else:
            found.rows.append(_row(file, header, found.root, options))
    return found


def _reason_against(header: DicomHeader) -> str:
    if header.modality not in _MODALITIES:
        return f"modality {header.modality or 'unknown'} is not {' or '.join(_MODALITIES)}"
    if header.view not in _VIEWS:
        return f"view {header.view} is not frontal (PA or AP)"
    if header.body_part not in _CHEST:
        return f"body part {header.body_part} is not the chest"
    return ""


def _row(file: Path, header: DicomHeader, root: Path, options: Options) -> dict[str, Any]:
    return {
        "image": str(file),
        "label": _label(file, root, options),
        "patient_id": header.patient_id,
        "source": root.name,
        "view": header.view,
        "sex": sex_letter(header.sex),
        "age": age_in_years(header.age),
    }


def _label(file: Path, root: Path, options: Options) -> str:
    aliases = {key.casefold(): value for key, value in options.aliases.items()}
    for folder in reversed(file.relative_to(root).parts[:-1]):
        if label := aliases.get(folder.casefold()) or known_class(folder):
            return label
    return ""
