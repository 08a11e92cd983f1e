"""Reading tables that people and programs write: CSV in any usual encoding and packing, and Parquet.

What is wrong with a file is said by its row; nothing is cut and nothing guessed in silence.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import csv
import gzip
import io
import itertools
import lzma
import math
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxr.errors import ManifestError

_ALLOWED = "a CSV or Parquet file is needed (a CSV may be packed as .gz, .zip, .bz2 or .xz)"
_PARQUET = {".parquet", ".pq"}
_SEPARATORS = ",;\t|"
_UNKNOWN = {"", "nan", "NaN", "NAN", "<NA>"}
_LARGEST = 4 << 30  # bytes of text once unpacked
_ROWS_NAMED = 3
_ROWS_COMPARED = 100  # with the header, to find what separates columns
_WORKBOOK = "is an Excel or LibreOffice file: save its sheet as CSV (UTF-8) and give that file"
_FIELD_LIMIT = 10 << 20
_HEADER = 1 << 16  # characters within which the header ends


@dataclass(frozen=True)
class TextTable:
    """A table with every column as text, "" for nothing, and one sentence for each thing that reading it decided."""

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


class _NoTableError(ValueError):
    """Why a file is no table, without its name."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV (comma, semicolon or tab) or Parquet file with every column as text, "" for nothing.

    Columns of lists or numbers in a Parquet file become text too; whole numbers lose the ``.0`` that a missing value
    beside them brings.

    Raises
    ------
    ManifestError
        For a file that is no table, or a row with more values than the header has columns, by its number.
    """
    return strip(read_text_table(path).table)


def strip(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the space around its values."""
    return pd.DataFrame({c: text_column(table[c]) for c in table.columns}, index=table.index)


