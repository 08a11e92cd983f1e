"""A run as users of the package see it: watch it, stop it, resume it, find it again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from cxr import paths, permission
from cxr.errors import RunError, wrong_use
from cxr.json_types import JsonObject
from cxr.runs import kinds, local
from cxr.runs.folder import RESULTS, SPEC, RunFolder
from cxr.runs.index import RunFacts, facts_of_runs, look_again, stored_status
from cxr.runs.kinds import Params, kind_of
from cxr.runs.metrics.metrics_file import MetricsRow
from cxr.runs.process import current_status, launch
from cxr.runs.shards import shard_jobs
from cxr.runs.slurm import client, submit
from cxr.runs.slurm.settings import Slurm
from cxr.runs.spec import Spec, is_run_id
from cxr.runs.status import ACTIVE, ENDED, QUEUED_AGAIN, Status

if TYPE_CHECKING:
    import pandas as pd

Here = Literal["here"]
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
        self._spec: Spec | None = None
        self._params: Params | None = None
        self._facts: RunFacts | None = None

    @classmethod
    def listed(cls, facts: RunFacts) -> Run:
        """Return a run of a list, of which the index knows these facts."""
        run = cls(RunFolder(facts.folder))
        run._facts = facts
        return run

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    @property
    def spec(self) -> Spec:
        """What was requested (see ``RunFolder.spec``); read once, since only a resume elsewhere changes it."""
        if self._spec is None:
            self._spec = self.folder.spec if self._facts is None else cast(Spec, json.loads(self._facts.spec))
        return self._spec

    @property
    def params(self) -> Params:
        """The parameters of its job (see ``RunFolder.params``); read once, since they never change."""
        if self._params is None:
            self._params = self.folder.params
        return self._params

    @property
    def kind(self) -> str:
        """The kind of work, one of ``cxr.runs.KINDS``."""
        return str(self.spec["kind"]) if self._facts is None else self._facts.kind

    @property
    def name(self) -> str:
        """The name that its user gave it."""
        return str(self.spec.get("name") or self.id) if self._facts is None else self._facts.name or self.id

    @property
    def created(self) -> float:
        """When it was made (Unix time)."""
        return float(self.spec["created"] if self._facts is None else self._facts.created)

    @property
    def active(self) -> bool:
        """Whether it is queued, running or stopping."""
        return self.status().active

    def status(self) -> Status:
        """Return the status as it is now: an active run whose process is gone is ``failed``.

        Fields are read as attributes or as keys, such as ``run.status()["state"]``. Reads only, never writes.
        """
        return current_status(self.folder, stored_status(self.folder.path))

    def metrics(self, since: int = 0) -> tuple[list[MetricsRow], int]:
        """Return the metrics rows after byte ``since`` and the next offset (see ``RunFolder.metrics``)."""
        return self.folder.metrics(since)

    def results(self) -> JsonObject | None:
        """Return results.json, or None as long as there is none."""
        return self.folder.read_json(RESULTS)

    def predictions(self) -> pd.DataFrame | None:
        """Return the predictions, or None as long as there are none."""
        return self.folder.predictions()

    def wait(self, timeout: float | None = None, progress: Callable[[float, str], None] | None = None) -> Status:
        """Wait until the run is over and return its status; ``progress`` is called at every change.

        Raises
        ------
        TimeoutError
            If it is not over after ``timeout`` seconds; the run goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        progress_seen: tuple[float, str] | None = None
        while True:
            status = self.status()
            current = (float(status["progress"] or 0), str(status["message"]))
            if progress is not None and current != progress_seen:
                progress(*current)
                progress_seen = current
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
        permission.ask("stop a run")
        with self.folder.status_transaction() as stored:
            status = current_status(self.folder, Status(**stored))
            if status["state"] in ENDED:
                raise RunError(f"run {self.id} is {status['state']} already: there is nothing to stop")
            self.folder.request_stop()
            stored.update(state="stopping", message="stopping after the present step")
        if status["job"]:
            shard_jobs.cancel_waiting(self.folder)
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
        permission.ask("stop a run")
        status = self.status()
        if status["state"] in ENDED:
            raise RunError(f"run {self.id} is {status['state']} already: there is nothing to kill")
        if status["job"]:
            client.cancel(status["job"])
            shard_jobs.cancel(self.folder)
        else:
            local.kill(self.folder, status)
        with self.folder.status_transaction() as stored:
            if stored["state"] in ACTIVE:  # else it came to its own end just before
                stored.update(state="stopped", message="killed", ended=time.time(), eta_s=None)
        for member in members_of(self):  # their starter's process is gone and starts no further one
            with contextlib.suppress(RunError):  # over already
                member.kill()

    def resume(self, where: Slurm | Here | None = None) -> Run:
        """Start a stopped or failed run again: from where it was if its kind resumes, else from the beginning.

        Parameters
        ----------
        where
            None: where it was before. ``cxr.runs.Slurm(...)``: on a cluster, with these settings from now on.
            ``"here"``: on this machine.

        Raises
        ------
        RunError
            If it is active or finished, or Slurm is not here or refuses: the run is as it was. Of two calls at once
            only one succeeds.
        """
        with self.queued_again(where):
            launch(self.folder)
        return self

    @contextlib.contextmanager
    def queued_again(self, where: Slurm | Here | None = None) -> Iterator[None]:
        """Make a stopped or failed run wait for its process, which is to be started inside.

        A RunError inside leaves the run as it was. Arguments and errors as for :meth:`resume`.
        """
        permission.ask("resume a run")
        spec = self.folder.spec
        moved = spec if where is None else _moved(spec, where)
        restarts = not kind_of(self.kind).resumes
        with self.folder.status_transaction() as stored:
            status = current_status(self.folder, Status(**stored))
            if status["state"] not in ("stopped", "failed"):
                raise RunError(f"run {self.id} is {status['state']}: only a stopped or failed run can be resumed")
            self.folder.clear_stop()
            self.folder.clear_pause()
            stored.update(QUEUED_AGAIN, launched=time.time(), resumes=stored["resumes"] + 1)
            if restarts:
                stored.update(progress=0.0)
        local.kill_group(self.folder, status["pid"])
        if restarts:
            self.folder.truncate_metrics(0)
        try:
            self._rewrite(spec, moved)
            yield
        except RunError:  # Slurm refuses
            self._rewrite(moved, spec)
            with self.folder.status_transaction() as stored:
                stored.update({**status, "metrics_generation": stored["metrics_generation"]})
            raise

    def _rewrite(self, before: Spec, after: Spec) -> None:
        if after != before:
            self.folder.write_json(SPEC, after)
            look_again()
            self._spec = self._facts = None

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
        permission.ask("delete a run")
        status = self.status()
        if status["state"] in ACTIVE:
            raise RunError(f"run {self.id} is {status['state']}: stop it before deleting it")
        on_cluster = [member.id for member in members_of(self) if member.active and member.folder.read_status().job]
        if on_cluster:  # the files that their jobs start with lie in this folder
            others = f"{len(on_cluster)} of its runs are not over on the cluster, such as {on_cluster[0]}"
            raise RunError(f"run {self.id} cannot be deleted yet: {others}. Stop them first")
        shard_jobs.cancel(self.folder)
        gone = self.folder.path.with_name(f".deleted-{self.id}")
        self.folder.path.rename(gone)  # out of every list at once, whatever happens while the files go
        shutil.rmtree(gone, ignore_errors=True)


