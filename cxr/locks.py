"""Locks that end with their process: one worker per run, one ticket per run in the queue.

Advisory locks on files (``flock``), which the system frees when the holder dies in whatever way, so there is never a
stale lock to clear by hand.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
import weakref
from pathlib import Path

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

    def write(self, content: bytes) -> None:
        """Write ``content`` over the beginning of the locked file; what it says beyond stays.

        Raises
        ------
        OSError
            If the disk is full; over bytes that are there already, only where a file system copies on every write.
        """
        if self._handle is None:
            raise ValueError(f"the lock {self.path} is not held")
        if os.pwrite(self._handle, content, 0) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


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
