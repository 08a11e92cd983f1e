"""The properties of X-rays that an audit compares with the class: columns of the manifest, files, pictures and text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from cxr.data.manifest import COLUMNS

KNOWN_COLUMNS = {"source": "Source", "view": "View", "sex": "Sex", "age": "Age"}
MEASURED = {
    "width": ("file", "Image width"),
    "height": ("file", "Image height"),
    "aspect": ("file", "Aspect ratio"),
    "format": ("file", "File format"),
    "bits": ("file", "Bit depth"),
    "colour": ("file", "Colour or grey"),
    "bytes_per_pixel": ("file", "File size per pixel"),
    "jpeg_quality": ("file", "JPEG quality"),
    "border_top": ("border", "Width of the top border"),
    "border_bottom": ("border", "Width of the bottom border"),
    "border_left": ("border", "Width of the left border"),
    "border_right": ("border", "Width of the right border"),
    "border_value": ("border", "Grey of the border"),
    "mean": ("grey values", "Mean grey value"),
    "std": ("grey values", "Spread of the grey values"),
    "p5": ("grey values", "Darkest grey values (5th percentile)"),
    "p50": ("grey values", "Median grey value"),
    "p95": ("grey values", "Brightest grey values (95th percentile)"),
    "black": ("grey values", "Share of black pixels"),
    "white": ("grey values", "Share of white pixels"),
}
MOST_WORDS = 20
FEWEST_WITH_WORD = 3

_NOT_WORDS = {"<date>": "a date", "<time>": "a time", "<number>": "a number", "<unread>": "text that cannot be read"}
_MOST_CATEGORIES, _FEWEST_NUMBERS = 20, 10
_FEWEST_IN_CATEGORY = 3
_OWN_VALUES = 0.5  # share of different values from which a column of text holds names, not categories
# Other columns that say what the label says, or what no picture shows.
_OF_THE_CLASS = re.compile(r"label|class|finding|diagnos|patholog|disease|target|outcome|no_?finding", re.IGNORECASE)
_OF_THE_FILE = re.compile(r"(^|_)(id|uid|path|file|filename|image|url|mask|note|notes)$|^source_split$", re.IGNORECASE)


@dataclass(frozen=True)
class Property:
    """One property of each X-ray.

    Attributes
    ----------
    name, group, title
        As results hold it, where it comes from, and as a sentence begins.
    values
        (N,) float64, NaN where unknown; or text, "" where unknown.
    """

    name: str
    group: str
    title: str
    values: pd.Series

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers that are cut into ranges."""
        return is_numeric_dtype(self.values) and self.values.nunique() > _FEWEST_NUMBERS

    @property
    def known(self) -> np.ndarray:
        """(N,) which X-rays have a value."""
        return np.asarray(self.values.notna() & (self.values != ""))

    def codes(self, n_units: int) -> np.ndarray:
        """Return which category or range of values each X-ray is in, (N,) from 0; -1 where unknown.

        Neither depends on the classes. The more independent units there are, the finer are the ranges (2 to 10). A
        number that many X-rays have is a range of its own. Rare categories are one, "other".
        """
        codes = np.full(len(self.values), -1)
        values = self.values[self.known]
        if len(values):
            codes[self.known] = _ranges(values.to_numpy(float), n_units) if self.is_number else _categories(values)
        return codes


def _ranges(values: np.ndarray, n_units: int) -> np.ndarray:
    n = int(np.clip(round((n_units / 5) ** 0.5), 2, 10))
    edges = np.quantile(values, np.arange(1, n) / n)
    frequent, counts = np.unique(values, return_counts=True)
    frequent = frequent[counts >= len(values) / n]
    every = np.unique(np.concatenate([edges, frequent, np.nextafter(frequent, np.inf)]))
    return np.unique(np.digitize(values, every), return_inverse=True)[1]


def _categories(values: pd.Series) -> np.ndarray:
    counts = values.value_counts()
    named = counts[counts >= _FEWEST_IN_CATEGORY].index[: _MOST_CATEGORIES - 1]
    return np.asarray(pd.factorize(values.where(values.isin(named), None), use_na_sentinel=False)[0])


def manifest_properties(table: pd.DataFrame) -> list[Property]:
    """Return the columns of a manifest that may go with the class, each also as whether its value is known."""
    properties = []
    for column in [*KNOWN_COLUMNS, *other_columns(table)]:
        title = KNOWN_COLUMNS.get(column, f"Column {column}")
        own = Property(column, "manifest", title, _plain(table[column]))
        properties.append(own)
        if own.known.any() and not own.known.all():
            whether = pd.Series(np.where(own.known, "known", "unknown"), index=table.index)
            missing = f"Whether the {title[0].lower()}{title[1:]} is known"
            properties.append(Property(f"{column} known", "manifest", missing, whether))
    return properties


