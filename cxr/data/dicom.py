"""DICOM to 8-bit grey as a radiologist's screen would show it: rescale, window, and bone bright.

Read by pydicom, with Pillow for JPEG (8 bits) and JPEG 2000; RLE, deflated and uncompressed files need neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

from cxr.data.image import Refusal, check_size, looks_like_dicom, one_line, quiet, read_head, stretch, to_u8

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_SURE_SIGNS = ("SOPClassUID", "Modality", "Rows")
_HEADER_TAGS = [
    "PatientID",
    "PatientSex",
    "PatientAge",
    "Modality",
    "ViewPosition",
    "BodyPartExamined",
    *_SURE_SIGNS,
]


@dataclass(frozen=True)
class DicomHeader:
    """What an importer needs of a DICOM file; "" where the file is silent."""

    patient_id: str
    sex: str
    age: str
    modality: str
    view: str
    body_part: str


def read_header(path: Path) -> DicomHeader | str:
    """Read the header of a DICOM file without its pixels, or return why it has none."""
    try:
        if not looks_like_dicom(path, read_head(path)):
            return "is not a DICOM file"
        with quiet():
            dataset = _read(path, tags=_HEADER_TAGS)
            patient_id, sex, age, modality, view, body_part = (_text(dataset, name) for name in _HEADER_TAGS[:6])
    except Refusal as refusal:
        return str(refusal)
    return DicomHeader(patient_id, sex, age, modality.upper(), view.upper(), body_part.upper())


def decode_dicom(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a single-frame DICOM image to uint8 (H, W).

    The modality LUT or rescale, then the VOI LUT or the first window are applied; without either, values are
    stretched between their 0.1 and 99.9 percentiles (8-bit values without a rescale stay as they are). MONOCHROME1
    is inverted, padding is black.
    """
    with quiet():
        dataset = _read(path)
        _check_header(dataset, max_pixels)
        raw = _raw_pixels(dataset)
        photometric = str(dataset.PhotometricInterpretation)
        if raw.ndim == 3 or photometric == "PALETTE COLOR":
            return _colour(raw, dataset)
        grey = _windowed(raw, dataset)
    if photometric == "MONOCHROME1":
        grey = 255 - grey
    padding = _padding(raw, dataset)
    return grey if padding is None else np.where(padding, np.uint8(0), grey)


def _read(path: Path, tags: list[str] | None = None) -> Dataset:
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


def _text(dataset: Dataset, name: str) -> str:
    try:
        return str(dataset.get(name) or "").strip()
    except Exception:  # a value that breaks its own type
        return ""


def _check_header(dataset: Dataset, max_pixels: int) -> None:
    if not any(name in dataset for name in _PIXEL_KEYWORDS):
        raise Refusal("has no pixels (PixelData is missing)")
    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise Refusal("has no size (Rows or Columns is missing)")
    check_size(int(dataset.Columns), int(dataset.Rows), max_pixels)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise Refusal(f"holds {frames} frames; an X-ray file holds one")
    if "PhotometricInterpretation" not in dataset:
        raise Refusal("does not say how its values are shown (PhotometricInterpretation is missing)")
    if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian


def _raw_pixels(dataset: Dataset) -> NDArray:
    try:
        return dataset.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_compressed and "missing" in str(error):
            raise Refusal(f"is compressed as {syntax.name}, which is not supported") from None
        raise


def _windowed(raw: NDArray, dataset: Dataset) -> NDArray[np.uint8]:
    values = apply_modality_lut(raw, dataset)
    for shown in (_by_voi_lut, _by_window):
        unit = shown(values, dataset)
        # A window beside the values would leave one flat grey: then the values themselves are the better guide.
        if unit is not None and unit.max() > unit.min():
            return to_u8(unit)
    if values.dtype == np.uint8:
        return values
    return stretch(values, _padding(raw, dataset))


def _by_voi_lut(values: NDArray, dataset: Dataset) -> NDArray | None:
    if not dataset.get("VOILUTSequence") or values.dtype.kind == "f":
        return None
    shown = apply_voi(values, dataset, index=0).astype(np.float32)
    first = dataset.VOILUTSequence[0]
    # The descriptor often says 16 bits where the table ends at 4095: its own largest entry is white.
    bits, data = int(first.LUTDescriptor[2]), first.LUTData
    table = np.frombuffer(data, np.uint8 if bits <= 8 else np.uint16) if isinstance(data, bytes) else np.asarray(data)
    return shown / max(float(table.max()), 1.0)


def _by_window(values: NDArray, dataset: Dataset) -> NDArray | None:
    """Return the first window's output in 0..1 (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    x = values.astype(np.float32)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (x - centre) / width)) if width > 0 else None
    if function == "LINEAR_EXACT":
        return np.clip((x - centre) / width + 0.5, 0, 1) if width > 0 else None
    return np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) if width > 1 else None


def _first(value: Any) -> float | None:
    values = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return float(values[0]) if len(values) and values[0] not in (None, "") else None


def _padding(raw: NDArray, dataset: Dataset) -> NDArray[np.bool_] | None:
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    marked = raw == value
    return marked if marked.any() and not marked.all() else None


def _colour(raw: NDArray, dataset: Dataset) -> NDArray[np.uint8]:
    """Return the luminance (ITU-R 601) of a colour capture."""
    rgb = apply_color_lut(raw, dataset) if raw.ndim == 2 else raw
    grey = rgb[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return to_u8(grey / np.iinfo(rgb.dtype).max)
