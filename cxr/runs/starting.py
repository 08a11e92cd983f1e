"""The one way to start a run, whatever its kind: checked, named, with the hash of its data, in a process of its own."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from cxr import paths, permission
from cxr.errors import CxrError, RunError, wrong_use
from cxr.runs.folder import RunFolder
from cxr.runs.kinds import Params, kind_of
from cxr.runs.process import launch
from cxr.runs.run import Run
from cxr.runs.shards.folders import check_shards
from cxr.runs.slurm import submit
from cxr.runs.slurm.settings import Slurm


@dataclass(frozen=True)
class Call:
    """What :func:`start` was asked for, in a place where nothing is started."""

    kind: str
    params: Mapping[str, Any]
    name: str
    where: Slurm | None
    shards: int


class NotStarted(Exception):
    """Ends whoever asks for a run where nothing is started (:func:`nothing_started`)."""

    def __init__(self, call: Call) -> None:
        super().__init__(f"a run of kind {call.kind!r} was asked for where nothing is started")
        self.call = call


_nothing_started: ContextVar[bool] = ContextVar("nothing_started", default=False)


@contextmanager
def nothing_started() -> Iterator[None]:
    """Have :func:`start` raise :class:`NotStarted` with what it is asked for; in this thread alone."""
    token = _nothing_started.set(True)
    try:
        yield
    finally:
        _nothing_started.reset(token)


def starts_nothing() -> bool:
    """Return whether this is within :func:`nothing_started`, where what takes long need not be checked."""
    return _nothing_started.get()


def start(
    kind: str | Mapping[str, Any],
    params: Mapping[str, Any] | Params | None = None,
    *,
    name: str = "",
    root: str | os.PathLike[str] | None = None,
    manifest_hash: str | None = None,
    detached: bool = True,
    progress: Callable[[float, str], None] | None = None,
    warn: Callable[[str], object] | None = None,
    where: Slurm | None = None,
    shards: int | None = None,
    started_by: str = "",
) -> Run:
    """Check what is asked for, make a run's folder and start the process that does the work.

    Parameters
    ----------
    kind
        One of ``cxr.runs.KINDS``; or a whole spec with its ``kind`` and ``params``, such as another run's, to do that
        again.
    params
        What the work needs: the kind's own parameters, or plain values that they are made of.
    name
        For people; it also ends the id. The default is the parameters' own, or the kind.
    root
        Folder of runs, default ``cxr.paths.runs_root()``.
    manifest_hash
        None: the data are read, hashed and checked against the parameters. Who has done all that for many runs at once
        gives ``Manifest.hash()`` here.
    detached
        True returns at once. False waits until the run is over; the work is done in a process of its own just the
        same, so that it can be stopped and watched from elsewhere.
    progress
        With ``detached=False``: called with (fraction, message) at every change.
    warn
        Called with each sentence that a user should know before the work begins, such as labels that are left out.
    where
        None: on this machine (for a whole spec: where that one says). ``cxr.runs.Slurm(...)``: submitted to a cluster
        that shares the folders of runs and data; a training's recipe gets one device per process of the job. A run of
        a kind with members (a study) works here and submits its members.
    shards
        In how many slices the X-rays are worked on, each by a process of its own: 1 by default (for a whole spec: as
        many as that one says). The results are those of one piece.
    started_by
        The id of the run whose member it is: killing that one kills it too.

    Raises
    ------
    CxrError
        If the kind or a parameter is unknown or not allowed, the data or the network cannot be used, or Slurm is not
        here or refuses. No folder is left then.
    """
    if _nothing_started.get():
        asked = _request(kind, params, name, where, shards)
        values = asked.params.stored() if isinstance(asked.params, Params) else asked.params
        raise NotStarted(Call(asked.kind, values, asked.name, asked.where, asked.shards))
    run = prepare(
        kind,
        params,
        name=name,
        root=root,
        manifest_hash=manifest_hash,
        warn=warn,
        where=where,
        shards=shards,
        started_by=started_by,
    )
    try:
        launch(run.folder)
    except RunError:
        shutil.rmtree(run.folder.path, ignore_errors=True)
        raise
    if not detached:
        run.wait(progress=progress)
    return run


def prepare(
    kind: str | Mapping[str, Any],
    params: Mapping[str, Any] | Params | None = None,
    *,
    name: str = "",
    root: str | os.PathLike[str] | None = None,
    manifest_hash: str | None = None,
    warn: Callable[[str], object] | None = None,
    where: Slurm | None = None,
    shards: int | None = None,
    started_by: str = "",
) -> Run:
    """Make a run's folder as :func:`start` does, and leave it to the caller to start its process at once.

    Raises
    ------
    CxrError
        As :func:`start` does.
    """
    permission.ask("start a run")
    request = _request(kind, params, name, where, shards)
    check_shards(kind_of(request.kind), request.shards)
    checked = _checked(request)
    if manifest_hash is None:
        for sentence in checked.check():
            if warn is not None:
                warn(sentence)
        manifest_hash = checked.manifest_hash()
    stored = checked.stored()
    if request.where is not None:
        stored = submit.prepared(request.where, request.kind, stored)
    slurm = request.where.stored() if request.where is not None else None
    title = request.name or checked.default_name()
    root = root or paths.runs_root()
    folder = RunFolder.create(root, request.kind, stored, title, manifest_hash, slurm, request.shards, started_by)
    folder.update_status(launched=time.time(), message="starting")
    return Run(folder)


def _checked(request: _Request) -> Params:
    try:
        return kind_of(request.kind).params_model().of(request.params)
    except CxrError as error:
        raise wrong_use(error) from None


@dataclass(frozen=True)
class _Request:
    kind: str
    params: Mapping[str, Any] | Params
    name: str
    where: Slurm | None
    shards: int


def _request(
    kind: str | Mapping[str, Any],
    params: Mapping[str, Any] | Params | None,
    name: str,
    where: Slurm | None,
    shards: int | None,
) -> _Request:
    """Return what is asked for, also by a whole spec, in whose parameters ``params`` replace some."""
    if not isinstance(kind, Mapping):
        return _Request(kind, params or {}, name, where, 1 if shards is None else shards)
    changes = params.stored() if isinstance(params, Params) else params or {}
    slurm = kind.get("slurm")
    return _Request(
        str(kind.get("kind", "")),
        {**kind.get("params", {}), **changes},
        name or str(kind.get("name") or ""),
        where or (Slurm.of(slurm) if slurm else None),
        kind.get("shards", 1) if shards is None else shards,
    )
