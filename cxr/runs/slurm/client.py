"""Slurm's own programs: asking after a job, cancelling it, listing partitions; answers are kept for a few seconds."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass

from cxr.errors import RunError, require
from cxr.runs.folder import RunFolder

FOLDER = "slurm"  # below the run's folder: the job's script, its pickle, and what Slurm itself had to say
CACHE_S = 3.0
_ASK_S = 20.0
ENDINGS = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled in Slurm",
    "COMPLETED": "the job ended without saying how the run ended",
    "DEADLINE": "its deadline passed before it ended",
    "FAILED": "its process ended with an error",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than requested: request more with mem=, or use a smaller batch",
    "PREEMPTED": "another job took its place",
    "REVOKED": "another cluster took it over",
    "TIMEOUT": "its time limit was reached before it could save: give it more with time= or warn=",
}


def here() -> bool:
    """Return whether jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None and shutil.which("srun") is not None


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job: its state (``UNKNOWN`` if it knows no such job), the reason, the nodes."""

    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def waits(self) -> bool:
        """Whether it has not begun, or not begun again."""
        return self.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")

    @property
    def ended(self) -> bool:
        """Whether it is over, in whatever way, or forgotten."""
        return self.state in ENDINGS or self.state == "UNKNOWN"


def ask(job: str, owner: str = "", fresh: bool = False) -> Job | None:
    """Return what Slurm says of a job, or None if it cannot be asked from here (no squeue, controller away).

    One squeue for all jobs of ``owner`` (default: this user), at most every three seconds unless ``fresh``; a job that
    squeue has forgotten is looked up in the accounting, where there is one.
    """
    owner = owner or str(os.getuid())
    jobs = _squeue(owner, fresh)
    if jobs is not None and job not in jobs and job not in _unlisted and not fresh:
        jobs = _squeue(owner, fresh=True)  # it may have been submitted since the answer that was kept
    if jobs is None:
        return None
    if job in jobs:
        return jobs[job]
    _unlisted.add(job)
    return _sacct(job)


def cancel(job: str) -> None:
    """End a job at once, whether it waits or runs.

    Raises
    ------
    RunError
        If scancel fails.
    """
    with contextlib.suppress(RunError):  # it has no processes yet, or none any more
        _run("scancel", "--signal=KILL", f"{job}.0")  # at once; a job as a whole is left half a minute to end
    _scancel(job)


def cancel_waiting(folder: RunFolder, job: str) -> bool:
    """Take a job that waits out of Slurm's queue; return whether it is out, False if it has begun."""
    try:
        if "_" in job:  # of an array: by its state all elements that wait would be cancelled
            _run("scontrol", "hold", job)  # fails for one that has begun; held it does not begin meanwhile
            _scancel(job)
        else:
            _scancel(job, "--state=PENDING")
    except RunError:  # the flag alone has to do: a job that begins sees it and ends
        return False
    latest = ask(job, owner_of(folder), fresh=True)
    return latest is not None and latest.state == "CANCELLED"


def cancel_waiting_elements(array: str) -> None:
    """Take the elements of an array that wait out of Slurm's queue; also a single job.

    Raises
    ------
    RunError
        If scancel fails.
    """
    _scancel(array, "--state=PENDING")


def array_of(job: str) -> str:
    """Return the number of the array that a job is an element of; of another job its own."""
    return job.partition("_")[0]


@dataclass(frozen=True)
class Partition:
    """A partition: its name, its longest time as Slurm writes it, whether it is the default, takes jobs, has GPUs."""

    name: str
    limit: str
    default: bool
    up: bool
    gpus: int


def partitions() -> list[Partition]:
    """Return the partitions, the default one first; empty if Slurm does not answer."""
    try:
        lines = _run("sinfo", "--noheader", "--format=%P|%l|%a|%G").splitlines()
    except RunError:
        return []
    by_name: dict[str, Partition] = {}
    for name, limit, up, resources in (line.split("|", 3) for line in lines if line.count("|") >= 3):
        gpus = sum(int(count) for count in re.findall(r"gpu:(?:[^:,()]+:)?(\d+)", resources))
        most = max(gpus, by_name[name].gpus if name in by_name else 0)  # a line for each sort of node
        by_name[name] = Partition(name.rstrip("*"), limit, name.endswith("*"), up == "up", most)
    return sorted(by_name.values(), key=lambda partition: not partition.default)


def owner_of(folder: RunFolder) -> str:
    """Return the user id that submitted the run: in a shared folder it may be a colleague."""
    try:
        return str(folder.path.stat().st_uid)
    except OSError:
        return ""


_cache: dict[str, tuple[float, dict[str, Job] | None]] = {}
_unlisted: set[str] = set()  # jobs that squeue has forgotten: a kept answer without them is no older than they are
_forgotten: dict[str, Job] = {}
_asking = threading.Lock()


def _squeue(owner: str, fresh: bool) -> dict[str, Job] | None:
    with _asking:
        answered, jobs = _cache.get(owner, (0.0, None))
        if fresh or not answered or time.monotonic() - answered > CACHE_S:
            jobs = _ask_squeue(owner)
            _cache[owner] = (time.monotonic(), jobs)
        return jobs


def _ask_squeue(owner: str) -> dict[str, Job] | None:
    try:
        output = _run("squeue", "--noheader", "--array", "--states=all", f"--user={owner}", "--format=%i|%T|%r|%N")
    except RunError:
        return None
    rows = [line.strip().split("|", 3) for line in output.splitlines() if line.count("|") >= 3]
    return {number: Job(state, "" if reason == "None" else reason, nodes) for number, state, reason, nodes in rows}


def _sacct(job: str) -> Job:
    """Return what the accounting says of a job that squeue no longer lists."""
    if job not in _forgotten:
        try:
            first, *_ = _run("sacct", "-n", "-X", "-P", "-j", job, "-o", "State,NodeList").splitlines()
            state, _, nodes = first.partition("|")
            past = Job(state.split()[0], "", nodes)  # "CANCELLED by 1000"
        except (RunError, ValueError, IndexError):
            past = Job("UNKNOWN")
        if not past.ended or past.state == "UNKNOWN":
            return past
        _forgotten[job] = past
    return _forgotten[job]


def _scancel(job: str, *arguments: str) -> None:
    try:
        _run("scancel", *arguments, job)
    except RunError:
        now = ask(job, fresh=True)
        if now is None or not now.ended:  # else it is over already: as wished
            raise


def _run(*command: str) -> str:
    """Run one of Slurm's programs and return what it prints; RunError with its last line if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise RunError(f"no Slurm here: `{command[0]}` is not found") from error
    except subprocess.TimeoutExpired as error:
        raise RunError(f"Slurm does not answer: `{command[0]}` took more than {_ASK_S:g} s") from error
    if done.returncode:
        raise RunError(f"`{' '.join(command)}` failed: {one_line(done.stderr)}")
    return done.stdout


def need_slurm() -> None:
    """Raise RunError unless jobs can be submitted from this machine, MissingPackageError without submitit."""
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise RunError(f"no Slurm here: `{program}` is not found; leave --slurm away or run on a login node")
    require("submitit", extra="slurm")


def one_line(text: str) -> str:
    """Return what one of Slurm's programs said, in one line without the program's name."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return re.sub(r"\b(sbatch|scancel|squeue|sinfo): (error|fatal): ", "", "; ".join(lines))[:400] or "without a word"
