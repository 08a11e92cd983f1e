"""A folder of DICOM files, walked to the bottom."""

from __future__ import annotations

from pathlib import Path

from cxr.data.images.dicom_header import HEATMAP_SERIES, SECONDARY_CAPTURE, DicomHeader, read_header
from cxr.data.images.pool import map_in_order
from cxr.data.importers.import_options import DicomOptions, Options
from cxr.data.importers.listing import Listing, Source, existing_folder, known_class, walk, with_folder_splits
from cxr.data.importers.rows import Row
from cxr.data.tables.xray_views import (
    FRONTAL,
    body_parts_in,
    is_chest,
    is_chest_code,
    is_unknown,
    projection,
    tells_no_view,
    view_of_codes,
)

# DR, RG and XR are what scanners and archives write for CR and DX.
MODALITIES = ("CR", "DX", "DR", "RG", "XR")
_XRAY_OBJECTS = ("Computed Radiography", "Digital X-Ray", SECONDARY_CAPTURE)
_OF_CAPTURES = ("SC", "OT", "")
_WIDEST = 2.5  # longer side by shorter side; a scout view or a strip is longer
NO_MODALITY = "no modality in the file: taken for an X-ray by its header"


def read(path: Path, options: DicomOptions) -> Listing:
    """Take the frontal chest X-rays among all DICOM files below a folder.

    Modality CR, DX, DR, RG or XR, and those of ``options.modalities`` (SC, OT). With ``options.secondary_captures``
    also secondary captures, in grey or colour, whose modality is SC, OT or not stated. The heatmaps that cxr itself
    writes are left out. A file without a modality, as some public sets strip it, is taken if nothing in its header
    speaks against an X-ray, and its row says so. A file that is silent about its view or body part is kept. View and
    body part are looked for in their own attributes, then in the coded ones, then in the descriptions. The label is
    that of the innermost folder whose name stands for a class, else "".
    """
    listing = Listing(existing_folder(path))
    files = list(walk(listing.root, listing))
    allowed = (*MODALITIES, *(modality.strip().upper() for modality in options.modalities))
    for file, header in zip(files, map_in_order(read_header, files), strict=True):
        if not isinstance(header, DicomHeader):
            listing.leave_out(file, str(header))
        elif reason := _reason_against(header, allowed, options.secondary_captures):
            listing.leave_out(file, reason)
        else:
            listing.rows.append(_row(file, header, listing.root, options))
    with_folder_splits(listing)
    return listing


def _reason_against(header: DicomHeader, allowed: tuple[str, ...], captures: bool) -> str:
    if header.series.startswith(HEATMAP_SERIES):
        return "is a heatmap that cxr wrote, not an X-ray"
    if captures and _is_capture(header):
        reason = f"holds {header.frames} frames; an X-ray file holds one" if header.frames > 1 else ""
    else:
        reason = _wrong_modality(header, allowed)
    return reason or _wrong_view(header) or _wrong_body_part(header)


def _is_capture(header: DicomHeader) -> bool:
    """Return whether a file is a secondary capture, by its kind of object or its modality, and not of a CT."""
    return header.modality in _OF_CAPTURES and (SECONDARY_CAPTURE in header.sop_class or header.modality == "SC")


def _wrong_modality(header: DicomHeader, allowed: tuple[str, ...]) -> str:
    if header.modality in allowed:
        return ""
    if header.modality:
        hint = f" (`--allow-modality {header.modality}` takes it)" if header.modality in ("SC", "OT") else ""
        if _is_capture(header):
            hint = " (a secondary capture: `--secondary-captures` takes it)"
        return f"modality {header.modality} is not {', '.join(allowed[:-1])} or {allowed[-1]}{hint}"
    if against := _not_plausible(header):
        return f"has no modality, and {against}"
    return ""


def _not_plausible(header: DicomHeader) -> str:
    """Return what speaks against an X-ray in a header without a modality, "" for nothing."""
    if header.sop_class and not any(name in header.sop_class for name in _XRAY_OBJECTS):
        return f"its kind is {header.sop_class}"
    if header.is_slice:
        return "its header is that of a slice"
    if header.frames > 1:
        return f"holds {header.frames} frames"
    if header.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return f"its pixels are {header.photometric or 'of no known kind'}, not grey"
    sides = sorted((header.width, header.height))
    if sides[0] and sides[1] > _WIDEST * sides[0]:
        return f"its {header.width} x {header.height} pixels are not of a chest's shape"
    return ""


def _wrong_view(header: DicomHeader) -> str:
    views = _views(header)
    for text, view in views:
        if view and view not in FRONTAL:
            return f"view {text} is not frontal (PA or AP)"
    if not any(view for _, view in views) and not tells_no_view(header.view):
        return f"view {header.view} is not known to be frontal (PA or AP)"
    return ""


def _views(header: DicomHeader) -> list[tuple[str, str]]:
    """Return the view as written and normalised, by View Position and View Code Sequence, else by a description."""
    codes = [(meaning or code, view_of_codes([(code, meaning)])) for code, meaning in header.view_codes]
    views = [(header.view, projection(header.view)), *((f"{text} (View Code Sequence)", v) for text, v in codes)]
    if any(view for _, view in views):
        return views
    if header.orientation and header.orientation[0][:1] in ("A", "P"):
        return [(f"with rows towards {header.orientation[0]} (Patient Orientation)", "lateral")]
    described = [(f"{text} (description)", projection(text)) for text in (header.series, header.protocol)]
    return [next((view for view in described if view[1]), ("", ""))]


def _wrong_body_part(header: DicomHeader) -> str:
    if not is_unknown(header.body_part):
        answer = is_chest(header.body_part)
        if answer or (answer is None and "chest" in _described_parts(header)):
            return ""
        return f"body part {header.body_part} is not the chest"
    by_code = is_chest_code(header.region_codes)
    if by_code is False:
        return f"body part {header.region_codes[0][1] or header.region_codes[0][0]} is not the chest"
    if by_code is None and _described_parts(header) == {"other"}:
        return f"body part {header.series or header.protocol or header.study} (description) is not the chest"
    return ""


def _described_parts(header: DicomHeader) -> frozenset[str]:
    """Return the parts of the body named by the first description that names any."""
    parts = (body_parts_in(text) for text in (header.series, header.protocol, header.study))
    return next((body_parts for body_parts in parts if body_parts), frozenset())


def _row(file: Path, header: DicomHeader, root: Path, options: Options) -> Row:
    return Row(
        image=str(file),
        label=_label(file, root, options),
        patient_id=header.patient_id,
        view=next((view for _, view in _views(header) if view), ""),
        sex=header.sex,
        age=header.age,
        file_notes="" if header.modality else NO_MODALITY,
        extra={"burned_in_annotation": header.burned_in_annotation},
    )


def _label(file: Path, root: Path, options: Options) -> str:
    aliases = {key.casefold(): value for key, value in options.aliases.items()}
    for folder in reversed(file.relative_to(root).parts[:-1]):
        if label := aliases.get(folder.casefold()) or known_class(folder):
            return label
    return ""


SOURCE = Source(
    "dicom", "Folder of DICOM files", "frontal chest X-rays, by modality, view and body part", read, DicomOptions
)
