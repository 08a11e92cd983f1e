"""What every decoder of X-rays shares: limits, refusals, and values spread over 8 bits of grey."""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.data.images.grey_range import grey_range

MAX_PIXELS = 60_000_000
MIN_SIDE = 32
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".pgm", ".dcm", ".dicom"}
)
PLATEAU_LEFT_OUT = "values far from all others (a border or a burned-in label) were left out of the range of greys"
# warnings.catch_warnings swaps a list of the whole process: one thread at a time, or the swap can stay behind.
_WARNINGS = threading.Lock()


class Refusal(Exception):
    """Why a file is no X-ray, without the name of the file."""


def looks_like_dicom(path: Path, head: bytes) -> bool:
    """Return whether a file is DICOM by its first 132 bytes, or by its name where it has no preamble."""
    return head[128:132] == b"DICM" or (path.suffix.lower() in {".dcm", ".dicom"} and not has_image_signature(head))


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


def stretch(
    values: NDArray, ignore: NDArray[np.bool_] | None = None, notes: list[str] | None = None
) -> NDArray[np.uint8]:
    """Map values linearly to 0..255 between their percentiles (see :func:`cxr.data.images.grey_range.grey_range`).

    One single value becomes 0. ``ignore`` (H, W) marks pixels that do not count for the percentiles, and may hold
    anything; ``notes`` receives a sentence if a border or a label far from all other values was left out.
    """
    counted = values if ignore is None or ignore.all() else values[~ignore]
    if not np.isfinite(counted).all():
        raise Refusal("holds values that are not numbers")
    low, high, plateaus = grey_range(counted)
    if plateaus and notes is not None:
        notes.append(PLATEAU_LEFT_OUT)
    return to_u8((values.astype(np.float32) - low) / max(high - low, 1e-12))


def to_u8(unit: NDArray) -> NDArray[np.uint8]:
    """Round values in 0..1 to 0..255, clipping those outside; what is not a number becomes 0."""
    return np.rint(np.clip(np.nan_to_num(unit, nan=0.0), 0, 1) * 255).astype(np.uint8)


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
        raise Refusal("is a link to nothing" if path.is_symlink() else "does not exist") from None
    except PermissionError:
        raise Refusal("may not be read (permission denied)") from None
    except (OSError, ValueError) as error:
        raise Refusal(f"cannot be opened ({one_line(error)})") from None


def has_image_signature(head: bytes) -> bool:
    """Return whether a file begins as raster images do."""
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF8", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
