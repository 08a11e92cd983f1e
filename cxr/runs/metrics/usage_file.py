"""What a training took of its machine, row by row, in ``usage.jsonl``: processor, memory, and a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.runs.metrics.metrics_file import parse_lines, read_block

USAGE = "usage.jsonl"
COLUMNS = ("time", "cores", "memory_mb", "gpu", "gpu_mb")


class UsageRow(TypedDict):
    """A row of ``usage.jsonl``.

    Attributes
    ----------
    time
        Seconds since 1970.
    cores
        Processor time since the row before over the time that went by: 1.5 is one core and a half.
    memory_mb
        Resident memory of the training's processes, in MB; what they share counts in each.
    gpu
        Busy share of the GPU in per cent, where NVIDIA's library tells it.
    gpu_mb
        The most GPU memory that was allocated since the row before, in MB.
    """

    time: float
    cores: float
    memory_mb: int
    gpu: NotRequired[int]
    gpu_mb: NotRequired[int]


Usage = dict[str, NDArray[np.float64]]
"""Each of :data:`COLUMNS` as an array (N,), NaN where a row has no such value."""


class UsageTable:
    """The rows of a run's ``usage.jsonl`` as columns; only what was added is read."""

    def __init__(self, folder: Path) -> None:
        self._path, self._offset = folder / USAGE, 0
        self._columns: Usage = {name: np.empty(0) for name in COLUMNS}

    def refresh(self) -> Usage:
        """Return all rows that are complete by now; lines that are damaged are left out."""
        block, offset = read_block(self._path, self._offset)
        if offset < self._offset:
            self._columns = {name: np.empty(0) for name in COLUMNS}
        self._offset = offset
        rows, _ = parse_lines(block)
        if rows:
            new = {name: np.array([_number(row.get(name)) for row in rows]) for name in COLUMNS}
            # New arrays, never changed ones: another session may be drawing the old.
            self._columns = {name: np.concatenate([self._columns[name], new[name]]) for name in COLUMNS}
        return self._columns


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
