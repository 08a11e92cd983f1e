"""Does the relevance budget find text that a network reads, and how often does it claim what is not there?

Small DenseNets are trained on synthetic X-rays whose text always tells the class (correlation 1: they read it) or never
does (correlation 0). The budget is measured on X-rays that are drawn like those of the training; text, lungs and
lesions are where the drawing put them.

For false claims, regions that nothing tells apart from their controls: places drawn by lot, two as small as tokens and
two as large as lungs, on a network's own X-rays, heatmaps and logits. Each of many sets takes one of these draws per
X-ray, and what is claimed of it is wrong.

    OMP_NUM_THREADS=1 python benchmarks/relevance_regions.py [--n 90] [--train 600] [--epochs 18] [--seeds 0 1]
        [--sets 200] [--places 16] [--quick] [--out benchmarks/results/relevance_regions.md]
    python benchmarks/relevance_regions.py --run RUN [--out benchmarks/results/relevance_real.md]

The second writes down a finished run of ``cxr relevance``, such as one on real X-rays.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from planted_shortcut import QUICK, Setting, boxes_of, trained
from synthetic_networks import HELD_OUT, label_of, xray
from training_setting import machine

from cxr.data.images.resize import fit_square
from cxr.data.phantom import Phantom
from cxr.evaluation.provenance import in_words, provenance_of
from cxr.experiments.relevance.entries import planted_results, region_entries, table_of
from cxr.experiments.relevance.measure import Measure, Subject
from cxr.experiments.relevance.picture_regions import at_size
from cxr.experiments.relevance.results import RegionEntry, relevance_regions_results
from cxr.experiments.relevance.sentences import entry_cells
from cxr.experiments.relevance.settings import DEFAULT_LIMIT
from cxr.explain.heatmap import Method
from cxr.explain.run_files import RunMaps
from cxr.explain.settings import Targets
from cxr.explain.store import HeatmapStore
from cxr.formatting import Estimate, number, p_value, times
from cxr.models import XrayClassifier
from cxr.regions import Lungs, regions_of
from cxr.reports import relevance as report
from cxr.runs import Run, get_run

RESULTS = Path(__file__).parent / "results" / "relevance_regions.md"
BORDER, DRAWS = 0.08, 3
NULL = ("text", "devices", "border", "lungs")
"""Names that the drawn places take: two small ones, two large ones."""


def measure(model: XrayClassifier, folder: Path, seed: int = 0) -> Measure:
    store = HeatmapStore(f"{len(list(folder.iterdir()))}", folder)
    return Measure(model, Method.of(), Targets(word="predicted"), store, RunMaps({}), DRAWS, BORDER, seed)


def subject(phantom: Phantom, name: str, setting: Setting, mark: bool) -> Subject:
    """An X-ray with the regions that its drawing knows."""
    lungs = Lungs(phantom.lung_mask > 127, "manifest")
    others = {"lesion": phantom.lesion_mask > 127} if phantom.lesion_mask.any() else {}
    regions = regions_of(phantom.image, lungs, boxes_of(phantom, setting), border=BORDER, others=others)
    picture = fit_square(phantom.image, setting.side)
    return Subject(name, picture, at_size(regions.masks, setting.side), "manifest", phantom.label, mark)


def budget(own: Measure, subjects: Sequence[Subject]) -> pd.DataFrame:
    rows = [row for start in range(0, len(subjects), 8) for row in own.rows(subjects[start : start + 8])]
    names = {s.image_id: s.image_id for s in subjects}
    return table_of(rows, names, {s.image_id: s.label for s in subjects})


# --- planted text --------------------------------------------------------------------------------------------------


def planted_text(setting: Setting, seeds: Sequence[int], folder: Path) -> tuple[list[str], XrayClassifier]:
    """Return lines of the table of networks that read the text and that do not, and one of the latter."""
    lines = [
        "| correlation | seed | accuracy | region | relevance over area | at control places | logit without it | "
        "changed elsewhere | p, corrected | relies on it |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    marks = ["", "| correlation | seed | gain of the mark | same place without it | logit | text over mark |"]
    marks.append("|---|---|---|---|---|---|")
    innocent: XrayClassifier | None = None
    for correlation in (0.0, 1.0):
        for seed in seeds:
            model = trained(setting, correlation, seed)
            innocent = innocent or model
            shown = [
                xray(HELD_OUT + 1000 * seed, i, correlation=correlation, size=setting.drawn)
                for i in range(setting.test)
            ]
            subjects = [subject(phantom, f"{i}", setting, i < 60) for i, phantom in enumerate(shown)]
            table = budget(measure(model, folder, seed), subjects)
            right = np.mean([p == label_of(int(i)) for i, p in zip(table["image_id"], table["predicted"], strict=True)])
            head = f"| {correlation:g} | {seed} | {right:.3f} "
            entries = [entry for entry in region_entries(table, seed) if entry["every"]]
            lines += [head + entry_row(entry) for entry in entries]
            mark = planted_results(table, seed)
            if mark is not None:
                cells = [_times(mark["gain"]), _times(mark["gain_without"]), number(mark["logit_change"], signed=True)]
                cells.append(_times(mark["text_over_mark"]))
                marks.append(f"| {correlation:g} | {seed} | {' | '.join(cells)} |")
            print(f"correlation {correlation:g}, seed {seed}: done", flush=True)
    assert innocent is not None
    return lines + marks, innocent


def entry_row(entry: RegionEntry) -> str:
    cells = [
        entry["title"],
        _times(entry["gain"]),
        _times(entry["control_gain"]),
        number(entry["logit_change"], signed=True),
        number(entry["control_change"], signed=True),
        p_value(entry["p_corrected"]),
        "yes" if entry["shown"] else "not shown",
    ]
    return f"| {' | '.join(cells)} |"


def _times(gain: Estimate) -> str:
    return times(gain).replace(" times", "")


# --- nothing to be found -------------------------------------------------------------------------------------------


def drawn_places(size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return masks (size, size) by name at random places: small ones near the frame, large ones anywhere."""
    masks: dict[str, np.ndarray] = {}
    free: np.ndarray = np.ones((size, size), bool)
    for name in NULL[:2]:
        side, along = round(size * rng.uniform(0.06, 0.1)), round(size * rng.uniform(0.12, 0.25))
        shape = (side, along) if rng.integers(0, 2) else (along, side)
        while True:
            top, left = (int(rng.integers(0, size - n + 1)) for n in shape)
            mask = np.zeros((size, size), bool)
            mask[top : top + shape[0], left : left + shape[1]] = True
            if not (mask & ~free).any():
                break
        masks[name] = mask
        free &= ~mask
    for name in NULL[2:]:
        field = cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), size / 12)
        field[~free] = -np.inf
        masks[name] = field >= np.sort(field[free])[-round(size * size * rng.uniform(0.15, 0.3))]
        free &= ~masks[name]
    return masks


