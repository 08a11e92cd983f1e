"""Batches on their way from the memory map to the network: read ahead by a thread, and changed at random.

The thread only reads. On a processor it must not compute beside the network, whose threads wait for each other many
times in a step: one that shares its core with another thread holds up all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from cxr.data.images.image_store import Images
from cxr.networks import is_gpu
from cxr.training.data.augment import Augment

AHEAD = 2  # batches that are read before they are needed


@dataclass(frozen=True)
class Share:
    """What one process computes of a step.

    Attributes
    ----------
    number
        Of the step in its epoch.
    positions
        Of the whole step's images among the training images.
    local
        Those of this process.
    first
        Where they begin in the whole step.
    seed
        Of what is random in the step. It is drawn for the whole, so that it is the same however the step is shared.
    """

    number: int
    positions: np.ndarray
    local: np.ndarray
    first: int
    seed: int


@dataclass(frozen=True)
class Batch:
    """A share with its images.

    Attributes
    ----------
    images
        Takes positions within the share (consecutive), returns grey floats (n, 1, H, W) in [0, 1] on the device.
    waited
        Seconds that the training stood still for it.
    """

    share: Share
    images: Callable[[np.ndarray], torch.Tensor]
    waited: float


class Reader:
    """Reads rows of a memory map ahead of the training.

    Parameters
    ----------
    images
        uint8 (N, H, W), usually those of a cache, read through memory maps.
    rows
        Row of each training image.
    """

    def __init__(self, images: Images, rows: np.ndarray, augment: Augment, device: torch.device) -> None:
        self._images, self._rows = images, rows
        self._augment, self._device = augment, device

    def ahead(self, shares: Sequence[Share]) -> Iterator[Batch]:
        """Yield the shares with their images, in their order."""
        with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
            pending: list[Future[torch.Tensor]] = []
            for index, share in enumerate(shares):
                while len(pending) <= AHEAD and index + len(pending) < len(shares):
                    pending.append(pool.submit(self.read, shares[index + len(pending)].local))
                began = time.monotonic()
                pixels = pending.pop(0).result()
                yield Batch(share, partial(self._changed, share, pixels), time.monotonic() - began)

    def read(self, positions: np.ndarray) -> torch.Tensor:
        """Return uint8 (n, 1, H, W) on the processor, pinned where it goes to a GPU."""
        shape = (len(positions), *self._images.shape[1:])
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=is_gpu(self._device))
        # np.take lets other threads go on meanwhile, indexing does not, and without `clip` it would copy twice.
        # An operation of torch here would slow down every one of the network's: OpenMP's threads, once there are
        # more of them than cores, sleep wherever they wait for each other.
        np.take(self._images, self._rows[positions], axis=0, out=pixels.numpy(), mode="clip")
        return pixels[:, None]

    def _changed(self, share: Share, pixels: torch.Tensor, part: np.ndarray) -> torch.Tensor:
        """Return the images of a part of the share on the device, changed at random."""
        images = pixels[part[0] : part[-1] + 1].to(self._device, non_blocking=True).float() / 255
        generator = torch.Generator(device=self._device)
        generator.manual_seed(share.seed)
        return self._augment(images, generator, first=share.first + int(part[0]), batch_size=len(share.positions))
