"""Small X-ray-like images and DICOM files, written as their real counterparts are."""

from __future__ import annotations

import io
import struct
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


def jpeg_lossless(pixels: np.ndarray, bits: int) -> bytes:
    """Encode grey as JPEG Lossless (process 14, predictor 1), which no installed library writes."""
    values = pixels.astype(int)
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << (bits - 1)
    stream = "".join(_coded((int(d) + 32768) % 65536 - 32768) for d in (values - predicted).ravel())
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    height, width = pixels.shape

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body

    frame = struct.pack(">BHHB3B", bits, height, width, 1, 1, 0x11, 0)
    table = bytes([0, *[17 if length == 5 else 0 for length in range(1, 17)], *range(17)])
    start = bytes([1, 1, 0, 1, 0, 0])
    return b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, table) + segment(0xDA, start) + scan + b"\xff\xd9"


def _coded(difference: int) -> str:
    """Five bits for how many bits a difference has, and those bits."""
    n = abs(difference).bit_length()
    extra = difference if difference > 0 else difference + (1 << n) - 1
    return f"{n:05b}" + (f"{extra:0{n}b}" if n else "")


def manifest_of(rows: list[dict[str, Any]], root: Path) -> Manifest:
    return Manifest.from_table(pd.DataFrame(rows), root)
