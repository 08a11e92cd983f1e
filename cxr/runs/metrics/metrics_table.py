"""A run's metrics as columns: what charts read, small enough that a million steps cost some tens of megabytes.

A row of metrics.jsonl is a dictionary of half a kilobyte once it is read. The rows of steps, of which there are as
many as a training has steps, are therefore kept as arrays; the few others (validation, output neurons) as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.runs.folder import RunFolder
from cxr.runs.metrics.metrics_file import MetricsRow

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
                rows = self._reader.read(most_bytes=_BLOCK_BYTES)
                if self._reader.reset:  # a resumed run went back to its checkpoint
                    self._columns = _Columns()
                if not rows:
                    return self._columns.view()
                self._columns.add(rows)


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

    def add(self, rows: list[MetricsRow]) -> None:
        steps = [row for row in rows if row.get("kind") == "step"]
        self._others += [row for row in rows if row.get("kind") != "step"]
        end = self._n + len(steps)
        for name, kind in COLUMNS.items():
            values = self._values[name]
            if end > len(values):
                values = np.concatenate([values[: self._n], np.empty(max(end, 2 * self._n) - self._n, kind)])
                self._values[name] = values
            missing = 0 if np.issubdtype(kind, np.integer) else np.nan
            values[self._n : end] = [missing if row.get(name) is None else row[name] for row in steps]
        self._n, self._view = end, None
