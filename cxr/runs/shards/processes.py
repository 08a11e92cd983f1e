"""The shards of a run as processes of this machine: started by the run's own process, as many as fit, and waited for.

They belong to the process group of the run, so what ends the run ends them too.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cxr import paths
from cxr.machine import CORES, cores
from cxr.runs import devices, local
from cxr.runs.folder import RunFolder
from cxr.runs.shards.folders import ShardFolder, failure, shards_of, summary
from cxr.runs.status import QUEUED_AGAIN, Status

_POLL_S = 0.1
_LOOK_S = 0.5  # how often the statuses of the shards are read
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class _Process:
    shard: ShardFolder
    device: str
    popen: subprocess.Popen[bytes]


def complete(run: RunFolder, places: Sequence[str], report: Callable[[float, str], None]) -> bool:
    """Do the shards of a run that are not done yet; return whether all are, False if a stop came first.

    Parameters
    ----------
    places
        The devices to work on, one shard on each at a time ("" is the process's own); if empty, one on each core.
    report
        Called with the progress and what the shards do, in words.

    Raises
    ------
    RunError
        If a shard failed: one line names it and the cause. The others are done by then.
    """
    shards = shards_of(run)
    _start_and_wait(run, shards, places or [""] * cores(), report)
    statuses = [shard.read_status() for shard in shards]
    report(*summary(statuses))
    if all(status.state == "finished" for status in statuses):
        return True
    if run.stop_requested():
        return False
    raise failure(shards, statuses)


def prepare(shard: ShardFolder) -> None:
    """Make the folder of a shard ready for a process."""
    shard.path.mkdir(parents=True, exist_ok=True)
    shard.clear_stop()
    shard.clear_pause()
    shard.update_status(**{**QUEUED_AGAIN, "launched": time.time(), "progress": 0.0})


def _start_and_wait(
    run: RunFolder, shards: Sequence[ShardFolder], places: Sequence[str], report: Callable[[float, str], None]
) -> None:
    waiting = [shard for shard in shards if shard.read_status().state != "finished"]
    for shard in waiting:
        prepare(shard)
    free = list(places[: len(waiting)])
    threads = max(1, cores() // max(1, len(free)))
    working: list[_Process] = []
    looked = 0.0
    while working or (waiting and not run.stop_requested()):
        while waiting and free and not run.stop_requested():
            working.append(_started(waiting.pop(0), free.pop(0), threads))
        for process in [process for process in working if process.popen.poll() is not None]:
            working.remove(process)
            free.append(process.device)
            _look_after(process)
        if time.monotonic() - looked > _LOOK_S:
            looked = time.monotonic()
            report(*summary([shard.read_status() for shard in shards]))
        time.sleep(_POLL_S)


def _started(shard: ShardFolder, device: str, threads: int) -> _Process:
    environment = os.environ | {name: _fewer(os.environ.get(name), threads) for name in (*_THREADS, CORES)}
    if device:
        environment[devices.CHOSEN_VARIABLE] = device
    with shard.log_path.open("ab") as log:
        popen = subprocess.Popen(
            local.worker_command(shard.path.resolve()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=paths.home(),
            env=environment,
        )
    return _Process(shard, device, popen)


def _fewer(given: str | None, threads: int) -> str:
    return str(min(int(given), threads) if given and given.isdecimal() and int(given) else threads)


def _look_after(process: _Process) -> None:
    """Write the last word of a shard whose process is gone without one."""
    with process.shard.status_transaction() as status:
        if not Status(**status).active:
            return
        code = process.popen.returncode
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        more = " (out of memory?)" if code == -9 else ""
        error = f"its process {how}{more}; see {process.shard.log_path}"
        status.update(state="failed", message="failed", error=error, ended=time.time(), eta_s=None)
