"""The rows of a growing metrics.jsonl: whole lines only, read on from where a reader had come to."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from cxr.json_types import JsonObject

if TYPE_CHECKING:
    from cxr.runs.folder import RunFolder


MetricsRow = JsonObject
"""A row of metrics.jsonl: its ``kind`` and what rows of that kind hold, which each job decides."""


class MetricsReader:
    """Reads a run's metrics as they come.

    Attributes
    ----------
    reset
        True after a :meth:`read` whose rows start again from the first one, because a resumed run went back to its
        checkpoint: forget what was read before.
    damaged
        Number of lines skipped because they were no JSON objects, since the last reset.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.reset = False
        self.damaged = 0
        self.offset = 0
        self._generation: int | None = None

    def read(self, most_bytes: int = -1) -> list[MetricsRow]:
        """Return the rows that are new since the last call, or all of them where :attr:`reset` is then True.

        With ``most_bytes`` about so many bytes of them are read, and the next call goes on there.
        """
        generation = int(self.folder.read_status()["metrics_generation"])
        since = self.offset if generation == self._generation else 0
        rows, offset, damaged = self.folder.read_metrics(since, most_bytes)
        self.reset = self._generation is not None and (generation != self._generation or offset < self.offset)
        self.damaged = damaged + (0 if self.reset else self.damaged)
        self.offset, self._generation = offset, generation
        return rows


def parse_lines(block: bytes) -> tuple[list[MetricsRow], int]:
    """Return the rows of whole lines, and how many lines are damaged."""
    rows, damaged = [], 0
    for line in block.split(b"\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            damaged += 1
    return rows, damaged


def ends_in_half_a_line(handle: int) -> bool:
    """Return whether an open file does not end with the end of a line."""
    size = os.fstat(handle).st_size
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"
