"""Jobs for the tests of runs: real functions in real worker processes, which need no network and no images."""

from __future__ import annotations

import errno
import logging
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
    "ranks": "tests.runs.jobs:ranks",
    "missing": "tests.runs.no_such_module:job",
    "train": "tests.runs.jobs:train",
    "evaluate": "tests.runs.jobs:train",
    "explain": "tests.runs.jobs:train",
    "text-experiment": "tests.runs.jobs:train",
    "text-stamping": "tests.runs.jobs:train",
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


def train(folder: RunFolder, spec: dict, *, progress) -> None:
    """Note the device that the queue gave and have as many helpers as asked for, then go on as ``count``."""
    folder.write_json("device.json", os.environ.get("CXR_DEVICE"))
    helper = [sys.executable, "-c", "import time; time.sleep(300)"]
    helpers = [subprocess.Popen(helper) for _ in range(spec["params"].get("helpers", 0))]
    folder.write_json("helpers.json", [process.pid for process in helpers])
    count(folder, spec, progress=progress)
    for process in helpers:
        process.kill()
        process.wait()


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


def ranks(folder: RunFolder, spec: dict, *, progress) -> None:
    """As rank 0 start a helper, the same command with another rank; each works until somebody says stop."""
    rank = int(os.environ.get("RANK", "0"))
    logging.getLogger(__name__).info("helping" if rank else "leading")
    folder.write_json(f"rank-{rank}.json", {"pid": os.getpid()})
    if rank == 0:
        from cxr.runs import local
        from tests.runs.conftest import WORKER

        command = [sys.executable, "-c", WORKER, str(folder.path)]
        helper = subprocess.Popen(command, env={**os.environ, "RANK": "1", local.RUN_VARIABLE: str(folder.path)})
    while not folder.stop_requested():
        time.sleep(0.01)
    if rank == 0:
        helper.wait()
