"""How many processor cores this process may use."""

from __future__ import annotations

import os

CORES = "CXR_CORES"
"""Environment variable: how many cores a process may use, of those that the system gives it."""


def cores() -> int:
    """Return how many cores this process may use: those that the system gives it, or fewer where it is a shard."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get(CORES, "")
    return min(allowed, int(given)) if given.isdecimal() and int(given) else allowed
