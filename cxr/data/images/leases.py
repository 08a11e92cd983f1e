"""Locks between processes that end with their holder, each a transaction held open on an empty SQLite file.

The system frees them however the holder dies, so none is ever left to clear by hand. They work wherever SQLite does:
on a network file system only if it has POSIX locks.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".lease"
WAIT_S = 120.0


class Lease:
    """A sign that its holder lives, for other processes to see; ends with the object, :meth:`release` or the process.

    Parameters
    ----------
    folder
        Where its file lies, named :attr:`name`.

    Raises
    ------
    OSError or sqlite3.Error
        If no file can be made there.
    """

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(8)
        path = _path(folder, self.name)
        path.touch()
        connection = _connect(path, timeout=WAIT_S)
        connection.execute("BEGIN EXCLUSIVE")
        self._end = weakref.finalize(self, _release, connection, path, os.getpid())

    def release(self) -> None:
        """Give it up; nothing happens the second time."""
        self._end()


def is_alive(folder: Path, name: str) -> bool:
    """Return whether the holder of a lease lives."""
    try:
        with contextlib.closing(_connect(_path(folder, name), timeout=0.0)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        return primary_code(error) != sqlite3.SQLITE_CANTOPEN  # its file is gone: so is the holder
    return False


def forget(folder: Path, name: str) -> None:
    """Remove the file of a lease whose holder is dead."""
    _path(folder, name).unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path, timeout: float = WAIT_S) -> Iterator[None]:
    """Hold a lock that one process, and one thread of it, holds at a time.

    Raises
    ------
    OSError or sqlite3.Error
        If the file cannot be written, or another process holds the lock for longer than ``timeout`` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with contextlib.closing(_connect(path, timeout)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code without the details in its upper bytes, -1 for an error that is not SQLite's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else code & 0xFF


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIX}"


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    # Never creates the file: a lease that was removed must not come back by being looked at.
    address = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(address, timeout, uri=True, isolation_level=None, check_same_thread=False)


def _release(connection: sqlite3.Connection, path: Path, owner: int) -> None:
    if os.getpid() != owner:  # a forked child: the lease is its parent's
        return
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    connection.close()
