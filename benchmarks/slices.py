"""Do comparisons of slices claim differences that are not there, and do their intervals hold?

X-rays of patients of 1 to 10 are right or wrong at random; of the chance, the share ``correlation`` is a patient's own.

- one slice, a fifth of the X-rays: whole patients, or X-rays of any patient (most then have some on both sides), with
  the accuracy of the rest, or 10 points below it
- the whole of ``slice_predictions``: three columns of three groups that say nothing, and their pairs

    python benchmarks/slices.py --sets 200 --out benchmarks/results/slices.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from cxr.evaluation.slices import slice_predictions
from cxr.evaluation.slices.compare import compared
from cxr.evaluation.slices.figures import Accuracy
from cxr.evaluation.slices.wording import stands_out

CLASSES = ["a", "b"]
ACCURACIES, CORRELATIONS = (0.6, 0.9, 0.99), (0.0, 0.5, 0.9)
SHARE, LOWER = 0.2, 0.1


def patients(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return the patients (n,) of X-rays, 1 to 10 each."""
    sizes = rng.integers(1, 11, n)
    return np.repeat(np.arange(n), sizes)[:n]


def predictions(
    rng: np.random.Generator, patient: np.ndarray, accuracy: np.ndarray, correlation: float
) -> pd.DataFrame:
    """Return predictions that are right with the chances ``accuracy`` (N,)."""
    own = rng.standard_normal(patient.max() + 1)[patient]
    noise = np.sqrt(correlation) * own + np.sqrt(1 - correlation) * rng.standard_normal(len(patient))
    right = noise < norm.ppf(accuracy)
    label = rng.integers(0, 2, len(patient))
    table = pd.DataFrame({"image_id": np.arange(len(patient)).astype(str), "patient_id": patient.astype(str)})
    table["label"] = [CLASSES[k] for k in label]
    table["predicted"] = [CLASSES[k] for k in np.where(right, label, 1 - label)]
    return table.assign(split="test", source="")


def one_slice(n: int, accuracy: float, correlation: float, lower: float, whole: bool, sets: int) -> tuple[float, float]:
    """Return the share of sets with p < 0.05, and of those whose interval holds the true difference."""
    rng = np.random.default_rng(0)
    claims, holds = [], []
    for _ in range(sets):
        patient = patients(rng, n)
        chosen = rng.random(patient.max() + 1) < SHARE
        part = chosen[patient] if whole else rng.random(n) < SHARE
        table = predictions(rng, patient, np.where(part, accuracy - lower, accuracy), correlation)
        entry = compared(Accuracy(table, CLASSES), {"part": "in"}, part, CLASSES)
        p, low, high = (entry["difference"][key] for key in ("p", "low", "high"))
        if p is None or low is None or high is None:
            continue
        claims.append(p < 0.05)
        holds.append(low <= -lower <= high)
    return float(np.mean(claims)), float(np.mean(holds))


def rows(n: int, sets: int) -> Iterator[str]:
    for whole in (True, False):
        for correlation in CORRELATIONS:
            for accuracy in ACCURACIES:
                claims, holds = one_slice(n, accuracy, correlation, 0.0, whole, sets)
                finds, holds_lower = one_slice(n, accuracy, correlation, LOWER, whole, sets)
                figures = " | ".join(f"{100 * share:.1f}" for share in (claims, holds, finds, holds_lower))
                yield f"| {'patients' if whole else 'X-rays'} | {correlation} | {accuracy} | {figures} |"


def family(n: int, sets: int, correlation: float, accuracy: float) -> float:
    """Return the share of sets in which any slice or pair of columns that say nothing stands out."""
    rng, out = np.random.default_rng(1), 0
    for _ in range(sets):
        patient = patients(rng, n)
        table = predictions(rng, patient, np.full(n, accuracy), correlation)
        for name in ("one", "two", "three"):
            table[name] = rng.choice(list("xyz"), patient.max() + 1)[patient]
        results = slice_predictions(table, CLASSES)
        out += any(stands_out(entry) for entry in (*results["slices"], *results["pairs"]))
    return out / sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "# Slices: what is claimed where nothing is, and whether intervals hold",
        "",
        f"Command: `python benchmarks/slices.py --sets {options.sets} --n {options.n} "
        "--out benchmarks/results/slices.md`",
        "",
        f"{options.sets} sets in each row, of {options.n} X-rays of patients of 1 to 10; a fifth is in the slice. Per",
        "cent of the sets. Without a difference p falls below 0.05 in 5 if it is right; intervals should hold the",
        "truth in 95.",
        "",
        "| slice of | correlation within a patient | accuracy | p < 0.05, none | holds, none | "
        "p < 0.05, 10 points lower | holds, 10 points lower |",
        "|---|---|---|---|---|---|---|",
        *rows(options.n, options.sets),
        "",
        "Three columns of three groups that say nothing, with their pairs, corrected: in how many per cent of the sets",
        f"anything stands out ({options.sets} sets).",
        "",
        "| correlation within a patient | accuracy | anything stands out |",
        "|---|---|---|",
        *(
            f"| {correlation} | {accuracy} | {100 * family(options.n, options.sets, correlation, accuracy):.1f} |"
            for correlation, accuracy in ((0.0, 0.9), (0.5, 0.9), (0.9, 0.6))
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
