"""A run as users of the package see it: start it, watch it, stop it, resume it, find it again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr import paths
from cxr.errors import RunError, unknown
from cxr.locks import is_held
from cxr.runs import local
from cxr.runs.folder import ACTIVE, ENDED, RESULTS, WORKER_LOCK, RunFolder, is_run_id
from cxr.runs.slurm import client, submit
from cxr.runs.slurm.settings import Slurm
from cxr.runs.slurm.status import as_slurm_says
from cxr.runs.storage import DiskFullError, disk_full

if TYPE_CHECKING:
    import pandas as pd

KINDS = {
    "train": "train a network by a recipe",
    "evaluate": "measure a trained network on splits of a manifest",
    "explain": "heatmaps of many images",
    "text-experiment": "accuracy before and after masking burned-in text",
    "text-stamping": "predictions that move to a class when a token is stamped onto X-rays",
    "text-vocabulary": "which burned-in tokens a data set holds, by class",
    "import": "read a data set, split it and keep it under a name",
    "demo": "make synthetic X-rays",
    "study": "several recipes x several seeds, one training after another",
}
CONTINUES = ("train", "study")  # kinds that resume from a checkpoint; the others begin anew

NO_PROCESS_S = 10.0  # how long a queued run may be without a process: its launcher may be about to start it
SILENCE_S = 30.0  # how old a heartbeat may be before the status says so
LOST_S = 120.0  # how old that of a process on another machine may be before the run counts as failed
NO_ROOM_BYTES = 4096  # a disk with less room is full
_PATHS = frozenset({"path", "manifest"})  # parameters that are a path
_FILES_OR_NAMES = frozenset({"model", "weights", "data", "run", "image"})  # a path only if there is such a file
_POLL_S = 0.2


class Run:
    """One run.

    Parameters
    ----------
    where
        A run's id (looked for in ``cxr.paths.runs_root()``), its folder, or a :class:`RunFolder`.
    """

    def __init__(self, where: RunFolder | str | os.PathLike[str]) -> None:
        if isinstance(where, RunFolder):
            self.folder = where
        else:
            self.folder = RunFolder(paths.runs_root() / where if is_run_id(where) else where)
        self._spec: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    @property
    def spec(self) -> dict[str, Any]:
        """What was asked for (see ``RunFolder.spec``); read once, since it never changes."""
        if self._spec is None:
            self._spec = self.folder.spec
        return self._spec

    @property
    def kind(self) -> str:
        """The kind of work, one of ``KINDS``."""
        return str(self.spec["kind"])

    @property
    def name(self) -> str:
        """The name that its user gave it."""
        return str(self.spec.get("name") or self.id)

    @property
    def active(self) -> bool:
        """Whether it is queued, running or stopping."""
        return self.status()["state"] in ACTIVE

    def status(self) -> dict[str, Any]:
        """Return the status, told as it is now: an active run whose process is gone is ``failed``.

        Keys are those of status.json: state, progress (0 to 1), message, eta_s, pid, pid_started, heartbeat, error,
        launched, started, ended (Unix times), resumes, metrics_generation, host (where its process runs), job (of a
        run on a cluster: the number of its Slurm job, "" until it has one) and requeues. Reads only, never writes.
        """
        return _as_it_is(self.folder, self.folder.read_status())

    def metrics(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Return the metrics rows after byte ``since`` and the next offset (see ``RunFolder.metrics``)."""
        return self.folder.metrics(since)

    def results(self) -> dict[str, Any] | None:
        """Return results.json, or None as long as there is none."""
        return self.folder.read_json(RESULTS)

    def predictions(self) -> pd.DataFrame | None:
        """Return the predictions, or None as long as there are none."""
        return self.folder.predictions()

    def wait(
        self, timeout: float | None = None, progress: Callable[[float, str], None] | None = None
    ) -> dict[str, Any]:
        """Wait until the run is over and return its status; ``progress`` is called at every change.

        Raises
        ------
        TimeoutError
            If it is not over after ``timeout`` seconds; the run goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        seen: tuple[float, str] | None = None
        while True:
            status = self.status()
            now = (float(status["progress"] or 0), str(status["message"]))
            if progress is not None and now != seen:
                progress(*now)
                seen = now
            if status["state"] in ENDED:
                return status
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"run {self.id} is still {status['state']} after {timeout:g} s")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Ask the run to save its work and end; returns at once, :meth:`wait` waits for it.

        Raises
        ------
        RunError
            If it is over already.
        """
        with self.folder.status_transaction() as stored:
            status = _as_it_is(self.folder, stored)
            if status["state"] in ENDED:
                raise RunError(f"run {self.id} is {status['state']} already: there is nothing to stop")
            self.folder.request_stop()
            stored.update(state="stopping", message="stopping after the present step")
        if status["job"]:
            self._leave_slurms_queue(status["job"])
            return
        # Before the first heartbeat the signal could still kill the process; the flag alone is seen later.
        if status["heartbeat"] is not None:
            local.send_signal(status, signal.SIGTERM)

    def kill(self) -> None:
        """End the run's processes at once; what was done since the last checkpoint is lost.

        Raises
        ------
        RunError
            If it is over already.
        """
        status = self.status()
        if status["state"] in ENDED:
            raise RunError(f"run {self.id} is {status['state']} already: there is nothing to kill")
        if status["job"]:
            client.cancel(status["job"])
        else:
            local.send_signal(status, signal.SIGKILL)
            local.sweep(self.folder, status["pid"])
        with self.folder.status_transaction() as stored:
            if stored["state"] in ACTIVE:  # else it came to its own end just before
                stored.update(state="stopped", message="killed", ended=time.time(), eta_s=None)
        if self.kind == "study":  # its process is gone and starts no further one
            for member in members_of(self):
                with contextlib.suppress(RunError):  # over already
                    member.kill()

    def resume(self) -> Run:
        """Start a stopped or failed run again: training goes on from its checkpoint, other kinds begin anew.

        Raises
        ------
        RunError
            If it is active or finished; of two calls at once only one succeeds.
        """
        anew = self.kind not in CONTINUES
        with self.folder.status_transaction() as stored:
            status = _as_it_is(self.folder, stored)
            if status["state"] not in ("stopped", "failed"):
                raise RunError(f"run {self.id} is {status['state']}: only a stopped or failed run can be resumed")
            self.folder.clear_stop()
            self.folder.clear_room()
            stored.update(_QUEUED, launched=time.time(), resumes=stored["resumes"] + 1)
            if anew:
                stored.update(progress=0.0)
        local.sweep(self.folder, status["pid"])
        if anew:
            self.folder.truncate_metrics(0)
        try:
            _launch(self.folder)
        except RunError:  # Slurm refuses: the run is as it was
            with self.folder.status_transaction() as stored:
                stored.update({**status, "metrics_generation": stored["metrics_generation"]})
            raise
        return self

    def _leave_slurms_queue(self, job: str) -> None:
        """End the run if it only waits in Slurm; the flag ends one that has begun."""
        if client.cancel_waiting(self.folder, job):
            with self.folder.status_transaction() as stored:
                if stored["state"] in ACTIVE:
                    stored.update(state="stopped", message="stopped while it waited", ended=time.time(), eta_s=None)

    def delete(self) -> None:
        """Remove the run and all its files.

        Raises
        ------
        RunError
            If it is active.
        """
        status = self.status()
        if status["state"] in ACTIVE:
            raise RunError(f"run {self.id} is {status['state']}: stop it before deleting it")
        gone = self.folder.path.with_name(f".deleted-{self.id}")
        self.folder.path.rename(gone)  # out of every list at once, whatever happens while the files go
        shutil.rmtree(gone, ignore_errors=True)


