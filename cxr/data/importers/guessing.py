"""What a folder holds, judged by its files: which importer fits, which column is what, and how labels would be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypedDict

import pandas as pd

from cxr.data.images.base import IMAGE_SUFFIXES
from cxr.data.importers.import_options import FindingOptions, declarations
from cxr.data.importers.importing import read_listing
from cxr.data.importers.listing import Listing
from cxr.data.importers.previews import Preview, previews_of, spread
from cxr.data.importers.registry import PUBLIC_SETS, SOURCES
from cxr.data.importers.rows import Row
from cxr.data.importers.table import TABLES
from cxr.data.importers.table_check import check_table
from cxr.data.manifest import COLUMNS
from cxr.data.tables.columns import guess_columns
from cxr.data.tables.known_sets import recognise
from cxr.data.tables.normalise import map_labels
from cxr.data.tables.text_table import read_text_table
from cxr.errors import CxrError, ManifestError

_MOST_FILES = 20_000  # looked at to tell what a folder holds
_MOST_TABLES = 12
_SAMPLE = 40
_EXAMPLES = 3
_PREAMBLE = 128
_MOST_OF_A_LIST = 0.5  # of the folder's X-rays: a table of fewer is a list of some of them
MAPPED = ("image", "label", "findings", "patient_id", "split", "source", "view", "sex", "age", "lung_mask")
"""Columns of a manifest that a user may be asked to find in a table."""


class FoundLabel(TypedDict):
    """A label as the source writes it, the class that it becomes, and how many X-rays have it."""

    label: str
    becomes: str
    n: int


class ColumnFacts(TypedDict):
    """A column of a table: what it is taken for ("" for nothing of ours), and some of its values."""

    column: str
    taken_as: str
    examples: list[str]


@dataclass(frozen=True)
class Guess:
    """One way to import a path.

    Attributes
    ----------
    kind, path
        The importer, and what it is given: a table where the folder holds several.
    n, left_out
        X-rays that it finds and files that it leaves out, before any image is decoded; ``n`` None where only the
        first files were looked at.
    reason
        Why it fits, in words.
    labels
        The labels, the most frequent first.
    columns
        Of the table that it reads, where columns can be mapped.
    previews
        Some of its X-rays, of as many classes and sources as fit, with what would be imported of each.
    resolved
        Of a table, the share of the names in its column of images that are files here.
    """

    kind: str
    path: str
    n: int | None
    left_out: int
    reason: str
    labels: tuple[FoundLabel, ...] = ()
    columns: tuple[ColumnFacts, ...] = ()
    previews: tuple[Preview, ...] = ()
    resolved: float | None = None

    @property
    def mapping(self) -> dict[str, str]:
        """What each of our columns is taken from, ``{ours: theirs}``."""
        return {facts["taken_as"]: facts["column"] for facts in self.columns if facts["taken_as"]}


@dataclass(frozen=True)
class Guesses:
    """What a path holds: files by their ending, and the ways to import it, the surest first.

    ``refused`` says of the kinds and tables that were tried in vain why they do not fit.
    """

    path: str
    endings: Mapping[str, int]
    complete: bool
    guesses: tuple[Guess, ...]
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def refused_tables(self) -> dict[str, str]:
        """Tables that were looked at and are none of X-rays, and why."""
        return {name: reason for name, reason in self.refused.items() if name not in SOURCES}

    def as_dict(self) -> dict[str, object]:
        """Return the same in plain values."""
        return asdict(self)


def guess(path: str | Path) -> Guesses:
    """Return how a folder or a table could be imported, judged by names, columns and the first bytes of files.

    No image is decoded. At most 20,000 files are counted; a public set's own table is read as a whole.

    Raises
    ------
    ManifestError
        If there is nothing at ``path``, or it cannot be listed.
    """
    place = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow links
    if not place.exists():
        raise ManifestError(f"path: {str(place)!r} does not exist. Give the full path of a folder or file")
    if place.is_file():
        refused: dict[str, str] = {}
        found = [made for made in (_table(place, refused, named=True),) if made]
        return Guesses(str(place), {place.suffix.lower(): 1}, True, tuple(found), refused)
    files, complete = _files(place)
    return _of_folder(place, files, complete)


def _of_folder(folder: Path, files: Sequence[Path], complete: bool) -> Guesses:
    refused: dict[str, str] = {}
    endings = dict(Counter(file.suffix.lower() for file in files).most_common())
    found = [
        made
        for source in PUBLIC_SETS
        if (made := _tried(source.name, folder, f"its files are those of {source.title}", refused)) and made.n
    ]
    tables = [file for file in files if file.parent == folder and file.name.lower().endswith(TABLES)]
    known = bool(found)
    for table in () if known else tables[:_MOST_TABLES]:
        made = _table(table, refused)
        found += [made] if made and made.n else []
    for table in () if known else tables[_MOST_TABLES:]:
        refused[table.name] = f"not looked at: only the first {_MOST_TABLES} tables of a folder are"
    share = _dicom_share(files)
    if share > 0.5:
        found.append(_of_dicom(folder, files, complete, share))
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in files) and share < 1:
        made = _tried("image-folder", folder, "images lie in folders, which may be classes", refused)
        found += [made] if made and made.n else []
    return Guesses(str(folder), endings, complete, tuple(found if known else _in_order(found)), refused)


def _in_order(found: Sequence[Guess]) -> list[Guess]:
    """Return the guesses of a folder that is no public set, the surest first.

    First the tables of half of its X-rays or more, by the share of their names that are files here; then what reads
    files alone, and last the tables of fewer: beside a folder of thousands of images such a table is a list of some.
    """
    most = max((made.n or 0 for made in found), default=0)

    def rank(made: Guess) -> tuple[int, float, int]:
        whole = made.resolved is not None and (made.n or 0) >= _MOST_OF_A_LIST * most
        place = 0 if whole else 1 if made.resolved is None else 2
        return place, -(made.resolved or 0.0), -(made.n or 0)

    return sorted(found, key=rank)


def _table(file: Path, refused: dict[str, str], named: bool = False) -> Guess | None:
    """Return what a table is as one of X-rays, None where it is none; why stands in ``refused``.

    A table that was ``named`` may also be a list of what is on X-rays.
    """
    fits = f"{file.name} is a table of X-rays"
    try:
        table = read_text_table(file).table
        public_set = recognise(table.columns, FindingOptions(), PUBLIC_SETS)
        if public_set is not None:  # which has a way of its own to name its images
            made = _tried("manifest", file, f"{fits}: columns of {public_set.title}", refused)
            return replace(made, columns=()) if made else None
        check = check_table(table, file.parent)
    except (CxrError, OSError, ValueError) as error:
        refused[file.name] = str(error)
        return None
    reason = check.refusal()
    if reason and not (named and check.resolved):
        refused[file.name] = reason
        return None
    made = _tried("manifest", file, f"{fits}: {check.in_words()}", refused)
    return replace(made, resolved=check.share) if made else None


def _files(folder: Path) -> tuple[list[Path], bool]:
    """Return the files below a folder, hidden ones aside, and whether these are all."""
    files: list[Path] = []
    try:
        next(os.scandir(folder), None)
    except OSError as error:
        raise ManifestError(f"{folder} cannot be listed: {error.strerror}") from error
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(top, name) for name in sorted(names) if not name.startswith(".")]
        if len(files) > _MOST_FILES:
            return files[:_MOST_FILES], False
    return files, True


def _dicom_share(files: Sequence[Path]) -> float:
    sample = spread([file for file in files if file.suffix.lower() not in (".png", ".jpg", ".jpeg")], _SAMPLE)
    with_images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES or not file.suffix]
    if not sample or not with_images:
        return 0.0
    others = sum(file.suffix.lower() in (".png", ".jpg", ".jpeg") for file in files)
    dicom = sum(map(_is_dicom, sample)) / len(sample) * (len(files) - others)
    return float(dicom / max(len(with_images), 1))


def _is_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM" or file.suffix.lower() in (".dcm", ".dicom")
    except OSError:
        return False


def _of_dicom(folder: Path, files: Sequence[Path], complete: bool, share: float) -> Guess:
    """Return the guess for DICOM files, of whose headers only the import reads all: some are looked at here."""
    dicom = [file for file in spread(files, _SAMPLE) if _is_dicom(file)]
    reason = f"{min(100, round(100 * share))} % of the files that may be images are DICOM"
    if complete and len(files) <= 10 * _SAMPLE:  # few enough to read every header now
        listing, _ = read_listing("dicom", folder, {})
        n, left_out, labels = len(listing.rows), len(listing.excluded), _labels("dicom", folder, listing)
        return Guess("dicom", str(folder), n, left_out, reason, labels, previews=previews_of(listing.rows))
    rows = [Row(str(file)) for file in dicom]
    return Guess("dicom", str(folder), None, 0, reason, previews=previews_of(rows))


def _tried(kind: str, path: Path, reason: str, refused: dict[str, str]) -> Guess | None:
    """Return what a kind makes of a path, None where it refuses it; why stands in ``refused``."""
    try:
        listing, _ = read_listing(kind, path, {})
        columns = _columns(path) if kind == "manifest" else ()
    except (CxrError, OSError, ValueError) as error:
        refused[kind if path.is_dir() else path.name] = str(error)
        return None
    return Guess(
        kind,
        str(path),
        len(listing.rows),
        len(listing.excluded),
        reason,
        _labels(kind, path, listing),
        columns,
        previews_of(listing.rows),
    )


def _labels(kind: str, path: Path, listing: Listing) -> tuple[FoundLabel, ...]:
    """Return the labels of a listing, as they are written where the kind can leave them so."""
    rows = listing.rows
    if "keep_labels" not in declarations(SOURCES[kind].options):
        counts = Counter(row.label for row in rows)
        return tuple({"label": label, "becomes": label, "n": n} for label, n in counts.most_common())
    written = [row.label for row in read_listing(kind, path, {"keep_labels": True})[0].rows]
    classes = map_labels(written, {}, listing.own).classes
    return tuple(
        {"label": label, "becomes": classes.get(label, label), "n": n} for label, n in Counter(written).most_common()
    )


def _columns(file: Path) -> tuple[ColumnFacts, ...]:
    table = read_text_table(file).table
    guessed = guess_columns(table, {})
    taken = {theirs: ours for ours, theirs in guessed.items()} | {name: name for name in table if name in COLUMNS}
    return tuple(
        {"column": str(name), "taken_as": taken.get(name, ""), "examples": _examples(table[name])} for name in table
    )


def _examples(values: pd.Series) -> list[str]:
    return [str(value)[:60] for value in values[values != ""].drop_duplicates().head(_EXAMPLES)]
