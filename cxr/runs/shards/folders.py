"""Shards: a run's X-rays cut into slices, each the work of a process of its own.

A shard has a folder below the run's, ``<run>/shards/003-of-012/``, with a status, a log and a lock like a run's, and
the files that its kind writes there. It is done once its status says ``finished``, which is written last. On the
machine that the run works on its process starts the shards (:mod:`cxr.runs.shards.processes`). Once all are done the
run's job is called as without shards: it takes what they wrote (:func:`finished_shards`) and does what is missing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cxr.errors import RunError, wrong_use
from cxr.runs import kinds
from cxr.runs.folder import LOG, STATUS, RunFolder
from cxr.runs.kinds import Kind
from cxr.runs.spec import Spec
from cxr.runs.status import Status

SHARDS = "shards"
SHARE = 0.95
"""Of a run's progress that its shards make up; the rest is merging."""

_NAME = re.compile(r"(\d{3,})-of-(\d{3,})")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """One slice of a run's work: the ``index``-th, from 0, ``of`` so many."""

    index: int
    of: int

    @property
    def name(self) -> str:
        """The name of its folder, which counts from 1."""
        return f"{self.index + 1:03d}-of-{self.of:03d}"

    def __str__(self) -> str:
        return f"shard {self.index + 1} of {self.of}"

    def slice(self, items: Sequence[Item], batch: int = 1) -> Sequence[Item]:
        """Return its items. Cuts lie between batches, so that each batch is the one that a run without shards has."""
        batches = -(-len(items) // batch)
        start, end = (batches * k // self.of * batch for k in (self.index, self.index + 1))
        return items[start:end]


class ShardFolder(RunFolder):
    """The folder of one shard; what was asked for stands in the run's own folder, and a stop of the run is its stop."""

    def __init__(self, run: RunFolder, shard: Shard) -> None:
        super().__init__(run.path / SHARDS / shard.name)
        self.run, self.shard = run, shard

    @property
    def id(self) -> str:
        """The run's id and which shard this is."""
        return f"{self.run.id}, {self.shard}"

    @property
    def spec(self) -> Spec:
        """What was asked for: the run's."""
        return self.run.spec

    def user_stop_requested(self) -> bool:
        """Return whether somebody asked for a stop of the shard or of its run."""
        return super().user_stop_requested() or self.run.user_stop_requested()

    def stop_requested(self) -> bool:
        """Return whether the shard has to save and end, also since its run has to make room on a cluster."""
        return super().stop_requested() or self.run.stop_requested()


def folder_at(path: Path) -> RunFolder:
    """Return the folder of the run, or of the shard, that lies at ``path``."""
    match = _NAME.fullmatch(path.name)
    if match is None or path.parent.name != SHARDS:
        return RunFolder(path)
    return ShardFolder(RunFolder(path.parent.parent), Shard(int(match[1]) - 1, int(match[2])))


def check_shards(kind: Kind, shards: int) -> None:
    """Refuse a number of shards that a kind of run does not take.

    Raises
    ------
    RunError
        If it is no whole number from 1, or more than 1 for a kind that works in one piece.
    """
    if not isinstance(shards, int) or isinstance(shards, bool) or shards < 1:
        raise wrong_use(RunError(f"shards is {shards!r}. Allowed: a whole number from 1"))
    if shards > 1 and not kind.shard:
        able = ", ".join(known.name for known in kinds.KINDS.values() if known.shard)
        raise wrong_use(
            RunError(f"shards is {shards}: {kind.name!r} works in one piece. Allowed: 1, or more for {able}")
        )


def shards_of(run: RunFolder) -> list[ShardFolder]:
    """Return the folders of a run's shards, whether they are there yet or not; empty for a run in one piece."""
    n = 1 if isinstance(run, ShardFolder) else run.spec.get("shards", 1)
    return [ShardFolder(run, Shard(index, n)) for index in range(n)] if n > 1 else []


def finished_shards(folder: RunFolder) -> list[ShardFolder]:
    """Return the shards of a run that are done; empty for a run in one piece and for a shard."""
    return [shard for shard in shards_of(folder) if shard.read_status().state == "finished"]


def own_slice(folder: RunFolder, items: Sequence[Item], batch: int = 1) -> Sequence[Item]:
    """Return the items that a folder's work is about: a shard's slice, or all."""
    return folder.shard.slice(items, batch) if isinstance(folder, ShardFolder) else items


def remove_parts(run: RunFolder) -> None:
    """Remove what the shards of a finished run wrote, but for their statuses and logs."""
    for shard in shards_of(run):
        for path in shard.path.glob("*"):
            if path.name not in (STATUS, LOG):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def summary(statuses: Sequence[Status]) -> tuple[float, str]:
    """Return how far shards are together, as the progress of their run and in words."""
    done = [status.state == "finished" for status in statuses]
    fractions = [1.0 if whole else status.progress for whole, status in zip(done, statuses, strict=True)]
    counts = {"at work": _count(statuses, ("running", "stopping")), "failed": _count(statuses, ("failed",))}
    words = [f"{sum(done)} of {len(done)} shards done", *(f"{n} {what}" for what, n in counts.items() if n)]
    return SHARE * sum(fractions) / len(fractions), ", ".join(words)


def failure(shards: Sequence[ShardFolder], statuses: Sequence[Status]) -> RunError:
    """Return what a run ends with whose shards are not all done: one line that names the first and its cause."""
    missing = [k for k, status in enumerate(statuses) if status.state != "finished"]
    first = next((k for k in missing if statuses[k].state == "failed"), missing[0])
    cause = statuses[first].error or f"it is {statuses[first].state}"
    done = len(shards) - len(missing)
    return RunError(f"{shards[first].shard} failed: {cause} ({done} of {len(shards)} are done; resume does the others)")


def _count(statuses: Iterable[Status], states: tuple[str, ...]) -> int:
    return sum(status.state in states for status in statuses)
