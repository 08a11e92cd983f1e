"""The header of a DICOM file, as an importer needs it; pydicom is loaded with the first file that is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.data.images.base import Refusal, looks_like_dicom, one_line, quiet, read_head

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SURE_SIGNS = ("SOPClassUID", "Modality", "Rows")
_CODES = ("ViewCodeSequence", "AnatomicRegionSequence")
_TEXTS = {
    "patient_id": "PatientID",
    "sex": "PatientSex",
    "age": "PatientAge",
    "modality": "Modality",
    "view": "ViewPosition",
    "body_part": "BodyPartExamined",
    "series": "SeriesDescription",
    "protocol": "ProtocolName",
    "study": "StudyDescription",
    "burned_in_annotation": "BurnedInAnnotation",
    "photometric": "PhotometricInterpretation",
}
_UPPER = frozenset({"modality", "view", "body_part", "burned_in_annotation", "photometric"})
_SLICE_SIGNS = ("SliceThickness", "ImageOrientationPatient", "EchoTime", "RadiopharmaceuticalInformationSequence")
HEATMAP_SERIES = "Heatmap by cxr"
"""How the series of the captures that cxr writes are called, which are no X-rays to learn from."""
SECONDARY_CAPTURE = "Secondary Capture"
"""In the names of the kinds of object that hold a picture of another device's screen or film."""
_HEADER_TAGS = [
    *_TEXTS.values(),
    *_CODES,
    *_SURE_SIGNS,
    *_SLICE_SIGNS,
    "Columns",
    "NumberOfFrames",
    "PatientOrientation",
]


@dataclass(frozen=True)
class DicomHeader:
    """What an importer needs of a DICOM file; "" where the file is silent.

    Attributes
    ----------
    view_codes, region_codes
        ``(code value, meaning)`` of View Code Sequence and Anatomic Region Sequence.
    orientation
        Patient Orientation, rows first, such as ``("L", "F")``.
    sop_class
        Name of the kind of object ("CT Image Storage"), "" where the standard has none for its UID.
    width, height, frames
        Of the pixels; 0 where the file does not say.
    is_slice
        Whether the header has what only slices and tracers have (CT, MR, PET).
    """

    patient_id: str = ""
    sex: str = ""
    age: str = ""
    modality: str = ""
    view: str = ""
    body_part: str = ""
    series: str = ""
    protocol: str = ""
    study: str = ""
    burned_in_annotation: str = ""
    photometric: str = ""
    view_codes: tuple[tuple[str, str], ...] = ()
    region_codes: tuple[tuple[str, str], ...] = ()
    orientation: tuple[str, ...] = ()
    sop_class: str = ""
    width: int = 0
    height: int = 0
    frames: int = 1
    is_slice: bool = False


def read_header(path: Path) -> DicomHeader | str:
    """Read the header of a DICOM file without its pixels, or return why it has none."""
    try:
        if not looks_like_dicom(path, read_head(path)):
            return "is not a DICOM file"
        with quiet():
            return _header(read_dataset(path, tags=_HEADER_TAGS))
    except Refusal as refusal:
        return str(refusal)


def read_attributes(path: Path, names: Sequence[str]) -> Dataset | None:
    """Return the attributes of these names of a DICOM file, None for a file of another kind or none at all."""
    try:
        if not looks_like_dicom(path, read_head(path)):
            return None
        with quiet():
            return read_dataset(path, tags=[*names, *_SURE_SIGNS])
    except Refusal:
        return None


def read_dataset(path: Path, tags: list[str] | None = None) -> Dataset:
    """Read a DICOM file, or of these tags alone and without its pixels. Raises Refusal for a file of another kind."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        # force: files of old scanners lack the preamble. What is no DICOM then shows by its header.
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=tags is not None, specific_tags=tags)
    except InvalidDicomError:
        raise Refusal("is not a DICOM file") from None
    except Exception as error:
        raise Refusal(f"is not a readable DICOM file ({one_line(error)})") from None
    if not any(name in dataset for name in _SURE_SIGNS):
        raise Refusal("is not a DICOM file")
    return dataset


def _header(dataset: Dataset) -> DicomHeader:
    from pydicom.uid import UID

    texts = {field: _text(dataset, keyword) for field, keyword in _TEXTS.items()}
    texts |= {field: texts[field].upper() for field in _UPPER}
    sop_class = _text(dataset, "SOPClassUID")
    return DicomHeader(
        **texts,
        view_codes=_codes(dataset, "ViewCodeSequence"),
        region_codes=_codes(dataset, "AnatomicRegionSequence"),
        orientation=tuple(
            _text(dataset, "PatientOrientation").strip("[]").replace("'", "").replace(" ", "").split(",")
        ),
        sop_class="" if UID(sop_class).name == sop_class else UID(sop_class).name,
        width=_integer(dataset, "Columns"),
        height=_integer(dataset, "Rows"),
        frames=_integer(dataset, "NumberOfFrames") or 1,
        is_slice=any(name in dataset for name in _SLICE_SIGNS),
    )


def _text(dataset: Dataset, name: str) -> str:
    try:
        return str(dataset.get(name) or "").strip()
    except Exception:  # a value that breaks its own type
        return ""


def _values(dataset: Dataset, name: str) -> tuple[str, ...]:
    try:
        value = dataset.get(name) or ()
        return tuple(str(v).strip().upper() for v in ((value,) if isinstance(value, str) else value))
    except Exception:
        return ()


def _integer(dataset: Dataset, name: str) -> int:
    text = _text(dataset, name)
    return int(text) if text.isdecimal() else 0


def _codes(dataset: Dataset, name: str) -> tuple[tuple[str, str], ...]:
    try:
        items = list(dataset.get(name) or ())
    except Exception:
        return ()
    return tuple((_text(item, "CodeValue"), _text(item, "CodeMeaning")) for item in items)
