"""Decoded X-rays at their own size, shared by all sessions and limited by their bytes, not by their number."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from cxr.data import read_xray

LIMIT = 192 * 2**20
"""Bytes that all of them may take: about 20 of 3000 x 3000 pixels, 180 of 1024 x 1024."""


class Pixels:
    """The X-rays that were looked at last, by file and time of its change; each is decoded once.

    Parameters
    ----------
    limit
        Bytes that all may take. One that is larger is given, but not kept.
    read
        Decodes a file to uint8 (H, W).
    """

    def __init__(self, limit: int = LIMIT, read: Callable[[str], np.ndarray] = read_xray) -> None:
        self._limit, self._read = limit, read
        self._kept: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str, stamp: int) -> np.ndarray:
        """Return an X-ray, read-only: all sessions share it."""
        key = (path, stamp)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        pixels = self._read(path)  # several X-rays may be decoded at once
        pixels.setflags(write=False)
        with self._lock:
            self._kept[key] = pixels
            while self.bytes > self._limit:
                self._kept.popitem(last=False)
        return pixels

    @property
    def bytes(self) -> int:
        """What is kept."""
        return sum(pixels.nbytes for pixels in self._kept.values())
