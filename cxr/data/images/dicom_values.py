"""From stored DICOM values to grey, in the order of the standard (PS3.3 C.11): modality, then VOI, then presentation.

1. Padding is found among the stored values. It is black in the end and counts for nothing before.
2. Modality: the Modality LUT, or slope and intercept. Whole values stay whole.
3. VOI: the first VOI LUT or window that shows something of the values. One that leaves almost nothing between black
   and white is left out, with a note. If none remains, 8 bits stay as they are and others are stretched between their
   0.1 and 99.9 percentiles.
4. Presentation: MONOCHROME1, or a Presentation LUT Shape of INVERSE, turns black and white.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from cxr.data.images.base import Refusal, stretch, to_u8
from cxr.data.images.grey_range import picture_ends

WINDOW_LEFT_OUT = "a window that hardly meets the values was left out"
WINDOW_INVALID = "a window without a usable width was left out"
LUT_LEFT_OUT = "a VOI LUT that hardly meets the values was left out"
LUT_UNREADABLE = "a VOI LUT that cannot be read was left out"

# Less than this share of the picture between black and white is a mask, not a picture.
_BETWEEN = 0.1
# Fewer greys than this are too few where the values would give four times as many.
_FEW_GREYS, _MORE_GREYS = 32, 4
_JUDGED_SIDE = 512  # every n-th row and column of a large image are enough to judge by


@dataclass(frozen=True)
class LookupTable:
    """A Modality or VOI LUT: ``entries`` (n,) for input values from ``first``; ``white`` is its full scale."""

    entries: NDArray[np.uint16]
    first: int
    white: int

    def __call__(self, values: NDArray) -> NDArray[np.uint16]:
        """Look up ``values`` of any shape, rounded to whole numbers; those beyond an end take its entry."""
        positions = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return self.entries[positions.astype(np.int64)]


def grey_values(raw: NDArray, dataset: Dataset, notes: list[str]) -> NDArray[np.uint8]:
    """Return stored values (H, W) as grey, 0 black; ``notes`` receives what was left out.

    Raises
    ------
    Refusal
        For a Modality LUT that cannot be read, and for values that are not numbers.
    """
    padding = padding_of(raw, dataset)
    grey = _windowed(modality_values(raw, dataset), dataset, padding, notes)
    if _is_inverse(dataset):
        grey = 255 - grey
    return grey if padding is None else np.where(padding, np.uint8(0), grey)


def modality_values(raw: NDArray, dataset: Dataset) -> NDArray:
    """Apply the Modality LUT, or slope and intercept; the same array without either, whole values as integers."""
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        try:
            return lookup_table(tables[0], raw, dataset)(raw)
        except (AttributeError, ValueError, TypeError, IndexError):
            raise Refusal("has a Modality LUT that cannot be read") from None
    item = _holder(dataset, "PixelValueTransformationSequence", "RescaleSlope", "RescaleIntercept")
    slope, intercept = _number(item, "RescaleSlope") or 1.0, _number(item, "RescaleIntercept") or 0.0
    if not np.isfinite((slope, intercept)).all():
        raise Refusal("has a rescale slope or intercept that is not a number")
    if (slope, intercept) == (1.0, 0.0):
        return raw
    if raw.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        return raw.astype(np.int64) * int(slope) + int(intercept)
    return raw.astype(np.float64) * slope + intercept


def padding_of(raw: NDArray, dataset: Dataset) -> NDArray[np.bool_] | None:
    """Return which stored values (H, W) are padding, None if none or all are.

    The value may stand in the file as unsigned for signed pixels, or the other way round; a range limit makes a range
    of it.
    """
    if raw.dtype.kind == "f":
        marked = _float_padding(raw, dataset)
    else:
        value = _stored_value(dataset, "PixelPaddingValue", raw.dtype)
        if value is None:
            return None
        limit = _stored_value(dataset, "PixelPaddingRangeLimit", raw.dtype)
        ends = sorted((value, value if limit is None else limit))
        marked = (raw >= ends[0]) & (raw <= ends[1])
    return marked if marked.any() and not marked.all() else None


def lookup_table(item: Dataset, values: NDArray, dataset: Dataset) -> LookupTable:
    """Read an item of a LUT sequence that ``values`` will go through.

    Entries may be words, bytes, or bytes packed in words, in either order of bytes. The descriptor's number of entries
    is 0 for 65536, its first value signed or not as the values need it. Where it says 16 bits, which many writers put
    without thought, the bits of the largest entry count (4095 is white in a table that ends there).

    Raises
    ------
    AttributeError, ValueError, TypeError, IndexError
        For an item without descriptor or entries.
    """
    count, first, bits = (int(value) for value in _words(item.LUTDescriptor, True)[:3])
    count = count % 65536 or 65536
    entries = _entries(item.LUTData, count, bits, _is_little_endian(dataset))
    if len(entries) == 0:
        raise ValueError("no entries")
    largest = int(entries.max())
    depth = largest.bit_length() if bits >= 16 or largest >> bits else bits
    return LookupTable(entries, _first_value(first, len(entries), values, dataset), max(2**depth - 1, 1))


@dataclass(frozen=True)
class _Shown:
    """Values in 0..1 as a VOI LUT or window shows them; ``descending`` says that it turns black and white."""

    unit: NDArray
    note: str
    descending: bool = False


def _windowed(
    values: NDArray, dataset: Dataset, padding: NDArray[np.bool_] | None, notes: list[str]
) -> NDArray[np.uint8]:
    """Return the grey of the first VOI LUT or window that shows something, else of the values themselves."""
    descending = False
    for alternative in _alternatives(values, dataset, notes):
        grey = to_u8(alternative.unit)
        if not _hardly_meets(grey, values, padding):
            return grey
        descending |= alternative.descending
        notes.append(alternative.note)
    grey = values.astype(np.uint8) if _is_eight_bit(values, dataset) else stretch(values, padding, notes)
    return 255 - grey if descending else grey


def _alternatives(values: NDArray, dataset: Dataset, notes: list[str]) -> Iterator[_Shown]:
    """Yield what each VOI LUT, then each window, makes of the values."""
    item = _holder(dataset, "FrameVOILUTSequence", "VOILUTSequence", "WindowCenter")
    for entry in item.get("VOILUTSequence") or ():
        try:
            table = lookup_table(entry, values, dataset)
        except (AttributeError, ValueError, TypeError, IndexError):
            notes.append(LUT_UNREADABLE)
            continue
        descending = bool(table.entries[-1] < table.entries[0])
        yield _Shown(table(values).astype(np.float32) / table.white, LUT_LEFT_OUT, descending)
    function = _text(item, "VOILUTFunction").upper() or "LINEAR"
    narrowest = 0 if function in ("SIGMOID", "LINEAR_EXACT") else 1
    for centre, width in zip(_numbers(item, "WindowCenter"), _numbers(item, "WindowWidth"), strict=False):
        if np.isfinite((centre, width)).all() and width > narrowest:
            yield _Shown(_window(values.astype(np.float32), centre, width, function), WINDOW_LEFT_OUT)
        else:
            notes.append(WINDOW_INVALID)


def _window(x: NDArray[np.float32], centre: float, width: float, function: str) -> NDArray[np.float32]:
    """Return a window's output in 0..1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -80, 80)))
    if function == "LINEAR_EXACT":
        return np.clip((x - centre) / width + 0.5, 0, 1)
    return np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _hardly_meets(grey: NDArray[np.uint8], values: NDArray, padding: NDArray[np.bool_] | None) -> bool:
    """Return whether a VOI LUT or window leaves a mask, or a handful of greys, where the values hold a picture.

    It is judged by the middle half of the image, without padding and plateaus: a border or a label that happens to
    lie between the ends does not make a picture.
    """
    step = max(min(grey.shape) // _JUDGED_SIDE, 1)
    every = np.s_[::step, ::step]
    grey_middle, stored_middle = _middle(grey[every], values[every], None if padding is None else padding[every])
    if stored_middle.size == 0:
        return False
    between, greys = _spread(grey_middle)
    if between >= _BETWEEN and greys >= _FEW_GREYS:
        return False
    low, high = float(stored_middle.min()), float(stored_middle.max())
    possible, possible_greys = _spread(to_u8((stored_middle.astype(np.float64) - low) / max(high - low, 1e-12)))
    is_mask = between < _BETWEEN and possible > 2 * _BETWEEN
    few_greys = greys < _FEW_GREYS and possible_greys >= _MORE_GREYS * greys
    return is_mask or few_greys or (greys == 1 and possible_greys > 1)


def _middle(
    grey: NDArray[np.uint8], values: NDArray, padding: NDArray[np.bool_] | None
) -> tuple[NDArray[np.uint8], NDArray]:
    """Return greys and values of the picture in the middle half of the image, of all of it where that is empty."""
    used = np.isfinite(values) if padding is None else np.isfinite(values) & ~padding
    if used.any():
        ends = picture_ends(values[used])
        used &= (values >= ends.low) & (values <= ends.high)
    top, left = values.shape[0] // 4, values.shape[1] // 4
    window = np.s_[top : values.shape[0] - top, left : values.shape[1] - left]
    area = window if used[window].mean() > _BETWEEN else np.s_[:, :]
    return grey[area][used[area]], values[area][used[area]]


def _spread(grey: NDArray[np.uint8]) -> tuple[float, int]:
    """Return the share of pixels between the darkest and the brightest grey, and how many greys there are."""
    counts = np.bincount(grey, minlength=256)
    present = np.flatnonzero(counts)
    ends = int(counts[present[0]]) + (int(counts[present[-1]]) if len(present) > 1 else 0)
    return 1 - ends / grey.size, len(present)


def _is_eight_bit(values: NDArray, dataset: Dataset) -> bool:
    """Return whether values are 8-bit grey as they are, in bytes or in words."""
    if values.dtype == np.uint8:
        return True
    return values.dtype.kind == "u" and dataset.get("BitsStored") == 8 and int(values.max()) <= 255


def _is_inverse(dataset: Dataset) -> bool:
    return _text(dataset, "PhotometricInterpretation") == "MONOCHROME1" or (
        _text(dataset, "PresentationLUTShape").upper() == "INVERSE"
    )


def _float_padding(raw: NDArray, dataset: Dataset) -> NDArray[np.bool_]:
    name = "DoubleFloatPixelPadding" if raw.dtype.itemsize == 8 else "FloatPixelPadding"
    value, limit = _number(dataset, f"{name}Value"), _number(dataset, f"{name}RangeLimit")
    if value is None:
        return np.zeros(raw.shape, bool)
    if np.isnan(value):
        return np.isnan(raw)
    ends = sorted((value, value if limit is None else limit))
    return (raw >= ends[0]) & (raw <= ends[1])


def _stored_value(dataset: Dataset, name: str, dtype: np.dtype[Any]) -> int | None:
    """Return a value of the header as a stored pixel of ``dtype`` would hold it."""
    try:
        value = dataset.get(name)
        number = int(_words(value, dtype.kind == "u")[0])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    limits = np.iinfo(dtype)
    stored_bits = dataset.get("BitsStored")
    if dtype.kind == "i" and isinstance(stored_bits, int) and 2 ** (stored_bits - 1) <= number < 2**stored_bits:
        return number - 2**stored_bits  # written as an unsigned number of the bits stored
    return (number - int(limits.min)) % 2 ** (8 * dtype.itemsize) + int(limits.min)


def _entries(data: Any, count: int, bits: int, little_endian: bool) -> NDArray[np.uint16]:
    """Return a table's entries as the file has them: words, bytes, or bytes packed in words, the low byte first."""
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little_endian else ">u2")
    else:
        words = np.atleast_1d(np.asarray(data)).astype(np.int64) % 65536
    # A table of bytes fills half as many words as it has entries; a pad byte may follow the last.
    packed = len(words) < count if bits <= 8 else len(words) <= (count + 1) // 2
    entries = words.astype("<u2").view(np.uint8) if packed and count > 1 else words
    return entries[:count].astype(np.uint16)


