"""Several processes that train one network: who they are, how they start and end together.

Rank 0 is the run's own process: it alone writes the run's folder. The others (helpers) do the same steps on their share
of each batch. Who one is stands in torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR,
MASTER_PORT); a cluster sets them, and where nobody did, rank 0 starts the helpers itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from cxr.errors import RecipeError, RunError
from cxr.runs import local
from cxr.runs.folder import RunFolder

log = logging.getLogger(__name__)

_WATCH_S = 1.0
_GRACE_S = 20.0  # how long rank 0 may take to notice by itself that a helper is gone


@dataclass
class Ranks:
    """This process among those that train together.

    Attributes
    ----------
    rank, world
        Number of this process and how many there are; 0 of 1 for a training in one process.
    local, local_world
        The same on this machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1
    _group: Any = field(default=None, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.rank == 0

    def connect(self) -> None:
        """Make the group of processes that speak about other things than gradients; needs torch's own group."""
        if self.world > 1:
            self._group = dist.new_group(backend="gloo")  # on the processor: asking must not make a GPU wait

    def share(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Return this rank's part of ``values`` and where it begins among them."""
        parts = np.array_split(values, self.world)
        return parts[self.rank], sum(len(part) for part in parts[: self.rank])

    def any(self, value: bool) -> bool:
        """Return whether any rank says so; all ranks must ask, and get the same answer."""
        if self.world == 1:
            return value
        flags = torch.tensor([int(value)])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._group)
        return bool(flags.item())

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Return all ranks' shares put together again (see :meth:`share`)."""
        if self.world == 1:
            return array
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, array, group=self._group)
        return np.concatenate(parts)

    def from_main(self, value: Any) -> Any:
        """Return what rank 0 has, on all ranks."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum over the ranks, on the value's own device."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value


@contextlib.contextmanager
def together(devices: int, folder: RunFolder) -> Iterator[Ranks]:
    """Give this process's place among the ``devices`` processes of a training, started here if nobody else has.

    At the end the helpers have ended too and the environment is as it was.

    Raises
    ------
    RecipeError
        If a cluster has started another number of processes.
    RunError
        If a helper has died: this process's own error is then a consequence of it.
    """
    if "WORLD_SIZE" in os.environ:
        ranks = _from_environment()
        if ranks.world != devices:
            raise RecipeError(f"devices: {devices} do not fit {ranks.world} processes. Allowed here: {ranks.world}")
        with _watching_parent(), _ending_group():
            yield ranks
        return
    if devices == 1:
        yield Ranks()
        return
    with _environment(devices), _Helpers(folder, devices) as helpers:
        try:
            with _ending_group():
                yield _from_environment()
        except Exception as error:
            code = helpers.first_death(wait=True)
            if code is None:
                raise
            raise RunError(_failure_text(*code)) from error
        helpers.wait()


def _from_environment() -> Ranks:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    os.environ.setdefault("NODE_RANK", str(rank // local_world))
    return Ranks(rank, world, int(os.environ.get("LOCAL_RANK", rank % local_world)), local_world)


@contextlib.contextmanager
def _environment(world: int) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in local.RANK_VARIABLES}
    values = {"RANK": 0, "WORLD_SIZE": world, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": world, "NODE_RANK": 0}
    os.environ.update({name: str(value) for name, value in values.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _ending_group() -> Iterator[None]:
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


class _Helpers:
    """The helper processes that rank 0 has started."""

    def __init__(self, folder: RunFolder, world: int) -> None:
        self._folder, self._world = folder, world
        self._processes: list[subprocess.Popen[bytes]] = []
        self._over = threading.Event()

    def __enter__(self) -> _Helpers:
        for rank in range(1, self._world):
            names = {"RANK": str(rank), "LOCAL_RANK": str(rank), local.RANK_0_VARIABLE: str(os.getpid())}
            names[local.RUN_VARIABLE] = str(self._folder.path.resolve())
            with self._folder.log_path.open("ab") as output:
                self._processes.append(
                    subprocess.Popen(
                        local.worker_command(self._folder.path.resolve()),
                        env={**os.environ, **names},
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
        threading.Thread(target=self._watch, name="helpers", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def wait(self, timeout: float = 60.0) -> None:
        """Wait until the helpers have come to their end."""
        self._over.set()
        deadline = time.monotonic() + timeout
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))

    def first_death(self, wait: bool = False) -> tuple[int, int] | None:
        """Return rank and exit code of a helper that ended badly; with ``wait`` look for some seconds."""
        deadline = time.monotonic() + (2.0 if wait else 0.0)
        while True:
            for rank, process in enumerate(self._processes, 1):
                if process.poll():
                    return rank, process.returncode
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.1)

    def _watch(self) -> None:
        """End this process if a helper dies and the waiting for it does not end by itself, as it may on GPUs."""
        while not self._over.wait(_WATCH_S):
            death = self.first_death()
            if death is None:
                continue
            if self._over.wait(_GRACE_S):
                return
            self._folder.end_status(state="failed", error=_failure_text(*death), ended=time.time(), eta_s=None)
            os._exit(1)


def _failure_text(rank: int, code: int) -> str:
    how = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with code {code}"
    return f"process {rank} of this training {how}: see the log, then resume the run"


@contextlib.contextmanager
def _watching_parent() -> Iterator[None]:
    """End a helper when the rank 0 that started it is gone: nobody will ever wait for it again."""
    parent = int(os.environ.get(local.RANK_0_VARIABLE, 0))
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_WATCH_S):
            if os.getppid() != parent:
                os._exit(1)

    if parent:
        threading.Thread(target=watch, name="parent", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def split_evenly(values: Sequence[Any] | np.ndarray, parts: int) -> list[np.ndarray]:
    """Return ``values`` in at most ``parts`` parts, none of them empty."""
    return np.array_split(np.asarray(values), max(1, min(parts, len(values))))
