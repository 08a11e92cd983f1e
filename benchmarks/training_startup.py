"""Startup: from the click to the first step of a training in a real worker process, part by part."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime

import numpy as np
from training_setting import Page, Setting, median, private_folders, quartiles, training_set

from cxr.data import ImageCache, Manifest
from cxr.paths import cache_root
from cxr.runs import Run, start

IMAGES, QUICK_IMAGES, SIDE = 240, 24, 256
AIM_S = 6.0
TIMEOUT_S = 600.0
# A worker imports the first at once and the second when it begins to train.
IMPORTS = ("cxr.runs.worker", "cxr.training")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) INFO (run|recipe|stage) ")
PARTS = {
    "interpreter": "Python and cxr.runs.worker are loaded (`python -m cxr.runs.worker`)",
    "imports": "cxr.training (torch, timm, Lightning Fabric) is loaded, with manifest and engine",
    "cache": "splits are checked, the cache is opened (or built)",
    "model": "the network is made and validated for the first time",
    "step": "the first step",
    "written": "its row is on the disk",
}


def measure(setting: Setting, page: Page) -> None:
    """Print the seconds of each part, for a warm and a cold cache."""
    images = QUICK_IMAGES if setting.quick else IMAGES
    page.section(f"From the click to the first step: {setting.describe()}, {setting.device}")
    page.say(
        f"`cxr.runs.start` of a training on {images} images, until the row of its first step can be read. Median "
        f"seconds over {setting.rounds} starts; times come from the run's log and metrics. Imports alone are those of "
        f"a fresh process, `python -c 'import {', '.join(IMPORTS)}'`, before each start. Aim: less than {AIM_S:g} s "
        "beyond them on a warm cache."
    )
    page.say()
    page.table("what | warm cache | quartiles | cold cache | quartiles")
    with private_folders() as work:
        manifest = training_set(work, images, SIDE, setting.data)
        columns = [_starts(setting, manifest, cold) for cold in (False, True)]
    for name in columns[0]:
        cells = [cell for column in columns for cell in (median(column[name]), quartiles(column[name]))]
        page.row(name, *cells)


def _starts(setting: Setting, manifest: Manifest, cold: bool) -> dict[str, np.ndarray]:
    """Return seconds by part, one number per start."""
    ImageCache.build(manifest, setting.size)
    rows = []
    for _ in range(setting.rounds + 1):
        seconds = seconds_of_imports()
        if cold:
            shutil.rmtree(cache_root())
        rows.append((seconds, _one_start(setting, manifest)))
    imports = np.array([row[0] for row in rows[1:]])  # the first round warms up
    parts = np.array([row[1] for row in rows[1:]])
    total = parts.sum(1)
    own_work = parts[:, 3:5].sum(1)
    return dict(zip(PARTS.values(), parts.T, strict=True)) | {
        "**from the click to the first row**": total,
        "imports alone": imports,
        "**beyond imports**": total - imports,
        "beyond imports, first validation and first step": total - imports - own_work,
    }


def seconds_of_imports() -> float:
    """Return the seconds from starting a fresh process until it has imported what a training needs."""
    began = time.time()
    code = f"import {', '.join(IMPORTS)}, time; print(time.time())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout) - began


def _one_start(setting: Setting, manifest: Manifest) -> list[float]:
    """Return the seconds of each of ``PARTS``."""
    recipe = setting.recipe(epochs=2).model_dump(mode="json")
    clicked = time.time()
    run = start("train", {"recipe": recipe, "manifest": str(manifest.path)})
    try:
        validated, stepped, seen = _first_rows(run)
    finally:
        if run.active:
            run.kill()
    logged = dict(_logged(run))
    stamps = [clicked, logged["run"], logged["recipe"], logged["stage"], validated, stepped, seen]
    run.delete()
    return np.diff(stamps).tolist()


def _first_rows(run: Run) -> tuple[float, float, float]:
    """Return when the first validation and the first step were done, and when the step's row could be read."""
    deadline = time.time() + TIMEOUT_S
    while time.time() < deadline:
        rows = {row["kind"]: row["time"] for row in reversed(run.metrics()[0]) if row["kind"] in ("start", "step")}
        if "step" in rows:
            return rows["start"], rows["step"], time.time()
        if not run.active:
            raise SystemExit(f"the training {run.status()['state']}: {json.dumps(run.status()['error'])}")
        time.sleep(0.02)
    raise SystemExit(f"there was no step after {TIMEOUT_S:g} s")


def _logged(run: Run) -> Iterator[tuple[str, float]]:
    """Yield the first word of the log's lines that mark a part, with their Unix time."""
    for line in run.folder.log_tail(1000):
        if found := _STAMP.match(line):
            yield found[2], datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()
