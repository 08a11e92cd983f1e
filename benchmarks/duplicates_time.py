"""How long does the search for duplicates take, and how does that grow?

Sets of decoded X-rays, of which 2 % are copies of others. Where the real X-rays of the manifest do not suffice, X-rays
are added that are blended of two real ones and warped. Copies are made of thumbnails of 128 pixels, so that their
recall is not that of copies of files (`benchmarks/duplicates.py`): it says whether a large set hides copies.

The search is done in one process on as many cores as `CXR_CORES` says. It can be stopped: called again with the same
`--work`, it goes on from the parts that are done, and the processor time of all calls is added. With `--parts K` only K
parts of 1,024 X-rays of the last size are compared with all others, and what is left is estimated from them, and from
the size before.

    OMP_NUM_THREADS=1 CXR_CORES=2 python benchmarks/duplicates_time.py MANIFEST [--sizes 1000 10000 30000 112000]
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

import numpy as np
from duplicates import (
    TUNED_ON,
    Image,
    Pairs,
    Rng,
    brightness,
    contrast,
    cropped,
    fillers,
    inverted,
    same,
    table,
    turned,
    wilson,
)
from numpy.typing import NDArray
from seen_before import jpeg_80

from cxr.data import Manifest
from cxr.data.audit.duplicates import find_duplicates
from cxr.data.audit.duplicates.pictures import SIDE
from cxr.data.images.decode import decode
from cxr.data.images.resize import fit_square
from cxr.machine import cores

RESULTS = Path(__file__).parent / "results" / "duplicates_time.md"
SHARE = 0.02  # of a set that are copies
COPIES: tuple[Callable[[Image, Rng], Image], ...] = (same, jpeg_80, cropped, brightness, contrast, inverted, turned)
_ALL = 10**6
FULL = 112_000  # X-rays of ChestX-ray14
STAGES = {"describe": 0.35, "similar": 0.7, "compare": 1.0}  # and the progress at which each ends


class Measured(TypedDict):
    """What a search took so far: seconds of processor time by stage and by the clock, GB, and what it found.

    ``done`` is the share of a stage that is done.
    """

    cpu: dict[str, float]
    done: dict[str, float]
    clock: float
    memory: float
    planted: int
    found: int
    real: int
    others: int


def originals(manifest: Manifest, n: int, file: Path) -> NDArray[np.uint8]:
    """Return thumbnails of ``n`` X-rays: those of a manifest on which nothing was set, then blended ones; kept."""
    if not file.is_file() or len(np.load(file, mmap_mode="r")) < n:
        rest = list(manifest.image_paths().values())[TUNED_ON:]
        real = np.stack([fit_square(decode(path), SIDE) for path in rest])
        blended = fillers(real, max(n - len(real), 0), np.random.default_rng(0))
        np.save(file, np.concatenate([real, blended]))
    thumbnails: NDArray[np.uint8] = np.load(file, mmap_mode="r")[:n]
    return thumbnails


def with_copies(pictures: NDArray[np.uint8], n: int, file: Path) -> tuple[NDArray[np.uint8], Pairs]:
    """Return ``n`` thumbnails, the last ones copies of others, and the planted pairs of rows; kept."""
    rng = np.random.default_rng(n)
    n_copies = round(SHARE * n)
    chosen = rng.choice(n - n_copies, n_copies, replace=False)
    planted = {frozenset((str(row), str(n - n_copies + k))) for k, row in enumerate(chosen.tolist())}
    if not file.is_file():
        copies = [
            fit_square(np.ascontiguousarray(COPIES[k % len(COPIES)](np.array(pictures[row]), rng)), SIDE)
            for k, row in enumerate(chosen)
        ]
        np.save(file, np.concatenate([pictures[: n - n_copies], np.stack(copies)]))
    thumbnails: NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return thumbnails, planted


def memory_in_use() -> float:
    """Return the GB that this process holds, without the pictures, which are read from a file as they are needed."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"RssAnon:\s+(\d+)", status)[0]) / 2**20


class _Enough(Exception):
    """So many parts as wanted are done."""


