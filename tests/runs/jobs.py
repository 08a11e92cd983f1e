"""Jobs for the tests of runs: real functions in real worker processes, which need no network and no images."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

from cxr.errors import ImageError
from cxr.runs import RunFolder, Stopped

KINDS = {
    "count": "tests.runs.jobs:count",
    "deep": "tests.runs.jobs:deep",
    "fail": "tests.runs.jobs:fail",
    "nested": "tests.runs.jobs:nested",
    "missing": "tests.runs.no_such_module:job",
    "train": "tests.runs.jobs:count",
}


def count(folder: RunFolder, spec: dict, *, progress) -> None:
    """Write a row every few milliseconds until ``n`` rows are there or somebody says stop."""
    n, pause = spec["params"].get("n", 10), spec["params"].get("pause", 0.01)
    have = len(folder.metrics()[0])
    progress(have / n, "counting")
    for index in range(have, n):
        if folder.stop_requested():
            return
        folder.append_metrics([{"kind": "step", "step": index, "pid": os.getpid()}])
        progress((index + 1) / n, f"row {index + 1}")
        time.sleep(pause)
    folder.write_json("results.json", {"n": n})


def deep(folder: RunFolder, spec: dict, *, progress) -> None:
    """Stop by an exception."""
    while not folder.stop_requested():
        time.sleep(0.01)
    raise Stopped


def fail(folder: RunFolder, spec: dict, *, progress) -> None:
    """End badly, in the way that the parameters name."""
    how = spec["params"]["how"]
    if how == "user":
        raise ImageError("x.png is not an image: it holds text")
    if how == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/last.safetensors")
    if how == "memory":
        raise MemoryError
    if how == "exit":
        os._exit(3)
    raise KeyError("labl")


def nested(folder: RunFolder, spec: dict, *, progress) -> None:
    """Have a child process that would outlive this one, then go on as ``count``."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    folder.write_json("child.json", child.pid)
    count(folder, spec, progress=progress)
