"""A run's metrics as columns: what charts read, small enough that a million steps cost some tens of megabytes.

A row of metrics.jsonl is a dictionary of half a kilobyte once it is read. The rows of steps, of which there are as
many as a training has steps, are therefore kept as arrays; the few others (validation, output neurons) as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.runs.folder import RunFolder
from cxr.runs.metrics.metrics_file import MetricsRow, parse_lines

COLUMNS: Mapping[str, type[np.generic]] = {
    "step": np.int64,
    "stage_index": np.int16,
    "loss": np.float32,
    "lr": np.float32,
    "images_per_s": np.float32,
    "wait_s": np.float32,
    "time": np.float64,
}
"""The columns kept of the rows of steps, with their types. What a row lacks is NaN, in whole numbers 0."""
_FIRST_ROOM = 1024
_BLOCK_BYTES = 1 << 22
_FEW_BYTES = 1 << 16  # of so few, as a running training adds them, reading line by line takes no time


@dataclass(frozen=True, eq=False)  # as long as nothing is added it is one object, by which charts are kept
class Metrics:
    """The metrics of a run as they were when they were read.

    Attributes
    ----------
    steps
        The columns of :data:`COLUMNS` over all steps, (N,) each; not to be written to.
    others
        The rows that are not of kind ``step``, in their order.
    """

    steps: Mapping[str, NDArray[Any]]
    others: tuple[MetricsRow, ...]

    def __len__(self) -> int:
        return len(self.steps["step"]) + len(self.others)

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return the metrics of rows that are in memory."""
        columns = _Columns()
        columns.add([dict(row) for row in rows])
        return columns.view()

    def of_kind(self, *kinds: str) -> list[MetricsRow]:
        """Return the rows of these kinds, other than ``step``, in their order."""
        return [row for row in self.others if row.get("kind") in kinds]


class MetricsTable:
    """The metrics of one run, read from where the last reading ended; several threads may share it."""

    def __init__(self, folder: RunFolder) -> None:
        self._reader = folder.metrics_reader()
        self._lock = threading.Lock()
        self._columns = _Columns()

    def refresh(self) -> Metrics:
        """Read what was added since the last time, some megabytes at once, and return all there is."""
        with self._lock:
            while True:
                block = self._reader.read_block(most_bytes=_BLOCK_BYTES)
                if self._reader.reset:  # a resumed run went back to its checkpoint
                    self._columns = _Columns()
                if not block:
                    return self._columns.view()
                self._columns.add_lines(block)


class _Columns:
    """Growing arrays. What a view shows is never written again, so that others may read it meanwhile."""

    def __init__(self) -> None:
        self._n = 0
        self._values: dict[str, NDArray[Any]] = {name: np.empty(_FIRST_ROOM, kind) for name, kind in COLUMNS.items()}
        self._others: list[MetricsRow] = []
        self._view: Metrics | None = None

    def view(self) -> Metrics:
        if self._view is None:
            steps = {name: values[: self._n] for name, values in self._values.items()}
            self._view = Metrics(steps, tuple(self._others))
        return self._view

    def add_lines(self, block: bytes) -> None:
        read = read_columns(block) if len(block) >= _FEW_BYTES else None
        if read is None:
            self.add(parse_lines(block)[0])
        else:
            self._append(*read)

    def add(self, rows: list[MetricsRow]) -> None:
        steps = [row for row in rows if row.get("kind") == "step"]
        columns: dict[str, Sequence[Any] | NDArray[Any]] = {
            name: [_missing(kind) if row.get(name) is None else row[name] for row in steps]
            for name, kind in COLUMNS.items()
        }
        self._append(columns, [row for row in rows if row.get("kind") != "step"])

    def _append(self, columns: Mapping[str, Sequence[Any] | NDArray[Any]], others: list[MetricsRow]) -> None:
        self._others += others
        end = self._n + len(columns["step"])
        for name, kind in COLUMNS.items():
            values = self._values[name]
            if end > len(values):
                values = np.concatenate([values[: self._n], np.empty(max(end, 2 * self._n) - self._n, kind)])
                self._values[name] = values
            values[self._n : end] = columns[name]
        self._n, self._view = end, None


def _missing(kind: type[np.generic]) -> float:
    return 0 if np.issubdtype(kind, np.integer) else np.nan


def read_columns(block: bytes) -> tuple[dict[str, NDArray[Any]], list[MetricsRow]] | None:
    """Return the columns of steps of whole lines, and the other rows, many times as fast as line by line.

    None where a line is not as a training writes it, damaged say: then each has to be looked at by itself.
    """
    import pyarrow as pa
    from pyarrow import compute, json

    types = {name: pa.from_numpy_dtype(np.int64 if np.issubdtype(k, np.integer) else k) for name, k in COLUMNS.items()}
    layout = json.ParseOptions(pa.schema({"kind": pa.string()} | types), False, "ignore")
    lines = [line for line in block.split(b"\n") if line.strip()]
    try:
        table = json.read_json(pa.BufferReader(block), json.ReadOptions(False, len(block) + 1), layout)
    except pa.ArrowInvalid:
        return None
    if len(table) != len(lines):
        return None
    is_step = compute.fill_null(compute.equal(table["kind"], "step"), False)
    steps = table.filter(is_step)
    columns = {
        name: compute.fill_null(steps[name], 0).to_numpy() if kind == pa.int64() else steps[name].to_numpy()
        for name, kind in types.items()
    }
    others = [lines[n] for n in np.flatnonzero(~is_step.to_numpy())]
    return columns, parse_lines(b"\n".join(others))[0]
