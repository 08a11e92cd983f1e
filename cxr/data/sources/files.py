"""Finding the file that a table means: tables move, are written on Windows, or name files without folder or ending."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cxr.data.image import IMAGE_SUFFIXES
from cxr.data.normalise import normalise_path, path_spellings

_SHORTEST_SURE_NAME = 5  # a shorter name, or one of digits alone, is no proof without its folder


class Match(NamedTuple):
    """A file, and how it was found: "" if exactly where the table says; None with the reason if it was not found.

    ``loose`` tells that the path is another one and only its end is alike.
    """

    file: Path | None
    how: str
    loose: bool = False


class Files:
    """The files below a data set's folder, by the names that a table gives.

    Looked for in this order: as written; with / for \\ and in another Unicode form; below the folder without the path's
    first folders; anywhere below the folder by the end of its path, case and image ending aside, where just one fits.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, name: str) -> Match:
        """Return the file that ``name`` means."""
        if not name.strip():
            return Match(None, "names no file")
        for spelling in path_spellings(name):
            if (self.root / spelling).is_file():
                return Match(self.root / spelling, self._kind_of(name, spelling))
        parts = PurePosixPath(normalise_path(name)).parts
        for start in range(1, len(parts)):
            if (self.root / Path(*parts[start:])).is_file():
                return Match(self.root / Path(*parts[start:]), "without the first folders of their paths", loose=True)
        return self._find_below(parts)

    @staticmethod
    def _kind_of(name: str, spelling: str) -> str:
        if spelling == name:
            return ""
        return "with / for back slashes" if "\\" in name else "in another Unicode form or without spaces around"

    def _find_below(self, parts: Sequence[str]) -> Match:
        folded = [_folded(part) for part in parts]
        candidates = self._by_name.get(folded[-1]) or self._by_stem.get(folded[-1], [])
        shared = {path: _shared_end(path, folded) for path in candidates}
        best = [path for path, n in shared.items() if n == max(shared.values())]
        if not best:
            return Match(None, "is not there")
        if len(best) > 1:
            exact = [path for path in best if path.name == parts[-1]]
            if len(exact) != 1:
                places = ", ".join(path.as_posix() for path in best[:2])
                return Match(None, f"is not there, and {len(best)} files have its name ({places})")
            best = exact
        has_folder = len([part for part in parts if part != "/"]) > 1
        if has_folder and shared[best[0]] < 2 and _is_common(Path(folded[-1]).stem):
            return Match(None, f"is not there ({best[0].as_posix()} has its name, but lies in another folder)")
        return Match(self.root / best[0], "by their names, below the table's folder", loose=True)

    @cached_property
    def _all(self) -> list[PurePosixPath]:
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            here = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            found += [here / name for name in sorted(names) if not name.startswith(".") and _is_image(name)]
        return found

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        return _grouped((_folded(path.name), path) for path in self._all)

    @cached_property
    def _by_stem(self) -> dict[str, list[PurePosixPath]]:
        return _grouped((_folded(path.stem), path) for path in self._all)


def _grouped(named: Iterable[tuple[str, PurePosixPath]]) -> dict[str, list[PurePosixPath]]:
    groups: dict[str, list[PurePosixPath]] = defaultdict(list)
    for name, path in named:
        groups[name].append(path)
    return groups


def _is_image(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    return not suffix or suffix in IMAGE_SUFFIXES


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _shared_end(path: PurePosixPath, folded: Sequence[str]) -> int:
    """Return how many parts at the end are alike; the name itself counts as alike."""
    n = 1
    for ours, theirs in zip(reversed(path.parts[:-1]), reversed(folded[:-1]), strict=False):
        if _folded(ours) != theirs:
            break
        n += 1
    return n


def _is_common(stem: str) -> bool:
    return stem.isdigit() or len(stem) < _SHORTEST_SURE_NAME
