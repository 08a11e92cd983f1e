"""The index of an image store: which content lies in which row, who decodes what, and who reads which shard.

An SQLite file with a rollback journal, not a write-ahead log, which could not be shared between machines. Rows are
named by ``(shard, row)``; a shard is the file ``shard-000001.u8`` beside the index, ``HEADER`` bytes, then rows of
(size, size) bytes one after the other. A row counts once it is in the index: pixels are written and synced first.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cxr.data.images import leases
from cxr.errors import ImageError

INDEX = "index.sqlite"
HEADER = 128  # zero bytes before a shard's rows: copying rows that begin where a page does takes nearly twice as long
ROOT_LOCK = "lock.sqlite"  # held while a store is opened, claimed from or cleared
_WAIT_S = 120.0
_AT_ONCE = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS images
    (digest BLOB PRIMARY KEY, shard INT NOT NULL, row INT NOT NULL, crc32 INT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unreadable (digest BLOB PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shards
    (shard INTEGER PRIMARY KEY AUTOINCREMENT, rows INT NOT NULL, used REAL NOT NULL, writer TEXT);
CREATE TABLE IF NOT EXISTS leases (lease TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (digest BLOB PRIMARY KEY, lease TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (shard INT, lease TEXT, PRIMARY KEY (shard, lease)) WITHOUT ROWID;
"""


class Places(NamedTuple):
    """Where contents lie, one value for each requested content.

    Attributes
    ----------
    shards, rows
        (n,) int32; shard -1 where the store does not have the content.
    crc32
        (n,) uint32 of the row's bytes.
    reasons
        Why a content is no image, by its position; such contents have shard -1 too.
    """

    shards: np.ndarray
    rows: np.ndarray
    crc32: np.ndarray
    reasons: dict[int, str]

    @property
    def absent(self) -> np.ndarray:
        """Positions of the contents about which nothing is known."""
        unknown = self.shards < 0
        unknown[list(self.reasons)] = False
        return np.flatnonzero(unknown)

    @property
    def held(self) -> np.ndarray:
        """Positions of the contents that have a row."""
        return np.flatnonzero(self.shards >= 0)


def shard_path(folder: Path, shard: int) -> Path:
    """Return the file of a shard."""
    return folder / f"shard-{shard:06d}.u8"


def row_start(row: int, size: int) -> int:
    """Return where a row begins in its shard; where the shard ends if it has so many rows."""
    return HEADER + row * size**2


def connect(folder: Path) -> sqlite3.Connection:
    """Open a store's index, made if need be; without a transaction every statement stands alone.

    Raises
    ------
    sqlite3.Error
        If the folder cannot be written or the file is damaged.
    """
    index = sqlite3.connect(folder / INDEX, _WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        # What a loss of power takes is decoded again, and the checksums of the rows tell where it did worse.
        index.executescript(f"PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE; {_TABLES} COMMIT;")
    except BaseException:
        index.close()
        raise
    return index


def connect_to_read(folder: Path) -> sqlite3.Connection:
    """Open an index that is there, on a file system that may be read-only."""
    address = f"{(folder / INDEX).absolute().as_uri()}?mode=ro"
    return sqlite3.connect(address, _WAIT_S, uri=True, isolation_level=None, check_same_thread=False)


@contextmanager
def transaction(index: sqlite3.Connection, folder: Path) -> Iterator[None]:
    """Change an index all or nothing, alone among all processes; leases of the dead are swept first.

    Raises
    ------
    OSError
        ``ENOSPC`` where SQLite finds the disk full.
    """
    try:
        index.execute("BEGIN IMMEDIATE")
        try:
            _sweep(index, folder)
            yield
        except BaseException:
            if index.in_transaction:
                index.execute("ROLLBACK")
            raise
        index.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if index.in_transaction:
            index.execute("ROLLBACK")
        if leases.primary_code(error) == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / INDEX)) from error
        raise


@contextmanager
def changing(folder: Path, lease: str) -> Iterator[sqlite3.Connection]:
    """Open an index and change it all or nothing, as the holder of a lease on the store.

    Raises
    ------
    ImageError
        If the store was removed, and perhaps made again, since the lease was taken.
    """
    with closing(connect(folder)) as index, transaction(index, folder):
        if index.execute("SELECT 1 FROM leases WHERE lease = ?", (lease,)).fetchone() is None:
            raise ImageError(f"the image cache {folder} was removed while it was in use: start again")
        yield index


def enter(folder: Path, lease: str) -> None:
    """Tell an index of a lease on its store, and remove files that it does not know: something was cut short.

    The caller holds the lock of the root, as do all who make leases.
    """
    with closing(connect(folder)) as index, transaction(index, folder):
        index.execute("INSERT INTO leases VALUES (?)", (lease,))
        shards = {shard_path(folder, shard) for (shard,) in index.execute("SELECT shard FROM shards")}
        for path in set(folder.glob("shard-*.u8")) - shards:
            path.unlink(missing_ok=True)
        names = {name for (name,) in index.execute("SELECT lease FROM leases")}
        for name in {path.stem for path in folder.glob(f"*{leases.SUFFIX}")} - names:
            if not leases.is_alive(folder, name):
                leases.forget(folder, name)


