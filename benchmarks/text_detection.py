"""Measure the text detector: what it finds on X-rays whose tokens are known, and how fast.

``--data`` is a folder with ``boxes.csv`` (image, x0, y0, x1, y1, kind, transcription, difficult; an image without text
has one row without coordinates) and the images it names. ``--synthetic N`` measures on N synthetic X-rays as well (or
instead), whose tokens are known by construction; every fourth carries none.

- recall: a token counts as found when its centre lies in a detected box, or at IoU 0.3; ``difficult`` ones are left out
- precision: share of the detected boxes that meet a token (hold its centre, have theirs in it, or IoU 0.3)
- falsely masked: share of an image's pixels in detected boxes and outside every token (grown by half its shorter side)
- clean images hit: share of the images without text with at least one box

The part ``speed`` reads the images of ``--data`` by plain RapidOCR, one after the other on all cores, and by this
package in as many processes as cores, in turn, from the file to the transcriptions; models are loaded before. Peak
memory is that of a whole process, Python and its libraries included.

    python benchmarks/text_detection.py --data FOLDER [--synthetic 60] [--part accuracy|speed|all]
        [--recipe plain careful mask-all] [--threads 2] [--rounds 3] [--halves] [--out FILE.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from grey_images import read_grey

from cxr.data.phantom import CLASSES, make_phantom
from cxr.text.boxes import TextBox, coverage, grow, iou
from cxr.text.detection.detector import OPERATING_POINTS, Detector
from cxr.text.detection.shared import shared_detector

Recipe = Callable[[np.ndarray], list[TextBox]]
Truth = list[tuple[TextBox, str, bool]]
"""(box, kind, difficult) of each token of an image."""


def plain_recipe(threads: int | None) -> Recipe:
    """RapidOCR as it comes: one pass, its own confidence and size limits, detection and recognition."""
    from rapidocr import RapidOCR

    params = {"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": threads or -1}
    engine = RapidOCR(params=params)

    def detect(image: np.ndarray) -> list[TextBox]:
        found = engine(np.repeat(image[..., None], 3, axis=2), use_det=True, use_cls=True, use_rec=True)
        corners = getattr(found, "boxes", None)
        return [] if corners is None else [_around(c) for c in np.asarray(corners)]

    return detect


def _around(corners: np.ndarray) -> TextBox:
    (x0, y0), (x1, y1) = corners.min(axis=0), np.ceil(corners.max(axis=0))
    return TextBox(int(x0), int(y0), int(x1), int(y1))


def holds(box: TextBox, other: TextBox) -> bool:
    """Whether the centre of ``other`` lies in ``box``."""
    x, y = (other.x0 + other.x1) / 2, (other.y0 + other.y1) / 2
    return box.x0 <= x < box.x1 and box.y0 <= y < box.y1


def tokens_of(rows: pd.DataFrame) -> Truth:
    """Return the tokens of one image's rows."""
    rows = rows.dropna(subset=["x0", "y0", "x1", "y1"])
    return [
        (TextBox(round(r.x0), round(r.y0), round(r.x1), round(r.y1)), r.kind, bool(r.difficult == 1))
        for r in rows.itertuples()
    ]


def labelled(data: Path, names: list[str]) -> Iterator[tuple[np.ndarray, Truth]]:
    """Yield the X-rays of a folder with their tokens."""
    by_name = dict(list(pd.read_csv(data / "boxes.csv").groupby("image", sort=True)))
    for name in names:
        yield read_grey(data / name), tokens_of(by_name[name])


