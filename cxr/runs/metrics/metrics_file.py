"""The rows of a growing metrics.jsonl: whole lines only, read on from where a reader had come to."""

from __future__ import annotations

import json
import os
from pathlib import Path
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
        rows, damaged = parse_lines(self.read_block(most_bytes))
        self.damaged += damaged
        return rows

    def read_block(self, most_bytes: int = -1) -> bytes:
        """Do the same for the whole lines of the file as they are; what is damaged of them is not counted."""
        generation = int(self.folder.read_status()["metrics_generation"])
        since = self.offset if generation == self._generation else 0
        block, offset = read_block(self.folder.path / "metrics.jsonl", since, most_bytes)
        self.reset = self._generation is not None and (generation != self._generation or offset < self.offset)
        self.damaged = 0 if self.reset else self.damaged
        self.offset, self._generation = offset, generation
        return block


def read_block(path: Path, since: int, most_bytes: int = -1) -> tuple[bytes, int]:
    """Return the whole lines after byte ``since``, about ``most_bytes`` of them, and where the next begin.

    They are those from the beginning where the file is shorter than ``since``.
    """
    try:
        with path.open("rb") as source:
            size = source.seek(0, os.SEEK_END)
            start = since if 0 <= since <= size else 0
            source.seek(start)
            block = source.read(most_bytes)
            if len(block) == most_bytes:
                block += source.readline()  # a line longer than the block must not stop the reading
    except FileNotFoundError:
        return b"", 0
    end = block.rfind(b"\n") + 1
    return block[:end], start + end


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
