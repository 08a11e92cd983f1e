"""The pixels of DICOM files as 8-bit grey, as a radiologist's screen shows them.

How values become grey stands in :mod:`cxr.data.images.dicom_values`. Read by pydicom, with Pillow for JPEG (8 bits) and
JPEG 2000; RLE, deflated and uncompressed files need neither. JPEG Lossless, JPEG-LS, JPEG of 12 bits and HTJ2K need the
optional packages of :data:`DECODER_PACKAGES`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from cxr.data.images.base import Refusal, check_size, one_line, quiet, to_u8
from cxr.data.images.dicom_header import read_dataset
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


def decode_dicom(path: Path, max_pixels: int, notes: list[str]) -> NDArray[np.uint8]:
    """Decode a single-frame DICOM image to uint8 (H, W), bone bright; colour becomes luminance.

    ``notes`` receives a sentence for everything of the file that was not followed.
    """
    with quiet():
        dataset = read_dataset(path)
        _check_header(dataset, max_pixels)
        raw = _raw_pixels(dataset)
        if raw.ndim == 3 or str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
            return _colour(raw, dataset)
        return grey_values(raw, dataset, notes)


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
