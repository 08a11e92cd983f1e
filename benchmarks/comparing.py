"""How often a comparison of runs claims a difference that is not there, over all that it says at once.

Networks that are equally good look at the same X-rays, of patients with 1 to 10 X-rays. Half of the noise in their
logits is common to all networks, half is each network's own; of both the share ``correlation`` is a patient's own.
A claim is a set in which ``cxr compare`` says of any pair of runs and any measure that they differ, after Holm's
correction. *alone*: the share of sets in which p of one measure and one pair is below 0.05, before the correction.

    python benchmarks/comparing.py --sets 400 --kept comparing.jsonl --out benchmarks/results/comparing.md

Sets are drawn in blocks, which ``--kept`` keeps; the same command continues after a cut. ``--minutes`` stops before.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from blocks import Blocks, Counts, Row, write_page
from intervals import findings_drawn, noise, patients

from cxr.evaluation.comparison import Predictions, compare_predictions
from cxr.evaluation.intervals import wilson
from cxr.evaluation.metrics import probabilities

NAMES, SIGNAL, COMMON = ("a", "b", "c"), 1.5, 0.5
ROWS: list[Row] = [
    (task, n, n_runs, correlation)
    for task in ("single-label", "multi-label")
    for n in (60, 600)
    for n_runs in (2, 4)
    for correlation in (0.0, 0.5, 0.9)
]


def runs_drawn(rng: np.random.Generator, task: str, n: int, n_runs: int, correlation: float) -> list[Predictions]:
    """Return predictions of networks that are equally good, of the same X-rays."""
    if task == "multi-label":
        there, _, patient = findings_drawn(rng, n, correlation, 0.0)
    else:
        patient = patients(rng, n)
        there = np.eye(3)[rng.choice(3, patient.max() + 1, p=(0.5, 0.3, 0.2))[patient]]
    common = noise(rng, patient, 3, correlation)
    known = pd.DataFrame({"image_id": np.arange(n).astype(str), "patient_id": patient.astype(str), "split": "test"})
    known["label"] = [NAMES[k] for k in there.argmax(1)]
    known[[f"target_{c}" for c in NAMES]] = there
    predictions = []
    for k in range(n_runs):
        own = noise(rng, patient, 3, correlation)
        logits = np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * own + SIGNAL * (there - 0.5)
        table = known.assign(predicted=[NAMES[c] for c in logits.argmax(1)])
        table[[f"prob_{c}" for c in NAMES]] = probabilities(logits, task)
        predictions.append(Predictions(f"run {k}", f"run {k}", task, NAMES, table, "same"))
    return predictions


def claims_drawn(row: Row, rng: np.random.Generator, sets: int) -> Counts:
    """Return how often a row's comparisons claim a difference."""
    task, n, n_runs, correlation = str(row[0]), int(row[1]), int(row[2]), float(row[3])
    counts = Counts(sets)
    for _ in range(sets):
        compared = compare_predictions(runs_drawn(rng, task, n, n_runs, correlation), with_references=False)
        counts.add("claim", any(difference["different"] for difference in compared["differences"]))
        counts.sums["compared"] = counts.sums.get("compared", 0.0) + compared["n_comparisons"]
        for difference in compared["differences"][: len(compared["runs"][0]["figures"])]:
            if difference["p"] is not None:
                counts.add(difference["measure"], difference["p"] < 0.05)
    return counts


def table(blocks: Blocks) -> Iterator[str]:
    """Yield the table of claims."""
    yield "| task | X-rays | runs | correlation | sets | comparisons of a set | sets with a claim | alone, by measure |"
    yield "|---" * 8 + "|"
    together = Counts()
    for row in ROWS:
        counts = blocks.counts(row)
        if not counts.sets:
            continue
        together = together.merged(counts)
        alone = ", ".join(f"{name} {100 * counts.share(name):.1f} %" for name in counts.seen if name != "claim")
        cells = [*row[:3], f"{row[3]:g}", counts.sets, f"{counts.sums['compared'] / counts.sets:.0f}"]
        yield "| " + " | ".join(map(str, [*cells, _with_interval(counts), alone])) + " |"
    yield ""
    yield f"All rows together: {_with_interval(together)} of {together.sets} sets."


def _with_interval(counts: Counts) -> str:
    low, high = wilson(counts.held["claim"], counts.seen["claim"]) or (0.0, 1.0)
    return f"{100 * counts.share('claim'):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=400, help="drawn for each row, in whole blocks")
    parser.add_argument("--block", type=int, default=50, help="sets of a block")
    parser.add_argument("--kept", type=Path, help="file that keeps the blocks, and that a next start continues")
    parser.add_argument("--minutes", type=float, default=np.inf, help="after which no block begins")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    blocks = Blocks(args.kept, args.block)
    blocks.simulate(ROWS, args.sets, claims_drawn, time.time() + 60 * args.minutes)
    lines = [
        "# Does a comparison claim differences that are not there?",
        "",
        f"Command: `{shlex.join(['python', 'benchmarks/comparing.py', *sys.argv[1:]])}`",
        "",
        "Runs of equally good networks on the same X-rays. A claim is said of any pair of runs and any measure, after",
        "Holm's correction; 5 % would be right. Intervals are Wilson's over sets. *alone*: p of one pair of runs below",
        "0.05 before the correction. What was drawn is at the top of the script.",
        "",
        *table(blocks),
        "",
        f"{sum(blocks.counts(row).seconds for row in ROWS):.0f} s of one core.",
    ]
    write_page(lines, args.out)


if __name__ == "__main__":
    main()
