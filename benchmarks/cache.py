"""Decoded images: reading batches from the shared store, opening it again, and what several sets of images take.

``python benchmarks/cache.py [--quick] [--out FILE]`` prints the table; figures of one row are of one run, in turn.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from training_setting import machine

from cxr.data import ImageCache, Manifest
from cxr.data.images import image_store, store_index
from cxr.data.images.cache_limit import usage

SIZES = (64, 256, 1024)
SETS = 4
COMMAND = "python benchmarks/cache.py"


def batches(size: int, n: int, batch: int, rounds: int, shards: int, folder: Path) -> list[float]:
    """Return the milliseconds to read a batch from one array, and from a store of so many shards."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, size, size), np.uint8)
    np.save(folder / "one.npy", pixels)
    one = np.load(folder / "one.npy", mmap_mode="r")
    rows = np.arange(n, dtype=np.int32)
    for shard, part in enumerate(np.array_split(pixels, shards)):
        with store_index.shard_path(folder, shard).open("wb") as file:
            file.write(bytes(store_index.HEADER))
            part.tofile(file)
    first = np.cumsum([0, *(len(part) for part in np.array_split(rows, shards))])
    of = np.searchsorted(first, rows, "right") - 1
    stored = image_store.StoredImages(folder, size, of.astype(np.int32), (rows - first[of]).astype(np.int32))
    out = np.empty((batch, size, size), np.uint8)
    turns: list[list[float]] = [[], []]
    for _ in range(rounds):
        chosen = rng.permutation(n)[:batch]
        contestants = list(zip(turns, (one, stored), strict=True))
        for seconds, images in contestants[:: rng.choice((1, -1))]:
            began = time.perf_counter()
            np.take(images, chosen, axis=0, out=out, mode="clip")
            seconds.append(time.perf_counter() - began)
            if not np.array_equal(out, pixels[chosen]):
                raise SystemExit("the store gives other pixels")
    return [1e3 * float(np.median(seconds)) for seconds in turns]


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def sets(n: int, folder: Path) -> tuple[list[float], list[int], int]:
    """Build four sets over one data set; return seconds and bytes after each, and bytes with a copy for each set."""
    rng = np.random.default_rng(0)
    for k in range(n):
        image = cv2.GaussianBlur(rng.integers(0, 256, (512, 512), np.uint8), (9, 9), 0)
        cv2.imwrite(str(folder / f"{k}.png"), image)
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(n)]})
    root = folder / "cache"
    seconds, taken, copies = [], [], 0
    for parts in range(SETS):
        manifest = Manifest.from_table(table.iloc[: n - parts * n // 10], folder)
        seconds.append(seconds_of(partial(ImageCache.build, manifest, 256, root=root, workers=0)))
        taken.append(sum(store.bytes for store in usage(root / "images")))
        copies += len(manifest) * 256**2
    whole = Manifest.from_table(table, folder)
    seconds.append(seconds_of(partial(ImageCache.build, whole, 256, root=root, workers=0)))
    return seconds, taken, copies


def page(quick: bool) -> str:
    """Return the whole page in Markdown."""
    lines = ["# Decoded images", "", f"Command: `{COMMAND}{' --quick' if quick else ''}`. {machine()}", ""]
    lines += ["Batches of 32 random images, read into memory that is there; median milliseconds, in random order,",
              "pages in the system's memory. A gigabyte of images lies in one shard, unless the limit is small.", "",
              "| size | one array, ms | store of 1 shard, ms | ratio | one array, ms | store of 8 shards, ms | ratio |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for size in SIZES:
        cells = []
        for shards in (1, 8):
            with tempfile.TemporaryDirectory() as folder:
                n = 2**27 // size**2 if quick else 2**29 // size**2
                one, store = batches(size, min(n, 20_000), 32, 50 if quick else 300, shards, Path(folder))
            cells += [f"{one:.3f}", f"{store:.3f}", f"{store / one:.2f}"]
        lines.append(f"| {size} | {' | '.join(cells)} |")
    n = 100 if quick else 1000
    with tempfile.TemporaryDirectory() as folder:
        seconds, taken, copies = sets(n, Path(folder))
    lines += ["", f"Four sets over one data set of {n} images of 512 px (all, and without the last 10, 20, 30 %), at",
              "256 px, decoded in one process.", "", "| what | value |", "|---|---|",
              f"| first set, decoded | {seconds[0]:.2f} s |", f"| the same set, opened again | {seconds[-1]:.2f} s |",
              f"| opened again / decoded | {seconds[-1] / seconds[0]:.3f} |",
              f"| bytes after the first set | {taken[0]:,} |", f"| bytes after four sets | {taken[-1]:,} |",
              f"| bytes with one copy for each set, as before | {copies:,} |",
              f"| four sets, now / before | {taken[-1] / copies:.2f} |"]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.pop("CXR_CACHE_GB", None)
    text = page(options.quick)
    print(text, end="")
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
