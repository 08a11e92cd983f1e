"""Safe decoding: any file that claims to be an X-ray becomes an 8-bit grey array or one sentence why not.

The size is read from the header and refused before a pixel is decoded, only still-image formats are tried, and what
a file is called plays no part: a DICOM named ``.png`` is read as DICOM, a text named ``.png`` is refused as text.
"""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.errors import ImageError

# Raise it when the same file would give other pixels: stored pixels have this number in their key.
DECODER_VERSION: int = 2
MAX_PIXELS = 60_000_000
MIN_SIDE = 32
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".pgm", ".dcm", ".dicom"}
)

# Raster images (JPEG includes MPO); Pillow would also open PostScript, through another program, and video.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
_HIGH_DEPTH = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC, _TIFF_WHITE_IS_ZERO = 262, 0
# warnings.catch_warnings swaps a list of the whole process: one thread at a time, or the swap can stay behind.
_WARNINGS = threading.Lock()


class Refusal(Exception):
    """Why a file is no X-ray, without the name of the file."""


def read_xray(path: str | Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an X-ray to grey values.

    Colour becomes luminance; transparent pixels lie on black, the colour around an X-ray. Images of more than 8 bits
    are stretched between their 0.1 and 99.9 percentiles, so that 12 bits stored in 16 are not dark and one hot pixel
    does not decide; DICOM follows its own window where it has one. EXIF rotation is applied.

    Returns
    -------
    ndarray
        uint8 (H, W), 0 black to 255 white, bone bright.

    Raises
    ------
    ImageError
        Names the file and the reason: not there, not a regular file, empty, unknown format, truncated, several
        frames, fewer than 32 or more than ``max_pixels`` pixels.
    """
    try:
        return decode(Path(path), max_pixels)
    except Refusal as refusal:
        raise ImageError(f"{path}: {refusal}") from None


def decode(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Do the work of :func:`read_xray`, raising :class:`Refusal` without the file's name."""
    head = read_head(path)
    try:
        pixels = _decode_by_content(path, head, max_pixels)
    except Refusal:
        raise
    except MemoryError:
        raise Refusal("needs more memory than there is") from None
    except Exception as error:  # decoders raise anything from struct.error to KeyError on a broken file
        raise Refusal(f"is broken ({one_line(error)})") from None
    return np.ascontiguousarray(pixels)


def looks_like_dicom(path: Path, head: bytes) -> bool:
    """Tell whether a file is DICOM by its first 132 bytes, or by its name where it has no preamble."""
    return head[128:132] == b"DICM" or (path.suffix.lower() in {".dcm", ".dicom"} and not _has_image_signature(head))


def unreadable_because(path: Path) -> str:
    """Return why a file cannot even be opened, "" if it can."""
    try:
        read_head(path)
    except Refusal as refusal:
        return str(refusal)
    return ""


def one_line(error: BaseException) -> str:
    """Return an exception's text as one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse sizes that are no X-ray's, before anything is decoded."""
    if width * height > max_pixels:
        raise Refusal(f"has {width} x {height} pixels, more than the {max_pixels:,} allowed")
    if min(width, height) < MIN_SIDE:
        raise Refusal(f"has {width} x {height} pixels, fewer than {MIN_SIDE} on a side")


def stretch(values: NDArray, ignore: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Map values linearly to 0..255 between their 0.1 and 99.9 percentiles; one single value becomes 0.

    ``ignore`` (H, W) marks pixels that do not count for the percentiles.
    """
    counted = values if ignore is None or ignore.all() else values[~ignore]
    if not np.isfinite(counted).all():
        raise Refusal("holds values that are not numbers")
    low, high = np.percentile(counted, (0.1, 99.9))
    if high <= low:
        low, high = float(counted.min()), float(counted.max())
    return to_u8((values.astype(np.float32) - low) / max(high - low, 1e-12))


def to_u8(unit: NDArray) -> NDArray[np.uint8]:
    """Round values in 0..1 to 0..255, clipping those outside."""
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the decoders' warnings, about sizes above all, out of the program: what matters is raised."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_head(path: Path) -> bytes:
    """Return the first 1024 bytes of a regular file; a pipe or device is refused unopened, as opening one may wait."""
    try:
        info = os.stat(path)  # noqa: PTH116 - Path.stat() is the same, and this one takes odd names alike
        if not stat.S_ISREG(info.st_mode):
            raise Refusal("is a folder" if stat.S_ISDIR(info.st_mode) else "is not a regular file")
        if info.st_size == 0:
            raise Refusal("is empty (0 bytes)")
        with path.open("rb") as file:
            return file.read(1024)
    except FileNotFoundError:
        raise Refusal("is a link to nothing" if path.is_symlink() else "is not there") from None
    except PermissionError:
        raise Refusal("may not be read (permission denied)") from None
    except (OSError, ValueError) as error:
        raise Refusal(f"cannot be opened ({one_line(error)})") from None


def _decode_by_content(path: Path, head: bytes, max_pixels: int) -> NDArray[np.uint8]:
    if looks_like_dicom(path, head):
        from cxr.data.dicom import decode_dicom  # pydicom loads slowly, and most sets have no DICOM

        return decode_dicom(path, max_pixels)
    return _decode_image(path, head, max_pixels)


def _decode_image(path: Path, head: bytes, max_pixels: int) -> NDArray[np.uint8]:
    with path.open("rb") as file, _open(file, head) as image:
        check_size(*image.size, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # an MPO is a photograph with its own thumbnails
            raise Refusal(f"holds {frames} images; an X-ray file holds one")
        image.load()
        pixels = _grey(image)
        return _upright(pixels, _orientation(image))


def _open(file: BinaryIO, head: bytes) -> Image.Image:
    try:
        with quiet():
            return Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise Refusal("has more pixels than any X-ray, by its header") from None
    except Image.UnidentifiedImageError:
        raise Refusal(_what_it_is(head)) from None


def _what_it_is(head: bytes) -> str:
    if _has_image_signature(head):
        return "is broken (its header cannot be read)"
    if b"\0" in head:
        return "is not an image of a known kind"
    start = head.lstrip().lower()
    return "is a web page, not an image" if start.startswith((b"<!doctype html", b"<html")) else "is text, not an image"


def _has_image_signature(head: bytes) -> bool:
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF8", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _HIGH_DEPTH:
        pixels = stretch(np.asarray(image))
        return 255 - pixels if _white_is_zero(image) else pixels
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    if image.mode in {"CMYK", "YCbCr", "LAB", "HSV", "P", "RGBA"}:
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _white_is_zero(image: Image.Image) -> bool:
    """Tell whether a TIFF of more than 8 bits counts from white; Pillow turns those of 8 bits itself."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the EXIF orientation 2..8; any other value leaves the pixels as they are."""
    turns = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}
    mirrored = {2, 4, 5, 7}
    turned = np.rot90(pixels, turns.get(orientation, 0))
    return np.fliplr(turned) if orientation in mirrored else turned