def measured(thumbnails: NDArray[np.uint8], planted: Pairs, n_real: int, work: Path, parts: int) -> Measured:
    """Search, and return what that took with what earlier calls took; end after ``parts`` of the second stage."""
    notes = work / f"{len(thumbnails)}.json"
    none = dict.fromkeys(STAGES, 0.0)
    result = Measured(cpu=dict(none), done=none, clock=0, memory=0, planted=0, found=0, real=0, others=0)
    if notes.is_file():
        result = json.loads(notes.read_text(encoding="utf-8"))
        if result["planted"]:
            return result
    mark = time.perf_counter(), time.process_time()

    def note(share: float, text: str) -> None:
        nonlocal mark
        now = time.perf_counter(), time.process_time()
        stage = next(name for name, end in STAGES.items() if share <= end + 1e-6)
        begin = max((end for end in STAGES.values() if end < share - 1e-6), default=0.0)
        result["done"][stage] = (share - begin) / (STAGES[stage] - begin)
        result["clock"] += now[0] - mark[0]
        result["cpu"][stage] += now[1] - mark[1]
        result["memory"] = max(result["memory"], memory_in_use())
        notes.write_text(json.dumps(result), encoding="utf-8")
        print(f"{len(thumbnails)}: {share:.3f} {text}", flush=True)
        mark = now
        if stage == "similar" and result["done"][stage] * len(thumbnails) > 1024 * parts - 512:
            raise _Enough

    names = [str(row) for row in range(len(thumbnails))]
    try:
        pairs = find_duplicates(thumbnails, names, progress=note, folder=work / f"parts-{len(thumbnails)}")
    except _Enough:
        return result
    found = {frozenset(pair) for pair in zip(pairs["image_id_a"], pairs["image_id_b"], strict=True)}
    others = found - planted
    result["planted"], result["found"], result["others"] = len(planted), len(planted & found), len(others)
    result["real"] = sum(all(int(row) < n_real for row in pair) for pair in others)
    notes.write_text(json.dumps(result), encoding="utf-8")
    return result


def estimated(n: int, result: Measured, results: dict[int, Measured]) -> dict[str, float]:
    """Return the processor time of each stage: what is not done is in proportion to what is done.

    A stage that was not reached is estimated from the largest size before: each X-ray is compared with five at most.
    """
    cpu = {stage: result["cpu"][stage] / max(result["done"][stage], 1e-9) for stage in STAGES}
    before = [(size, own) for size, own in results.items() if size < n and own["done"]["compare"] == 1]
    if not result["done"]["compare"] and before:
        size, own = before[-1]
        cpu["compare"] = own["cpu"]["compare"] * n / size
    return cpu


def cells(n: int, result: Measured, results: dict[int, Measured]) -> list[str]:
    cpu = estimated(n, result, results)
    whole = result["done"]["compare"] == 1
    signs = {stage: "" if result["done"][stage] == 1 else "about " for stage in STAGES}
    sign = "" if whole else "about "
    return [
        f"{n:,}",
        *(f"{signs[stage]}{cpu[stage]:.1f}" for stage in STAGES),
        f"{sign}{sum(cpu.values()):.0f}",
        f"{sign}{sum(cpu.values()) / 60 / 2:.1f}",
        f"{result['clock'] / 60:.1f}" if whole else "-",
        f"{result['memory']:.1f}",
        *(
            (wilson(result["found"], result["planted"]), str(result["others"] - result["real"]), str(result["real"]))
            if whole
            else ("-", "-", "-")
        ),
    ]


def growth(results: dict[int, Measured]) -> list[str]:
    """Return how each stage grew from each size to the next, as the power of the number of X-rays."""
    lines = []
    for (small, before), (large, after) in pairwise(results.items()):
        powers = {
            stage: np.log(after["cpu"][stage] / after["done"][stage] / max(before["cpu"][stage], 1e-3))
            / np.log(large / small)
            for stage in STAGES
            if after["done"][stage]
        }
        words = ", ".join(f"{stage} {power:.1f}" for stage, power in powers.items())
        lines.append(f"- from {small:,} to {large:,}: {words}")
    return lines


