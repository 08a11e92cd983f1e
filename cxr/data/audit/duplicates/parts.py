"""The work of a search in parts, each kept in a folder once it is done, so that a stopped search goes on from there."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.files import replacing

_INPUTS = "inputs.txt"

Arrays: TypeAlias = tuple[NDArray, ...]
"""The result of a part: arrays of numbers or texts."""


class Parts:
    """Results of parts of a search.

    Parameters
    ----------
    folder
        Where they are kept; None keeps nothing.
    inputs
        What the results depend on. Results of other inputs are removed.
    """

    def __init__(self, folder: Path | None, inputs: str) -> None:
        self._folder = folder
        if folder is None:
            return
        note = folder / _INPUTS
        if not note.is_file() or note.read_text(encoding="utf-8") != inputs:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            note.write_text(inputs, encoding="utf-8")

    def of(self, stage: str, starts: range, make: Callable[[int], Arrays]) -> Iterator[Arrays]:
        """Yield the result of each part of a stage: what is kept, or what ``make`` gives for its start.

        Whoever ends between two parts, with an exception say, loses none that was yielded.
        """
        for start in starts:
            yield self._kept(f"{stage}-{start}", partial(make, start))

    def _kept(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        if self._folder is None:
            return make()
        file = self._folder / f"{name}.npz"
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return tuple(arrays[f"arr_{k}"] for k in range(len(arrays.files)))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # not there, or damaged
            made = make()
        with replacing(file) as draft, draft.open("wb") as stream:
            np.savez(stream, *made)
        return made

    def remove(self) -> None:
        """Remove what was kept, after the search."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
