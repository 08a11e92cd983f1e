"""The process of a run: how it is started, here or on a cluster, and what became of it."""

from __future__ import annotations

import contextlib
import shutil
import time

from cxr.locks import is_held
from cxr.runs import local
from cxr.runs.folder import WORKER_LOCK, RunFolder
from cxr.runs.kinds import kind_of
from cxr.runs.shards.folders import shards_of, summary
from cxr.runs.shards.shard_jobs import cancel, submit_shards
from cxr.runs.slurm import submit
from cxr.runs.slurm.job_state import as_slurm_says
from cxr.runs.status import Status
from cxr.runs.storage import DiskFullError, disk_full

NO_PROCESS_S = 10.0  # how long a queued run may be without a process: its launcher may be about to start it
SILENCE_S = 30.0  # how old a heartbeat may be before the status says so
LOST_S = 120.0  # how old that of a process on another machine may be before the run counts as failed
NO_ROOM_BYTES = 4096  # a disk with less room is full


def launch(folder: RunFolder) -> None:
    """Start the process of the run in ``folder``, or submit it to Slurm where its spec says so.

    A run that has members works here whatever its spec says: that is for its members, which it submits.

    Raises
    ------
    RunError
        If Slurm is not here or refuses.
    """
    spec = folder.spec
    if spec.get("slurm") and not kind_of(spec["kind"]).members:
        folder.update_status(job="", message=submit.SUBMITTING, submitting=True)
        if shards_of(folder):
            submit_shards(folder)
        else:
            submit.submit(folder, restarts=not kind_of(spec["kind"]).resumes)
        return
    cancel(folder)  # a run that was on a cluster before may have shards there
    pid = local.spawn(folder)
    # On a disk that has filled up meanwhile the process ends by itself, and says why if it can.
    with contextlib.suppress(DiskFullError), folder.status_transaction() as status:
        if status["pid"] is None:  # else the worker was quicker and has said so itself
            status.update(pid=pid, pid_started=local.start_time(pid) or 0.0, host=local.host())


_NEVER_STARTED = "its process was never started; resume it to try again"
_STATUS_LOST = "its status.json is missing or damaged, so that nobody knows how it ended; its log tells what it did"


def current_status(folder: RunFolder, stored: Status) -> Status:
    """Return the status as it is now: what is stored, corrected by what became of the process. Reads only."""
    if not stored.active:
        return stored
    if stored.job is not None:
        return _with_shards(folder, as_slurm_says(folder, stored, SILENCE_S))
    if stored.pid is None:
        if time.time() - (stored.launched or 0) <= NO_PROCESS_S:
            return stored
        why = _NEVER_STARTED if not folder.log_tail(1) else _STATUS_LOST
        return stored.replace(state="failed", eta_s=None, error=disk_full(folder.path) if _is_full(folder) else why)
    if _has_process(folder, stored):
        silent = _silence(stored)
        return stored.replace(message=f"no sign of life for {silent:.0f} s") if silent > SILENCE_S else stored
    latest = folder.read_status()  # it may have ended properly since `stored` was read
    return stored.replace(state="failed", eta_s=None, error=_failure_text(folder, stored)) if latest.active else latest


def statuses_of_shards(folder: RunFolder) -> list[Status]:
    """Return the statuses of a run's shards as they are now."""
    return [current_status(shard, shard.read_status()) for shard in shards_of(folder)]


def _with_shards(folder: RunFolder, status: Status) -> Status:
    """Return the status of a run whose job waits for its shards, with what these do."""
    if status.state != "queued" or not shards_of(folder):
        return status
    statuses = statuses_of_shards(folder)
    if all(of_shard.state == "finished" for of_shard in statuses):
        return status
    progress, words = summary(statuses)
    works = any(of_shard.state == "running" for of_shard in statuses)
    return status.replace(
        state="running" if works else "queued", progress=progress, message=words if works else status.message
    )


def _silence(status: Status) -> float:
    return time.time() - (status.heartbeat or status.launched or time.time())


def _has_process(folder: RunFolder, status: Status) -> bool:
    if status.host not in (None, local.host()):  # its number means nothing here: the heartbeat and the lock tell
        return _silence(status) < LOST_S or is_held(folder.path / WORKER_LOCK)
    # The lock decides where the start times differ: setting the clock moves every process's start time.
    return local.is_alive(status.pid, status.pid_started) or is_held(folder.path / WORKER_LOCK)


def _failure_text(folder: RunFolder, status: Status) -> str:
    last = next((line.strip() for line in reversed(folder.log_tail(20)) if line.strip()), "the log is empty")
    if _is_full(folder):  # not even its last word was written
        return disk_full(folder.path)
    if status.heartbeat is None:
        return f"its process did not start: {last[:300]}"
    if status.host not in (None, local.host()):
        return f"its process on {status.host} has given no sign of life for {LOST_S / 60:g} minutes"
    return f"its process {status.pid} vanished (killed, or out of memory?); the log ends with: {last[:200]}"


def _is_full(folder: RunFolder) -> bool:
    return shutil.disk_usage(folder.path).free < NO_ROOM_BYTES