def null_tables(model: XrayClassifier, setting: Setting, draws: int, folder: Path) -> list[pd.DataFrame]:
    """Return one table of all X-rays for each draw of places."""
    shown = [xray(HELD_OUT, i, correlation=0.0, size=setting.drawn) for i in range(setting.test)]
    pictures = [fit_square(phantom.image, setting.side) for phantom in shown]
    tables = []
    for draw in range(draws):
        subjects = [
            Subject(f"{i}", picture, drawn_places(setting.side, np.random.default_rng([draw, i])), "", label_of(i))
            for i, picture in enumerate(pictures)
        ]
        tables.append(budget(measure(model, folder, draw), subjects))
        print(f"places {draw + 1} of {draws}", flush=True)
    return tables


def false_claims(tables: Sequence[pd.DataFrame], n: int, most: int, sets: int) -> list[float]:
    """Return per cent of sets of ``n`` X-rays of patients of 1 to ``most``.

    Those in which any region is claimed to be relied on, in which one alone has p below 0.05 (per region), in which any
    region is claimed to hold more than its control, and of intervals of the difference that hold 0.
    """
    claimed, single, held, zero = [], [], [], []
    for k in range(sets):
        rng = np.random.default_rng([n, most, k])
        images = rng.permutation(len(tables[0]))[:n]
        rows = pd.DataFrame([tables[int(rng.integers(0, len(tables)))].iloc[i] for i in images])
        rows["patient"] = [f"p{p}" for p in np.repeat(np.arange(n), rng.integers(1, most + 1, n))[:n]]
        entries = [entry for entry in region_entries(rows.reset_index(drop=True), k) if entry["every"]]
        claimed.append(any(e["shown"] or _claimed_less(e) for e in entries))
        single.append(np.mean([(e["p"] or 1.0) < 0.05 for e in entries]))
        held.append(any((e["gain_p_corrected"] or 1.0) < 0.05 for e in entries))
        zero += [_holds_zero(e["beyond"]) for e in entries if e["beyond"]["low"] is not None]
    return [100 * float(np.mean(values)) for values in (claimed, single, held, zero)]


