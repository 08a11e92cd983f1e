"""How well does the shipped segmentation find lungs that were drawn by hand?

- Montgomery County: only the X-rays that the file of weights names as held out
- the masked images of the Cohen collection, of which none was trained on (masks by v7labs)
- the images without masks: how often the answer is implausible

Dice is of the mask at the size of the file. "Between" is Dice of the lungs with what lies between them in each row: the
two sets of masks disagree on the lungs behind the heart, and not on that.

    python benchmarks/lung_segmentation.py --data ../shared/data --out benchmarks/results/lung_segmentation.md
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from cxr.data import Manifest, read_xray
from cxr.evaluation.intervals import mean_intervals
from cxr.regions.lungs import box_lungs, read_mask
from cxr.regions.segmentation.lung_segmentation import WEIGHTS, facts, lung_probability, shared_network
from cxr.regions.segmentation.picture import mask_of

HEAD = "| X-rays | n | patients | {} |\n|---|---|---|{}"


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def filled_between(mask: np.ndarray) -> np.ndarray:
    """Return in each row all from the first to the last pixel of the mask."""
    seen = np.maximum.accumulate(mask, axis=1)
    return seen & np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]


def measured(manifest: Manifest, ids: list[str]) -> Iterator[dict[str, object]]:
    for name in ids:
        row, image = manifest.row(name), read_xray(manifest.image_path(name))
        shape = (image.shape[0], image.shape[1])
        begun = time.process_time()
        mask = mask_of(lung_probability(image), shape)
        spent = time.process_time() - begun
        entry: dict[str, object] = {"id": name, "patient": row["patient_id"], "view": row["view"], "ms": 1000 * spent}
        entry |= {"label": row["label"], "box": mask is None}
        file = manifest.mask_path(name)
        if file is not None:
            hand, box = read_mask(file, shape), box_lungs(shape).mask
            got = box if mask is None else mask
            entry |= {"dice": dice(got, hand), "between": dice(filled_between(got), filled_between(hand))}
            entry |= {"box_dice": dice(box, hand), "hand": hand.mean(), "area": got.mean()}
            entry["inside"] = (got & hand).sum() / max(got.sum(), 1)
        yield entry


def with_interval(table: pd.DataFrame, column: str) -> str:
    limits = mean_intervals(table[[column]].to_numpy(float), table["patient"], bounded=True)[0]
    value = f"{table[column].astype(float).mean():.3f}"
    return value if limits is None else f"{value} [{limits[0]:.3f}, {limits[1]:.3f}]"


def overlaps(parts: dict[str, pd.DataFrame]) -> Iterator[str]:
    columns = ("dice", "between", "inside", "box_dice")
    yield HEAD.format(
        "Dice | Dice, between filled | share of the mask inside the one by hand | Dice of boxes alone", "---|" * 4
    )
    for name, table in parts.items():
        figures = " | ".join(with_interval(table, column) for column in columns)
        yield f"| {name} | {len(table)} | {table['patient'].nunique()} | {figures} |"


def spread(parts: dict[str, pd.DataFrame]) -> Iterator[str]:
    yield HEAD.format("lowest Dice | 5th percentile | median | Dice below 0.8 | area, ours | area, by hand", "---|" * 6)
    for name, table in parts.items():
        low = np.percentile(table["dice"], [0, 5, 50])
        cells = [f"{v:.3f}" for v in low] + [str(int((table["dice"] < 0.8).sum()))]
        cells += [f"{table[column].mean():.3f}" for column in ("area", "hand")]
        yield f"| {name} | {len(table)} | {table['patient'].nunique()} | {' | '.join(cells)} |"


def implausible(parts: dict[str, pd.DataFrame]) -> Iterator[str]:
    yield HEAD.format("boxes instead | share", "---|" * 2)
    for name, table in parts.items():
        share = with_interval(table, "box")
        yield f"| {name} | {len(table)} | {table['patient'].nunique()} | {int(table['box'].sum())} | {share} |"


def page(data: Path, without_masks: int) -> Iterator[str]:
    manifest = Manifest.load(data / "manifest.csv")
    table, known = manifest.table, facts()
    held_out = set(known["held_out"].split())
    masked, files = table["lung_mask"] != "", table["image"].map(lambda path: Path(path).name)
    sets = {
        "Montgomery, held out": table[masked & (table["source"] == known["source"]) & files.isin(held_out)],
        "Cohen, with masks": table[masked & (table["source"] == "cohen")],
        "NIH, no masks": table[table["source"] == "nih"].sample(without_masks, random_state=0),
    }
    results = {name: pd.DataFrame(measured(manifest, rows["image_id"].tolist())) for name, rows in sets.items()}
    cohen = results["Cohen, with masks"]
    parts = {name: part for name, part in results.items() if "dice" in part}
    views = {f"Cohen, {view}": part for view, part in cohen.groupby("view")}
    labels = {f"Cohen, {label}": part for label, part in cohen.groupby("label") if part["patient"].nunique() > 1}
    plausible = {f"{name}, no boxes": part[~part["box"].astype(bool)] for name, part in parts.items()}
    times = np.concatenate([part["ms"] for part in results.values()])
    parameters = sum(value.numel() for value in shared_network().parameters())
    yield "# The segmentation of lungs\n"
    setting = f"{platform.machine()}, one thread, no GPU, torch {torch.__version__}"
    yield f"Command: `{shlex.join(['python', *sys.argv])}`; {setting}.\n"
    yield (
        f"Weights: {WEIGHTS.stat().st_size / 1e6:.2f} MB, {parameters:,} parameters, trained on {known['trained_on']} "
        f"X-rays of Montgomery County and synthetic ones (seed {known['seed']}, {known['steps']} steps of "
        f"{known['batch']}). {np.median(times):.0f} ms of processor time per decoded X-ray (median).\n"
    )
    yield "## Against masks by hand\n"
    yield "Where an answer was implausible, the boxes instead of it count, unless it says otherwise."
    yield "Intervals are at 95 %, over patients.\n"
    yield from overlaps(parts | plausible | views | labels)
    yield "\n## Worst cases and areas\n\nAreas are shares of the picture.\n"
    yield from spread(parts)
    yield "\n## Implausible answers\n"
    yield from implausible(results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--without-masks", type=int, default=1000, help="images without masks")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    text = "\n".join(page(given.data, given.without_masks)) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
