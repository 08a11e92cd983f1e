"""Measure the text detector on X-rays whose tokens were boxed by hand.

``--data`` is a folder with ``boxes.csv`` (image, x0, y0, x1, y1, kind, transcription, difficult; an image without text
has one row without coordinates) and the images it names.

- recall: a token counts as found when its centre lies in a detected box, or at IoU 0.3; ``difficult`` ones are left out
- precision: share of the detected boxes that meet a token (hold its centre, have theirs in it, or IoU 0.3)
- falsely masked: share of an image's pixels in detected boxes and outside every token (grown by half its shorter side)
- clean images hit: share of the images without text with at least one box

    python benchmarks/text_detection.py --data FOLDER [--recipe views|plain|both] [--threads 2]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cxr.text.boxes import TextBox, coverage, grow, iou
from cxr.text.detect import Detector

Recipe = Callable[[np.ndarray], list[TextBox]]


def plain_recipe(threads: int | None) -> Recipe:
    """RapidOCR as it comes: one pass, its own confidence and size limits, detection and recognition."""
    from rapidocr import RapidOCR

    params = {"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": threads or -1}
    engine = RapidOCR(params=params)

    def detect(image: np.ndarray) -> list[TextBox]:
        found = engine(np.repeat(image[..., None], 3, axis=2), use_det=True, use_cls=True, use_rec=True)
        if found.boxes is None:
            return []
        return [TextBox(*map(int, (*c.min(axis=0), *np.ceil(c.max(axis=0))))) for c in np.asarray(found.boxes)]

    return detect


def holds(box: TextBox, other: TextBox) -> bool:
    """Whether the centre of ``other`` lies in ``box``."""
    x, y = (other.x0 + other.x1) / 2, (other.y0 + other.y1) / 2
    return box.x0 <= x < box.x1 and box.y0 <= y < box.y1


def tokens_of(rows: pd.DataFrame) -> list[tuple[TextBox, str, bool]]:
    """Return (box, kind, difficult) of one image's tokens."""
    rows = rows.dropna(subset=["x0", "y0", "x1", "y1"])
    return [
        (TextBox(round(r.x0), round(r.y0), round(r.x1), round(r.y1)), r.kind, bool(r.difficult == 1))
        for r in rows.itertuples()
    ]


def measure(recipe: Recipe, data: Path, table: pd.DataFrame) -> dict[str, float]:
    """Run ``recipe`` on every image and return the measures of the module's docstring."""
    found, wanted, seconds, false_share = defaultdict(int), defaultdict(int), [], []
    right = boxes_total = clean = clean_hit = 0
    for name, rows in table.groupby("image", sort=True):
        image = cv2.imread(str(data / name), cv2.IMREAD_GRAYSCALE)
        began = time.perf_counter()
        boxes = recipe(image)
        seconds.append(time.perf_counter() - began)
        tokens = tokens_of(rows)
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
    return summary(found, wanted, right, boxes_total, clean_hit, clean, seconds, false_share)


def summary(
    found: dict[str, int],
    wanted: dict[str, int],
    right: int,
    boxes_total: int,
    clean_hit: int,
    clean: int,
    seconds: Sequence[float],
    false_share: Sequence[float],
) -> dict[str, float]:
    """Return the table's rows in their order."""
    kinds = [k for k in wanted if k != "arrow"]
    rows = {"recall (no arrows)": sum(found[k] for k in kinds) / max(1, sum(wanted[k] for k in kinds))}
    rows |= {f"recall {k} ({wanted[k]})": found[k] / wanted[k] for k in sorted(wanted)}
    rows |= {
        "precision": right / max(1, boxes_total),
        "boxes": boxes_total,
        "falsely masked, mean": float(np.mean(false_share)),
        "falsely masked, worst": float(np.max(false_share)),
        f"clean images hit (of {clean})": clean_hit / max(1, clean),
        "s / image, median": float(np.median(seconds)),
        "s / image, mean": float(np.mean(seconds)),
    }
    return rows


def main() -> None:
    """Print one column per recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with boxes.csv and its images")
    parser.add_argument("--recipe", choices=("views", "plain", "both"), default="both")
    parser.add_argument("--threads", type=int, default=None, help="cores of one detector call")
    arguments = parser.parse_args()
    table = pd.read_csv(arguments.data / "boxes.csv")
    recipes: dict[str, Recipe] = {}
    if arguments.recipe in ("plain", "both"):
        recipes["plain RapidOCR"] = plain_recipe(arguments.threads)
    if arguments.recipe in ("views", "both"):
        recipes["cxr.text"] = Detector(arguments.threads)
    columns = {}
    for name, recipe in recipes.items():
        recipe(np.zeros((64, 64), dtype=np.uint8))  # the models load at the first call
        columns[name] = measure(recipe, arguments.data, table)
    print(pd.DataFrame(columns).to_string(float_format=lambda v: f"{v:.3f}"))


if __name__ == "__main__":
    main()
