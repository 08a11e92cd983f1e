"""Decoded images of one size and treatment, kept once for each content and shared by all sets that hold it.

Layout: ``<root>/<size>-<treatment>-v<decoder>.<resizer>/`` with ``store.json`` (what it holds), ``index.sqlite`` (see
:mod:`cxr.data.images.store_index`) and shards. Any number of processes read and append at once: each decodes what no
living process is decoding, writes to a shard of its own, and waits for what the others decode.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.data.images import cache_limit, leases, store_index
from cxr.data.images.store_index import HEADER, Places, row_start, shard_path
from cxr.data.images.stored_images import Images as Images
from cxr.data.images.stored_images import StoredImages as StoredImages
from cxr.errors import ImageError
from cxr.files import replacing

log = logging.getLogger(__name__)

Result = NDArray[np.uint8] | str | None
"""Pixels (size, size), the reason why a content is no image, or None where its file changed meanwhile."""
Decode = Callable[[Sequence[int]], Iterator[Result]]
Progress = Callable[[int, int], None]

CHANGED = "was changed while it was being read"
_FULL_CHECK_BYTES = 512 * 2**20
_SAMPLED_ROWS = 1000
_COMMIT_S, _COMMIT_BYTES = 1.0, 64 * 2**20
_SHARD_BYTES = range(16 * 2**20, 2**30)
_SHARDS_IN_LIMIT = 32  # so that removal goes by small parts, and few files are open
_POLL_S = 0.1
_ATTEMPTS = 3
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL)
_UNWRITABLE_FOLDER = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Contents:
    """What a store has of the requested contents.

    Attributes
    ----------
    positions
        Of each content's image in ``images``; -1 for a content that is no image.
    images
        One image for each content that is one.
    reasons
        Why a content is no image, by its position among the requested ones.
    """

    positions: NDArray[np.int64]
    images: StoredImages
    reasons: dict[int, str]


class StoreRecipe(TypedDict):
    """What, besides a file's content, decides the pixels of a store; ``store.json`` holds it."""

    size: int
    fit: str
    decoder: int
    resizer: int
    treatment: NotRequired[Mapping[str, str | float]]


