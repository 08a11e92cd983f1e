"""How often protocol probes speak of data without a shortcut, where they find a planted one, and what they cost.

    python benchmarks/probes.py [--sets 110] [--out benchmarks/results/probes.md]
    python benchmarks/probes.py --real MANIFEST [--text] [--masks box]

Synthetic X-rays of patients with 1 to 4 alike X-rays each are drawn, described as those of a data set are, and given
random labels, findings and sources. With ``--real`` the X-rays of a manifest are probed instead, of its column ``role``
those of ``train``, and the table is ``results/probes_real.md``.
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cxr.data import Manifest
from cxr.data.phantom import make_phantom
from cxr.experiments.probes import job
from cxr.experiments.probes.described import describe_views
from cxr.experiments.probes.probing import probe
from cxr.experiments.probes.questions import groups_of, questions_of
from cxr.experiments.probes.results import (
    KIND,
    SIGNIFICANT,
    VIEWS,
    ProbeEntry,
    ProbeResults,
    lungs_in_words,
    not_probed,
    probe_cells,
)
from cxr.experiments.probes.settings import ProbeParams
from cxr.regions import Lungs
from cxr.runs import RunFolder

RESULTS = Path(__file__).with_name("results")
PATIENTS, VARIANTS, SIDE = 200, 4, 192
TASKS = ("two classes", "two findings", "four classes")
SEEN = ("full", "no-lungs", "border", "lungs")
SIZES = (100, 200)
MARK = (16, 8)
"""Width and height of the planted mark in pixels, in the upper left corner, where markers of sides stand."""
WITH_MARK, WITHOUT_MARK = 0.9, 0.1
"""Shares of the X-rays of the first class, and of the others, that have the planted mark."""


def drawn(patient: int, variant: int) -> np.ndarray:
    """Return descriptors (2, V, P) of a variant of a patient's synthetic X-ray, without and with a mark in its border.

    Variants differ as films of one patient do: by a shift, brightness, contrast and noise.
    """
    phantom = make_phantom(7000 + patient, ("normal", "pneumonia", "covid19")[patient % 3], size=SIDE, tokens=False)
    rng = np.random.default_rng([patient, variant])
    shift = np.array([[1, 0, rng.uniform(-4, 4)], [0, 1, rng.uniform(-4, 4)]])
    border = cv2.BORDER_REPLICATE
    image = cv2.warpAffine(phantom.image, shift, (SIDE, SIDE), borderMode=border).astype(np.float64)
    mask = cv2.warpAffine(phantom.lung_mask, shift, (SIDE, SIDE)) > 127
    image = image * rng.uniform(0.9, 1.1) + rng.uniform(-8, 8) + rng.normal(0, 3, image.shape)
    plain = np.clip(image, 0, 255).astype(np.uint8)
    marked = plain.copy()
    cv2.rectangle(marked, (8, 4), (8 + MARK[0], 4 + MARK[1]), 255, -1)
    lungs = Lungs(mask, "manifest")
    return np.stack([describe_views(picture, lungs, (), SEEN) for picture in (plain, marked)])


def pool() -> np.ndarray:
    """Return descriptors (patients, variants, 2, V, P)."""
    variants = [[drawn(patient, variant) for variant in range(VARIANTS)] for patient in range(PATIENTS)]
    return np.asarray(variants)


def labels_of(rng: np.random.Generator, patient: np.ndarray, task: str) -> dict[str, list[str]]:
    """Return the column ``label`` or ``findings``; findings differ between the X-rays of a patient."""
    if task == "two findings":
        shared = rng.normal(size=(patient.max() + 1, 2))[patient]
        there = shared + rng.normal(size=shared.shape) > 0.3
        texts = ["|".join(name for name, own in zip("AB", row, strict=True) if own) for row in there]
        return {"findings": [text or "No Finding" for text in texts]}
    n = 2 if task == "two classes" else 4
    codes = rng.permutation(np.arange(patient.max() + 1) % n)[patient]
    return {"label": [f"class {code}" for code in codes]}


def random_set(rng: np.random.Generator, n: int, task: str) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the rows of ``n`` X-rays with random labels and sources, and which patient and variant each one shows."""
    sizes = rng.integers(1, VARIANTS + 1, n)
    patient = np.repeat(np.arange(n), sizes)[:n]
    shown = rng.permutation(PATIENTS)[patient]
    variant = np.concatenate([np.arange(size) for size in sizes])[:n]
    columns = dict.fromkeys(("label", "findings", "dup_group"), "") | labels_of(rng, patient, task)
    source = np.where(rng.random(patient.max() + 1) < 0.5, "north", "south")[patient]
    ids = [f"i{k}" for k in range(n)]
    table = pd.DataFrame({"image_id": ids, "patient_id": [f"p{p}" for p in patient], "source": source} | columns)
    return table, shown, variant


