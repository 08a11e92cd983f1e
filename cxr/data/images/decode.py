"""Safe decoding: any file that claims to be an X-ray becomes an 8-bit grey array or one sentence why not.

The size is read from the header and refused before a pixel is decoded, only still-image formats are tried, and what
a file is called plays no part: a DICOM named ``.png`` is read as DICOM, a text named ``.png`` is refused as text.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.data.images.base import (
    MAX_PIXELS,
    Refusal,
    check_size,
    has_image_signature,
    looks_like_dicom,
    one_line,
    quiet,
    read_head,
    stretch,
)
from cxr.errors import ImageError

# Raise it when the same file would give other pixels; whatever is stored of decoded pixels by the digest of their file
# has this number in its key. 2: DICOM in the order of the standard (whole rescaled values reach the VOI LUT, 8 bits
# with an identity rescale stay), windows and LUTs that hardly meet the values left out, padding of every notation,
# borders and labels far from the other values do not decide the range of more than 8 bits.
DECODER_VERSION: int = 2

# Raster images (JPEG includes MPO); Pillow would also open PostScript, through another program, and video.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
_HIGH_DEPTH = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC, _TIFF_WHITE_IS_ZERO = 262, 0


class Decoded(NamedTuple):
    """Grey values uint8 (H, W), and sentences on what of the file was not followed, "" never among them."""

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]


def read_xray(path: str | Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an X-ray to grey values.

    Colour becomes luminance; transparent pixels lie on black, the colour around an X-ray. Images of more than 8 bits
    are stretched between their 0.1 and 99.9 percentiles, so that 12 bits stored in 16 are not dark and one hot pixel
    does not decide; neither does a border or a label burned in far from all other values. 8 bits stay as they are.
    DICOM follows its own VOI LUT or window (see :mod:`cxr.data.images.dicom_values`). EXIF rotation is applied.

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
    return read_with_notes(path, max_pixels).pixels


def read_with_notes(path: str | Path, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Do the same as :func:`read_xray`, and say what of the file was not followed, such as a window beside its values.

    The same fault gives the same sentence in every file, so that files can be counted by it.
    """
    try:
        return decode_with_notes(Path(path), max_pixels)
    except Refusal as refusal:
        raise ImageError(f"{path}: {refusal}") from None


def decode(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return the pixels of :func:`decode_with_notes`."""
    return decode_with_notes(path, max_pixels).pixels


def decode_with_notes(path: Path, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Do the work of :func:`read_with_notes`, raising :class:`Refusal` without the file's name."""
    head = read_head(path)
    notes: list[str] = []
    try:
        pixels = _decode_by_content(path, head, max_pixels, notes)
    except Refusal:
        raise
    except MemoryError:
        raise Refusal("needs more memory than there is") from None
    except Exception as error:  # decoders raise anything from struct.error to KeyError on a broken file
        raise Refusal(f"is broken ({one_line(error)})") from None
    return Decoded(np.ascontiguousarray(pixels), tuple(dict.fromkeys(notes)))


def unreadable_because(path: Path) -> str:
    """Return why a file cannot even be opened, "" if it can."""
    try:
        read_head(path)
    except Refusal as refusal:
        return str(refusal)
    return ""


def _decode_by_content(path: Path, head: bytes, max_pixels: int, notes: list[str]) -> NDArray[np.uint8]:
    if looks_like_dicom(path, head):
        from cxr.data.images.dicom import decode_dicom  # pydicom loads slowly, and most sets have no DICOM

        return decode_dicom(path, max_pixels, notes)
    return _decode_image(path, head, max_pixels, notes)


def _decode_image(path: Path, head: bytes, max_pixels: int, notes: list[str]) -> NDArray[np.uint8]:
    with path.open("rb") as file, _open(file, head) as image:
        check_size(*image.size, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # an MPO is a photograph with its own thumbnails
            raise Refusal(f"holds {frames:,} images; an X-ray file holds one")
        image.load()
        pixels = _grey(image, notes)
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
    if has_image_signature(head):
        return "is broken (its header cannot be read)"
    if b"\0" in head:
        return "is not an image of a known kind"
    start = head.lstrip().lower()
    return "is a web page, not an image" if start.startswith((b"<!doctype html", b"<html")) else "is text, not an image"


def _grey(image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    if image.mode in _HIGH_DEPTH:
        pixels = stretch(np.asarray(image), notes=notes)
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
    """Return whether a TIFF of more than 8 bits counts from white; Pillow turns those of 8 bits itself."""
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
