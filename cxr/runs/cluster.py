"""The same run on a cluster: submitted to Slurm, asked after, stopped and cancelled there.

The folder stays the truth: the job writes its status and its heartbeat into it as a local process does, over a file
system that both machines share. Slurm is asked only while the folder is silent: whether the job waits, and for what,
or how it ended. What happens inside the job is :mod:`cxr.runs.cluster_job`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cxr.errors import RunError
from cxr.runs import launch
from cxr.runs.devices import wish_of
from cxr.runs.folder import ACTIVE, RunFolder

FOLDER = "slurm"  # below the run's folder: the job's script, its pickle, and what Slurm itself had to say
SUBMITTING = "submitting to Slurm"
SUBMITTING_S = 120.0  # how long sbatch may take to answer
CACHE_S = 3.0
_ASK_S = 20.0

OURS = ("array", "signal", "output", "error", "open-mode", "ntasks", "ntasks-per-node", "requeue", "no-requeue", "wrap")
_KEYS = {
    "partition": "partition",
    "time": "minutes",
    "gpus": "gpus",
    "nodes": "nodes",
    "cpus": "cpus",
    "mem": "memory_gb",
    "account": "account",
    "requeues": "requeues",
    "warn": "warn_s",
}
_ENDED = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled in Slurm",
    "COMPLETED": "the job ended without a last word",
    "DEADLINE": "it could not end before its deadline",
    "FAILED": "its process ended with an error",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than it had asked for: ask for more with mem=, or take a smaller batch",
    "PREEMPTED": "it had to make room for another job",
    "REVOKED": "another cluster took it over",
    "TIMEOUT": "its time was over before it could save: ask for more with time=, or a longer warning with warn=",
}
_REASONS = {
    "BeginTime": "Slurm waits a little before it starts a job again",
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


@dataclass(frozen=True)
class Slurm:
    """What a run asks of Slurm.

    Attributes
    ----------
    partition
        The partition; the cluster's default if empty.
    minutes
        The time limit. A training that needs longer saves before it and is queued again.
    gpus
        GPUs on each node; a training runs one process on each of them.
    nodes
        Number of nodes.
    cpus
        Processor cores of each process.
    memory_gb
        Memory of each node in GiB; the cluster's default if None.
    account
        The account that pays, where there are such.
    requeues
        How often the run may be queued again after its time was over.
    warn_s
        How many seconds before its time is over it begins to save.
    extra
        Further options of sbatch by their long names, such as ``{"qos": "high", "exclusive": "true"}``.

    Raises
    ------
    RunError
        For a value out of range or an option that cxr sets itself.
    """

    partition: str = ""
    minutes: int = 60
    gpus: int = 0
    nodes: int = 1
    cpus: int = 2
    memory_gb: float | None = None
    account: str = ""
    requeues: int = 10
    warn_s: int = 120
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("minutes", 1), ("gpus", 0), ("nodes", 1), ("cpus", 1), ("requeues", 0), ("warn_s", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise RunError(f"slurm: {name} is {value!r}. Allowed: a whole number from {least}")
        if self.memory_gb is not None and not self.memory_gb > 0:
            raise RunError(f"slurm: memory_gb is {self.memory_gb!r}. Allowed: a number above 0, or None")
        for name, value in {"partition": self.partition, "account": self.account, **self.extra}.items():
            _check_option(name, value)

    @classmethod
    def parse(cls, text: str) -> Slurm:
        """Read ``partition=debug,time=30,gpus=1,...`` as the command line has it; other keys are sbatch's options.

        Raises
        ------
        RunError
            For what is no pair, no number where one is needed, or a value out of range.
        """
        known: dict[str, Any] = {}
        extra: dict[str, str] = {}
        for pair in filter(None, (part.strip() for part in text.split(","))):
            key, equals, value = pair.partition("=")
            if not (key and equals and value):
                raise RunError(f"slurm: {pair!r} is not of the form key=value, as in partition=gpu,time=120,gpus=1")
            if key in _KEYS:
                known[_KEYS[key]] = _value(key, value)
            else:
                extra[key] = value
        return cls(**known, extra=extra)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Slurm:
        """Return what a run's spec holds under ``slurm``."""
        return cls(**stored)

    def stored(self) -> dict[str, Any]:
        """Return the settings as the spec keeps them."""
        return dataclasses.asdict(self) | {"extra": dict(self.extra)}

    def option(self) -> str:
        """Return the settings as ``--slurm`` takes them: what differs from the defaults, and the time."""
        default = Slurm()
        shown = {
            key: f"{value:g}" if isinstance(value, float) else str(value)
            for key, name in _KEYS.items()
            if (value := getattr(self, name)) != getattr(default, name) or name == "minutes"
        }
        return ",".join(f"{key}={value}" for key, value in (shown | dict(self.extra)).items())

    def tasks(self, kind: str, params: Mapping[str, Any]) -> int:
        """Return the number of processes, one per GPU; without GPUs as many as the recipe has devices.

        Raises
        ------
        RunError
            If the recipe wants another number of devices, or a GPU where none is asked for, or the work is not one
            that several processes share.
        """
        values = params.get("recipe") if isinstance(params.get("recipe"), Mapping) else {}
        device, devices = wish_of(kind, params)
        if device.startswith("cuda") and not self.gpus:
            raise RunError(f"slurm: the recipe wants device {device!r} but no GPU is asked for: add gpus=1")
        if kind == "study":
            raise RunError("slurm: a study starts its trainings beside itself. Allowed: each training submitted alone")
        total = self.nodes * (self.gpus or max(1, devices // self.nodes))
        if total > 1 and kind != "train":
            raise RunError(f"slurm: {kind!r} is the work of one process. Allowed: nodes=1 and gpus=0 or 1")
        if devices not in (1, total) or (total > 1 and not values):
            raise RunError(
                f"slurm: {self.nodes} nodes with {self.gpus} GPUs each make {total} processes, the recipe has "
                f"devices {devices}. Allowed: devices {total}, or 1 to have it set"
            )
        return total


def here() -> bool:
    """Return whether jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None and shutil.which("srun") is not None


def prepared(slurm: Slurm, kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``params`` with the recipe's number of devices set to that of the job's processes.

    Raises
    ------
    RunError
        If there is no Slurm here, or the settings and the recipe do not fit (see :meth:`Slurm.tasks`).
    """
    _need_slurm()
    tasks = slurm.tasks(kind, params)
    return {**params, "recipe": {**params["recipe"], "devices": tasks}} if tasks > 1 else dict(params)


def submit(folder: RunFolder, anew: bool) -> str:
    """Submit the run in ``folder`` and return the number of its job; ``anew`` if it begins anew when queued again.

    Raises
    ------
    RunError
        If there is no Slurm here or sbatch refuses; the text quotes it.
    """
    _need_slurm()
    from cxr.runs.cluster_job import submit as submit_task

    spec = folder.spec
    slurm = Slurm.of(spec["slurm"])
    try:
        job = submit_task(folder, slurm, slurm.tasks(spec["kind"], spec["params"]), anew)
    except subprocess.CalledProcessError as error:
        raise RunError(_refusal(slurm, str(error.stderr or error.output or error))) from error
    folder.update_status(job=job)
    return job


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
        return self.state in _ENDED or self.state == "UNKNOWN"


def ask(job: str, owner: str = "", fresh: bool = False) -> Job | None:
    """Return what Slurm says of a job, or None if it cannot be asked from here (no squeue, controller away).

    One squeue for all jobs of ``owner`` (default: this user), at most every three seconds unless ``fresh``; a job that
    squeue has forgotten is looked up in the accounting, where there is one.
    """
    jobs = _squeue(owner or str(os.getuid()), fresh)
    if jobs is None:
        return None
    return jobs.get(job) or _sacct(job)


def as_slurm_says(folder: RunFolder, stored: Mapping[str, Any], silence_s: float) -> dict[str, Any]:
    """Return the status of an active run on a cluster, corrected by what became of its job; reads only."""
    status = dict(stored)
    if not status["job"]:
        if time.time() - (status["launched"] or 0) > SUBMITTING_S:
            status.update(state="failed", eta_s=None, error="it never reached Slurm; resume it to try again")
        return status
    silent = time.time() - (status["heartbeat"] or 0)
    if silent < silence_s and not _died_here(status):
        return status
    job = ask(status["job"], _owner(folder))
    if job is not None and job.ended:
        current = folder.read_status()  # it may have come to its own end since `stored` was read
        return current if current["state"] not in ACTIVE else {**status, **_obituary(folder, current, job)}
    return status | _alive(status, job, silent)


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
        _scancel("--state=PENDING", job)
    except RunError:  # the flag alone has to do: a job that begins sees it and ends
        return False
    found = ask(job, _owner(folder), fresh=True)
    return found is not None and found.state == "CANCELLED"


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
    found: dict[str, Partition] = {}
    for name, limit, up, resources in (line.split("|", 3) for line in lines if line.count("|") >= 3):
        gpus = sum(int(count) for count in re.findall(r"gpu:(?:[^:,()]+:)?(\d+)", resources))
        most = max(gpus, found[name].gpus if name in found else 0)  # a line for each sort of node
        found[name] = Partition(name.rstrip("*"), limit, name.endswith("*"), up == "up", most)
    return sorted(found.values(), key=lambda partition: not partition.default)


def _alive(status: Mapping[str, Any], job: Job | None, silent: float) -> dict[str, Any]:
    """Return what to change in the status of a run whose job is not over."""
    if job is None:
        return {"message": f"{status['message']}; Slurm cannot be asked about job {status['job']} from here"}
    if job.waits:
        why = f"{job.reason}: {_REASONS[job.reason]}" if job.reason in _REASONS else job.reason or "no reason told"
        told = "in Slurm's queue" if status["message"] == SUBMITTING else status["message"]
        state = status["state"] if status["state"] == "stopping" else "queued"
        return {"state": state, "eta_s": None, "message": f"{told} (job {status['job']}, {why})"}
    if status["heartbeat"] is None:
        told = "starting" if status["message"] == SUBMITTING else status["message"]
        return {"message": f"{told} (job {status['job']}, on {job.nodes or 'its node'})"}
    return {"message": f"no sign of life for {silent:.0f} s; its Slurm job {status['job']} is {job.state}"}


def _obituary(folder: RunFolder, status: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Return what to change in the status of a run whose job is over while the run had not ended."""
    number = status["job"]
    if folder.stop_asked() and job.state in ("CANCELLED", "UNKNOWN"):
        return {"state": "stopped", "eta_s": None, "message": "stopped"}
    last = next((line.strip() for line in reversed(_last_words(folder, number)) if line.strip()), "empty")
    if job.state == "UNKNOWN":
        told = f"Slurm no longer knows its job {number}"
    else:
        told = f"Slurm job {number} is {job.state}: {_ENDED[job.state]}"
    return {"state": "failed", "eta_s": None, "error": f"{told}; the log ends with: {last[:200]}"}


def _last_words(folder: RunFolder, job: str) -> list[str]:
    """Return the end of the run's log, or of what the job wrote before the run could log."""
    lines = folder.log_tail(20)
    if any(line.strip() for line in lines):
        return lines
    try:
        return (folder.path / FOLDER / f"{job}_0_log.err").read_text(errors="replace").splitlines()[-20:]
    except OSError:
        return []


def _died_here(status: Mapping[str, Any]) -> bool:
    """Return whether the worker ran on this very machine and is gone."""
    return status["host"] == launch.host() and not launch.is_alive(status["pid"], status["pid_started"])


def _owner(folder: RunFolder) -> str:
    """Return the user id that submitted the run: in a shared folder it may be a colleague."""
    try:
        return str(folder.path.stat().st_uid)
    except OSError:
        return ""


_cache: dict[str, tuple[float, dict[str, Job] | None]] = {}
_forgotten: dict[str, Job] = {}
_asking = threading.Lock()


def _squeue(owner: str, fresh: bool) -> dict[str, Job] | None:
    with _asking:
        asked, jobs = _cache.get(owner, (0.0, None))
        if fresh or not asked or time.monotonic() - asked > CACHE_S:
            jobs = _ask_squeue(owner)
            _cache[owner] = (time.monotonic(), jobs)
        return jobs


def _ask_squeue(owner: str) -> dict[str, Job] | None:
    try:
        told = _run("squeue", "--noheader", "--states=all", f"--user={owner}", "--format=%i|%T|%r|%N")
    except RunError:
        return None
    rows = [line.strip().split("|", 3) for line in told.splitlines() if line.count("|") >= 3]
    return {number: Job(state, "" if reason == "None" else reason, nodes) for number, state, reason, nodes in rows}


def _sacct(job: str) -> Job:
    """Return what the accounting says of a job that squeue no longer lists."""
    if job not in _forgotten:
        try:
            first, *_ = _run("sacct", "-n", "-X", "-P", "-j", job, "-o", "State,NodeList").splitlines()
            state, _, nodes = first.partition("|")
            found = Job(state.split()[0], "", nodes)  # "CANCELLED by 1000"
        except (RunError, ValueError, IndexError):
            found = Job("UNKNOWN")
        if not found.ended or found.state == "UNKNOWN":
            return found
        _forgotten[job] = found
    return _forgotten[job]


def _scancel(*arguments: str) -> None:
    try:
        _run("scancel", *arguments)
    except RunError as error:
        if not re.search("invalid job id|already completed", str(error), re.IGNORECASE):  # over already: as wished
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
        raise RunError(f"`{' '.join(command)}` failed: {_one_line(done.stderr)}")
    return done.stdout


def _need_slurm() -> None:
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise RunError(f"no Slurm here: `{program}` is not found; leave --slurm away or run on a login node")


def _refusal(slurm: Slurm, told: str) -> str:
    text = f"Slurm refused the run: {_one_line(told)}"
    known = partitions()
    if "partition" in told.lower() and known:
        text += f". Partitions: {', '.join(f'{item.name} (up to {item.limit})' for item in known)}"
    return f"{text} (asked for {slurm.option()})"


def _one_line(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return re.sub(r"\b(sbatch|scancel|squeue|sinfo): (error|fatal): ", "", "; ".join(lines))[:400] or "without a word"


def _value(key: str, value: str) -> Any:
    try:
        if key in ("partition", "account"):
            return value
        if key == "mem":
            return float(re.sub("(?i)gi?b?$", "", value))
        return _minutes(value) if key == "time" else int(value)
    except ValueError as error:
        allowed = {"time": "minutes, HH:MM:SS or D-HH:MM:SS", "mem": "a number of GiB"}.get(key, "a whole number")
        raise RunError(f"slurm: {key} is {value!r}. Allowed: {allowed}") from error


def _minutes(text: str) -> int:
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if len(parts) == 1 and not dash:
        return parts[0]
    if len(parts) != 3:
        raise ValueError(text)
    hours, minutes, seconds = parts
    return int(days or 0) * 1440 + hours * 60 + minutes + (seconds > 0)


def _check_option(name: str, value: object) -> None:
    if name in OURS:
        raise RunError(f"slurm: {name} is set by cxr itself. Allowed: {', '.join(_KEYS)} and other options of sbatch")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise RunError(f"slurm: {name!r} is no option of sbatch. Allowed: long names such as qos or constraint")
    if not isinstance(value, str) or not value.isprintable():
        raise RunError(f"slurm: {name} is {value!r}. Allowed: one line of text")
