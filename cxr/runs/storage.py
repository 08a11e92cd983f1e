"""How files of a run are written: JSON that any reader sees whole, and a full disk as an error of one line."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.errors import RunError
from cxr.files import creating, replacing

if TYPE_CHECKING:
    pass

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_DISK_TEXTS = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed", "unexpected pos ")


class DiskFullError(RunError):
    """A file of a run could not be written, for want of room or of quota."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path`` (made if absent); waits for it. The system frees it on death."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> Path:
    """Write ``value`` to ``path`` as JSON, all or nothing.

    Raises
    ------
    DiskFullError
        If there is no room.
    """
    with explaining_full_disk(path), replacing(path) as draft:
        draft.write_text(to_json(value, indent=1) + "\n", encoding="utf-8")
    return path


def create_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as JSON unless the file is there: of several writers the first one wins.

    Raises
    ------
    DiskFullError
        If there is no room.
    """
    with explaining_full_disk(path), creating(path) as draft:
        draft.write_text(to_json(value, indent=1) + "\n", encoding="utf-8")


def disk_full(path: str | os.PathLike[str] | None) -> str:
    """Return the sentence for a disk that took no more of ``path``."""
    where = os.fspath(path) if path else "while writing"
    return f"the disk is full ({where}): free some disk space, then resume the run"


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether ``error``, or what it arose from, is that of a full disk, whichever library says so."""
    while error is not None:
        if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in _DISK_FULL):
            return True
        if any(words in str(error) for words in _FULL_DISK_TEXTS):  # safetensors and torch have no errno
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def explaining_full_disk(path: Path) -> Iterator[None]:
    """Raise :class:`DiskFullError`, which names the disk, where writing to ``path`` finds no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise DiskFullError(disk_full(path)) from error


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON that any reader accepts: NumPy scalars and arrays as numbers and lists, NaN and infinity as null."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy and torch, neither of which this module imports
        return _plain(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")
