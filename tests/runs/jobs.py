"""Jobs for the tests of runs: real functions in real worker processes, which need no network and no images."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from pydantic import ConfigDict

from cxr.errors import ImageError
from cxr.machine import cores
from cxr.runs import Kind, Params, RunFolder, Stopped, kinds
from cxr.runs.kinds import AbsolutePath, NameOrFile
from cxr.runs.shards.folders import finished_shards, own_slice


class JobParams(Params):
    """What the jobs below understand, and whatever a command gives the kinds that they stand for."""

    model_config = ConfigDict(extra="allow")

    n: int = 10
    pause: float = 0.01
    helpers: int = 0
    how: str = ""
    batch: int = 1
    device: str = "auto"
    recipe: dict[str, Any] | None = None
    manifest: AbsolutePath | None = None
    model: NameOrFile = ""


def _small(name: str, job: str) -> Kind:
    return Kind(name, name, job=f"tests.runs.{job}", params="tests.runs.jobs:JobParams")


KINDS = {
    "count": _small("count", "jobs:count"),
    "deep": _small("deep", "jobs:deep"),
    "fail": _small("fail", "jobs:fail"),
    "nested": _small("nested", "jobs:nested"),
    "ranks": _small("ranks", "jobs:ranks"),
    "squares": replace(_small("squares", "jobs:squares"), shard="tests.runs.jobs:squares_shard"),
    "missing": _small("missing", "no_such_module:job"),
    **{
        name: replace(kinds.KINDS[name], job="tests.runs.jobs:train", params="tests.runs.jobs:JobParams")
        for name in (
            "train",
            "evaluate",
            "explain",
            "text-experiment",
            "text-stamping",
            "relevance-regions",
            "cluster-heatmaps",
        )
    },
}


def count(folder: RunFolder, params: JobParams, *, progress) -> None:
    """Write a row every few milliseconds until ``n`` rows are there or somebody says stop."""
    n, pause = params.n, params.pause
    have = len(folder.metrics()[0])
    progress(have / n, "counting")
    for index in range(have, n):
        if folder.stop_requested():
            return
        folder.append_metrics([{"kind": "step", "step": index, "pid": os.getpid()}])
        progress((index + 1) / n, f"row {index + 1}")
        time.sleep(pause)
    folder.write_json("results.json", {"n": n})


def train(folder: RunFolder, params: JobParams, *, progress) -> None:
    """Note the device that the queue gave and have as many helpers as asked for, then go on as ``count``."""
    folder.write_json("device.json", os.environ.get("CXR_DEVICE"))
    helper = [sys.executable, "-c", "import time; time.sleep(300)"]
    helpers = [subprocess.Popen(helper) for _ in range(params.helpers)]
    folder.write_json("helpers.json", [process.pid for process in helpers])
    count(folder, params, progress=progress)
    for process in helpers:
        process.kill()
        process.wait()


def deep(folder: RunFolder, params: JobParams, *, progress) -> None:
    """Stop by an exception."""
    while not folder.stop_requested():
        time.sleep(0.01)
    raise Stopped


def fail(folder: RunFolder, params: JobParams, *, progress) -> None:
    """End badly, in the way that the parameters name."""
    how = params.how
    if how == "user":
        raise ImageError("x.png is not an image: it holds text")
    if how == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/last.safetensors")
    if how == "memory":
        raise MemoryError
    if how == "exit":
        os._exit(3)
    raise KeyError("labl")


def squares_shard(folder: RunFolder, params: JobParams, *, progress) -> None:
    """Square the shard's numbers below ``n``, from where it was; end in the way that ``how`` says for one of them."""
    numbers = own_slice(folder, range(params.n), params.batch)
    have = len(folder.metrics()[0])
    for done, number in enumerate(numbers[have:], have + 1):
        if folder.stop_requested():
            return
        if params.how == f"fail at {number}" and not (folder.run.path / "mended").exists():
            raise ImageError(f"{number}.png is not an image: it holds text")
        row = {"number": number, "square": number**2, "pid": os.getpid(), "cores": cores()}
        folder.append_metrics([row | {"device": os.environ.get("CXR_DEVICE")}])
        progress(done / len(numbers), f"{number} squared")
        time.sleep(params.pause)


def squares(folder: RunFolder, params: JobParams, *, progress) -> None:
    """Add the squares up that finished shards have, and those that are missing."""
    known = {row["number"]: row["square"] for shard in finished_shards(folder) for row in shard.metrics()[0]}
    progress(0.5, "adding up")
    own = [number for number in range(params.n) if number not in known]
    folder.write_json("results.json", {"sum": sum(known.values()) + sum(number**2 for number in own), "own": own})


def nested(folder: RunFolder, params: JobParams, *, progress) -> None:
    """Have a child process that would outlive this one, then go on as ``count``."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    folder.write_json("child.json", child.pid)
    count(folder, params, progress=progress)


def ranks(folder: RunFolder, params: JobParams, *, progress) -> None:
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
