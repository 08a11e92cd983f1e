"""The same run on a cluster: submitted to Slurm, asked after, stopped and cancelled there.

The folder stays the truth: the job writes its status and its heartbeat into it as a local process does, over a file
system that both machines share. Slurm is asked only while the folder is silent: whether the job waits, and for what,
or how it ended. What happens inside the job is :mod:`cxr.runs.slurm.job`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from cxr.runs import local
from cxr.runs.folder import RunFolder
from cxr.runs.kinds import KINDS
from cxr.runs.shards.folders import ShardFolder
from cxr.runs.slurm.client import ENDINGS, FOLDER, Job, ask, owner_of
from cxr.runs.slurm.submit import SUBMITTING_S
from cxr.runs.spec import is_run_id
from cxr.runs.status import Status, StatusFields

_REASONS = {
    "BeginTime": "Slurm waits a little before it starts a job again",
    "JobArrayTaskLimit": "no more of its array may run at the same time",
    "JobHeldAdmin": "an administrator holds it back",
    "JobHeldUser": "it is held back: `scontrol release` lets it go on",
    "launch failed requeued held": "its node could not start it: `scontrol release` lets it go on",
    "Dependency": "another job has to end first",
    "PartitionDown": "the partition takes no jobs now",
    "PartitionNodeLimit": "the partition never gives so many nodes: stop it and ask for less",
    "PartitionTimeLimit": "the partition never gives so much time: stop it and ask for less",
    "Priority": "others are ahead",
    "ReqNodeNotAvail": "the nodes that it needs are not available",
    "Resources": "no node is free yet",
}


def as_slurm_says(folder: RunFolder, stored: Status, silence_s: float) -> Status:
    """Return the status of an active run on a cluster, corrected by what became of its job; reads only."""
    if not stored.job:
        if time.time() - (stored.launched or 0) <= SUBMITTING_S:
            return stored
        return stored.replace(state="failed", eta_s=None, error="it never reached Slurm; resume it to try again")
    silent = time.time() - (stored.heartbeat or 0)
    if silent < silence_s and not _died_here(stored):
        return stored
    job = ask(stored.job, owner_of(folder))
    if job is not None and job.ended:
        latest = folder.read_status()  # it may have come to its own end since `stored` was read
        return stored.replace(**_failure_text(folder, latest, job)) if latest.active else latest
    return stored.replace(**_alive(stored, job, silent))


def _alive(status: Status, job: Job | None, silent: float) -> StatusFields:
    """Return what to change in the status of a run whose job is not over."""
    if job is None:
        return {"message": f"{status.message}; Slurm cannot be asked about job {status.job} from here"}
    if job.waits:
        why = f"{job.reason}: {_REASONS[job.reason]}" if job.reason in _REASONS else job.reason or "no reason given"
        message = "in Slurm's queue" if status.submitting else status.message
        state = status.state if status.state == "stopping" else "queued"
        return {"state": state, "eta_s": None, "message": f"{message} (job {status.job}, {why})"}
    if status.heartbeat is None:
        message = "starting" if status.submitting else status.message
        return {"message": f"{message} (job {status.job}, on {job.nodes or 'its node'})"}
    return {"message": f"no sign of life for {silent:.0f} s; its Slurm job {status.job} is {job.state}"}


def _failure_text(folder: RunFolder, status: Status, job: Job) -> StatusFields:
    """Return what to change in the status of a run whose job is over while the run had not ended."""
    number = status.job or ""
    if folder.user_stop_requested() and job.state in ("CANCELLED", "UNKNOWN"):
        return {"state": "stopped", "eta_s": None, "message": "stopped"}
    last = next((line.strip() for line in reversed(_log_of_job(folder, number)) if line.strip()), "empty")
    if job.state == "UNKNOWN":
        ending = f"Slurm no longer knows its job {number}"
    else:
        ending = f"Slurm job {number} is {job.state}: {ENDINGS[job.state]}"
    return {"state": "failed", "eta_s": None, "error": f"{ending}; the log ends with: {last[:200]}"}


def _log_of_job(folder: RunFolder, job: str) -> list[str]:
    """Return the end of the run's log, or of what the job wrote before the run could log."""
    lines = folder.log_tail(20)
    if any(line.strip() for line in lines):
        return lines
    for home in _homes(folder):
        with contextlib.suppress(OSError):
            return (home / FOLDER / f"{job}_0_log.err").read_text(errors="replace").splitlines()[-20:]
    return []


def _homes(folder: RunFolder) -> Iterator[Path]:
    """Yield the folders below which a run's job may have its files: its own, and that of the run it belongs to."""
    yield folder.path
    if isinstance(folder, ShardFolder):
        yield folder.run.path
    spec = folder.spec
    starters = (spec["params"].get(kind.name) for kind in KINDS.values() if spec["kind"] in kind.members)
    yield from (folder.path.parent / str(starter) for starter in starters if is_run_id(starter))


def _died_here(status: Status) -> bool:
    """Return whether the worker ran on this very machine and is gone."""
    return status.host == local.host() and not local.is_alive(status.pid, status.pid_started)