def _claimed_less(entry: RegionEntry) -> bool:
    return entry["p_corrected"] is not None and entry["p_corrected"] < 0.05


def _holds_zero(own: Estimate) -> bool:
    assert own["low"] is not None
    assert own["high"] is not None
    return own["low"] <= 0 <= own["high"]


def page(text_lines: Sequence[str], null_lines: Sequence[str], setting: Setting, args: argparse.Namespace) -> str:
    command = "python benchmarks/relevance_regions.py " + shlex.join(sys.argv[1:])
    planted = f"""
        DenseNets at {setting.side} px trained on {setting.train} synthetic X-rays. {setting.test} other X-rays, each of
        its own patient, explained for the predicted class. At correlation 1 the text always tells the class, at 0 it
        says nothing of it and the lesion tells it. In brackets: 95 % intervals over patients.
    """
    mark = "The second table is of a mark that no network has seen, stamped at the border."
    null = f"""
        {args.sets} sets a row of X-rays of a network at correlation 0. Four places by lot on each X-ray stand for the
        regions, {args.places} draws of them. Per cent of sets in which a region is claimed to lower the logit more, or
        less, than its controls (corrected over four regions); of regions with an uncorrected p below 0.05; of sets in
        which a region is claimed to hold more, or less, relevance than its controls; and of intervals of the
        difference of logits that hold 0. The first three should be 5 or less, the last about 95.
    """
    parts = [
        "# The relevance budget: text that is read, and claims where there is nothing",
        f"Command: `{command.strip()}`; {machine()}.",
        _wrapped(planted),
        "\n".join(text_lines),
        mark,
        "## Nothing to be found",
        _wrapped(null),
        "\n".join(null_lines),
    ]
    return "\n\n".join(parts) + "\n"


def real_page(run: Run) -> str:
    """Return the page of a finished run."""
    results = relevance_regions_results(run)
    cells = [entry_cells(entry) for entry in results["regions"]]
    table = [f"| {' | '.join(cells[0])} |", "|---" * len(cells[0]) + "|"]
    table += [f"| {' | '.join(row.values())} |" for row in cells]
    parts = [
        "# The relevance budget on real X-rays",
        f"Commands: `cxr relevance NETWORK --limit {run.spec['params'].get('limit', DEFAULT_LIMIT)}`, then `python "
        "benchmarks/relevance_regions.py --run RUN`.",
        _wrapped(f"{results['model']}. {report.how(run, results)} {in_words(provenance_of(run))}"),
        _wrapped(results["finding"]),
        "\n".join(table),
        "? after a region: the network is not shown to rely on it. In brackets: 95 % intervals over patients.",
    ]
    return "\n\n".join(parts) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 118)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=90, help="X-rays of each network")
    parser.add_argument("--train", type=int, default=Setting.train, help="X-rays to train on")
    parser.add_argument("--epochs", type=int, default=Setting.epochs)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="networks at each correlation")
    parser.add_argument("--sets", type=int, default=200, help="sets without anything to be found")
    parser.add_argument("--places", type=int, default=16, help="draws of places on each X-ray")
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    parser.add_argument("--run", help="a finished run of cxr relevance, to be written down instead")
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    args = parser.parse_args()
    if args.run:
        text = real_page(get_run(args.run))
        print(text)
        if args.out:
            args.out.write_text(text, encoding="utf-8")
        return
    if args.quick:
        args.n, args.seeds, args.sets, args.places = 12, [0], 4, 2
    setting = replace(QUICK, test=args.n) if args.quick else Setting(args.train, args.n, args.epochs)
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        text_lines, innocent = planted_text(setting, args.seeds, Path(folder))
        tables = null_tables(innocent, setting, args.places, Path(folder))
    null_lines = [
        "| X-rays | patients of | any region | one p < 0.05 | any relevance | holds 0 |",
        "|---|---|---|---|---|---|",
    ]
    for n, most in ((args.n // 3, 1), (args.n, 1), (args.n, 4)):
        cells = false_claims(tables, n, most, args.sets)
        null_lines.append(f"| {n} | 1{f' to {most}' if most > 1 else ''} | {' | '.join(f'{c:.1f}' for c in cells)} |")
    text = page(text_lines, null_lines, setting, args)
    print("\n" + text)
    print(f"{time.perf_counter() - began:.0f} s")
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
