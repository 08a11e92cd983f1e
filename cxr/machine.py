"""What this process has of the machine: processor cores, and memory that it can give back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from functools import cache

CORES = "CXR_CORES"
"""Environment variable: how many cores a process may use, of those that the system gives it."""


def cores() -> int:
    """Return how many cores this process may use: those that the system gives it, or fewer where it is a shard."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get(CORES, "")
    return min(allowed, int(given)) if given.isdecimal() and int(given) else allowed


_LARGE_BYTES = 1 << 17
"""From this size a block of memory is the system's own, which it takes back at once when it is freed."""
_FEW_ARENAS = 2


@cache
def give_memory_back_at_once() -> None:
    """Let the C library return large blocks as they are freed, for a server of many short threads.

    glibc gives each thread a heap of its own, and keeps blocks of up to 32 MB for later: what the tables and figures
    of a page have taken is then held by one heap after the other. Call it early; heaps that are there stay.
    """
    m_trim_threshold, m_mmap_threshold, m_arena_max = -1, -3, -8  # malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_arena_max, _FEW_ARENAS)
        libc.mallopt(m_mmap_threshold, _LARGE_BYTES)
        libc.mallopt(m_trim_threshold, _LARGE_BYTES)


def give_back_memory() -> None:
    """Return to the system what this process has freed and still holds, of the C library and of Arrow."""
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # another C library, which has no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)
