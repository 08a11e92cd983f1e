"""How long the paired bootstrap over patients takes, and how often it claims a difference that is not there.

Two networks of three classes (or of three findings) look at the same X-rays; the share 0.5 of their noise is a
patient's own. Timed is what ``cxr compare`` does with a pair of runs: every measure of both, 2,000 times.

    python benchmarks/bootstrap.py --sets 200 --out benchmarks/results/bootstrap.md
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from blocks import sets_and_out, write_page

from cxr.evaluation.comparison import Predictions, compare_predictions
from cxr.evaluation.comparison.bootstrap import N_DRAWS, paired_bootstrap
from cxr.evaluation.comparison.measures import Measures
from cxr.evaluation.comparison.pairing import pair
from cxr.evaluation.metrics import probabilities

NAMES, CORRELATION, SIGNAL = ("a", "b", "c"), 0.5, 1.5
TIMED = ((600, 110), (25_000, 4_500), (25_000, 25_000))
CLAIMS = ((60, 11), (60, 60), (600, 110))


def runs(task: str, n: int, n_patients: int, seed: int) -> list[Predictions]:
    """Return predictions of two networks that are equally good, of the same X-rays."""
    rng = np.random.default_rng([seed, n, n_patients])
    patient = np.r_[np.arange(n_patients), rng.integers(0, n_patients, n - n_patients)]
    label = rng.integers(0, 3, n_patients)[patient]
    there = np.eye(3)[label] if task == "single-label" else rng.integers(0, 2, (n_patients, 3))[patient]
    predictions = []
    for name in ("first", "second"):
        own = rng.standard_normal((n_patients, 3))[patient]
        noise = np.sqrt(CORRELATION) * own + np.sqrt(1 - CORRELATION) * rng.standard_normal((n, 3))
        logits = noise + SIGNAL * there
        table = pd.DataFrame(probabilities(logits, task), columns=[f"prob_{c}" for c in NAMES])
        table["image_id"], table["patient_id"] = np.arange(n).astype(str), patient.astype(str)
        table["split"], table["label"] = "test", [NAMES[k] for k in label]
        table["predicted"] = [NAMES[k] for k in logits.argmax(1)]
        table[[f"target_{c}" for c in NAMES]] = there
        predictions.append(Predictions(name, name, task, NAMES, table))
    return predictions


def times() -> Iterator[str]:
    """Yield a table of seconds."""
    yield f"| task | X-rays | patients | measures | seconds for {N_DRAWS:,} draws |"
    yield "|---|---|---|---|---|"
    for task in ("single-label", "multi-label"):
        for n, n_patients in TIMED:
            measures = Measures(pair(runs(task, n, n_patients, 0)))
            seconds = []
            for _ in range(3):
                began = time.process_time()
                list(paired_bootstrap(measures, [(0, 1)]))
                seconds.append(time.process_time() - began)
            yield f"| {task} | {n:,} | {n_patients:,} | {', '.join(measures.names)} | {np.median(seconds):.2f} |"


def claims(sets: int) -> Iterator[str]:
    """Yield a table of how often p is below 0.05 where two networks are equally good, each measure alone."""
    yield "| X-rays | patients | measure | paired bootstrap | over patients (`cxr compare`) | McNemar |"
    yield "|---|---|---|---|---|---|"
    for n, n_patients in CLAIMS:
        ps: dict[tuple[str, str], list[float]] = {}
        for seed in range(sets):
            results = compare_predictions(runs("single-label", n, n_patients, seed))
            rows = [("ours", row["measure"], row["p"]) for row in results["differences"]]
            rows += [(row["test"], row["measure"], row["p"]) for row in results["references"]]
            for test, measure, p in rows:
                if p is not None:
                    ps.setdefault((test, measure), []).append(p)
        for measure in ("accuracy", "balanced accuracy", "macro AUC"):
            cells = [ps.get((test, measure), []) for test in ("paired bootstrap", "ours", "McNemar")]
            shares = [f"{100 * np.mean(np.array(cell) < 0.05):.1f} %" if cell else "–" for cell in cells]
            yield f"| {n} | {n_patients} | {measure} | {' | '.join(shares)} |"


def main() -> None:
    """Measure and write the tables."""
    args = sets_and_out(__doc__)
    lines = [
        "# The paired bootstrap over patients",
        "",
        f"Command: `python benchmarks/bootstrap.py --sets {args.sets}`.",
    ]
    lines += ["Median of three times, seconds of one processor.", ""]
    for line in times():
        print(line, flush=True)
        lines.append(line)
    lines += [
        "",
        f"How often p < 0.05 in {args.sets} sets of two networks that are equally good (5 % would be right):",
        "",
    ]
    for line in claims(args.sets):
        print(line, flush=True)
        lines.append(line)
    write_page(lines, args.out)


if __name__ == "__main__":
    main()
