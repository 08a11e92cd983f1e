"""Short computations that are no run: a page or a command asks a network about one X-ray.

They use a GPU when one is free, and else the processor. A GPU is held for the computation alone, with a ticket of the
runs' queue, so a run that starts meanwhile waits for seconds. They never wait themselves. The network is copied to the
GPU and the copy dropped afterwards: the network at hand stays on the processor, where other threads may work with it,
and the GPU's memory is given back (but for what CUDA keeps for the process, some hundred MB).
"""

from __future__ import annotations

import copy
import functools
import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from cxr.errors import CxrError
from cxr.networks.device import resolve_device
from cxr.runs import DeviceQueue
from cxr.runs.devices import device_options, gpus_are_shared, names_gpu

if TYPE_CHECKING:
    import torch

    from cxr.models.classifier import XrayClassifier

T = TypeVar("T")

PROCESSOR = "cpu"


@dataclass(frozen=True)
class Computed(Generic[T]):
    """A result, the device that it was computed on (``cpu``, ``cuda:0``), and why not on a GPU that is there."""

    value: T
    device: str
    note: str = ""

    @property
    def where(self) -> str:
        """The device in words, with the reason: ``on the processor (cuda:0 is in use by ...)``."""
        return in_words(self.device) + (f" ({self.note})" if self.note else "")


def in_words(device: str) -> str:
    """Return where something is computed, in words."""
    return "on the processor" if device == PROCESSOR else f"on the GPU {device}"


def usual_device() -> str:
    """Return in words where a computation goes on this machine."""
    return "on a GPU while one is free, else on the processor" if _gpus_here() else in_words(PROCESSOR)


def compute_on_free_device(
    network: XrayClassifier, compute: Callable[[XrayClassifier], T], device: str = "auto"
) -> Computed[T]:
    """Return what ``compute`` returns for a network that is on a GPU if one is free, else on the processor.

    Parameters
    ----------
    network
        On the processor; it stays there.
    compute
        Called with the network, or a copy of it on the GPU. Called a second time, on the processor, where the GPU
        fails, for example because its memory is too small.
    device
        ``auto``, ``cpu``, or a GPU (``cuda``, ``cuda:1``), which is used if it is free.

    Raises
    ------
    RecipeError
        If this machine has no such device.
    """
    if names_gpu(device):
        resolve_device(device)  # refuses a GPU that is not there
    with free_gpu(device) as (gpu, reason):
        if gpu is not None:
            try:
                return Computed(_on_gpu(network, compute, gpu), gpu)
            except CxrError:
                raise
            except RuntimeError as error:  # so torch reports whatever goes wrong on a GPU
                reason = _failure(gpu, error)
            finally:
                _give_memory_back()
    return Computed(compute(network), PROCESSOR, reason)


@contextmanager
def free_gpu(device: str = "auto") -> Iterator[tuple[str | None, str]]:
    """Hold a GPU during the block if one is free and no run waits for it.

    Yields the GPU and "", or None and the reason why there is none; the reason is "" on a machine without GPUs.
    """
    gpus = _gpus_here() if device == "auto" else 0
    options = device_options(device, 1, gpus)
    if not any(map(names_gpu, options)):
        yield None, ""
        return
    if not _shared():
        yield None, "GPUs here take one process at a time"
        return
    with ExitStack() as held:
        try:
            gpu, holders = held.enter_context(DeviceQueue().turn_if_free(options))
        except (CxrError, OSError) as error:  # a full disk, for example
            gpu, reason = None, f"the queue of the devices cannot be used: {' '.join(str(error).split())}"
        else:
            reason = "" if gpu else f"in use: {', '.join(options)}" + (f" by {', '.join(holders)}" if holders else "")
        yield gpu, reason


@functools.cache
def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@functools.cache
def _shared() -> bool:
    return gpus_are_shared()


def _on_gpu(network: XrayClassifier, compute: Callable[[XrayClassifier], T], gpu: str) -> T:
    import torch

    twin = _copy_on(network, torch.device(gpu))
    try:
        return compute(twin)
    finally:
        del twin


def _copy_on(network: XrayClassifier, gpu: torch.device) -> XrayClassifier:
    return copy.deepcopy(network).to(gpu)


def _give_memory_back() -> None:
    """Let other processes have the memory that torch keeps for later."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _failure(gpu: str, error: RuntimeError) -> str:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return f"the memory of {gpu} is too small for this"
    return f"{gpu} failed: {' '.join(str(error).split())[:120]}"
