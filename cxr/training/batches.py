"""Batches on their way from the memory map to the device: read ahead by a thread, changed at random on the device."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

AHEAD = 2  # batches that are read before they are asked for


@dataclass(frozen=True)
class Batch:
    """One step's share of images.

    Attributes
    ----------
    number
        Of the step in its epoch.
    positions
        Of the whole step's images among the training images.
    first
        Where this process's share begins among them.
    pixels
        uint8 (n, 1, H, W) of the share, on the processor (pinned where they go to a GPU).
    waited
        Seconds that the training stood still for it.
    """

    number: int
    positions: np.ndarray
    first: int
    pixels: torch.Tensor
    waited: float


class Reader:
    """Reads rows of a memory map ahead of the training.

    Parameters
    ----------
    images
        uint8 (N, H, W), usually a memory map.
    rows
        Row of each training image.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray, device: torch.device) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable")  # nobody writes to it
            self._images = torch.from_numpy(images)
        self._rows = torch.from_numpy(rows)
        self._pinned = device.type == "cuda"

    def read(self, positions: np.ndarray) -> torch.Tensor:
        """Return uint8 (n, 1, H, W)."""
        shape = (len(positions), *self._images.shape[1:])
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned)
        # index_select lets other threads go on meanwhile, NumPy's indexing does not.
        torch.index_select(self._images, 0, self._rows[torch.from_numpy(positions)], out=pixels)
        return pixels[:, None]

    def ahead(self, shares: list[tuple[int, np.ndarray, np.ndarray, int]]) -> Iterator[Batch]:
        """Yield batches for ``(number, positions of the step, own positions, where these begin)`` in their order."""
        with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
            pending: list[Future[torch.Tensor]] = []
            for index, (number, positions, _, first) in enumerate(shares):
                while len(pending) <= AHEAD and index + len(pending) < len(shares):
                    pending.append(pool.submit(self.read, shares[index + len(pending)][2]))
                began = time.monotonic()
                pixels = pending.pop(0).result()
                yield Batch(number, positions, first, pixels, time.monotonic() - began)
