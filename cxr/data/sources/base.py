"""What every importer shares: what it finds, how folders are walked and how names become classes."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cxr.data.image import IMAGE_SUFFIXES, one_line
from cxr.data.manifest import OLDEST
from cxr.errors import ManifestError

FILE_NOTES = "file_notes"  # column of what was not followed in a file, several notes with "; " between them
FRONTAL_VIEWS = frozenset({"PA", "AP", "AP SUPINE", "AP ERECT", "AP SEMI ERECT"})

_CLASS_NAMES = {
    "covid19": ("covid", "covid19", "covid19pneumonia", "sarscov2", "ncov", "ncov19"),
    "normal": ("normal", "nofinding", "nofindings", "healthy"),
    "pneumonia": ("pneumonia", "viralpneumonia", "bacterialpneumonia", "pneumoniaviral", "pneumoniabacterial"),
}
_CLASS_OF = {name: label for label, names in _CLASS_NAMES.items() for name in names}


class Excluded(NamedTuple):
    """A file or row that was left out, and why."""

    file: str
    reason: str


@dataclass
class Found:
    """What an importer found: rows of a manifest with absolute paths, not yet decoded, and what it left out.

    ``root`` is the folder that file names in ``excluded`` are relative to.
    """

    root: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)

    def leave_out(self, file: str | Path, reason: str) -> None:
        """Note a file or row that is left out."""
        self.excluded.append(Excluded(printable(relative(file, self.root)), reason))


@dataclass(frozen=True)
class Options:
    """What the caller may say: columns of a table, labels or folders that stand for classes, DICOM modalities."""

    columns: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    modalities: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """An importer: how it is called, what it reads, and the function that reads it without decoding images."""

    name: str
    title: str
    description: str
    read: Callable[[Path, Options], Found]


def relative(file: str | Path, root: Path) -> str:
    """Return a file's name relative to the imported folder where it lies inside, with / between folders."""
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def printable(name: str) -> str:
    """Return a file's name with what cannot be printed or stored (line breaks, bytes that are no UTF-8) escaped."""
    return "".join(c if _storable(c) else c.encode("unicode_escape").decode() for c in name)


def _storable(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}


def find_table(path: Path, patterns: Iterable[str], what: str) -> Path:
    """Return the table of a data set: ``path`` itself or the first match in that folder.

    Raises
    ------
    ManifestError
        Naming what was looked for.
    """
    if path.is_file():
        return path
    existing_folder(path)
    patterns = list(patterns)
    found = [match for pattern in patterns for match in sorted(path.glob(pattern)) if match.is_file()]
    if not found:
        raise ManifestError(f"{path} is no {what}: it has no {' or '.join(patterns)}")
    return found[0]


def existing_folder(path: Path) -> Path:
    """Return ``path`` if it is a folder, else raise a ManifestError."""
    if not path.is_dir():
        raise ManifestError(f"{path} is {'a file' if path.exists() else 'not there'}: a folder is needed")
    return path


def walk(folder: Path, found: Found) -> Iterator[Path]:
    """Yield every file below a folder in a fixed order, links followed.

    What is not a file to read (hidden files and folders, a folder with an image's name, a loop of links, a folder
    that may not be listed) is left out by name.
    """
    seen: set[Path] = set()
    pending = [folder]
    while pending:
        here = pending.pop(0)
        real = here.resolve()
        if real in seen:
            found.leave_out(here, "is a link to a folder that was read already")
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            found.leave_out(here, f"cannot be listed ({one_line(error)})")
            continue
        for entry in entries:
            path = Path(entry.path)
            if printable(entry.name) != entry.name:
                found.leave_out(path, "has a line break or bytes that are no text in its name; rename it")
            elif entry.name.startswith("."):
                found.leave_out(path, "is hidden")
            elif not _is_folder(entry):
                yield path
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                found.leave_out(path, "is a folder")
            else:
                pending.append(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def class_of(name: str, aliases: Mapping[str, str]) -> str:
    """Return the class that a folder or label stands for; a name that is known to nobody stands for itself."""
    folded = {key.casefold(): value for key, value in aliases.items()}
    return aliases.get(name) or folded.get(name.casefold()) or known_class(name) or name


def known_class(name: str) -> str:
    """Return covid19, normal or pneumonia for their usual spellings ("Covid-19", "No_findings"), "" for others."""
    return _CLASS_OF.get(re.sub(r"[^a-z0-9]", "", name.casefold()), "")


def age_in_years(text: str) -> str:
    """Return an age as the manifest takes it; what cannot be a person's age ("414", "unknown") becomes ""."""
    match = re.fullmatch(r"0*(\d{1,3})(?:\.\d+)?([YMWD]?)", text.strip().upper())
    if not match or (match[2] in {"", "Y"} and int(match[1]) > OLDEST):
        return ""
    return f"{match[1]}{match[2]}" if match[2] else text.strip()


def sex_letter(text: str) -> str:
    """Return F or M from the first letter, "" for anything else."""
    return text.strip().upper()[:1] if text.strip().upper()[:1] in {"F", "M"} else ""
