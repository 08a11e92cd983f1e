"""How fast synthetic X-rays are made on one core, with all masks, and how much memory it takes.

OMP_NUM_THREADS=1 python benchmarks/phantom.py [--n 200] [--size 256]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial

import cv2
from rich.console import Console
from rich.table import Table

from cxr.data.phantom import CLASSES, demo_phantom, make_phantom, write_demo

WANTED = 20  # images a second


def _make(label: str, n: int, size: int) -> None:
    for i in range(n):
        make_phantom(i, label, size=size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    demo_phantom(0)  # fonts are opened once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table = Table("what", "images/s", "per second of CPU", f"CPU: ratio to {WANTED}/s")

    def row(name: str, work: Callable[[], object]) -> None:
        # On a machine shared with others only the CPU's time says what one core does.
        started, cpu = time.perf_counter(), time.process_time()
        work()
        speed, alone = args.n / (time.perf_counter() - started), args.n / (time.process_time() - cpu)
        cells = (f"{alone:.1f}", f"{alone / WANTED:.2f}") if "process per core" not in name else ("", "")
        table.add_row(name, f"{speed:.1f}", *cells)

    for label in CLASSES:
        row(f"{label}, in memory", partial(_make, label, args.n, args.size))
    with tempfile.TemporaryDirectory() as folder:
        row(
            "written as PNG with three masks, tokens.csv, manifest",
            lambda: write_demo(folder, args.n, size=args.size, workers=0),
        )
        row(
            "the same with one process per core (starting them included)",
            lambda: write_demo(folder, args.n, size=args.size),
        )
    Console(width=100).print(table)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{args.size} x {args.size} pixels; peak memory {after:.0f} MB, {after - before:.0f} MB above the imports")


if __name__ == "__main__":
    main()