_QUEUED: dict[str, Any] = {
    "state": "queued",
    "message": "starting",
    "eta_s": None,
    "pid": None,
    "pid_started": None,
    "heartbeat": None,
    "error": None,
    "ended": None,
    "host": None,
    "job": None,
    "requeues": 0,
}


def start(
    kind: str | Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    root: str | os.PathLike[str] | None = None,
    manifest_hash: str = "",
    detached: bool = True,
    progress: Callable[[float, str], None] | None = None,
    where: Slurm | None = None,
) -> Run:
    """Make a run's folder and start the process that does the work.

    Parameters
    ----------
    kind
        One of ``KINDS``; or a whole spec with its ``kind`` and ``params``, such as another run's, to do that again.
    params
        What the work needs, as JSON allows it. Paths of files are made absolute, since the process starts in the
        project's folder.
    name
        For people; it also ends the id. The default is the kind.
    root
        Folder of runs, default ``cxr.paths.runs_root()``.
    manifest_hash
        ``Manifest.hash()`` of the data, if there are any.
    detached
        True returns at once. False waits until the run is over; the work is done in a process of its own just the
        same, so that it can be stopped and watched from elsewhere.
    progress
        With ``detached=False``: called with (fraction, message) at every change.
    where
        None: on this machine (for a whole spec: where that one says). ``cxr.runs.Slurm(...)``: submitted to a cluster
        that shares the folders of runs and data; a training's recipe gets one device per process of the job.

    Raises
    ------
    RunError
        If ``kind`` is unknown, or Slurm is not here or refuses; no folder is left then.
    """
    if isinstance(kind, Mapping):
        spec = kind
        kind, params = spec.get("kind", ""), {**spec.get("params", {}), **(params or {})}
        name, manifest_hash = name or spec.get("name", ""), manifest_hash or spec.get("manifest_hash", "")
        where = where or (Slurm.of(spec["slurm"]) if spec.get("slurm") else None)
    if kind not in KINDS:
        raise RunError(unknown("kind of run", kind, KINDS))
    params = _absolute(params or {})
    if where is not None:
        params = submit.prepared(where, kind, params)
    slurm = where.stored() if where is not None else None
    folder = RunFolder.create(root or paths.runs_root(), kind, params, name, manifest_hash, slurm)
    folder.update_status(launched=time.time(), message="starting")
    try:
        _launch(folder)
    except RunError:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    run = Run(folder)
    if not detached:
        run.wait(progress=progress)
    return run


