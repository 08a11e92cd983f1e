"""What the check measures of an X-ray: the small picture for the model, and how much of it is blank."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.data.audit.appearance.features import SIDE
from cxr.data.audit.properties import SIDES, uniform_border
from cxr.data.images.base import Refusal
from cxr.data.images.decode import decode
from cxr.data.images.resize import fit_square

_LOOK = 256  # pixels of the long side at which blank parts are looked for
_BLOCK = 8  # pixels of a block's sides there
_SAME = 3  # grey values between the darkest and the brightest pixel of a blank block


class Picture(TypedDict):
    """An X-ray as the check sees it.

    ``small`` is uint8 (64, 64), stretched; ``width`` and ``height`` are the file's in pixels; ``spread`` is the
    difference between the 1st and 99th percentile of the grey values, 0 to 255; ``blank`` the share of blocks of one
    grey; ``border`` the widest uniform border, a share of the height or width, and ``side`` where it is, "" for none.
    """

    small: NDArray[np.uint8]
    width: int
    height: int
    spread: float
    blank: float
    border: float
    side: str


def look(path: Path) -> Picture | str:
    """Return an X-ray's picture, or in words why it cannot be read.

    Of a form that :func:`cxr.data.images.pool.map_in_order` takes.
    """
    try:
        return picture_of(decode(path))
    except Refusal as refusal:
        return str(refusal)
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})"


def picture_of(pixels: NDArray[np.uint8]) -> Picture:
    """Return what is measured of a decoded X-ray, uint8 (H, W)."""
    height, width = pixels.shape
    step = max(1, math.ceil(max(height, width) / _LOOK))
    seen = pixels[::step, ::step]
    low, high = np.percentile(seen, (1, 99))
    borders, _ = uniform_border(seen)
    widest = max(SIDES, key=lambda side: borders[side])
    return Picture(
        small=fit_square(pixels, SIDE),
        width=width,
        height=height,
        spread=float(high - low),
        blank=_blank(seen),
        border=borders[widest],
        side=widest if borders[widest] else "",
    )


def _blank(seen: NDArray[np.uint8]) -> float:
    """Return the share of blocks of a picture (H, W) in which all pixels have nearly the same grey."""
    rows, columns = (max(1, side // _BLOCK) for side in seen.shape)
    blocks = seen[: rows * _BLOCK, : columns * _BLOCK]
    if min(seen.shape) < _BLOCK:
        return float(np.ptp(seen) <= _SAME)
    cut = blocks.reshape(rows, _BLOCK, columns, _BLOCK)
    return float((cut.max((1, 3)).astype(int) - cut.min((1, 3)) <= _SAME).mean())
