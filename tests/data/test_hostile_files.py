"""Thirty files that are no X-rays among two that are: the import ends well and names every one."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_samples import chest, dicom, save_dicom, write_png
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from cxr.data import ImageCache, import_data, save_data_set
from cxr.data.library import read_excluded


def encoded(how: str, image: np.ndarray | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(chest() if image is None else image).save(buffer, how, **options)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data do not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", encoded("PNG"))
    return buffer.getvalue()


def bytes_of(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def dicom_without(*names: str, **attributes: object) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        dataset = dicom(chest(), 8, **attributes)
        for name in names:
            delattr(dataset, name)
        save_dicom(path, dataset)

    return write


def dicom_with_spoiled_codestream(path: Path) -> None:
    dataset = dicom(chest(), 8)
    dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    save_dicom(path, dataset)


def unreadable(path: Path) -> None:
    path.write_bytes(encoded("PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read everything
        path.write_bytes(b"")


def folder_of_png(path: Path) -> None:
    path.mkdir()
    write_png(path / "inside.png")


CUT_DICOM = dicom(chest(), 8)
CUT_DICOM.PixelData = chest().tobytes()[:50]

HOSTILE: dict[str, Callable[[Path], object]] = {
    "cut.png": bytes_of(encoded("PNG")[:300]),
    "cut.jpg": bytes_of(encoded("JPEG")[:-600]),
    "cut.tif": bytes_of(encoded("TIFF")[:200]),
    "cut.gif": bytes_of(encoded("GIF")[:900]),
    "cut.webp": bytes_of(encoded("WEBP", lossless=True)[:100]),
    "cut.jp2": bytes_of(encoded("JPEG2000")[:120]),
    "signature_only.png": bytes_of(b"\x89PNG\r\n\x1a\n"),
    "signature_only.jpg": bytes_of(b"\xff\xd8\xff\xe0"),
    "text.png": bytes_of(b"I am a text\n"),
    "page.jpg": bytes_of(b"<!DOCTYPE html>\n<html><body>404 not found</body></html>"),
    "archive.png": bytes_of(zipped()),
    "packed.png": bytes_of(gzip.compress(encoded("PNG"))),
    "document.jpeg": bytes_of(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
    "program.png": bytes_of(b"\x7fELF\x02\x01\x01" + bytes(200)),
    "postscript.png": bytes_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "noise.png": bytes_of(np.random.default_rng(0).bytes(5000)),
    "zero.png": bytes_of(b""),
    "bomb.png": bytes_of(png_of(60_000, 60_000)),
    "large.png": bytes_of(png_of(9_000, 9_000)),
    "tiny.png": bytes_of(encoded("PNG", chest(height=8, width=8))),
    "blank.png": bytes_of(encoded("PNG", np.full((64, 64), 9, np.uint8))),
    "moving.gif": bytes_of(encoded("GIF", save_all=True, append_images=[Image.fromarray(chest(4))])),
    "folder.png": folder_of_png,
    "dangling.png": lambda path: path.symlink_to(path.with_name("nowhere.png")),
    "itself.png": lambda path: path.symlink_to(path),
    "pipe.png": os.mkfifo,
    "unreadable.png": unreadable,
    "no_pixels.dcm": dicom_without("PixelData"),
    "no_rows.dcm": dicom_without("Rows"),
    "huge.dcm": dicom_without(Rows=40_000, Columns=40_000),
    "frames.dcm": dicom_without(NumberOfFrames=12),
    "cut.dcm": lambda path: save_dicom(path, CUT_DICOM),
    "codestream.dcm": dicom_with_spoiled_codestream,
    "text.dcm": bytes_of(b"no DICOM, whatever the name says " * 9),
    "._mac.png": bytes_of(b"\0\5\x16\7"),
    "bad\nname\udcff.png": bytes_of(b"text"),
}

NAMED = {f"normal/{name}" for name in HOSTILE if name.isprintable()} | {r"normal/bad\nname\udcff.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("normal", "covid"):
        write_png(tmp_path / "set" / label / "good.png", seed=len(label))
    for name, write in HOSTILE.items():
        write(tmp_path / "set" / "normal" / name)
    return tmp_path / "set"


@pytest.mark.timeout(120)
def test_hostile_files_are_all_named_and_the_good_ones_imported(folder: Path):
    assert len(HOSTILE) >= 30
    result = import_data("image-folder", folder)
    assert sorted(result.manifest.table["image"]) == ["covid/good.png", "normal/good.png"]
    assert set(result.excluded["file"]) == NAMED
    assert len(result.excluded) == len(HOSTILE)
    assert result.excluded["reason"].str.len().between(5, 250).all()
    assert not result.excluded["reason"].str.contains("\n").any()
    assert not result.excluded["reason"].str.contains("ended without an answer").any()
    save_data_set("hostile", result)
    assert len(read_excluded("hostile")) == len(HOSTILE)


@pytest.mark.timeout(120)
def test_a_cache_names_hostile_files_of_a_manifest_and_holds_the_good_ones(folder: Path):
    from cxr.data import Manifest

    names = ["good.png", *(name for name in HOSTILE if name.isascii() and "\n" not in name)]
    (folder / "normal" / "list.csv").write_text("\n".join(["image", *names]))
    manifest = Manifest.load(folder / "normal" / "list.csv")
    cache = ImageCache.build(manifest, 32)
    lost = {Path(file).name for file in cache.missing["file"]}
    assert lost == {*names} - {"good.png", "blank.png"}
    assert len(cache) == 2


def test_a_dicom_import_names_them_too(folder: Path):
    save_dicom(folder / "normal" / "good.dcm", dicom(chest(), 8))
    result = import_data("dicom", folder)
    assert result.manifest.table["image"].tolist() == ["normal/good.dcm"]
    assert set(result.excluded["file"]) == NAMED | {"normal/good.png", "covid/good.png"}
