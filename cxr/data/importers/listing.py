"""What every importer shares: what it finds, how folders are walked and how names become classes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, NamedTuple

from cxr.data.images.base import IMAGE_SUFFIXES, one_line
from cxr.data.importers.import_options import AnyOptions, LabelOptions
from cxr.data.importers.rows import Row
from cxr.data.tables.normalise import known_class, map_labels, normalise_split
from cxr.errors import ManifestError


class Excluded(NamedTuple):
    """A file or row that was left out, and why."""

    file: str
    reason: str


@dataclass
class Listing:
    """What an importer found: rows of a manifest with absolute paths, not yet decoded, and what it left out.

    ``root`` is the folder that file names in ``excluded`` are relative to; ``notes`` are sentences on what was read
    otherwise than it is written; ``own`` says that we wrote the table, whose values stay as they are.
    """

    root: Path
    rows: list[Row] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    own: bool = False

    def leave_out(self, file: str | Path, reason: str) -> None:
        """Note a file or row that is left out."""
        self.excluded.append(Excluded(printable(relative(file, self.root)), reason))


@dataclass(frozen=True)
class Source(Generic[AnyOptions]):
    """An importer: everything that command line, page and other importers know of it.

    Attributes
    ----------
    name, title, description
        As `cxr data kinds` and the Data page call it.
    read
        Reads a folder or table with the options, without decoding images.
    options
        The class of its options; command line and page offer what it declares.
    recognises
        Tells from the columns of a table that it is this data set, for the kind ``manifest``; None if no table says so.
    image_column
        The column of such a table that names the images.
    """

    name: str
    title: str
    description: str
    read: Callable[[Path, AnyOptions], Listing]
    options: type[AnyOptions]
    recognises: Callable[[Collection[str]], bool] | None = None
    image_column: str = ""


def relative(file: str | Path, root: Path) -> str:
    """Return a file's name relative to the imported folder where it lies inside, with / between folders."""
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def printable(name: str) -> str:
    """Return a file's name with what cannot be printed or stored (line breaks, bytes that are no UTF-8) escaped."""
    return "".join(c if _storable(c) else c.encode("unicode_escape").decode() for c in name)


def _storable(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}


def find_table(path: Path, patterns: Iterable[str], title: str) -> Path:
    """Return the table of a data set: ``path`` itself or the first match in that folder.

    Raises
    ------
    ManifestError
        Naming what was looked for.
    """
    if path.is_file():
        return path
    patterns = list(patterns)
    if not path.is_dir():
        looked_for = f", or the folder with {' or '.join(patterns)}" if patterns else ", or a folder with one"
        raise ManifestError(f"{path} is not there. Accepted: the path of {title}{looked_for}")
    matches = [match for pattern in patterns for match in sorted(path.glob(pattern)) if match.is_file()]
    if not matches:
        raise ManifestError(f"{path} is not {title}: it has no {' or '.join(patterns)}")
    return matches[0]


def existing_folder(path: Path) -> Path:
    """Return ``path`` if it is a folder, else raise a ManifestError."""
    if not path.is_dir():
        raise ManifestError(f"{path} is {'a file' if path.exists() else 'not there'}: a folder is needed")
    return path


def walk(folder: Path, listing: Listing) -> Iterator[Path]:
    """Yield every file below a folder in a fixed order, links followed.

    What is not a file to read (hidden files and folders, a folder with an image's name, a loop of links, a folder
    that may not be listed) is left out by name.
    """
    visited: set[Path] = set()
    pending = [folder]
    while pending:
        folder_path = pending.pop(0)
        real = folder_path.resolve()
        if real in visited:
            listing.leave_out(folder_path, "is a link to a folder that was read already")
            continue
        visited.add(real)
        try:
            entries = sorted(os.scandir(folder_path), key=lambda entry: entry.name)
        except OSError as error:
            listing.leave_out(folder_path, f"cannot be listed ({one_line(error)})")
            continue
        for entry in entries:
            path = Path(entry.path)
            if printable(entry.name) != entry.name:
                listing.leave_out(path, "has a line break or bytes that are not text in its name; rename it")
            elif entry.name.startswith("."):
                listing.leave_out(path, "is hidden")
            elif not _is_folder(entry):
                yield path
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                listing.leave_out(path, "is a folder")
            else:
                pending.append(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def with_folder_splits(listing: Listing) -> None:
    """Fill the splits of rows from folders train, val and test above the images, where no row has one.

    Nothing is filled where the folders name fewer than two splits: they divide nothing.
    """
    if any(row.split for row in listing.rows):
        return
    splits = [_split_of_folders(relative(row.image, listing.root)) for row in listing.rows]
    if len(set(splits) - {""}) > 1:
        listing.rows = [replace(row, split=split) for row, split in zip(listing.rows, splits, strict=True)]
        listing.notes.append("split: from the folders that the images lie in")


def _split_of_folders(file: str) -> str:
    """Return the split that the innermost folder of a split's name stands for, "" if there is none."""
    names = (normalise_split(folder) for folder in reversed(file.split("/")[:-1]))
    return next((name for name in names if name in ("train", "val", "test")), "")


def class_of(name: str, aliases: Mapping[str, str]) -> str:
    """Return the class that a folder or label stands for; a name that is known to nobody stands for itself."""
    folded = {key.casefold(): value for key, value in aliases.items()}
    return aliases.get(name) or folded.get(name.casefold()) or known_class(name) or name


def join_labels(listing: Listing, options: LabelOptions) -> None:
    """Turn the labels of all rows, as they are written, into classes, and note which changed."""
    mapped = map_labels([row.label for row in listing.rows], options.aliases, options.keep_labels)
    listing.rows = [replace(row, label=mapped.classes[row.label]) for row in listing.rows]
    listing.notes += mapped.notes