def probed(
    descriptors: np.ndarray, rng: np.random.Generator, n: int, task: str, *, plant: bool = False
) -> list[ProbeEntry]:
    """Return the probes of a random set; with ``plant`` most X-rays of the first class have a mark in their border."""
    table, shown, variant = random_set(rng, n, task)
    marks = np.zeros(n, np.int64)
    if plant:
        first = table["label"].eq("class 0") | table["findings"].str.split("|").map(lambda names: "A" in names)
        marks = (rng.random(n) < np.where(first, WITH_MARK, WITHOUT_MARK)).astype(np.int64)
    points = descriptors[shown, variant, marks]
    seed = int(rng.integers(2**31))
    views = {view: points[:, k] for k, view in enumerate(SEEN)}
    return probe(views, questions_of(table, seed=seed), groups_of(table), seed=seed)[0]


def share(values: Sequence[bool]) -> str:
    """Return the share of True with its number, "–" without any."""
    return f"{100 * np.mean(values):.1f} % of {len(values)}" if len(values) else "–"


def holds(entry: ProbeEntry, truth: float) -> bool:
    """Return whether the interval of a probe's score holds a value."""
    low, high = entry["score"]["low"], entry["score"]["high"]
    return low is not None and high is not None and low <= truth <= high


def nothing_there(descriptors: np.ndarray, sets: int) -> list[str]:
    """Return the table of sets without any association."""
    lines = [
        "| X-rays | classes | sets with a probe that is shown | p < 0.05 before correction | probes "
        "that could be asked | intervals that hold chance |",
        "|---|---|---|---|---|---|",
    ]
    for n in SIZES:
        for k, task in enumerate(TASKS):
            rng = np.random.default_rng([n, k])
            runs = [probed(descriptors, rng, n, task) for _ in range(sets)]
            asked = [[entry for entry in entries if entry["p"] is not None] for entries in runs]
            every = [entry for entries in asked for entry in entries]
            claims = [any(entry["shown"] for entry in entries) for entries in runs]
            small = [entry["p"] is not None and entry["p"] < SIGNIFICANT for entry in every]
            chance = [holds(entry, 1 / len(entry["classes"])) for entry in every]
            number = f"{np.mean([len(entries) for entries in asked]):.1f}"
            cells = (n, task, share(claims), share(small), number, share(chance))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            print(lines[-1], flush=True)
    return lines


def mark_in_border(descriptors: np.ndarray, sets: int) -> list[str]:
    """Return the table of sets in which a mark in the border goes with the first class."""
    lines = [
        "| X-rays | classes | view | mean score | sets in which it is shown | intervals that hold the mean score |",
        "|---|---|---|---|---|---|",
    ]
    for n in SIZES:
        for k, task in enumerate(TASKS):
            rng = np.random.default_rng([n, k, 1])
            by_view: dict[str, list[ProbeEntry]] = defaultdict(list)
            others: list[bool] = []
            for _ in range(sets):
                entries = [entry for entry in probed(descriptors, rng, n, task, plant=True) if entry["p"] is not None]
                for entry in entries:
                    if entry["target"] in ("class", "finding A"):
                        by_view[entry["view"]].append(entry)
                others.append(any(e["shown"] for e in entries if e["target"] not in ("class", "finding A")))
            for view in SEEN:
                own = by_view[view]
                values = [entry["score"]["value"] or 0.0 for entry in own]
                mean = float(np.mean(values)) if values else 0.0
                cells = (n, task, view, f"{mean:.3f}", share([e["shown"] for e in own]))
                lines.append("| " + " | ".join(map(str, (*cells, share([holds(e, mean) for e in own])))) + " |")
            lines.append(f"| {n} | {task} | any, of source or finding B | – | {share(others)} | – |")
            print("\n".join(lines[-5:]), flush=True)
    return lines


