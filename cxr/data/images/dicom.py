"""DICOM files: the header as an importer needs it, and pixels as 8-bit grey, as a radiologist's screen shows them.

How values become grey stands in :mod:`cxr.data.images.dicom_values`. Read by pydicom, with Pillow for JPEG (8 bits) and
JPEG 2000; RLE, deflated and uncompressed files need neither. JPEG Lossless, JPEG-LS, JPEG of 12 bits and HTJ2K need the
optional packages of :data:`DECODER_PACKAGES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut

from cxr.data.images.base import Refusal, check_size, looks_like_dicom, one_line, quiet, read_head, to_u8
from cxr.data.images.dicom_values import grey_values

_LIBJPEG = "pylibjpeg pylibjpeg-libjpeg"
_OPENJPEG = "pylibjpeg pylibjpeg-openjpeg"
DECODER_PACKAGES: dict[str, str] = {
    uid.JPEGExtended12Bit: _LIBJPEG,
    uid.JPEGLossless: _LIBJPEG,
    uid.JPEGLosslessSV1: _LIBJPEG,
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.HTJ2KLossless: _OPENJPEG,
    uid.HTJ2KLosslessRPCL: _OPENJPEG,
    uid.HTJ2K: _OPENJPEG,
}
_MODULE_OF = {"pylibjpeg-libjpeg": "libjpeg", "pylibjpeg-openjpeg": "openjpeg", "pyjpegls": "jpeg_ls"}
# What pydicom says where no decoder for a syntax, or for its 12-bit variant, is installed.
_NO_DECODER = ("missing dependencies", "Pillow does not support")
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
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
            return _header(_read(path, tags=_HEADER_TAGS))
    except Refusal as refusal:
        return str(refusal)


def read_attributes(path: Path, names: Sequence[str]) -> Dataset | None:
    """Return the attributes of these names of a DICOM file, None for a file of another kind or none at all."""
    try:
        if not looks_like_dicom(path, read_head(path)):
            return None
        with quiet():
            return _read(path, tags=[*names, *_SURE_SIGNS])
    except Refusal:
        return None


def decode_dicom(path: Path, max_pixels: int, notes: list[str]) -> NDArray[np.uint8]:
    """Decode a single-frame DICOM image to uint8 (H, W), bone bright; colour becomes luminance.

    ``notes`` receives a sentence for everything of the file that was not followed.
    """
    with quiet():
        dataset = _read(path)
        _check_header(dataset, max_pixels)
        raw = _raw_pixels(dataset)
        if raw.ndim == 3 or str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
            return _colour(raw, dataset)
        return grey_values(raw, dataset, notes)


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


def _header(dataset: Dataset) -> DicomHeader:
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
        sop_class="" if uid.UID(sop_class).name == sop_class else uid.UID(sop_class).name,
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
        raise Refusal("does not say how to display its values (PhotometricInterpretation is missing)")
    if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian


def _raw_pixels(dataset: Dataset) -> NDArray:
    try:
        return dataset.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        raise Refusal(_cannot_decode(dataset.file_meta.TransferSyntaxUID, error)) from None


def _cannot_decode(syntax: uid.UID, error: Exception) -> str:
    """Say that a decoder is missing, and how to get it, or give the reason of the decoder."""
    no_decoder = isinstance(error, NotImplementedError) or any(sign in str(error) for sign in _NO_DECODER)
    if not no_decoder or not syntax.is_compressed:
        return f"is broken ({one_line(error)})"
    packages = DECODER_PACKAGES.get(syntax, "")
    if packages and _can_be_loaded(packages):
        return f"is broken ({one_line(error)})"
    return f"is compressed as {syntax.name}" + (
        f"; to read it: pip install {packages}" if packages else ", which is not supported"
    )


def _can_be_loaded(packages: str) -> bool:
    try:
        return all(import_module(_MODULE_OF.get(package, package)) for package in packages.split())
    except ImportError:
        return False


def _colour(raw: NDArray, dataset: Dataset) -> NDArray[np.uint8]:
    """Return the luminance (ITU-R 601) of a colour capture."""
    rgb: NDArray[Any] = apply_color_lut(raw, dataset) if raw.ndim == 2 else raw
    grey = rgb[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return to_u8(grey / np.iinfo(rgb.dtype).max)