def _first_value(first: int, count: int, values: NDArray, dataset: Dataset) -> int:
    """Return the first input value of a table, signed or not, whichever meets more of the values' range."""
    unsigned, signed = first % 65536, (first + 32768) % 65536 - 32768
    low, high = float(values.min()), float(values.max())

    def overlap(start: int) -> float:
        return min(high, start + count - 1) - max(low, start)

    if overlap(unsigned) != overlap(signed):
        return max((unsigned, signed), key=overlap)
    return signed if low < 0 or dataset.get("PixelRepresentation") == 1 else unsigned


def _is_little_endian(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.TransferSyntaxUID
    return bool(syntax.is_little_endian) if syntax.is_transfer_syntax else True


def _holder(dataset: Dataset, sequence: str, *names: str) -> Dataset:
    """Return what holds one of the attributes: the image, or for an enhanced image its functional groups."""
    if any(dataset.get(name) not in (None, "") for name in names):
        return dataset
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in (dataset.get(groups) or ())[:1]:
            for item in (group.get(sequence) or ())[:1]:
                return item
    return dataset


def _words(value: Any, unsigned: bool) -> list[Any]:
    """Return the numbers of an attribute whose type could not be known when it was read."""
    if isinstance(value, bytes):
        return np.frombuffer(value, "<u2" if unsigned else "<i2").tolist()
    return list(value) if isinstance(value, (list, tuple, MultiValue)) else [value]


def _number(dataset: Dataset, name: str) -> float | None:
    return next(iter(_numbers(dataset, name)), None)


def _numbers(dataset: Dataset, name: str) -> list[float]:
    """Return the numbers of an attribute, none where one of them is not a number."""
    try:
        value = dataset.get(name)
        if value in (None, ""):
            return []
        return [float(v) for v in (value if isinstance(value, (list, MultiValue)) else [value])]
    except (ValueError, TypeError, OverflowError):
        return []


def _text(dataset: Dataset, name: str) -> str:
    try:
        return str(dataset.get(name) or "").strip()
    except Exception:  # a value that breaks its own type
        return ""
