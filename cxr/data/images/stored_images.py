"""Images of a store by position, read through memory maps."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.data.images import leases, store_index
from cxr.data.images.store_index import HEADER, shard_path


class StoredImages:
    """Images of a store by position, read through memory maps: as an array uint8 (N, size, size) that is not copied.

    ``images[k]`` is a read-only view of one image, ``images[rows]`` a copy of several; ``numpy.take`` works as well.
    What it reads is not removed from the store as long as it lives. It travels to other processes without pixels.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, folder: Path, size: int, shards: NDArray[np.int32], rows: NDArray[np.int32]) -> None:
        self._folder, self._size, self._shards, self._rows = folder, size, shards, rows
        self._lease: leases.Lease | None = None
        self._maps = {
            int(shard): _mapped(folder, int(shard), int(rows[shards == shard].max()) + 1, size)
            for shard in np.unique(shards)
        }

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, size, size."""
        return len(self._shards), self._size, self._size

    @property
    def nbytes(self) -> int:
        """Bytes of all images, as an array would take."""
        return len(self._shards) * self._size**2

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        if isinstance(index, tuple):
            return self[index[0]][index[1:] if np.ndim(self._shards[index[0]]) == 0 else (slice(None), *index[1:])]
        shards, rows = self._shards[index], self._rows[index]
        if np.ndim(shards) == 0:
            return self._maps[int(shards)][rows]
        return self._gather(shards, rows, None)

    def take(
        self,
        indices: Any,
        axis: int = 0,
        out: NDArray[np.uint8] | None = None,
        mode: Literal["raise", "wrap", "clip"] = "raise",
    ) -> NDArray[np.uint8]:
        """Return ``images[indices]``, written to ``out`` if given; for ``numpy.take`` along the first axis."""
        if axis != 0:
            raise ValueError(f"axis {axis!r} is not allowed. Allowed: 0")
        shards, rows = self._shards.take(indices, mode=mode), self._rows.take(indices, mode=mode)
        return self._gather(shards, rows, out)

    def select(self, positions: NDArray[np.int64]) -> StoredImages:
        """Return the images at ``positions`` in their order, on the same lease."""
        chosen = StoredImages(self._folder, self._size, self._shards[positions], self._rows[positions])
        chosen._lease = self._lease
        return chosen

    def copy(self) -> NDArray[np.uint8]:
        """Return all images as an array in memory."""
        return self._gather(self._shards, self._rows, None)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("stored images lie in several files: an array of all of them is a copy")
        return self.copy() if dtype is None else self.copy().astype(dtype, copy=False)

    def hold(self, lease: leases.Lease) -> None:
        """Keep a lease, under which the shards are marked as in use, for as long as this object lives."""
        self._lease = lease

    def _gather(
        self, shards: NDArray[np.int32], rows: NDArray[np.int32], out: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8]:
        if out is None:
            out = np.empty((*shards.shape, self._size, self._size), np.uint8)
        if not out.flags.c_contiguous:
            out[...] = self._gather(shards, rows, None)
            return out
        if shards.size and (shards == shards.flat[0]).all():
            # Without `clip` NumPy would copy twice; other threads go on meanwhile, which indexing would not let them.
            return np.take(self._maps[int(shards.flat[0])], rows, axis=0, out=out, mode="clip")
        places = zip(shards.ravel().tolist(), rows.ravel().tolist(), strict=True)
        for image, (shard, row) in zip(out.reshape(-1, self._size, self._size), places, strict=True):
            image[...] = self._maps[shard][row]
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self._folder, "size": self._size, "shards": self._shards, "rows": self._rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        StoredImages.__init__(self, **state)
        with contextlib.suppress(OSError, sqlite3.Error):  # the sender's own lease, or the open maps, must do
            self._lease = _lease_on(self._folder, self._shards)


Images: TypeAlias = NDArray[np.uint8] | StoredImages
"""Grey images uint8 (N, H, W): an array, or a store's."""


def _lease_on(folder: Path, shards: NDArray[np.int32]) -> leases.Lease:
    """Return a lease of this process on shards that another process uses."""
    with leases.exclusive(folder.parent / store_index.ROOT_LOCK):
        lease = leases.Lease(folder)
        store_index.enter(folder, lease.name)
    with store_index.changing(folder, lease.name) as index:
        store_index.use(index, shards, lease.name)
    return lease


def _mapped(folder: Path, shard: int, rows: int, size: int) -> NDArray[np.uint8]:
    path = shard_path(folder, shard)
    # A plain array over the map: the class memmap makes every index several times slower.
    return np.asarray(np.memmap(path, np.uint8, "r", HEADER, (rows, size, size)))
