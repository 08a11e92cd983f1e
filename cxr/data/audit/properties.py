"""What of an X-ray's file and picture is measured without a look at the chest: size, format, borders, grey values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.data.images.base import Refusal, looks_like_dicom, quiet, read_head
from cxr.data.images.decode import decode

SIDES = ("top", "bottom", "left", "right")
PERCENTILES = (5, 50, 95)
BLACK, WHITE = 2, 253
"""Grey values up to here, and from here on, count as saturated."""

_UNIFORM = 10  # largest difference between the 2nd and 98th percentile of a line that belongs to a border
_SAME = 8  # largest difference of its median to that of the outermost line
_DEEPEST = 0.45  # of the picture: a border is no wider
_STRIDE_SIDE = 1024  # grey values of larger pictures are taken from every second, third, ... pixel
_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I;16N": 16, "I": 32, "F": 32}
# The luminance table of the JPEG standard (Annex K), which the IJG library scales by the quality.
_IJG_LUMINANCE = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)


class Properties(TypedDict):
    """What is measured of one X-ray; NaN and "" where there is no such thing.

    ``width`` and ``height`` in pixels, ``aspect`` width by height, ``bits`` of each grey value in the file,
    ``colour`` whether it is stored in colour, ``format`` with its compression, ``bytes_per_pixel`` of the file,
    ``jpeg_quality`` 1 to 100 as the IJG library counts it; ``border_top`` and so on: the uniform border of each side as
    a share of the height or width, ``border_value`` its grey; ``mean``, ``std`` and percentiles of the decoded grey
    values, 0 to 255; ``black`` and ``white``: the shares of saturated pixels.
    """

    width: int
    height: int
    aspect: float
    format: str
    bits: int
    colour: str
    bytes_per_pixel: float
    jpeg_quality: float
    border_top: float
    border_bottom: float
    border_left: float
    border_right: float
    border_value: float
    mean: float
    std: float
    p5: float
    p50: float
    p95: float
    black: float
    white: float


class _Header(TypedDict):
    format: str
    bits: int
    colour: str
    jpeg_quality: float


def measure(path: Path) -> Properties | str:
    """Return the properties of an X-ray's file, or in words why it cannot be read.

    Of a form that :func:`cxr.data.images.pool.map_in_order` takes.
    """
    try:
        pixels = decode(path)
        header = _header(path)
        size = path.stat().st_size
    except Refusal as refusal:
        return str(refusal)
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})"
    height, width = pixels.shape
    borders, value = uniform_border(pixels)
    greys = _grey_values(pixels)
    return Properties(
        width=width,
        height=height,
        aspect=round(width / height, 3),
        **header,
        bytes_per_pixel=round(size / pixels.size, 4),
        border_top=borders["top"],
        border_bottom=borders["bottom"],
        border_left=borders["left"],
        border_right=borders["right"],
        border_value=value,
        mean=float(greys.mean()),
        std=float(greys.std()),
        p5=float(np.percentile(greys, 5)),
        p50=float(np.percentile(greys, 50)),
        p95=float(np.percentile(greys, 95)),
        black=float((greys <= BLACK).mean()),
        white=float((greys >= WHITE).mean()),
    )


def _grey_values(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = max(1, math.ceil(max(pixels.shape) / _STRIDE_SIDE))
    return pixels[::step, ::step]


def uniform_border(pixels: NDArray[np.uint8]) -> tuple[dict[str, float], float]:
    """Return how wide the uniform border of each side is, and its grey.

    A line belongs to the border if nearly all of its pixels have one grey, which is that of the outermost line.

    Parameters
    ----------
    pixels
        (H, W), 0 to 255.

    Returns
    -------
    The width of each of :data:`SIDES` as a share of the height or width, 0 to 0.45; the median grey of the widest
    one, NaN where no side has a border.
    """
    lines = {"top": pixels, "bottom": pixels[::-1], "left": pixels.T, "right": pixels.T[::-1]}
    depths = {side: _depth(rows) for side, rows in lines.items()}
    widths = {side: round(depths[side] / len(lines[side]), 4) for side in SIDES}
    widest = max(SIDES, key=lambda side: widths[side])
    if not depths[widest]:
        return widths, math.nan
    return widths, float(np.median(lines[widest][: depths[widest]]))


def _depth(rows: NDArray[np.uint8]) -> int:
    """Return how many of the first rows (H, W) are uniform; far from the border no row is looked at."""
    most, outermost = int(_DEEPEST * len(rows)), math.nan
    for row in range(most):
        low, middle, high = np.percentile(rows[row], (2, 50, 98))
        outermost = middle if row == 0 else outermost
        if high - low > _UNIFORM or abs(middle - outermost) > _SAME:
            return row
    return most


def _header(path: Path) -> _Header:
    if looks_like_dicom(path, read_head(path)):
        return _dicom_header(path)
    with quiet(), Image.open(path) as image:
        tables = getattr(image, "quantization", None) or {}
        compression = image.info.get("compression", "") if image.format == "TIFF" else ""
        return _Header(
            format=f"{image.format} {compression}".strip(),
            bits=_BITS.get(image.mode, 8),
            colour="grey" if image.mode in ("L", "1", "LA", *_BITS) else "colour",
            jpeg_quality=jpeg_quality(list(tables[0])) if tables else math.nan,
        )


def _dicom_header(path: Path) -> _Header:
    from pydicom import dcmread
    from pydicom.uid import UID

    with quiet():
        header = dcmread(path, stop_before_pixels=True, force=True)
    syntax = UID(str(getattr(header.file_meta, "TransferSyntaxUID", "")))
    compressed = bool(syntax) and syntax.is_transfer_syntax and syntax.is_compressed
    return _Header(
        format=f"DICOM {syntax.name}" if compressed else "DICOM",
        bits=int(getattr(header, "BitsStored", 0) or 0),
        colour="grey" if int(getattr(header, "SamplesPerPixel", 1) or 1) == 1 else "colour",
        jpeg_quality=math.nan,
    )


def jpeg_quality(table: list[int]) -> float:
    """Return the quality 1 to 100 of which the IJG library makes a luminance table (64,), in any order of its entries.

    Tables of other programs get the quality whose table is as coarse on the whole.
    """
    if max(table) <= 1:
        return 100.0
    scale = 100 * sum(table) / sum(map(int, _IJG_LUMINANCE.split()))
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return float(min(100, max(1, round(quality))))