def _sweep(index: sqlite3.Connection, folder: Path) -> None:
    """Take the dead out of the index: what they claimed is free again, and what they read may be removed."""
    for (lease,) in index.execute("SELECT lease FROM leases").fetchall():
        if not leases.is_alive(folder, lease):
            end_work(index, lease)
            for table in ("leases", "uses"):
                index.execute(f"DELETE FROM {table} WHERE lease = ?", (lease,))
            leases.forget(folder, lease)


def find(index: sqlite3.Connection, digests: Sequence[bytes]) -> Places:
    """Return where contents lie; ``digests`` hold none twice."""
    positions = {digest: position for position, digest in enumerate(digests)}
    stored_rows = list(_select(index, "digest, shard, row, crc32", "images", digests))
    at = np.fromiter((positions[entry[0]] for entry in stored_rows), np.int64, len(stored_rows))
    values = np.array([entry[1:] for entry in stored_rows], np.int64).reshape(-1, 3)
    shards, rows = (np.full(len(digests), -1, np.int32) for _ in range(2))
    crc32 = np.zeros(len(digests), np.uint32)
    shards[at], rows[at], crc32[at] = values.T
    reasons = dict(_select(index, "digest, reason", "unreadable", digests))
    return Places(shards, rows, crc32, {positions[digest]: reason for digest, reason in reasons.items()})


def claimed(index: sqlite3.Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Return the contents among ``digests`` that a process is decoding."""
    return {digest for (digest,) in _select(index, "digest", "claims", digests)}


def claim(index: sqlite3.Connection, digests: Sequence[bytes], lease: str) -> None:
    """Say that the holder of a lease decodes these contents, within a transaction."""
    index.executemany("INSERT INTO claims VALUES (?, ?)", ((digest, lease) for digest in digests))


def end_work(index: sqlite3.Connection, lease: str) -> None:
    """Say that the holder of a lease decodes and appends nothing at the moment, within a transaction."""
    index.execute("DELETE FROM claims WHERE lease = ?", (lease,))
    index.execute("UPDATE shards SET writer = NULL WHERE writer = ?", (lease,))


def use(index: sqlite3.Connection, shards: np.ndarray, lease: str) -> None:
    """Say that the holder of a lease reads these shards, within a transaction: they are not removed meanwhile."""
    numbers = [int(shard) for shard in np.unique(shards[shards >= 0])]
    index.executemany("INSERT OR IGNORE INTO uses VALUES (?, ?)", ((number, lease) for number in numbers))
    index.executemany("UPDATE shards SET used = ? WHERE shard = ?", ((time.time(), number) for number in numbers))


def take_shard(index: sqlite3.Connection, lease: str, rows_per_shard: int) -> tuple[int, int]:
    """Return a shard that nobody else appends to and its number of rows, within a transaction."""
    index.execute("UPDATE shards SET writer = NULL WHERE writer = ?", (lease,))
    free = index.execute(
        "SELECT shard, rows FROM shards WHERE writer IS NULL AND rows < ? ORDER BY shard DESC LIMIT 1",
        (rows_per_shard,),
    ).fetchone()
    if free is None:
        free = index.execute("INSERT INTO shards (rows, used) VALUES (0, ?)", (time.time(),)).lastrowid, 0
    index.execute("UPDATE shards SET writer = ? WHERE shard = ?", (lease, free[0]))
    index.execute("INSERT OR IGNORE INTO uses VALUES (?, ?)", (free[0], lease))
    return free


def drop_images(index: sqlite3.Connection, digests: Sequence[bytes]) -> None:
    """Take rows that turned out to be damaged out of an index, within a transaction."""
    index.executemany("DELETE FROM images WHERE digest = ?", ((digest,) for digest in digests))


def drop_shard(index: sqlite3.Connection, shard: int) -> bool:
    """Take a shard out of an index unless it is in use, within a transaction; return whether it is out."""
    if index.execute("SELECT 1 FROM uses WHERE shard = ? LIMIT 1", (shard,)).fetchone() is not None:
        return False
    index.execute("DELETE FROM images WHERE shard = ?", (shard,))
    index.execute("DELETE FROM shards WHERE shard = ?", (shard,))
    return True


def value(index: sqlite3.Connection, statement: str) -> Any:
    """Return the one value that a statement selects."""
    return index.execute(statement).fetchone()[0]


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error says that the file is no index, or not any more."""
    return leases.primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def discard(folder: Path) -> None:
    """Remove a damaged index and all shards; who has them mapped goes on reading them."""
    for path in (*folder.glob(f"{INDEX}*"), *folder.glob("shard-*.u8"), *folder.glob(f"*{leases.SUFFIX}")):
        path.unlink(missing_ok=True)


def is_index(folder: Path) -> bool:
    """Return whether the index of a store opens and answers."""
    try:
        with closing(connect(folder)) as index:
            return value(index, "PRAGMA quick_check(1)") == "ok"
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return False
        raise


def _select(index: sqlite3.Connection, columns: str, table: str, digests: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(digests), _AT_ONCE):
        part = digests[start : start + _AT_ONCE]
        marks = ",".join("?" * len(part))
        yield from index.execute(f"SELECT {columns} FROM {table} WHERE digest IN ({marks})", part)
