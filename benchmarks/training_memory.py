"""Memory: a training worker on a cache of 112,000 images at 256 px, as many as NIH ChestX-ray14 has.

The cache is made of sparse files of black images with a valid index, and the image files are hard links to a few, so
that neither takes room; the worker opens, checks and maps it as it does any other.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import psutil
from training_setting import VALIDATED, Page, Setting, private_folders

from cxr.data import ImageCache, Manifest
from cxr.data.digests import _remember, _stat
from cxr.data.images.cache_limit import RECIPE
from cxr.data.images.image_cache import _Recipe
from cxr.data.images.store_index import connect, row_start, shard_path
from cxr.machine import give_back_memory
from cxr.paths import cache_root
from cxr.runs import Run, start

IMAGES, SIDE = 112_000, 256
CLASSES = ("covid19", "normal", "pneumonia")
LINKS = 4_000  # to one file: a file system allows some ten thousands
AIM_GB = 1.5
STEPS, QUICK_STEPS, TIMEOUT_S = 60, 10, 900.0


@dataclass
class Peak:
    """The most that a process held at any look, in bytes.

    ``own`` are anonymous pages, which nothing but the process can hold; ``resident`` counts pages of files too, such
    as those of the map, which the system takes back when it needs them; ``unique`` is psutil's USS, which counts the
    map's pages as long as no other process looks at them.
    """

    own: int = 0
    resident: int = 0
    unique: int = 0

    def look(self, pid: int) -> None:
        """Look once; a process that is gone is passed over."""
        try:
            text = Path(f"/proc/{pid}/status").read_text()
            full = psutil.Process(pid).memory_full_info()
        except (OSError, psutil.Error):
            return
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if line.endswith(" kB")}
        self.own = max(self.own, 1024 * kilobytes["RssAnon"])
        self.resident = max(self.resident, full.rss)
        self.unique = max(self.unique, full.uss)


def large_manifest(folder: Path, n: int) -> Manifest:
    """Write ``n`` image files, hard links to a few, and their manifest."""
    (folder / "images").mkdir(parents=True)
    names = [f"images/{k:06d}.png" for k in range(n)]
    for first in range(0, n, LINKS):
        original = folder / names[first]
        cv2.imwrite(str(original), np.random.default_rng(first).integers(0, 255, (64, 64), np.uint8))
        for name in names[first + 1 : first + LINKS]:
            os.link(original, folder / name)
    splits = ["val"] * VALIDATED + ["train"] * (n - VALIDATED)
    table = pd.DataFrame({"image": names, "label": [CLASSES[k % 3] for k in range(n)], "split": splits})
    return Manifest.from_table(table, folder).save(folder / "manifest.parquet")


def sparse_cache(manifest: Manifest, size: int) -> list[Path]:
    """Make the store of a manifest's images at ``size`` without decoding one, and return its shards.

    Every file counts as a content of its own: the memory of digests says so.
    """
    paths = [str(path) for path in manifest.image_paths().values()]
    digests = {path: hashlib.blake2b(path.encode(), digest_size=16).hexdigest() for path in paths}
    time.sleep(2.1)  # digests of files that were changed just now are not remembered
    _remember(cache_root() / "digests.sqlite", dict(digests), {path: _stat(path) for path in paths})
    recipe = _Recipe(size, "stretch")
    folder = cache_root() / "images" / recipe.name
    folder.mkdir(parents=True)
    (folder / RECIPE).write_text(json.dumps(recipe.as_dict()), encoding="utf-8")
    per_shard = 2**30 // size**2
    black = zlib.crc32(bytes(size * size))
    places = [(bytes.fromhex(digest), *divmod(k, per_shard), black) for k, digest in enumerate(digests.values())]
    n_shards = places[-1][1] + 1
    with closing(connect(folder)) as index:
        index.execute("BEGIN")
        index.executemany("INSERT INTO images VALUES (?, ? + 1, ?, ?)", places)
        rows = [(k + 1, min(per_shard, len(places) - k * per_shard), time.time()) for k in range(n_shards)]
        index.executemany("INSERT INTO shards (shard, rows, used) VALUES (?, ?, ?)", rows)
        index.execute("COMMIT")
    for shard, n, _ in rows:
        with shard_path(folder, shard).open("wb") as file:
            file.truncate(row_start(n, size))
    return [shard_path(folder, shard) for shard, *_ in rows]


def measure(setting: Setting, page: Page) -> None:
    """Print the memory of a worker that trains on the large cache, and the seconds to open it."""
    wanted = QUICK_STEPS if setting.quick else STEPS
    with private_folders() as work:
        manifest = large_manifest(work / "large", IMAGES)
        shards = sparse_cache(manifest, SIDE)
        made = _state(shards)
        seconds = _seconds_to_open(manifest)
        peak, steps, to_first_step = _train(setting, manifest, wanted)
        n_bytes = sum(path.stat().st_size for path in shards)
        if _state(shards) != made or len(list(shards[0].parent.glob("shard-*"))) != len(shards):
            raise SystemExit("the cache was not accepted and images were decoded: this measures nothing")
    batch = setting.batch
    page.section(f"Memory of a worker on a cache of {IMAGES:,} images at {SIDE} px, batch {batch}")
    page.say(
        f"A real worker trains densenet-small on the processor with batch {batch}, {steps} steps at random places of "
        f"the {n_bytes / 1e9:.1f} GB map (black images in a sparse file). The most held at any look, five "
        f"times a second, from the start on. Aim: own memory below {AIM_GB} GB."
    )
    page.say()
    page.table("what | GB")
    page.row("own memory (anonymous pages)", f"{peak.own / 1e9:.2f}")
    page.row("of it Python's imports, in a process that only opens the cache", f"{seconds['imports'] / 1e9:.2f}")
    page.row("of it manifest and opened cache, in the same process", f"{seconds['data'] / 1e9:.2f}")
    page.row("resident, with the pages of the map and of libraries that were read", f"{peak.resident / 1e9:.2f}")
    page.row("psutil's USS, which counts pages of the map that only the worker reads", f"{peak.unique / 1e9:.2f}")
    page.say()
    page.say(
        f"Seconds to load the manifest {seconds['manifest']:.1f}, to open the cache {seconds['cache']:.1f} (files "
        f"looked at, a thousand rows summed); from the click to the first step {to_first_step:.1f}."
    )


def _state(files: list[Path]) -> list[tuple[int, int]]:
    return [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]


def _seconds_to_open(manifest: Manifest) -> dict[str, float]:
    """Return the seconds that a fresh process takes to load the manifest and to open the cache."""
    done = subprocess.run([sys.executable, __file__, str(manifest.path)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def _train(setting: Setting, manifest: Manifest, wanted: int) -> tuple[Peak, int, float]:
    """Train for ``wanted`` steps; return the peak, the steps done and the seconds until the first."""
    changes: dict[str, Any] = {"backbone": "densenet-small", "size": SIDE, "device": "cpu"}
    recipe = setting.recipe(**changes).model_dump(mode="json")
    began, first, peak, steps, offset = time.monotonic(), None, Peak(), 0, 0
    with _killed_at_the_end(start("train", {"recipe": recipe, "manifest": str(manifest.path)})) as run:
        while steps < wanted:
            status = run.status()
            if status["state"] not in ("queued", "running"):
                raise SystemExit(f"the training {status['state']}: {status['error']}")
            if time.monotonic() - began > TIMEOUT_S:
                raise SystemExit(f"there were {steps} steps after {TIMEOUT_S:g} s, {wanted} were wanted")
            if status["pid"]:
                peak.look(status["pid"])
            rows, offset = run.metrics(offset)
            steps = max([steps, *(row["step"] for row in rows if row["kind"] == "step")])
            first = first or (time.monotonic() - began if steps else None)
            time.sleep(0.2)
    return peak, steps, first or 0.0


@contextmanager
def _killed_at_the_end(run: Run) -> Iterator[Run]:
    try:
        yield run
    finally:
        if run.active:
            run.kill()


def _open(path: str) -> None:
    imports = _own()
    began = time.perf_counter()
    manifest = Manifest.load(path)
    loaded = time.perf_counter()
    cache = ImageCache.build(manifest, SIDE)
    opened = time.perf_counter()
    give_back_memory()
    held = {"imports": imports, "data": _own() - imports, "images": len(cache)}
    print(json.dumps({"manifest": loaded - began, "cache": opened - loaded} | held))


def _own() -> int:
    peak = Peak()
    peak.look(os.getpid())
    return peak.own


if __name__ == "__main__":
    _open(sys.argv[1])
