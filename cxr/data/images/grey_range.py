"""Which values of an X-ray its greys are spread over: not those of borders, padding and burned-in labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BINS = 512
_THIN = 0.03  # of the picture's usual density: below it a bin of the histogram does not belong to the picture
_CROWDED = 0.05  # share of the pixels; more in one bin count no more than this for the picture's density
_HOLE = 8  # bins; narrower holes in the picture are closed
_APART = 1 / 3  # of the whole range: so far beyond the picture a plateau reaches
_END_BINS, _END_SHARE = 24, 1e-4  # a plateau has this share of the pixels, or more, at the very end
# Between picture and plateau lie soft edges of letters: at most three times the plateau, unless it is very far away.
_SOFT_EDGE, _SOFT_EDGE_FAR, _FAR = 0.05, 0.08, 3  # shares of the pixels; distance by the picture's own range
_NARROW = 1 / 2  # a plateau is so narrow beside the picture
_HOT = 5e-4  # share of the pixels that may be cut off without a plateau, such as hot ones
_PICTURE_SHARE, _PICTURE_LEVELS = 0.05, 16  # less is no picture, and nothing is cut off from it
_ROUNDS = 6
_SAMPLE = 1_000_000


class GreyRange(NamedTuple):
    """The values that become black and white.

    ``plateaus`` says whether values beyond them (a border, a burned-in label) were left out.
    """

    low: float
    high: float
    plateaus: bool


def grey_range(counted: NDArray) -> GreyRange:
    """Return the 0.1 and 99.9 percentiles of ``counted`` (any shape, finite), plateaus far from the picture left out.

    A plateau is a narrow group of values at an end of the range, a third of it or more away from the picture: a border
    of zeros, a label burned in at 65535 beside 12 bits. What remains must be a picture (16 values, 5 % of the pixels),
    or nothing is left out: masks stay masks.
    """
    low, high, plateaus = picture_ends(counted)
    picture = counted[(counted >= low) & (counted <= high)] if plateaus else counted
    bottom, top = (float(end) for end in np.percentile(picture, (0.1, 99.9)))
    if top > bottom:
        return GreyRange(bottom, top, plateaus)
    return GreyRange(float(picture.min()), float(picture.max()), plateaus)


def picture_ends(counted: NDArray) -> GreyRange:
    """Return the lowest and highest value of the picture itself, plateaus and hot pixels left out."""
    values = counted.ravel()[:: max(counted.size // _SAMPLE, 1)].astype(np.float64)
    low, high, plateaus = float(counted.min()), float(counted.max()), False
    for _ in range(_ROUNDS):
        narrower = _without_one_end(values, low, high)
        if narrower is None:
            break
        low, high = narrower.low, narrower.high
        plateaus |= narrower.plateaus
        values = values[(values >= low) & (values <= high)]
    return GreyRange(low, high, plateaus)


def _without_one_end(values: NDArray[np.float64], low: float, high: float) -> GreyRange | None:
    """Return a range without what lies beyond the picture at one of its ends, None if nothing lies far beyond."""
    if not high > low or values.size == 0:
        return None
    bins = np.minimum(((values - low) * (_BINS / (high - low))).astype(np.int64), _BINS - 1)
    shares = np.bincount(bins, minlength=_BINS) / values.size
    start, stop = _picture_bins(shares)
    if start == stop:
        return None
    for beyond, inside, from_end in (
        (shares[stop:][::-1], bins < stop, _BINS - 1 - bins),
        (shares[:start], bins >= start, bins),
    ):
        if len(beyond) >= _APART * _BINS and _is_picture(values[inside], values.size):
            if beyond.sum() <= _HOT:
                return _range_of(values[inside], False)
            if _is_plateau(beyond, values[from_end < _END_BINS], values[inside]):
                return _range_of(values[inside], True)
    return None


def _picture_bins(shares: NDArray[np.float64]) -> tuple[int, int]:
    """Return ``(start, stop)`` of the widest run of bins that are about as dense as the picture; (0, 0) for none."""
    # A bin that holds a border, a label or saturated pixels says little of how dense the picture is.
    ranked = np.cumsum(np.sort(np.minimum(shares, _CROWDED))[::-1])
    n_dense = int(np.searchsorted(ranked, 0.8 * ranked[-1])) + 1
    dense = np.flatnonzero(shares >= _THIN * ranked[n_dense - 1] / n_dense)
    runs = np.split(dense, np.flatnonzero(np.diff(dense) > _HOLE) + 1)
    ends = [(int(run[0]), int(run[-1]) + 1) for run in runs if run.size]
    large = [(start, stop) for start, stop in ends if shares[start:stop].sum() >= _PICTURE_SHARE]
    return max(large, key=lambda run: run[1] - run[0], default=(0, 0))


def _is_plateau(beyond: NDArray[np.float64], outermost: NDArray[np.float64], picture: NDArray[np.float64]) -> bool:
    """Return whether what lies beyond a picture is a plateau.

    ``beyond`` has the shares of bins from the end inwards, ``outermost`` the values in the first of them.
    """
    plateau, between = float(beyond[:_END_BINS].sum()), float(beyond[_END_BINS:].sum())
    soft = _SOFT_EDGE_FAR if len(beyond) >= _FAR * (_BINS - len(beyond)) else min(_SOFT_EDGE, 3 * plateau)
    if plateau < _END_SHARE or between > soft:
        return False
    return float(np.ptp(outermost)) <= _NARROW * float(np.ptp(picture))


def _is_picture(values: NDArray[np.float64], of_pixels: int) -> bool:
    sample = values[:: max(values.size // 4096, 1)]
    return values.size >= _PICTURE_SHARE * of_pixels and np.unique(sample).size >= _PICTURE_LEVELS


def _range_of(values: NDArray[np.float64], plateaus: bool) -> GreyRange:
    return GreyRange(float(values.min()), float(values.max()), plateaus)
