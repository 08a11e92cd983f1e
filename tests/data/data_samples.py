"""Small X-ray-like images and DICOM files, written as their real counterparts are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid

from cxr.data import Manifest


def chest(seed: int = 0, height: int = 60, width: int = 48) -> np.ndarray:
    """A smooth grey image uint8 (height, width) with every value distinct enough to tell left from right."""
    y, x = np.mgrid[0:height, 0:width]
    wave = 60 * np.sin(x / 7 + seed) * np.cos(y / 9)
    return np.clip(40 + 1.2 * x + 1.6 * y + wave, 0, 255).astype(np.uint8)


def write_png(path: Path, seed: int = 0, **size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(chest(seed, **size)).save(path, format="PNG")
    return path


def dicom(pixels: np.ndarray, bits: int, **attributes: Any) -> Dataset:
    """An uncompressed DICOM data set of unsigned or signed pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.ViewPosition, dataset.PatientID = "CR", "PA", "P1"
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def save_dicom(path: Path, dataset: Dataset, compressed: str = "") -> Path:
    """Write a data set, compressed as ``rle``, ``jpeg2000`` or ``jpeg`` if asked."""
    if compressed == "rle":
        dataset.compress(RLELossless)
    elif compressed:
        syntax, how = {"jpeg2000": (JPEG2000Lossless, "JPEG2000"), "jpeg": (JPEGBaseline8Bit, "JPEG")}[compressed]
        pixels = np.frombuffer(dataset.PixelData, np.uint8 if dataset.BitsAllocated == 8 else np.uint16)
        buffer = io.BytesIO()
        options = {"irreversible": False, "no_jp2": True} if how == "JPEG2000" else {"quality": 100}
        Image.fromarray(pixels.reshape(dataset.Rows, dataset.Columns)).save(buffer, how, **options)
        dataset.PixelData = encapsulate([buffer.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def manifest_of(rows: list[dict[str, Any]], root: Path) -> Manifest:
    return Manifest.from_table(pd.DataFrame(rows), root)
