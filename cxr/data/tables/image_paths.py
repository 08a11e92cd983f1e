"""Finding the file that a table means: tables move, are written on Windows, or name files without folder or ending."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cxr.data.images.base import IMAGE_SUFFIXES
from cxr.data.tables.normalise import normalise_path, path_spellings

_SHORTEST_SURE_NAME = 5  # a shorter name, or one of digits alone, is no proof without its folder


class Match(NamedTuple):
    """A file, and how it was found: "" if exactly where the table says; None with the reason if it was not found.

    ``loose`` says that the path is another one and only its end is alike.
    """

    file: Path | None
    how: str
    loose: bool = False


class Files:
    """The files below a data set's folder, by the names that a table gives.

    Looked for in this order: as written; with / for \\ and in another Unicode form; below the folder without the path's
    first folders; anywhere below the folder by the end of its path, case and image ending aside, where just one fits.
    A file in a folder that the path does not name is taken only if no other path of the table has its name: many sets
    have a ``view1_frontal.jpg`` for every patient.

    Parameters
    ----------
    names
        All paths of the table.
    """

    def __init__(self, root: Path, names: Iterable[str] = ()) -> None:
        self.root = root
        self._times_named = Counter(_folded(PurePosixPath(normalise_path(name)).name) for name in set(names))

    def find(self, name: str) -> Match:
        """Return the file that ``name`` means."""
        if not name.strip():
            return Match(None, "names no file")
        for spelling in path_spellings(name):
            if (self.root / spelling).is_file():
                return Match(self.root / spelling, self._kind_of(name, spelling))
        parts = PurePosixPath(normalise_path(name)).parts
        for start in range(1, len(parts)):
            if start == len(parts) - 1 and not self._may_lie_here(parts):
                break
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
            return Match(None, "does not exist")
        if len(best) > 1:
            exact = [path for path in best if path.name == parts[-1]]
            if len(exact) != 1:
                places = ", ".join(path.as_posix() for path in best[:2])
                return Match(None, f"does not exist, and {len(best):,} files have its name ({places})")
            best = exact
        if self._is_elsewhere(best[0], folded, shared[best[0]]):
            return Match(None, f"does not exist ({best[0].as_posix()} has its name, but lies in another folder)")
        return Match(self.root / best[0], "by their names, below the table's folder", loose=True)

    def _may_lie_here(self, parts: Sequence[str]) -> bool:
        """Return whether a file at the top, without any folder of its path, can be the one that is meant."""
        return parts[-2] == self.root.name or self._times_named[_folded(parts[-1])] == 1

    def _is_elsewhere(self, path: PurePosixPath, folded: Sequence[str], n_shared: int) -> bool:
        """Return whether a file lies in a folder that contradicts the path, and its name alone is no proof."""
        folders = [part for part in folded if part != "/"]
        if n_shared == len(folders) or n_shared == len(path.parts):
            return False
        return self._times_named[folded[-1]] != 1 or _is_common(Path(folded[-1]).stem)

    @cached_property
    def _all(self) -> list[PurePosixPath]:
        paths = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            parent = PurePosixPath(Path(folder).relative_to(self.root).as_posix())
            paths += [parent / name for name in sorted(names) if not name.startswith(".") and _is_image(name)]
        return paths

    @cached_property
    def _by_name(self) -> dict[str, list[PurePosixPath]]:
        return _grouped((_folded(path.name), path) for path in self._all)

    @cached_property
    def _by_stem(self) -> dict[str, list[PurePosixPath]]:
        return _grouped((_folded(path.stem), path) for path in self._all)


def _grouped(paths: Iterable[tuple[str, PurePosixPath]]) -> dict[str, list[PurePosixPath]]:
    groups: dict[str, list[PurePosixPath]] = defaultdict(list)
    for name, path in paths:
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
    for folder, other in zip(reversed(path.parts[:-1]), reversed(folded[:-1]), strict=False):
        if _folded(folder) != other:
            break
        n += 1
    return n


def _is_common(stem: str) -> bool:
    return stem.isdigit() or len(stem) < _SHORTEST_SURE_NAME
