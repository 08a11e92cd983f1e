"""Writes what a training takes of its machine every few seconds, from a thread of its own.

Whatever goes wrong with it is logged once and ends the looking, not the training.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator

import psutil
import torch

from cxr.networks.gpu_use import GpuUse
from cxr.runs.folder import RunFolder
from cxr.runs.metrics.usage_file import USAGE, UsageRow

EVERY_S = 5.0
_MB = 1e6

log = logging.getLogger(__name__)


class Usage:
    """Looks at this process, the processes that it started, and its GPU; ``device`` is where the training works."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = GpuUse(device)
        self._process = psutil.Process()
        self._seconds: dict[tuple[int, float], float] = {}
        self._looked = time.monotonic()
        self._look()

    def row(self) -> UsageRow:
        """Return what was taken since the last row, or since this object was made."""
        before, seconds_before = self._looked, self._seconds
        memory = self._look()
        # A process that is new has done all of its work since; one that has ended takes what it did with it.
        used = sum(max(0.0, now - seconds_before.get(key, 0.0)) for key, now in self._seconds.items())
        elapsed = max(1e-3, self._looked - before)
        row = UsageRow(time=round(time.time(), 2), cores=round(used / elapsed, 2), memory_mb=round(memory / _MB))
        if (gpu_mb := self._gpu.memory_mb()) is not None:
            row["gpu_mb"] = gpu_mb
        if (share := self._gpu.share()) is not None:
            row["gpu"] = share
        return row

    def _look(self) -> int:
        """Note the processor time of each process, and return the resident memory of all in bytes."""
        memory, seconds = 0, {}
        for process in [self._process, *self._process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error), process.oneshot():  # it may end meanwhile
                times = process.cpu_times()
                seconds[process.pid, process.create_time()] = times.user + times.system
                memory += process.memory_info().rss
        self._seconds, self._looked = seconds, time.monotonic()
        return memory


@contextlib.contextmanager
def recorded(folder: RunFolder, device: torch.device, every: float = EVERY_S) -> Iterator[None]:
    """Append a row to the run's ``usage.jsonl`` each ``every`` seconds, and one at the end."""
    over = threading.Event()
    thread = threading.Thread(target=_record, args=(folder, device, every, over), name="usage", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(every)


def _record(folder: RunFolder, device: torch.device, every: float, over: threading.Event) -> None:
    try:
        usage, last = Usage(device), False
        while not last:
            last = over.wait(every)
            with (folder.path / USAGE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(usage.row(), separators=(",", ":")) + "\n")
    except Exception as error:  # nothing here may end a training
        log.warning("use of processor and memory is not recorded any more: %s", error)