def other_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of a manifest beside ours that hold categories or numbers, but not the class itself."""
    columns = [c for c in table.columns if c not in COLUMNS and not _names_class_or_file(str(c))]
    return [column for column in columns if _holds_categories(_plain(table[column]))]


def _names_class_or_file(column: str) -> bool:
    return bool(_OF_THE_CLASS.search(column) or _OF_THE_FILE.search(column))


def _holds_categories(values: pd.Series) -> bool:
    known = values[values.notna() & (values != "")]
    if not len(known) or known.nunique() < 2:
        return False
    return is_numeric_dtype(known) or known.nunique() <= _OWN_VALUES * len(known)


def _plain(values: pd.Series) -> pd.Series:
    """Return numbers as float64, also where they were read as text, and anything else as text."""
    if isinstance(values.dtype, pd.BooleanDtype) or values.dtype == bool:
        return values.astype("object").fillna("").astype(str)
    texts = values.astype("object").where(values.notna(), "").astype(str).str.strip()
    known = texts != ""
    numbers = pd.to_numeric(texts.where(known), errors="coerce").astype(float)
    numbers = numbers.where(np.isfinite(numbers))
    return numbers if known.any() and numbers[known].notna().all() else texts


def measured_properties(measured: pd.DataFrame) -> Iterator[Property]:
    """Yield the properties of files and pictures, of rows as :func:`cxr.data.audit.properties.measure` gives them."""
    sizes = [f"{width:.0f} x {height:.0f}" for width, height in zip(measured["width"], measured["height"], strict=True)]
    yield Property("size", "file", "Image size", pd.Series(sizes, index=measured.index))
    for name, (group, title) in MEASURED.items():
        values = measured[name]
        yield Property(name, group, title, values.where(values != 0) if name == "bits" else values)


def text_properties(words: Mapping[str, list[list[str]]], ids: list[str]) -> Iterator[Property]:
    """Yield whether there is text, how many tokens, and whether each frequent word is there.

    Parameters
    ----------
    words
        By image id, the words of each of its boxes; X-rays that were not searched are not in it.
    ids
        The X-rays, in their order.
    """
    counts = pd.Series([float(len(words[i])) if i in words else np.nan for i in ids])
    yield Property("text", "text", "Whether there is burned-in text", _yes_or_no(counts > 0, counts.notna()))
    yield Property("tokens", "text", "Number of burned-in tokens", counts)
    words_on = {i: {word for box in words.get(i, ()) for word in box} for i in ids}
    on_images = pd.Series([word for i in ids for word in sorted(words_on[i])], dtype=object).value_counts()
    for word in on_images[on_images >= FEWEST_WITH_WORD].index[:MOST_WORDS]:
        there = pd.Series([word in words_on[i] for i in ids])
        title = f"Whether {_NOT_WORDS.get(word, f'“{word}”')} is burned in"
        yield Property(f"word {word}", "text", title, _yes_or_no(there, counts.notna()))


def _yes_or_no(there: pd.Series, known: pd.Series) -> pd.Series:
    return pd.Series(np.where(known, np.where(there, "yes", "no"), ""))


class Count(TypedDict):
    """On how many X-rays of a class a column is unknown, and how many there are."""

    missing: int
    of: int


class MissingColumn(TypedDict):
    """On how many X-rays a column is unknown, of all and of each class."""

    column: str
    title: str
    missing: int
    of: int
    by_class: dict[str, Count]


def missing_by_class(table: pd.DataFrame, targets: np.ndarray, classes: tuple[str, ...]) -> list[MissingColumn]:
    """Return for each column that people would compare classes by, on how many X-rays of each class it is unknown."""
    rows: list[MissingColumn] = []
    columns = {**KNOWN_COLUMNS, "patient_id": "Patient"} | {name: f"Column {name}" for name in other_columns(table)}
    for column, title in columns.items():
        values = _plain(table[column])
        unknown = (values.isna() | (values == "")).to_numpy()
        by_class = {
            name: Count(missing=int((unknown & (targets[:, k] == 1)).sum()), of=int((targets[:, k] == 1).sum()))
            for k, name in enumerate(classes)
        }
        missing = int(unknown.sum())
        rows.append(MissingColumn(column=column, title=title, missing=missing, of=len(table), by_class=by_class))
    return rows
