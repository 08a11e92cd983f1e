"""What lists need of runs, kept in memory: a file that has not changed since it was read is not read again.

All sessions of a process share it. Nothing is stored, so nothing can be out of date after a crash or on another
machine: at each look the folder is listed, and each file is asked for its inode, size and times.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from cxr.runs.folder import SPEC, STATUS
from cxr.runs.spec import is_run_id
from cxr.runs.status import Status

T = TypeVar("T")

SETTLED_S = 2.0
"""A file that was changed less long before it was read is read again next time: within one tick of a file system's
clock it may change once more."""
_MOST_FILES = 50_000  # of each sort; some tens of megabytes


class _Stamp(NamedTuple):
    device: int
    inode: int
    size: int
    written_ns: int
    changed_ns: int

    @classmethod
    def of(cls, handle: int) -> _Stamp:
        """Return the stamp of an opened file."""
        return cls._from(os.fstat(handle))

    @classmethod
    def at(cls, path: str | Path) -> _Stamp:
        """Return the stamp of a file, or of a folder: another one when something in it came, went or was renamed."""
        return cls._from(os.stat(path))  # noqa: PTH116 - a thousand at once

    @classmethod
    def _from(cls, info: os.stat_result) -> _Stamp:
        return cls(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)

    def is_settled(self, now: float) -> bool:
        return now - max(self.written_ns, self.changed_ns) / 1e9 > SETTLED_S


class FileContents(Generic[T]):
    """What files hold, each read again when it has changed; threads may share it.

    Parameters
    ----------
    parse
        Turns the path and the bytes of a file into what is kept. All callers get the same object, so they must
        not change it.
    opens
        Whether a file is opened at each look. That makes a network file system ask its server; its answer without it
        may be some seconds old. It takes three times as long, so files that are hardly ever written anew go without.
    """

    def __init__(self, parse: Callable[[str, bytes], T], *, opens: bool = True) -> None:
        self._parse, self._opens = parse, opens
        self._known: dict[str, tuple[_Stamp, T]] = {}

    def read(self, path: str) -> T:
        """Return what the file holds now.

        Raises
        ------
        OSError
            If it cannot be opened or read.
        """
        if not self._opens:
            known = self._known.get(path)
            if known is not None and known[0] == _Stamp.at(path):
                return known[1]
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            stamp, now = _Stamp.of(handle), time.time()
            known = self._known.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            value = self._parse(path, _all_of(handle, stamp.size))
        finally:
            os.close(handle)
        if stamp.is_settled(now):
            if len(self._known) >= _MOST_FILES:
                self._known.clear()
            self._known[path] = (stamp, value)
        return value


def _all_of(handle: int, size: int) -> bytes:
    blocks = []
    while block := os.read(handle, max(4096, size + 1)):
        blocks.append(block)
    return b"".join(blocks)


@dataclass(frozen=True)
class RunFacts:
    """What ``spec.json`` says of a run, as far as lists need it.

    Attributes
    ----------
    folder
        Of the run.
    kind, name, created
        As in the spec; ``name`` is "" where it has none.
    spec
        All of it, as stored: reading it gives each caller a copy of its own.
    """

    folder: Path
    kind: str
    name: str
    created: float
    spec: bytes


def _facts(path: str, content: bytes) -> RunFacts | None:
    """Return what a spec says, None where it is damaged or no run's."""
    stored = _json(content)
    if not isinstance(stored, dict):
        return None
    kind, created = stored.get("kind"), stored.get("created")
    if not isinstance(kind, str) or not isinstance(created, int | float):
        return None
    return RunFacts(Path(path).parent, kind, str(stored.get("name") or ""), created, content)


def _status(path: str, content: bytes) -> Status:
    return Status.read(_json(content))


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:  # half written, or damaged
        return None


_SPECS = FileContents(_facts, opens=False)
_STATUSES = FileContents(_status)
_seen: ContextVar[dict[str, tuple[_Stamp, list[RunFacts]]] | None] = ContextVar("seen", default=None)
_made: ContextVar[dict[str, list[Any]] | None] = ContextVar("made", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Let this thread, until the end, look once at a folder of runs in which no run came or went meanwhile.

    For what asks for lists of runs again and again within a moment, such as the parts of a page.
    """
    seen, made = _seen.set({}), _made.set({})
    try:
        yield
    finally:
        _seen.reset(seen)
        _made.reset(made)


def look_again() -> None:
    """Forget what was seen within :func:`one_look`: a spec was written anew."""
    for known in (_seen.get(), _made.get()):
        if known is not None:
            known.clear()


def once_a_look(name: str, make: Callable[[], list[T]]) -> list[T]:
    """Return a list that is made of the runs: once within :func:`one_look`, at each call outside of it."""
    made = _made.get()
    if made is None:
        return make()
    if name not in made:
        made[name] = make()
    return list(made[name])


def stored_status(folder: Path) -> Status:
    """Return the content of a run's ``status.json``, with defaults for what it lacks, as it is now."""
    try:
        return _STATUSES.read(os.path.join(folder, STATUS))  # noqa: PTH118 - a thousand at once, ten times as fast
    except OSError:
        return Status.read(None)


def facts_of_runs(root: Path) -> list[RunFacts]:
    """Return of each run below ``root`` what its spec says, the newest first; other folders are passed over."""
    seen = _seen.get()
    if seen is None:
        return _facts_of_runs(root)
    try:
        stamp, now = _Stamp.at(root), time.time()
    except OSError:
        return _facts_of_runs(root)
    known = seen.get(os.fspath(root))
    if known is not None and known[0] == stamp:
        return list(known[1])
    facts = _facts_of_runs(root)
    if stamp.is_settled(now):
        seen[os.fspath(root)] = (stamp, facts)
    return list(facts)


def _facts_of_runs(root: Path) -> list[RunFacts]:
    found, place = [], os.fspath(root)
    for name in _folders(root):
        try:
            facts = _SPECS.read(f"{place}{os.sep}{name}{os.sep}{SPEC}")  # a thousand at once: Path is slow
        except OSError:
            continue
        if facts is not None:
            found.append((facts.created, name, facts))
    return [facts for *_, facts in sorted(found, key=lambda item: item[:2], reverse=True)]


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if is_run_id(entry.name) and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