def report(arguments: argparse.Namespace, results: dict[int, Measured], n_real: int) -> str:
    header = ["X-rays", *STAGES, "in all", "minutes on two cores", "clock, minutes", "memory", "recall of copies"]
    lines = [
        "# Time of the search for duplicates",
        "",
        "Command: `OMP_NUM_THREADS=1 CXR_CORES=2 python benchmarks/duplicates_time.py MANIFEST --sizes "
        f"{' '.join(map(str, arguments.sizes))}{f' --parts {arguments.parts}' * (arguments.parts < _ALL)}`, "
        f"{platform.machine()}, {cores()} cores.",
        "",
        "Seconds of processor time, once X-rays are decoded: to describe X-rays, to look for those most like each, "
        "and to compare candidates by registration. `minutes on two cores` is half of their sum, as both cores work "
        "all the time; `clock` is what it took here, where other programs had most of both cores. Memory in GB, "
        "without the pictures, which lie in a file.",
        "",
        f"{SHARE:.0%} of each set are copies of others (the same pixels, JPEG, crop, brightness, contrast, negative, "
        f"small turn), made at 128 pixels. Of the others, {n_real} are real X-rays; the rest are blended of two real "
        "ones and warped. The last columns: pairs that are reported and were not planted, those with a blended X-ray "
        "or a copy, and those of two real ones (the real ones hold duplicates).",
        "",
        table([*header, "others", "others, real"], [cells(n, result, results) for n, result in results.items()]),
        "",
        *_not_done(results),
        "",
        "Power of the number of X-rays by which processor time grows (1: in proportion; 2: with its square):",
        "",
        *growth(results),
        "",
        *_at(FULL, results),
    ]
    return "\n".join(lines)


def _at(n: int, results: dict[int, Measured]) -> list[str]:
    """Return what a search of ``n`` X-rays would take, where none of that size was measured."""
    size = max((size for size, own in results.items() if own["done"]["compare"] == 1), default=0)
    if not size or n in results:
        return []
    cpu = results[size]["cpu"]
    powers = {"describe": 1, "similar": 2, "compare": 1}
    seconds = {stage: cpu[stage] * (n / size) ** power for stage, power in powers.items()}
    words = ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
    return [
        f"{n:,} X-rays were not measured. From {size:,}, if describe and compare grow in proportion and similar with "
        f"the square: {words}; {sum(seconds.values()):.0f} s of processor time, which is "
        f"{sum(seconds.values()) / 60 / 2:.1f} minutes on two cores that have nothing else to do.",
        "",
    ]


def _not_done(results: dict[int, Measured]) -> list[str]:
    """Return what of the last size was measured, where that is not all."""
    n, last = list(results.items())[-1]
    if last["done"]["compare"] == 1:
        return []
    size = max(size for size, own in results.items() if own["done"]["compare"] == 1)
    return [
        f"Of {n:,} X-rays all were described, and {last['done']['similar']:.0%} were compared with all others; the "
        f"rest of that stage is estimated in proportion. The comparison of candidates is estimated from {size:,} "
        "X-rays, in proportion to their number. The search of that size was not finished.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 30_000, 112_000])
    parser.add_argument("--work", type=Path, default=Path("build/duplicates-time"), help="folder for what is kept")
    parser.add_argument("--parts", type=int, default=_ALL, help="of the last size, how many parts are compared")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    manifest = Manifest.load(arguments.manifest)
    n_real = len(manifest) - TUNED_ON
    pictures = originals(manifest, max(arguments.sizes), arguments.work / "originals.npy")
    results: dict[int, Measured] = {}
    for n in sorted(arguments.sizes):
        thumbnails, planted = with_copies(pictures, n, arguments.work / f"pictures-{n}.npy")
        parts = arguments.parts if n == max(arguments.sizes) else _ALL
        results[n] = measured(thumbnails, planted, n_real, arguments.work, parts)
        arguments.out.write_text(report(arguments, results, n_real), encoding="utf-8")


if __name__ == "__main__":
    main()
