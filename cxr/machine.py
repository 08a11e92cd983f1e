"""What this process has of the machine: processor cores, and memory that it can give back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

CORES = "CXR_CORES"
"""Environment variable: how many cores a process may use, of those that the system gives it."""


def cores() -> int:
    """Return how many cores this process may use: those that the system gives it, or fewer where it is a shard."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get(CORES, "")
    return min(allowed, int(given)) if given.isdecimal() and int(given) else allowed


def give_back_memory() -> None:
    """Return to the system what this process has freed and still holds, of the C library and of Arrow."""
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # another C library, which has no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)