def get_run(run_id: str, root: str | os.PathLike[str] | None = None) -> Run:
    """Return the run with this id.

    Raises
    ------
    RunError
        If ``run_id`` has not the form of an id (a path, say) or there is no such run.
    """
    if not is_run_id(run_id):
        raise RunError(f"{str(run_id)[:80]!r} is not a run's id: letters, digits, - and _ only")
    folder = RunFolder(Path(root or paths.runs_root()) / run_id)
    if not (folder.path / "spec.json").is_file():
        raise RunError(f"there is no run {run_id!r} in {folder.path.parent}; `cxr runs list` shows those there are")
    return Run(folder)


def list_runs(root: str | os.PathLike[str] | None = None, kind: str | None = None) -> list[Run]:
    """Return all runs, newest first, those of one ``kind`` if given; folders that are no runs are passed over."""
    runs = [Run(RunFolder(path)) for path in _folders(Path(root or paths.runs_root()))]
    found = [(run.spec["created"], run.id, run) for run in runs if _readable(run, kind)]
    return [run for *_, run in sorted(found, key=lambda item: item[:2], reverse=True)]


def members_of(study: Run) -> list[Run]:
    """Return the trainings that a study has started, newest first: each names its study in its parameters."""
    every = list_runs(study.folder.path.parent, kind="train")
    return [run for run in every if run.spec["params"].get("study") == study.id]


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return [Path(entry.path) for entry in entries if is_run_id(entry.name) and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _readable(run: Run, kind: str | None) -> bool:
    try:
        spec = run.spec
    except (RunError, OSError):
        return False
    whole = isinstance(spec.get("kind"), str) and isinstance(spec.get("created"), int | float)
    return whole and kind in (None, spec["kind"])


def _launch(folder: RunFolder) -> None:
    if folder.spec.get("slurm"):
        folder.update_status(job="", message=submit.SUBMITTING)
        submit.submit(folder, anew=folder.spec["kind"] not in CONTINUES)
        return
    pid = local.spawn(folder)
    # On a disk that has filled up meanwhile the process ends by itself, and says why if it can.
    with contextlib.suppress(DiskFullError), folder.status_transaction() as status:
        if status["pid"] is None:  # else the worker was quicker and has said so itself
            status.update(pid=pid, pid_started=local.start_time(pid) or 0.0, host=local.host())


def _as_it_is(folder: RunFolder, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``stored`` corrected by what became of the process."""
    status = dict(stored)
    if status["state"] not in ACTIVE:
        return status
    if status["job"] is not None:
        return as_slurm_says(folder, status, SILENCE_S)
    if status["pid"] is None:
        if time.time() - (status["launched"] or 0) > NO_PROCESS_S:
            never = "its process was never started; resume it to try again"
            error = disk_full(folder.path) if _is_full(folder) else never
            status.update(state="failed", eta_s=None, error=error)
    elif _has_process(folder, status):
        silent = time.time() - (status["heartbeat"] or status["launched"] or time.time())
        if silent > SILENCE_S:
            status["message"] = f"no sign of life for {silent:.0f} s"
    else:
        current = folder.read_status()  # it may have ended properly since `stored` was read
        if current["state"] not in ACTIVE:
            return current
        status.update(state="failed", eta_s=None, error=_obituary(folder, status))
    return status


def _has_process(folder: RunFolder, status: Mapping[str, Any]) -> bool:
    if status["host"] not in (None, local.host()):  # its number means nothing here: the heartbeat and the lock tell
        silent = time.time() - (status["heartbeat"] or status["launched"] or time.time())
        return silent < LOST_S or is_held(folder.path / WORKER_LOCK)
    # The lock decides where the start times differ: setting the clock moves every process's start time.
    return local.is_alive(status["pid"], status["pid_started"]) or is_held(folder.path / WORKER_LOCK)


def _obituary(folder: RunFolder, status: Mapping[str, Any]) -> str:
    last = next((line.strip() for line in reversed(folder.log_tail(20)) if line.strip()), "the log is empty")
    if _is_full(folder):  # not even its last word was written
        return disk_full(folder.path)
    if status["heartbeat"] is None:
        return f"its process did not start: {last[:300]}"
    if status["host"] not in (None, local.host()):
        return f"its process on {status['host']} has given no sign of life for {LOST_S / 60:g} minutes"
    return f"its process {status['pid']} vanished (killed, or out of memory?); the log ends with: {last[:200]}"


def _is_full(folder: RunFolder) -> bool:
    return shutil.disk_usage(folder.path).free < NO_ROOM_BYTES


def _absolute(value: Any, key: str = "") -> Any:
    """Return ``value`` with the paths of what exists made absolute, where a key says that it is or may be a path."""
    if isinstance(value, Mapping):
        return {name: _absolute(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_absolute(item, key) for item in value]
    if isinstance(value, os.PathLike):
        return str(Path(value).expanduser().resolve())
    if isinstance(value, str) and value and _is_path(key, Path(value).expanduser()):
        return str(Path(value).expanduser().resolve())
    return value


def _is_path(key: str, path: Path) -> bool:
    return path.exists() if key in _PATHS else key in _FILES_OR_NAMES and path.is_file()
