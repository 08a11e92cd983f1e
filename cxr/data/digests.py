"""Digests of files, remembered by path, size and time of change, so that a second look costs a stat each."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# A file changed within the clock's own step keeps its time; one that was changed just now is hashed again next time.
_SETTLED_NS = 2_000_000_000
_AT_ONCE = 500

AnyPath = TypeVar("AnyPath", str, Path)


def file_digest(path: Path) -> str | None:
    """Return blake2b of a file's bytes as 32 hex digits, None if it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        digest = hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()
    except (OSError, ValueError):
        return None


def file_digests(paths: Iterable[AnyPath], memory: Path) -> dict[AnyPath, str | None]:
    """Return the digest of each file, None where it cannot be read. Many paths are faster as text.

    ``memory`` is an SQLite file that remembers digests. Without it (a full or read-only disk, a damaged file) the
    result is the same, only slower.
    """
    all_paths = list(paths)
    texts = [str(path) for path in all_paths]
    stats = {text: _stat(text) for text in texts}
    remembered = _recall(memory, list(stats))
    digests: dict[str, str | None] = {
        text: entry[1] for text, entry in remembered.items() if entry[0] == stats[text] is not None
    }
    new = [text for text in stats if text not in digests]
    with ThreadPoolExecutor(2) as pool:  # hashing releases the interpreter
        fresh = dict(zip(new, pool.map(file_digest, map(Path, new)), strict=True))
    _remember(memory, fresh, stats)
    digests.update(fresh)
    return dict(zip(all_paths, map(digests.__getitem__, texts), strict=True))


def short_digest(digest: str) -> int:
    """Return the first 64 bits of a hex digest."""
    return int(digest[:16], 16)


def picture_digest(picture: NDArray[np.uint8]) -> int:
    """Return 64 bits that stand for the pixels of a picture (H, W); 0 for one single grey, which shows nothing."""
    pixels = np.ascontiguousarray(picture)
    if not pixels.size or pixels.min() == pixels.max():
        return 0
    return int.from_bytes(hashlib.blake2b(pixels.data, digest_size=8).digest(), "big")


def _stat(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)  # noqa: PTH116 - thousands of calls, and Path.stat() doubles their time
        return (info.st_size, info.st_mtime_ns) if stat.S_ISREG(info.st_mode) else None
    except (OSError, ValueError):
        return None


def _open(memory: Path) -> sqlite3.Connection:
    memory.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(memory, timeout=10)
    database.execute("CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, size INT, mtime INT, digest TEXT)")
    return database


def _recall(memory: Path, paths: list[str]) -> dict[str, tuple[tuple[int, int], str]]:
    entries: dict[str, tuple[tuple[int, int], str]] = {}
    try:
        with closing(_open(memory)) as database:
            for part in _parts(paths):
                marks = ",".join("?" * len(part))
                rows = database.execute(f"SELECT path, size, mtime, digest FROM digests WHERE path IN ({marks})", part)
                entries.update({path: ((size, mtime), digest) for path, size, mtime, digest in rows})
    except sqlite3.OperationalError:
        return entries
    except sqlite3.DatabaseError:
        memory.unlink(missing_ok=True)  # not a database: the next call starts a new one
    except (OSError, UnicodeEncodeError):
        return entries
    return entries


def _remember(memory: Path, fresh: dict[str, str | None], stats: dict[str, tuple[int, int] | None]) -> None:
    latest = time.time_ns() - _SETTLED_NS
    rows = [
        (path, *state, digest)
        for path, digest in fresh.items()
        if digest is not None and (state := stats[path]) is not None and state[1] < latest
    ]
    if not rows:
        return
    try:
        with closing(_open(memory)) as database, database:
            database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", rows)
    except (sqlite3.Error, OSError, UnicodeEncodeError):
        return


def _parts(paths: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), _AT_ONCE):
        yield paths[start : start + _AT_ONCE]
