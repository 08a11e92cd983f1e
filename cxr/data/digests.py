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

# A file changed within the clock's own step keeps its time; one that was changed just now is hashed again next time.
_SETTLED_NS = 2_000_000_000
_AT_ONCE = 500


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


def file_digests(paths: Iterable[Path], memory: Path) -> dict[Path, str | None]:
    """Return the digest of each file, None where it cannot be read.

    ``memory`` is an SQLite file that remembers digests. Without it (a full or read-only disk, a damaged file) the
    result is the same, only slower.
    """
    wanted = list(dict.fromkeys(paths))
    stats = {path: _stat(path) for path in wanted}
    remembered = _recall(memory, wanted)
    known = {
        path: remembered[str(path)][1]
        for path in wanted
        if stats[path] is not None and remembered.get(str(path), (None, ""))[0] == stats[path]
    }
    new = [path for path in wanted if path not in known]
    with ThreadPoolExecutor(2) as pool:  # hashing releases the interpreter
        fresh = dict(zip(new, pool.map(file_digest, new), strict=True))
    _remember(memory, fresh, stats)
    return {path: known.get(path, fresh.get(path)) for path in wanted}


def _stat(path: Path) -> tuple[int, int] | None:
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


def _recall(memory: Path, paths: list[Path]) -> dict[str, tuple[tuple[int, int], str]]:
    found: dict[str, tuple[tuple[int, int], str]] = {}
    try:
        with closing(_open(memory)) as database:
            for part in _parts([str(path) for path in paths]):
                marks = ",".join("?" * len(part))
                rows = database.execute(f"SELECT path, size, mtime, digest FROM digests WHERE path IN ({marks})", part)
                found.update({path: ((size, mtime), digest) for path, size, mtime, digest in rows})
    except sqlite3.OperationalError:
        return found
    except sqlite3.DatabaseError:
        memory.unlink(missing_ok=True)  # not a database: the next call starts a new one
    except (OSError, UnicodeEncodeError):
        return found
    return found


def _remember(memory: Path, fresh: dict[Path, str | None], stats: dict[Path, tuple[int, int] | None]) -> None:
    latest = time.time_ns() - _SETTLED_NS
    rows = [
        (str(path), *state, digest)
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