def get_run(run_id: str, root: str | os.PathLike[str] | None = None) -> Run:
    """Return the run with this id.

    Raises
    ------
    RunError
        If ``run_id`` has not the form of an id (a path, say) or there is no such run.
    """
    if not is_run_id(run_id):
        raise wrong_use(RunError(f"{str(run_id)[:80]!r} is not a run's id: letters, digits, - and _ only"))
    folder = RunFolder(Path(root or paths.runs_root()) / run_id)
    if not (folder.path / "spec.json").is_file():
        raise wrong_use(RunError(f"there is no run {run_id!r} in {folder.path.parent}; `cxr runs list` shows all runs"))
    return Run(folder)


def list_runs(root: str | os.PathLike[str] | None = None, kind: str | None = None) -> list[Run]:
    """Return all runs, newest first, those of one ``kind`` if given; folders that are no runs are passed over.

    Raises
    ------
    CxrError
        If no ``root`` is given and ``cxr.paths.runs_root()`` is a file or cannot be read.
    """
    if root is None:
        paths.check_root(paths.runs_root(), "CXR_RUNS")
    listed = facts_of_runs(Path(root or paths.runs_root()))
    return [Run.listed(facts) for facts in listed if kind in (None, facts.kind)]


def members_of(run: Run) -> list[Run]:
    """Return the runs that a run has started as its members, newest first: each names it in its spec or parameters."""
    kind = kinds.KINDS.get(run.kind)
    if kind is None or not kind.members:
        return []
    candidates = [member for member in list_runs(run.folder.path.parent) if member.kind in kind.members]
    return [
        member
        for member in candidates
        if run.id in (member.spec.get("started_by"), member.spec["params"].get(kind.name))
    ]


def _moved(spec: Spec, where: Slurm | Here) -> Spec:
    """Return a run's spec with another place to work; the number of its processes stays."""
    rest = spec.copy()
    rest.pop("slurm", None)
    if where == "here":
        return rest
    if submit.prepared(where, spec["kind"], spec["params"]) != spec["params"]:
        raise RunError(
            f"slurm: gpus={where.gpus},nodes={where.nodes} make several processes, the run had one. Allowed to resume "
            "it: nodes=1 and gpus=0 or 1"
        )
    rest["slurm"] = where.stored()
    return rest
