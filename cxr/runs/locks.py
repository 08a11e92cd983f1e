"""Locks that end with their process: one worker per run, one training per device.

Both are advisory locks on files (``flock``), which the system frees when the holder dies in whatever way, so there is
never a stale lock to clear by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

_POLL_S = 0.5
_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """An exclusive lock on a file, held until :meth:`release` or the end of the process.

    A forked child gives up its copy at once: a pool's worker that outlives a killed parent must not keep the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Try for ``timeout`` seconds to take the lock; return whether it is ours."""
        if self._handle is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + timeout
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                os.close(handle)
                return False
            time.sleep(0.05)
        self._handle = handle
        _held.add(self)
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            _held.discard(self)

    def write_owner(self, text: str) -> None:
        """Note in the locked file who holds it, for those who wait."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, text.encode(), 0)


def is_held(path: Path) -> bool:
    """Return whether some process holds the lock on ``path``; needs no right to write there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


class DeviceQueue:
    """The queue of the runs that want one device; first come, first served.

    Whoever waits holds a ticket, a locked file whose name begins with the time of its arrival. A run takes the
    device's lock once no earlier ticket is alive.
    """

    def __init__(self, root: Path, device: str, run_id: str) -> None:
        self.device, self.run_id = device, run_id
        safe = device.replace(":", "-").replace("/", "-")
        self._lock = FileLock(root / ".locks" / f"{safe}.lock")
        self._tickets = root / ".locks" / f"{safe}.waiting"

    @contextlib.contextmanager
    def turn(self, give_up: Callable[[], bool], waiting: Callable[[str], None]) -> Iterator[bool]:
        """Wait for the device, hold it during the block, and give it back.

        Parameters
        ----------
        give_up
            Asked twice a second while waiting; True ends the wait.
        waiting
            Told whom the run waits for, whenever that changes.

        Yields
        ------
        bool
            Whether the device is ours; False if ``give_up`` said so first.
        """
        ticket = FileLock(self._tickets / f"{time.time_ns():020d}-{self.run_id}")
        ticket.acquire()
        try:
            ours = self._wait(ticket.path.name, give_up, waiting)
            ticket.path.unlink(missing_ok=True)
            yield ours
        finally:
            ticket.path.unlink(missing_ok=True)
            ticket.release()
            self._lock.release()

    def _wait(self, ticket: str, give_up: Callable[[], bool], waiting: Callable[[str], None]) -> bool:
        said = ""
        while not give_up():
            ahead = self._ahead(ticket)
            if not ahead and self._lock.acquire():
                self._lock.write_owner(self.run_id)
                return True
            text = f"waiting for {self.device}, behind {', '.join([self._owner(), *ahead])}"
            if text != said:
                waiting(text)
                said = text
            time.sleep(_POLL_S)
        return False

    def _ahead(self, ticket: str) -> list[str]:
        """Return the runs with an earlier ticket whose process still lives; tickets of the dead are removed."""
        ahead = []
        for path in sorted(self._tickets.iterdir()):
            if path.name >= ticket:
                break
            probe = FileLock(path)
            if probe.acquire():
                path.unlink(missing_ok=True)
                probe.release()
            else:
                ahead.append(path.name.split("-", 1)[1])
        return ahead

    def _owner(self) -> str:
        with contextlib.suppress(OSError):
            return self._lock.path.read_text().strip() or "another run"
        return "another run"


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _forget_in_child() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