def read_text_table(path: Path) -> TextTable:
    """Read a table as :func:`read_table` does, with the space around values, which may belong to a file's name."""
    if not path.is_file():
        raise ManifestError(f"{path} is {'a folder' if path.is_dir() else 'not there'}: {_ALLOWED}")
    try:
        text_table = _read_parquet(path) if _is_parquet(path) else _read_csv(path)
    except ManifestError:
        raise
    except _NoTableError as error:
        raise ManifestError(f"{path} {error}") from None
    # pandas' and pyarrow's own errors are ValueErrors
    except (ValueError, OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ManifestError(f"{path} cannot be read as a table ({reason}): {_ALLOWED}") from None
    if text_table.table.empty:
        raise ManifestError(f"{path} has no rows below its header")
    columns, notes = _named_columns(path, text_table.table)
    return TextTable(columns, text_table.notes + notes)


def text_column(values: pd.Series, keep_space: bool = False) -> pd.Series:
    """Return text, "" for missing, whole floats without their ``.0``."""
    if isinstance(values.dtype, pd.StringDtype):
        codes, different = pd.factorize(values, use_na_sentinel=False)
        if len(different) < len(values) // 4:  # a label or source, say: each is turned once
            texts_of = np.array([one_text(v, keep_space) for v in different.tolist()], dtype=object)
            return pd.Series(texts_of[codes], index=values.index, dtype="str")
    if values.dtype == object or isinstance(values.dtype, pd.StringDtype):
        # A column has few different values or short ones: each is turned once.
        text_of: dict[str, str] = {}
        texts = [
            text_of.setdefault(v, one_text(v, keep_space)) if isinstance(v, str) else one_text(v, keep_space)
            for v in values.tolist()
        ]
    else:
        texts = [one_text(value, keep_space) for value in values]
    return pd.Series(texts, index=values.index, dtype="str")


def one_text(value: object, keep_space: bool = False) -> str:
    """Return one value as :func:`text_column` does."""
    if isinstance(value, str):
        text = value.strip()
        return "" if text in _UNKNOWN else value if keep_space else text
    if isinstance(value, (list, tuple, np.ndarray)):
        return "|".join(one_text(v) for v in value)
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if math.isnan(number):
            return ""
        return str(int(number)) if number.is_integer() else str(number)
    return str(value)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in _PARQUET or file.read(4) == b"PAR1"


def _read_parquet(path: Path) -> TextTable:
    return TextTable(pd.read_parquet(path))


def _read_csv(path: Path) -> TextTable:
    text, notes = _decoded(_unpacked(path))
    text, separator = _separator(text)
    try:
        # With a header pandas would cut longer rows, or take their first value for an index.
        rows = pd.read_csv(io.StringIO(text), header=None, dtype=str, keep_default_na=False, sep=separator)
    except pd.errors.EmptyDataError:
        raise _NoTableError(f"cannot be read as a table (it is empty): {_ALLOWED}") from None
    except pd.errors.ParserError:
        return _read_uneven(text, separator, notes)
    header = ["" if isinstance(name, float) else str(name) for name in rows.iloc[0]]
    table = rows.iloc[1:].reset_index(drop=True).fillna("")
    table.columns = pd.Index(header)
    return TextTable(_without_empty_end(table), notes)


def _without_empty_end(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the rows of separators alone that spreadsheets leave at the end."""
    n = len(table)
    while n and not any(str(value).strip() for value in table.iloc[n - 1]):
        n -= 1
    return table.iloc[:n]


def _unpacked(path: Path) -> bytes:
    """Return the bytes of a file, unpacked by what its first bytes say, whatever its ending."""
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(b"PK\x03\x04"):
            return _from_zip(path)
        if start.startswith(b"\xd0\xcf\x11\xe0"):
            raise _NoTableError(_WORKBOOK)
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open)):
        if start.startswith(magic):
            with opener(path, "rb") as packed:
                return _limited(packed.read(_LARGEST + 1))
    return path.read_bytes()


def _from_zip(path: Path) -> bytes:
    with zipfile.ZipFile(path) as packed:
        names = [
            name
            for name in packed.namelist()
            if not name.endswith("/") and not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")
        ]
        if "xl/workbook.xml" in names or "content.xml" in names:
            raise _NoTableError(_WORKBOOK)
        if len(names) != 1:
            raise _NoTableError(
                f"holds {len(names):,} files ({', '.join(names[:_ROWS_NAMED])}...): a .zip of one CSV is needed"
            )
        if packed.getinfo(names[0]).flag_bits & 1:
            raise _NoTableError("is locked by a password: unpack it and give the CSV")
        with packed.open(names[0]) as file:
            return _limited(file.read(_LARGEST + 1))


def _limited(content: bytes) -> bytes:
    if len(content) > _LARGEST:
        raise _NoTableError(f"unpacks to more than {_LARGEST >> 30} GiB: unpack it and give the CSV")
    return content


def _decoded(content: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file in UTF-8, UTF-16 or, where it is none of these, Windows-1252."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            return _plain(content.decode(encoding)), ()
    # Text of Latin letters in UTF-16 has a zero in every other byte.
    zeros = content[:200:2].count(0), content[1:200:2].count(0)
    if max(zeros) > len(content[:200]) // 4:
        return _plain(content.decode("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le")), ("file: read as UTF-16",)
    try:
        return _plain(content.decode("utf-8")), ()
    except UnicodeDecodeError:
        pass
    try:
        text, name = content.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, name = content.decode("latin-1"), "Latin-1"
    return _plain(text), (f"file: not UTF-8, read as {name} (save it as UTF-8 if letters look wrong)",)


def _plain(text: str) -> str:
    if re.search(r"[\x00-\x08\x0e-\x1f]", text[:4096]) or "\0" in text:
        raise _NoTableError(f"cannot be read as a table (it holds bytes that are not text): {_ALLOWED}")
    return text


def _separator(text: str) -> tuple[str, str]:
    """Return the text without Excel's line ``sep=;`` and what separates its columns.

    That is the sign by which most of the first rows have as many values as the header; of several the commonest in the
    header, whose names may hold other signs.
    """
    if match := re.match(r"\"?sep=(.)\"?\r?\n", text):
        return text[match.end() :], match[1]
    header = re.sub(r'"[^"]*"', "", next((line for line in re.split(r"[\r\n]+", text[:_HEADER]) if line.strip()), ""))
    present = [separator for separator in _SEPARATORS if separator in header]
    if len(present) < 2:
        return text, (present or [_SEPARATORS[0]])[0]
    return text, max(present, key=lambda separator: (_share_of_even_rows(text, separator), header.count(separator)))


def _share_of_even_rows(text: str, separator: str) -> float:
    """Return which share of the first rows has as many values as the header, if this separates them."""
    with contextlib.suppress(csv.Error):
        reader = csv.reader(io.StringIO(text[:_HEADER], newline=""), delimiter=separator)
        lengths = [len(row) for row in itertools.islice(filter(None, reader), _ROWS_COMPARED)]
        complete = lengths[:-1] if len(text) > _HEADER and len(lengths) < _ROWS_COMPARED else lengths
        if len(complete) > 1:
            return sum(n == complete[0] for n in complete[1:]) / (len(complete) - 1)
    return 0.0


def _read_uneven(text: str, separator: str, notes: tuple[str, ...]) -> TextTable:
    """Read rows of different lengths; a ManifestError names those that hold more than the header has columns."""
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if row and any(map(str.strip, row))]
    except csv.Error as error:
        reason = "a quote is opened and not closed" if "end of data" in str(error) else str(error)
        raise _NoTableError(f"cannot be read as a table (line {reader.line_num}: {reason}): {_ALLOWED}") from None
    if not lines:
        raise _NoTableError(f"cannot be read as a table (it is empty): {_ALLOWED}")
    (_, header), body = lines[0], lines[1:]
    width = len(header)
    if body and all(len(row) == width + 1 and row[0] == str(n) for n, (_, row) in enumerate(body, 1)):
        table = pd.DataFrame([row[1:] for _, row in body], columns=pd.Index(header), dtype="str")
        return TextTable(table, (*notes, "file: the first value of each row is its number, as R writes it; ignored"))
    longer = [(n, line, row) for n, (line, row) in enumerate(body, 1) if any(map(str.strip, row[width:]))]
    if longer:
        raise _NoTableError(_too_long(longer, header, separator))
    rows = [(row + [""] * width)[:width] for _, row in body]
    return TextTable(pd.DataFrame(rows, columns=pd.Index(header), dtype="str"), notes)


def _too_long(longer: Sequence[tuple[int, int, list[str]]], header: Sequence[str], separator: str) -> str:
    number, line, row = longer[0]
    others = [str(n) for n, _, _ in longer[1 : 1 + _ROWS_NAMED]]
    more = (
        f"; the same in {len(longer) - 1:,} more rows ({', '.join(others)}{', ...' if len(longer) > 4 else ''})"
        if others
        else ""
    )
    name = {"\t": "a tab", ",": "a comma", ";": "a semicolon"}.get(separator, repr(separator))
    values = f"{separator} ".join(row) if separator != "\t" else " | ".join(row)
    return (
        f"row {number} (line {line}): {len(row):,} values for {len(header)} columns ({', '.join(header)}): "
        f'{values[:120]!r}. A value that holds {name} needs quotes, as in "COVID-19, ARDS"{more}'
    )


def _named_columns(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Give every column a name of its own; two of one name are one where they are equal, else a ManifestError."""
    positions: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(table.columns):
        positions["" if pd.isna(name) else unquoted(str(name))].append(position)
    columns: dict[str, pd.Series] = {}
    notes: list[str] = []
    for name, places in positions.items():
        values = [text_column(table.iloc[:, place], keep_space=True) for place in places]
        if not name:
            columns |= {f"unnamed {place + 1}": v for place, v in zip(places, values, strict=True) if (v != "").any()}
            continue
        if any(not values[0].equals(other) for other in values[1:]):
            numbers = " and ".join(str(place + 1) for place in places)
            raise ManifestError(
                f"{path}: the columns {numbers} are both called {name!r} and differ; rename or remove one"
            )
        if len(values) > 1:
            notes.append(f"columns: {name!r} occurs {len(values)} times with the same values; taken once")
        columns[name] = values[0]
    return pd.DataFrame(columns, index=table.index), tuple(notes)


def unquoted(name: str) -> str:
    """Return the name of a column without space, byte order mark and a pair of quotes."""
    name = name.strip().lstrip("\ufeff").strip()
    return name[1:-1].strip() if len(name) > 1 and name[0] == name[-1] == '"' else name
