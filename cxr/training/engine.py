"""Where and how precisely a recipe computes: device, precision, processes, determinism."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy

from cxr.errors import RecipeError
from cxr.machine import cores
from cxr.networks import resolve_device
from cxr.training.ranks import Ranks
from cxr.training.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arithmetic:
    """What, besides recipe, data and versions, decides the last bits of what a processor computes.

    Attributes
    ----------
    threads
        That share the sums of one process: another number adds up in another order.
    instructions
        Of the processor that torch uses, such as ``AVX2``; vectors of another length add up in another order.
    """

    threads: int
    instructions: str

    @classmethod
    def now(cls) -> Arithmetic:
        """Return how this process computes."""
        return cls(torch.get_num_threads(), torch.backends.cpu.get_cpu_capability())

    def go_on(self) -> None:
        """Have this process compute so, as far as it can; what is another now is logged."""
        now = Arithmetic.now()
        if now.threads != self.threads:
            log.info("going on with %d threads, as before (%d here)", self.threads, now.threads)
            torch.set_num_threads(self.threads)
        if self.threads > cores():
            log.warning("%d threads share %d cores, which is slow: the weights stay exact", self.threads, cores())
        if now.instructions != self.instructions:
            log.warning(
                "another processor (%s, before %s): the weights will differ in their last digits from those of a "
                "training that was not interrupted",
                now.instructions,
                self.instructions,
            )


def make_fabric(recipe: Recipe, ranks: Ranks) -> Fabric:
    """Return the engine for a recipe's devices and precision; with several ranks they are connected.

    Raises
    ------
    RecipeError
        If this machine has no such device, or it cannot compute in that precision.
    """
    device = resolve_device(recipe.device, ranks.local_world)
    on_gpu = device.type == "cuda"
    if not on_gpu:
        _keep_freed_memory()
    precision = recipe.precision
    if precision == "auto":
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    if precision == "16-mixed" and not on_gpu:
        raise RecipeError("precision: '16-mixed' needs a GPU. Allowed on the CPU: auto, 32-true, bf16-mixed")
    if recipe.compile and not on_gpu:
        _check_compiler()
    options: dict[str, Any] = {"plugins": [LightningEnvironment()]}  # who is who is known, whatever started the process
    if ranks.world > 1:
        options["strategy"] = DDPStrategy(process_group_backend="nccl" if on_gpu else "gloo")
        options["num_nodes"] = ranks.world // ranks.local_world
    first = device.index or 0
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=[first + k for k in range(ranks.local_world)] if on_gpu else ranks.local_world,
        precision=precision,
        **options,
    )
    if ranks.world > 1:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)  # on threads, which are set below
            fabric.launch()
        ranks.connect()
    torch.set_num_threads(recipe.threads or max(1, _default_threads() // ranks.local_world))
    return fabric


def _keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for its next allocations.

    glibc returns large blocks to the system at once, and a step on the CPU frees and allocates gigabytes of them: to
    fault their pages in again, all zeros, takes much of a training's time. What the process holds at its peak grows,
    since blocks no longer fit without gaps.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library, which has no such setting
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_M_MMAP_MAX, 0)  # no block on a mapping of its own, which ends with it
        mallopt(_M_TRIM_THRESHOLD, -1)  # no giving back at the end of the heap


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise RecipeError(f"compile: true needs a C++ compiler, and {compiler!r} is not found. Allowed here: false")


def _default_threads() -> int:
    global _threads
    _threads = _threads or torch.get_num_threads()
    return _threads


_threads: int | None = None


@contextlib.contextmanager
def numerics(deterministic: bool) -> Iterator[None]:
    """Have the same numbers each time, or the fastest kernels, and afterwards what was before.

    On the CPU both are deterministic, for one number of threads (see :class:`Arithmetic`).
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS has no deterministic mode
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        if before[2] is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
