"""Which values of an X-ray its greys are spread over: not those of borders, padding and burned-in labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BINS = 512
_EMPTY_BIN = 2e-4  # share of the pixels below which a bin of the histogram counts as empty
_GAP = 1 / 3  # of the whole range: so much of it is empty between the picture and a plateau
_IN_THE_GAP = 0.03  # share of the pixels that may lie in a gap: soft edges of letters
_NARROW = 1 / 4  # a plateau is so narrow beside the picture
_TAIL = 5e-4  # share of the pixels, such as hot ones, that may be cut off without a plateau
_PICTURE_SHARE, _PICTURE_LEVELS = 0.05, 16  # less is no picture, and nothing is cut off from it
_ROUNDS = 8
_SAMPLE = 1_000_000


class GreyRange(NamedTuple):
    """Values that become black and white; ``plateaus`` tells that a border or a label beyond them was left out."""

    low: float
    high: float
    plateaus: bool


def grey_range(counted: NDArray) -> GreyRange:
    """Return the 0.1 and 99.9 percentiles of ``counted`` (any shape, finite), plateaus far from the picture left out.

    A plateau is a narrow group of values beyond a gap of a third of the whole range: a border of zeros, a label burned
    in at 65535 beside 12 bits. What is left must still be a picture (16 values, 5 % of the pixels), or nothing is
    left out: masks stay masks.
    """
    low, high, plateaus = picture_ends(counted)
    picture = counted[(counted >= low) & (counted <= high)] if plateaus else counted
    bottom, top = (float(end) for end in np.percentile(picture, (0.1, 99.9)))
    if top > bottom:
        return GreyRange(bottom, top, plateaus)
    return GreyRange(float(picture.min()), float(picture.max()), plateaus)


def picture_ends(counted: NDArray) -> GreyRange:
    """Return the lowest and highest value of the picture itself, plateaus and single hot pixels left out."""
    sample = counted.ravel()[:: max(counted.size // _SAMPLE, 1)]
    low, high, plateaus = float(counted.min()), float(counted.max()), False
    for _ in range(_ROUNDS):
        narrower = _without_one_end(sample, low, high)
        if narrower is None:
            break
        low, high = narrower.low, narrower.high
        plateaus |= narrower.plateaus
    return GreyRange(low, high, plateaus)


def _without_one_end(values: NDArray, low: float, high: float) -> GreyRange | None:
    """Return a range without the plateau or the few pixels at one of its ends, None where there are none."""
    if not high > low:
        return None
    inside = values[(values >= low) & (values <= high)].astype(np.float64)
    if inside.size == 0:
        return None
    bins = np.minimum(((inside - low) * (_BINS / (high - low))).astype(np.int64), _BINS - 1)
    shares = np.bincount(bins, minlength=_BINS) / inside.size
    for start, stop in _wide_gaps(shares):
        below, above = inside[bins < start], inside[bins >= stop]
        cut = _cut_at(below, above, float(shares[start:stop].sum()), low, high)
        if cut is not None:
            return cut
    return None


def _wide_gaps(shares: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return ``(start, stop)`` of the runs of empty bins that are wide enough, the widest first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], shares < _EMPTY_BIN, [0]]).astype(np.int8)))
    runs = [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    return sorted((run for run in runs if run[1] - run[0] >= _GAP * _BINS), key=lambda run: run[0] - run[1])


def _cut_at(below: NDArray, above: NDArray, gap_share: float, low: float, high: float) -> GreyRange | None:
    """Return the range of the picture on one side of a gap, if the other side is a plateau or next to nothing."""
    if below.size == 0 or above.size == 0:  # the gap reaches an end: what lies in it are single pixels
        picture = below if above.size == 0 else above
        cut = gap_share <= _TAIL and _is_picture(picture, picture.size)
        return GreyRange(float(picture.min()), float(picture.max()), False) if cut else None
    total = below.size + above.size
    sides = [(below, float(below.max()) - low), (above, high - float(above.min()))]
    (plateau, width), (picture, span) = sorted(sides, key=lambda side: side[1])
    if gap_share > _IN_THE_GAP or width > _NARROW * span or not _is_picture(picture, total):
        return None
    return GreyRange(float(picture.min()), float(picture.max()), plateau.size > _TAIL * total)


def _is_picture(values: NDArray, of_pixels: int) -> bool:
    sample = values[:: max(values.size // 4096, 1)]
    return values.size >= _PICTURE_SHARE * of_pixels and np.unique(sample).size >= _PICTURE_LEVELS