class ImageStore:
    """The images of one size and treatment.

    Parameters
    ----------
    root
        The folder of all stores, which share one limit.
    recipe
        What, besides a file's content, decides its pixels: ``size``, ``fit``, ``treatment``.
    """

    def __init__(self, root: Path, name: str, recipe: StoreRecipe) -> None:
        self.root, self.folder, self.recipe = root, root / name, recipe
        self.size = recipe["size"]

    def read(self, digests: Sequence[bytes], decode: Decode, progress: Progress | None = None) -> Contents:
        """Return the images of contents, decoding first those that the store does not have.

        Parameters
        ----------
        digests
            Of the contents, 16 bytes each, none twice.
        decode
            Takes positions in ``digests`` and yields a result for each, in their order.
        progress
            Called with the contents that are there and their total; may raise to end it, and what was decoded stays.

        Raises
        ------
        ImageError
            If the images do not fit into the limit or onto the disk.
        OSError or sqlite3.Error
            If the store cannot be read, or not be written although something has to be decoded.
        """
        try:
            lease = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            if not self._is_readable(error):
                raise
            return self._read_only(digests, error)
        try:
            for _ in range(_ATTEMPTS):
                places = self._complete(digests, lease, decode, progress)
                damaged = self._damaged(places)
                if not len(damaged):
                    return self._contents(places, lease)
                with store_index.changing(self.folder, lease.name) as index:
                    store_index.drop_images(index, [digests[k] for k in damaged])
                log.warning("image cache: %d damaged images are decoded again", len(damaged))
        except BaseException:
            lease.release()
            raise
        lease.release()
        raise ImageError(f"the image cache {self.folder} is damaged as soon as it is written: check the disk")

    def _open(self) -> leases.Lease:
        """Make the store if need be, a damaged one again, and return a lease, of which the index does not know yet."""
        with leases.exclusive(self.root / store_index.ROOT_LOCK):
            self.folder.mkdir(exist_ok=True)
            if not (self.folder / cache_limit.RECIPE).exists():
                with replacing(self.folder / cache_limit.RECIPE) as draft:
                    draft.write_text(json.dumps(self.recipe), encoding="utf-8")
            if not store_index.is_index(self.folder):
                log.warning("image cache: the index of %s is damaged, its images are decoded again", self.folder)
                store_index.discard(self.folder)
            lease = leases.Lease(self.folder)
            store_index.enter(self.folder, lease.name)
        return lease

    def _complete(
        self, digests: Sequence[bytes], lease: leases.Lease, decode: Decode, progress: Progress | None
    ) -> Places:
        """Return where all contents lie, after decoding what is absent or waiting for those who do."""
        pause = _POLL_S
        changed: dict[int, str] = {}
        while True:
            places, claimed, others = self._claim(digests, lease, changed)
            if claimed:
                done = len(digests) - len(claimed) - len(others)
                changed |= self._decode(digests, claimed, lease, decode, _counting(progress, done, len(digests)))
            elif others:
                if progress is not None:
                    progress(len(digests) - len(others), len(digests))
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
            else:
                return places._replace(reasons=places.reasons | changed)

    def _claim(
        self, digests: Sequence[bytes], lease: leases.Lease, changed: dict[int, str]
    ) -> tuple[Places, list[int], list[int]]:
        """Return where contents lie, the positions of those to decode here, and of those that others decode."""
        with leases.exclusive(self.root / store_index.ROOT_LOCK):
            with store_index.changing(self.folder, lease.name) as index:
                store_index.end_work(index, lease.name)
                places = store_index.find(index, digests)
                store_index.use(index, places.shards, lease.name)
                absent = [k for k in places.absent.tolist() if k not in changed]
                claimed_by_others = store_index.claimed(index, [digests[k] for k in absent])
                claimed = [k for k in absent if digests[k] not in claimed_by_others]
                store_index.claim(index, [digests[k] for k in claimed], lease.name)
            if claimed:
                self._make_room(len(digests), len(claimed))
        return places, claimed, [k for k in absent if digests[k] in claimed_by_others]

    def _make_room(self, n_images: int, n_new: int) -> None:
        """Remove what was used longest ago for ``n_new`` images of ``n_images``, or refuse them."""
        used, limit = cache_limit.remove_oldest(self.root)
        gigabytes, free = cache_limit.gigabytes, shutil.disk_usage(self.root).free
        if n_images * self.size**2 > limit:
            raise ImageError(
                f"{n_images:,} images of {self.size} px take {gigabytes(n_images * self.size**2)} in the image cache, "
                f"which may take {gigabytes(limit)}: set {cache_limit.VARIABLE} to more GB ({gigabytes(free)} are free "
                "on its disk), or choose a smaller size"
            )
        if used > limit:
            log.warning(
                "image cache: %s are in use at once, more than the limit of %s; the next decoding removes the surplus",
                gigabytes(used),
                gigabytes(limit),
            )
        if n_new * self.size**2 > free:
            raise ImageError(
                f"{n_new:,} images of {self.size} px need {gigabytes(n_new * self.size**2)} for the image cache "
                f"{self.root}, {gigabytes(free)} are free: free some disk space, or set CXR_DATA to a folder elsewhere"
            )

    def _decode(
        self,
        digests: Sequence[bytes],
        claimed: Sequence[int],
        lease: leases.Lease,
        decode: Decode,
        progress: Progress | None,
    ) -> dict[int, str]:
        """Decode and store claimed contents; return the positions of those whose file changed meanwhile."""
        changed: dict[int, str] = {}
        with _Appender(self.folder, self.size, lease) as appender:
            for done, (position, result) in enumerate(zip(claimed, decode(claimed), strict=True), 1):
                if result is None:
                    changed[position] = CHANGED
                else:
                    appender.add(digests[position], result)
                if progress is not None:
                    progress(done, len(claimed))
        return changed

    def _damaged(self, places: Places) -> NDArray[np.int64]:
        """Return the positions of contents whose row is cut or does not have its checksum.

        Every row is summed up to 512 MiB; beyond, a thousand rows spread evenly, so that opening stays a matter of
        seconds; where one of them is damaged, all are.
        """
        in_shards = places.held
        intact = np.zeros(len(places.shards), bool)
        for shard in np.unique(places.shards[in_shards]):
            members = in_shards[places.shards[in_shards] == shard]
            intact[members] = places.rows[members] < _rows_on_disk(self.folder, int(shard), self.size)
        cut, in_shards = in_shards[~intact[in_shards]], in_shards[intact[in_shards]]
        step = 1 if len(in_shards) * self.size**2 <= _FULL_CHECK_BYTES else max(len(in_shards) // _SAMPLED_ROWS, 1)
        wrong = self._wrong_sums(places, in_shards[::step])
        if step > 1 and len(wrong):
            wrong = self._wrong_sums(places, in_shards)
        return np.concatenate([cut, wrong])

    def _wrong_sums(self, places: Places, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        images = StoredImages(self.folder, self.size, places.shards[positions], places.rows[positions])
        sums = np.fromiter((zlib.crc32(images[k].data) for k in range(len(images))), np.uint32, len(images))
        return positions[sums != places.crc32[positions]]

    def _contents(self, places: Places, lease: leases.Lease | None) -> Contents:
        in_shards = places.held
        positions = np.full(len(places.shards), -1, np.int64)
        positions[in_shards] = np.arange(len(in_shards))
        images = StoredImages(self.folder, self.size, places.shards[in_shards], places.rows[in_shards])
        if lease is not None:
            images.hold(lease)
        return Contents(positions, images, places.reasons)

    def _is_readable(self, error: Exception) -> bool:
        """Return whether an error is that of a folder that cannot be written, and there is a store to read in it."""
        unwritable = (
            leases.primary_code(error) in _UNWRITABLE
            if isinstance(error, sqlite3.Error)
            else getattr(error, "errno", None) in _UNWRITABLE_FOLDER
        )
        return unwritable and (self.folder / store_index.INDEX).exists()

    def _read_only(self, digests: Sequence[bytes], error: Exception) -> Contents:
        """Return contents of a store that cannot be written, if it has all of them undamaged."""
        with closing(store_index.connect_to_read(self.folder)) as index:
            places = store_index.find(index, digests)
        if len(places.absent) or len(self._damaged(places)):
            raise error
        return self._contents(places, None)


class _Appender:
    """Appends images to shards that no other process writes to; the index learns of them once they are on the disk."""

    def __init__(self, folder: Path, size: int, lease: leases.Lease) -> None:
        self._folder, self._size, self._lease = folder, size, lease
        self._pending: list[tuple[bytes, NDArray[np.uint8] | str]] = []
        self._bytes, self._committed = 0, time.monotonic()
        self._file: int | None = None  # its descriptor
        self._shard, self._rows = -1, 0
        root = folder.parent
        limit = cache_limit.limit_bytes(root, sum(store.bytes for store in cache_limit.usage(root)))
        shard_bytes = min(max(limit // _SHARDS_IN_LIMIT, _SHARD_BYTES.start), _SHARD_BYTES.stop)
        self._rows_per_shard = max(shard_bytes // size**2, 1)

    def __enter__(self) -> _Appender:
        return self

    def add(self, digest: bytes, result: NDArray[np.uint8] | str) -> None:
        """Take a content's image, or the reason why it is none."""
        self._pending.append((digest, result))
        self._bytes += 0 if isinstance(result, str) else result.nbytes
        if self._bytes >= _COMMIT_BYTES or time.monotonic() - self._committed >= _COMMIT_S:
            self._commit()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep what was decoded, whatever ended the decoding."""
        try:
            if self._pending:
                self._commit()
        except (OSError, sqlite3.Error):
            if kind is None:
                raise
        finally:
            self._close()

    def _commit(self) -> None:
        images = [(digest, result) for digest, result in self._pending if not isinstance(result, str)]
        refused = [(digest, result) for digest, result in self._pending if isinstance(result, str)]
        rows = self._write(images) if images else []
        with self._index() as index:
            index.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)", rows)
            index.executemany("INSERT OR REPLACE INTO unreadable VALUES (?, ?)", refused)
            index.executemany("DELETE FROM claims WHERE digest = ?", ((digest,) for digest, _ in self._pending))
            if rows:
                values = self._rows + len(rows), time.time(), self._shard
                index.execute("UPDATE shards SET rows = ?, used = ? WHERE shard = ?", values)
        self._rows += len(rows)
        self._pending, self._bytes, self._committed = [], 0, time.monotonic()

    def _write(self, images: Sequence[tuple[bytes, NDArray[np.uint8]]]) -> list[tuple[bytes, int, int, int]]:
        """Write and sync pixels behind the last row that counts; return their lines of the index."""
        file = self._open_shard()
        try:
            for row, (_, pixels) in enumerate(images, self._rows):
                _write_at(file, pixels.tobytes(), row_start(row, self._size))
            os.fsync(file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, row_start(self._rows, self._size))  # gives the room back
            raise
        return [(digest, self._shard, self._rows + k, zlib.crc32(p.tobytes())) for k, (digest, p) in enumerate(images)]

    def _open_shard(self) -> int:
        if self._file is not None and self._rows < self._rows_per_shard:
            return self._file
        self._close()
        with self._index() as index:
            self._shard, self._rows = store_index.take_shard(index, self._lease.name, self._rows_per_shard)
        path = shard_path(self._folder, self._shard)
        if self._rows == 0:
            path.unlink(missing_ok=True)  # one of a lost index: who has it mapped goes on reading it
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # Rows behind the last one that counts are those of a process that died before the index learned of them.
        os.ftruncate(self._file, row_start(self._rows, self._size))
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _index(self) -> AbstractContextManager[sqlite3.Connection]:
        return store_index.changing(self._folder, self._lease.name)


def _write_at(file: int, pixels: bytes, offset: int) -> None:
    remaining = memoryview(pixels)
    while remaining:
        n_written = os.pwrite(file, remaining, offset)
        remaining, offset = remaining[n_written:], offset + n_written


def _rows_on_disk(folder: Path, shard: int, size: int) -> int:
    try:
        return (shard_path(folder, shard).stat().st_size - HEADER) // size**2
    except FileNotFoundError:
        return 0


def _counting(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)
