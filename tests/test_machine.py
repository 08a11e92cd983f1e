"""Memory of the C library: what the threads of a server have freed goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

THREADS = """
import os, sys, threading
import numpy as np
from cxr.machine import give_memory_back_at_once
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
def page():
    large = np.ones(30_000_000, np.uint8)
    del large
    tables = [np.ones(200_000, np.uint8) for _ in range(100)]
if sys.argv[1] == "at once":
    give_memory_back_at_once()
before = resident()
for _ in range(5):
    thread = threading.Thread(target=page)
    thread.start()
    thread.join()
print(resident() - before)
"""


def held_mb(how: str) -> float:
    found = subprocess.run([sys.executable, "-c", THREADS, how], capture_output=True, text=True, check=True)
    return float(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has its own rules")
def test_what_a_thread_has_freed_goes_back_to_the_system_at_once():
    assert held_mb("at once") < 5 < held_mb("as usual")