def on_real(path: Path, *, text: bool, masks: str) -> list[str]:
    """Return what probes say of a manifest's X-rays, with time and memory."""
    manifest = Manifest.load(path)
    table = manifest.table
    if (table["role"] == "train").any():
        table = table[table["role"] == "train"]
    with tempfile.TemporaryDirectory() as folder:
        own = manifest.with_table(table).save(Path(folder) / path.parent.name / "manifest.csv")
        params = ProbeParams.of({"manifest": own.path, "text": text, "masks": masks})
        run = RunFolder.create(Path(folder) / "runs", KIND, params.stored())
        begun = time.perf_counter()
        ends: dict[str, float] = {}

        def progress(fraction: float, message: str) -> None:
            step = "text" if message.startswith("text") else "described" if "described" in message else "probed"
            ends[step] = time.perf_counter() - begun

        job.run(run, params, progress)
        results: ProbeResults = run.read_json("results.json")
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    memory = " and ".join(f"{kib / 2**20:.1f} GiB" for kib in used)
    rows = [probe_cells(entry) for entry in results["probes"] if entry["p"] is not None]
    lines = [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    views = ", ".join(VIEWS if text else VIEWS[:-1])
    described = ends["described"] - ends.get("text", 0.0)
    cost = (
        f"Views {views}; on two cores of {platform.machine()}, Python {platform.python_version()}: {described:.0f} s "
        f"to segment and describe {results['n_images']} X-rays, {ends['probed'] - ends['described']:.0f} s for "
        f"{len(rows)} probes. Largest memory of the run, and of a process that describes: {memory}."
    )
    not_asked = "\n".join(f"- {line}" for line in not_probed(results["probes"]))
    return [results["finding"], lungs_in_words(results), "\n".join(lines), not_asked, cost]


def main() -> None:
    """Draw, probe, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=110)
    parser.add_argument("--real", type=Path, default=None, help="manifest of real X-rays")
    parser.add_argument("--text", action="store_true", help="search the real X-rays for text")
    parser.add_argument("--masks", default="segmentation", help="where the lungs of the real X-rays come from")
    parser.add_argument("--keep", type=Path, default=None, help="file that keeps the synthetic descriptors (.npy)")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    if args.real:
        words = ["--text"] * args.text + ["--masks", args.masks]
        command = f"`python benchmarks/probes.py --real MANIFEST {' '.join(words)}`"
        out = args.out or RESULTS / "probes_real.md"
        parts = ["# Protocol probes of real X-rays", command, *on_real(args.real, text=args.text, masks=args.masks)]
    else:
        out, parts = args.out or RESULTS / "probes.md", on_synthetic(args.sets, args.keep)
    out.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    print(out.read_text(encoding="utf-8"))


def on_synthetic(sets: int, kept: Path | None) -> list[str]:
    """Return the page on synthetic X-rays; ``kept`` is a file (.npy) that keeps their descriptors for another time."""
    begun = time.process_time()
    if kept is not None and kept.is_file():
        descriptors = np.load(kept)
    else:
        descriptors = pool()
        if kept is not None:
            np.save(kept, descriptors)
    planted = max(sets // 3, 1)
    return [
        "# Protocol probes",
        f"`python benchmarks/probes.py --sets {sets}`, fixed seeds, {platform.machine()}, Python "
        f"{platform.python_version()}. {PATIENTS} synthetic patients without text, of {SIDE} x {SIDE} pixels; each has "
        "1 to 4 X-rays that differ by a shift, brightness, contrast and noise. A patient has one class; findings "
        "differ between the X-rays of a patient. Lungs are known.",
        "## Nothing goes with the class or the source",
        f"{sets} sets in each row, with random labels and two random sources. A set counts if any of its probes is "
        f"shown. Of {SIZES[0]} X-rays (about {SIZES[0] * 2 // 5} patients) not every question can be asked.",
        "\n".join(nothing_there(descriptors, sets)),
        "## A mark in the border goes with the first class",
        f"{planted} sets in each row. {100 * WITH_MARK:.0f} % of the X-rays with the first class or finding have a "
        f"white mark of {MARK[0]} x {MARK[1]} pixels in the upper left corner, and {100 * WITHOUT_MARK:.0f} % of the "
        "others. The lungs do not show it.",
        "\n".join(mark_in_border(descriptors, planted)),
        f"{time.process_time() - begun:.0f} s of one core.",
    ]


if __name__ == "__main__":
    main()