def synthetic(n: int) -> Iterator[tuple[np.ndarray, Truth]]:
    """Yield synthetic X-rays of three sizes with their tokens; every fourth has none."""
    for i in range(n):
        size = (384, 512, 768)[i % 3]
        phantom = make_phantom(10_000 + i, CLASSES[i // 3 % 3], size=size, tokens=i % 4 != 3)
        yield phantom.image, [(TextBox(t["x0"], t["y0"], t["x1"], t["y1"]), t["kind"], False) for t in phantom.tokens]


def measure(recipe: Recipe, images: Iterable[tuple[np.ndarray, Truth]]) -> dict[str, float]:
    """Run ``recipe`` on every image and return the measures of the module's docstring."""
    found: dict[str, int] = defaultdict(int)
    wanted: dict[str, int] = defaultdict(int)
    seconds: list[float] = []
    false_share: list[float] = []
    right = boxes_total = clean = clean_hit = 0
    for image, tokens in images:
        began = time.perf_counter()
        boxes = recipe(image)
        seconds.append(time.perf_counter() - began)
        for token, kind, difficult in tokens:
            if not difficult:
                wanted[kind] += 1
                found[kind] += any(holds(b, token) or iou(b, token) >= 0.3 for b in boxes)
        boxes_total += len(boxes)
        right += sum(any(holds(b, t) or holds(t, b) or iou(b, t) >= 0.3 for t, _, _ in tokens) for b in boxes)
        truth = coverage([grow(t, 0.5, image.shape) for t, _, _ in tokens], image.shape)
        false_share.append(float((coverage(boxes, image.shape) & ~truth).mean()))
        clean += not tokens
        clean_hit += not tokens and bool(boxes)
    kinds = [k for k in wanted if k != "arrow"]
    rows = {"recall (no arrows)": sum(found[k] for k in kinds) / max(1, sum(wanted[k] for k in kinds))}
    rows |= {f"recall {k} ({wanted[k]})": found[k] / wanted[k] for k in sorted(wanted)}
    return rows | {
        "precision": right / max(1, boxes_total),
        "boxes": boxes_total,
        "falsely masked, mean": float(np.mean(false_share)),
        "falsely masked, worst": float(np.max(false_share)),
        f"clean images hit (of {clean})": clean_hit / max(1, clean),
        "s / image, median": float(np.median(seconds)),
        "s / image, mean": float(np.mean(seconds)),
    }


def accuracy(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield (title, table) of each set of images, one column per recipe."""
    recipes: dict[str, Recipe] = {}
    for name in given.recipe:
        plain = name == "plain"
        recipes[name] = plain_recipe(given.threads) if plain else Detector(given.threads, operating_point=name)
        recipes[name](np.zeros((64, 64), dtype=np.uint8))  # the models load at the first call
    sets: dict[str, Callable[[], Iterable[tuple[np.ndarray, Truth]]]] = {}
    if given.data:
        names = sorted(pd.read_csv(given.data / "boxes.csv")["image"].unique())
        sets[f"{len(names)} X-rays with hand-made boxes"] = lambda: labelled(given.data, names)
        if given.halves:
            sets["Every other one of them, from the first"] = lambda: labelled(given.data, names[::2])
            sets["Every other one of them, from the second"] = lambda: labelled(given.data, names[1::2])
    if given.synthetic:
        sets[f"{given.synthetic} synthetic X-rays"] = lambda: synthetic(given.synthetic)
    for title, images in sets.items():
        columns = {name: measure(recipe, images()) for name, recipe in recipes.items()}
        yield title, pd.DataFrame(columns).to_string(float_format=lambda v: f"{v:.3f}")


def _warm() -> None:
    cv2.setNumThreads(1)
    shared_detector(1)(np.zeros((64, 64), np.uint8))


def _boxes_in(path: str) -> int:
    return len(shared_detector(1)(read_grey(path)))


def _peak_memory(_: int = 0) -> float:
    """Return the most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _plain_memory(paths: list[str]) -> float:
    """Return the peak memory of a process that reads X-rays by plain RapidOCR, in MB."""
    plain = plain_recipe(None)
    for path in paths:
        plain(read_grey(path))
    return _peak_memory()


def speed(given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield (title, table): images per second of plain RapidOCR and of processes side by side, in turn."""
    names = sorted(pd.read_csv(given.data / "boxes.csv")["image"].unique())
    paths, cores = [str(given.data / name) for name in names], os.cpu_count() or 1
    plain = plain_recipe(None)
    plain(np.zeros((64, 64), np.uint8))
    theirs, ours = [], []
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        list(pool.map(_boxes_in, paths[:1] * 2 * cores))
        for _ in range(given.rounds):
            began = time.perf_counter()
            for path in paths:
                plain(read_grey(path))
            theirs.append(len(paths) / (time.perf_counter() - began))
            began = time.perf_counter()
            list(pool.map(_boxes_in, paths))
            ours.append(len(paths) / (time.perf_counter() - began))
        memory = max(pool.map(_peak_memory, range(4 * cores)))
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        plain_memory = alone.submit(_plain_memory, paths).result()
    ratios = np.quantile(np.array(ours) / np.array(theirs), [0.25, 0.5, 0.75])
    rows = {
        "images": len(paths),
        "plain RapidOCR, images/s": float(np.median(theirs)),
        f"cxr.text, {cores} processes, images/s": float(np.median(ours)),
        "plain RapidOCR, peak memory, MB": plain_memory,
        "cxr.text, peak memory of a process, MB": memory,
        "ratio": ratios[1],
        "ratio, quartiles": f"{ratios[0]:.2f} to {ratios[2]:.2f}",
    }
    yield f"Speed on {len(paths)} X-rays", pd.Series(rows).to_string(float_format=lambda v: f"{v:.2f}")


def machine() -> str:
    """Return the machine in words."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "openvino", "rapidocr"))
    return f"{platform.machine()}, {os.cpu_count()} cores, no GPU, {versions}"


def main() -> None:
    """Print the tables, and write them as Markdown if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with boxes.csv and its images")
    parser.add_argument("--synthetic", type=int, default=0, help="synthetic X-rays to measure on")
    parser.add_argument("--part", choices=("accuracy", "speed", "all"), default="accuracy")
    parser.add_argument(
        "--recipe", nargs="+", choices=("plain", *OPERATING_POINTS), default=["plain", *OPERATING_POINTS]
    )
    parser.add_argument("--threads", type=int, default=None, help="cores of one detector call")
    parser.add_argument("--rounds", type=int, default=3, help="of the part speed")
    parser.add_argument("--halves", action="store_true", help="also on each half of the images")
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    given = parser.parse_args()
    if not given.data and (given.part != "accuracy" or not given.synthetic):
        parser.error("--data FOLDER is needed, or --synthetic N for the accuracy alone")
    page = [
        "# The detector of burned-in text",
        f"Command: `python benchmarks/text_detection.py {shlex.join(sys.argv[1:])}`; {machine()}.",
    ]
    parts = {"accuracy": [accuracy], "speed": [speed], "all": [accuracy, speed]}[given.part]
    for part in parts:
        for title, table in part(given):
            print(f"\n## {title}\n\n{table}", flush=True)
            page += [f"## {title}", f"```\n{table}\n```"]
            if given.out:
                given.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
