"""The process of a run: start it so that it outlives its parent, recognise it later, and end it.

A process is named by its id *and* its start time, because ids are given again. This module knows nothing of what a
run does: ``cxr.runs.worker`` maps its kind to the work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from cxr import paths
from cxr.runs.folder import RunFolder
from cxr.runs.status import Status

RUN_VARIABLE = "CXR_RUN_FOLDER"
# What makes a process one of several that train together (torchrun's names), and who started it.
RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
RANK_0_VARIABLE = "CXR_RANK_0"
JOB_VARIABLE = "CXR_SLURM_JOB"  # the number of the Slurm job whose process a worker is
_SAME_START_S = 2.0  # a start time is reckoned from the boot time, which moves a little when the clock is set
_POLL_S = 0.01


def worker_command(folder: Path) -> list[str]:
    """Return the command line of the process that does the run's work."""
    return [sys.executable, "-m", "cxr.runs.worker", str(folder)]


def spawn(folder: RunFolder) -> int:
    """Start the worker of ``folder`` and return its process id.

    The process leads a session of its own, has no terminal, and writes to the run's log: neither a hang-up nor the
    death of this process or of its whole group reaches it.
    """
    path = folder.path.resolve()
    with folder.log_path.open("ab") as log:
        process = subprocess.Popen(
            worker_command(path),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=paths.home(),
            env=_environment(path),
            start_new_session=True,
            close_fds=True,
        )
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()
    return process.pid


def host() -> str:
    """Return this machine's name: a process id means something only together with it."""
    return socket.gethostname()


def start_time(pid: int) -> float | None:
    """Return when process ``pid`` started (Unix time), or None if there is none; a zombie counts as none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def is_alive(pid: int | None, pid_started: float | None) -> bool:
    """Return whether the very process that started at ``pid_started`` still runs under ``pid``."""
    if not pid or pid_started is None:
        return False
    started = start_time(pid)
    return started is not None and abs(started - pid_started) < _SAME_START_S


def send_signal(status: Status, number: signal.Signals) -> bool:
    """Send a signal to the process that ``status`` names if it is that process; return whether it was sent."""
    if status.host not in (None, host()) or status.pid is None or not is_alive(status.pid, status.pid_started):
        return False
    try:
        os.kill(status.pid, number)
    except ProcessLookupError:
        return False
    return True


def kill(folder: RunFolder, status: Status, timeout: float = 5.0) -> None:
    """Kill the process that ``status`` names and what it started, and return once it is gone.

    A process takes a moment to die, the longer the more memory it has; until then it holds its device and its locks.
    """
    sent = send_signal(status, signal.SIGKILL)
    kill_group(folder, status.pid, timeout)
    deadline = time.monotonic() + timeout
    while sent and is_alive(status.pid, status.pid_started) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def kill_group(folder: RunFolder, pid: int | None, timeout: float = 5.0) -> int:
    """Kill what a dead or doomed worker left of its group (decoding pools, say) and return how many there were.

    Only processes that carry this run's folder in their environment are touched, since ``pid`` may long be the number
    of somebody else's group.
    """
    if not pid:
        return 0
    processes = [process for process in psutil.process_iter() if _is_of_run(process, pid, str(folder.path.resolve()))]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=timeout)
    return len(processes)


def _is_of_run(process: psutil.Process, group: int, folder: str) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.environ().get(RUN_VARIABLE) == folder
    except (psutil.Error, OSError):
        return False


def _environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with the project's folders made absolute: the worker starts elsewhere.

    What makes this process one of several that train together is left out: a new run is none of them.
    """
    left_out = {*RANK_VARIABLES, RANK_0_VARIABLE, JOB_VARIABLE}
    return {name: value for name, value in os.environ.items() if name not in left_out} | worker_environment(folder)


def worker_environment(folder: Path) -> dict[str, str]:
    """Return the variables that a worker gets beside its parent's environment, wherever it starts."""
    folders = {"CXR_DATA": paths.data_root(), "CXR_RUNS": paths.runs_root(), "CXR_WEIGHTS": paths.weights_root()}
    return {
        **{name: str(path) for name, path in folders.items()},
        RUN_VARIABLE: str(folder),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
