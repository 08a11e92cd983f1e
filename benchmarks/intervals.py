"""Do the intervals hold what they say? Sets are drawn whose true figures are known, with patients of 1 to 10 X-rays.

Parts:

- ``classes``: a network of three classes (half, three and two tenths of the patients; a patient has one class). Its
  logits are the class's signal and noise, of which the share ``correlation`` is a patient's own. Every figure of
  ``summarise``.
- ``findings``: three findings (.3, .5 and .1 of the X-rays), several in one X-ray; every figure of
  ``summarise_findings``.
- ``further``: balanced accuracy, sensitivity at given specificities, Brier score, log loss, calibration error and the
  like, of the sets of ``classes``.
- ``means``: means of numbers in [0, 1] such as how far probabilities move, of few patients, even and skewed.
- ``differences``: token against control, with and without a true difference: intervals, p values, and how often the two
  disagree.

Beside them the ways before: Wilson's interval of images for accuracy, the percentile bootstrap over patients for means
and differences, McNemar's test of images.

    python benchmarks/intervals.py --sets 1000 --out benchmarks/results/intervals.md
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cxr.evaluation.intervals import mean_intervals, numbered, sign_flips, wilson
from cxr.evaluation.metrics import sigmoid, softmax, summarise
from cxr.evaluation.multilabel import summarise_findings
from cxr.evaluation.scores.further import further_scores

CLASSES = ["a", "b", "c"]
SHARES, PREVALENCE = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.5, 0.1])
ACCURACIES, CORRELATIONS, SIZES = (0.6, 0.9, 0.99, 1.0), (0.0, 0.2, 0.5, 0.9), (60, 600)
OVERALL = ("accuracy", "macro_f1", "auc", "average_precision")
BY_CLASS = ("recall", "precision", "f1", "auc", "sensitivity", "specificity", "average_precision")
DRAWS = 300


def patients(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return the patients (n,) of X-rays, 1 to 10 each."""
    sizes: list[int] = []
    while sum(sizes) < n:
        sizes.append(int(rng.integers(1, 11)))
    return np.repeat(np.arange(len(sizes)), sizes)[:n]


def noise(rng: np.random.Generator, patient: np.ndarray, columns: int, correlation: float) -> np.ndarray:
    """Return normal noise (N, columns), of whose variance a share is the patient's own."""
    own = rng.standard_normal((patient.max() + 1, columns))[patient]
    return np.sqrt(correlation) * own + np.sqrt(1 - correlation) * rng.standard_normal((len(patient), columns))


def classes_drawn(rng: np.random.Generator, n: int, correlation: float, signal: float) -> tuple[pd.DataFrame, Any]:
    patient = patients(rng, n)
    label = rng.choice(3, patient.max() + 1, p=SHARES)[patient]
    logits = noise(rng, patient, 3, correlation) + signal * np.eye(3)[label]
    table = pd.DataFrame({"image_id": np.arange(n).astype(str), "patient_id": patient.astype(str)})
    table["label"], table["predicted"] = [CLASSES[k] for k in label], [CLASSES[k] for k in logits.argmax(1)]
    return table.assign(**{f"prob_{c}": p for c, p in zip(CLASSES, softmax(logits).T, strict=True)}), patient


def findings_drawn(rng: np.random.Generator, n: int, correlation: float, signal: float) -> tuple[Any, ...]:
    patient = patients(rng, n)
    own = noise(rng, patient, 3, correlation)
    targets = (sigmoid(1.702 * own) < PREVALENCE).astype(float)
    logits = noise(rng, patient, 3, correlation) + signal * (targets - 0.5)
    return targets, sigmoid(logits), patient


def signal_of(accuracy: float) -> float:
    """Return the signal at which a network of the part ``classes`` has this accuracy."""
    if accuracy == 1:
        return 40.0
    rng = np.random.default_rng(0)
    label, sample = rng.choice(3, 400_000, p=SHARES), rng.standard_normal((400_000, 3))
    low, high = 0.0, 12.0
    for _ in range(40):
        middle = (low + high) / 2
        right = (sample + middle * np.eye(3)[label]).argmax(1) == label
        low, high = (middle, high) if right.mean() < accuracy else (low, middle)
    return low


def figures(summary: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return the figures of a summary by name."""
    flat = {name if name == "accuracy" else f"mean {name}": summary[name] for name in OVERALL if name in summary}
    for name, found in summary["per_class"].items():
        flat |= {f"{measure} {name}": found[measure] for measure in BY_CLASS if measure in found}
    return flat


def drawn(kind: str, rng: np.random.Generator, n: int, correlation: float, signal: float) -> tuple[Any, list[str]]:
    """Return a set: arguments of its summary, and its patients."""
    if kind == "classes":
        table, patient = classes_drawn(rng, n, correlation, signal)
        return (table, CLASSES), patient.astype(str).tolist()
    targets, chances, patient = findings_drawn(rng, n, correlation, signal)
    return (targets, chances, CLASSES, patient.astype(str).tolist()), patient.astype(str).tolist()


def true_figures(kind: str, signal: float) -> dict[str, float]:
    """Return what the figures of an endless set are; they do not depend on the correlation."""
    rng = np.random.default_rng(1)
    summary = summarise if kind == "classes" else summarise_findings
    sets = [figures(summary(*drawn(kind, rng, 40_000, 0.0, signal)[0])) for _ in range(6)]
    return {name: float(np.mean([found[name]["value"] for found in sets])) for name in sets[0]}


def percentile(values: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the percentile bootstrap's interval of a mean over patients, as it was."""
    patient = numbered(groups)
    sums, images = np.bincount(patient, weights=values), np.bincount(patient)
    draws = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS)
    low, high = np.quantile(draws @ sums / (draws @ images), [0.025, 0.975])
    return float(low), float(high)


class Counts:
    """How often intervals hold the truth, and how wide they are."""

    def __init__(self) -> None:
        self.held: dict[Any, list[float]] = defaultdict(list)
        self.width: dict[Any, list[float]] = defaultdict(list)

    def add(self, key: Any, limits: tuple[float | None, float | None] | None, truth: float) -> None:
        low, high = limits or (None, None)
        if low is not None and high is not None:
            self.held[key].append(low - 1e-9 <= truth <= high + 1e-9)
            self.width[key].append(high - low)

    def coverage(self, key: Any) -> float:
        return float(np.mean(self.held[key])) if self.held[key] else float("nan")


def summaries(kind: str, sets: int) -> Iterator[str]:
    """Yield the table of every figure of a summary."""
    summary = summarise if kind == "classes" else summarise_findings
    names: list[str] = []
    for n in SIZES:
        for accuracy in ACCURACIES:
            signal = signal_of(accuracy)
            truth = true_figures(kind, signal)
            for correlation in CORRELATIONS if accuracy < 1 else CORRELATIONS[1:2]:
                rng, counts, before = np.random.default_rng(n + int(100 * (accuracy + correlation))), Counts(), Counts()
                for _ in range(sets):
                    arguments, _ = drawn(kind, rng, n, correlation, signal)
                    found = figures(summary(*arguments))
                    if any(value["value"] is None for name, value in found.items() if not name.startswith("precision")):
                        continue  # a class is absent: its figures, and means without it, are others
                    for name, value in found.items():
                        counts.add(name, (value["low"], value["high"]), truth[name])
                    if kind == "classes":
                        table = arguments[0]
                        right = int((table["label"] == table["predicted"]).sum())
                        before.add("accuracy", wilson(right, n), truth["accuracy"])
                if not names:
                    names = list(truth)
                    was = " | accuracy before" if kind == "classes" else ""
                    yield "| n | accuracy | correlation | sets | " + " | ".join(names) + was + " | narrowest |"
                    yield "|---" * (len(names) + 5 + (kind == "classes")) + "|"
                cells = [f"{counts.coverage(name):.2f}" for name in names]
                cells += [f"{before.coverage('accuracy'):.2f}"] if kind == "classes" else []
                cells.append(f"{min(min(width) for width in counts.width.values()):.4f}")
                at = f"{accuracy:g}" if kind == "classes" else f"signal {signal:.1f}"
                yield f"| {n} | {at} | {correlation:g} | {len(counts.held[names[0]])} | " + " | ".join(cells) + " |"


def moves(rng: np.random.Generator, shape: str, z: np.ndarray) -> np.ndarray:
    """Return numbers in [0, 1] of normal ones: even, skewed (log-normal), or mostly 0."""
    if shape == "even":
        return 0.3 * sigmoid(z - 2)
    if shape == "skewed":
        return np.minimum(1, 0.01 * np.exp(1.3 * z))
    return np.minimum(1, np.where(z > 0.5, 0.05 * np.exp(1.2 * (z - 0.5)), 0))


def means(sets: int) -> Iterator[str]:
    """Yield the table of means of few patients."""
    yield "| numbers | patients | coverage | before | width / mean |"
    yield "|---|---|---|---|---|"
    for shape in ("even", "skewed", "mostly 0"):
        for n in (3, 6, 10, 30, 100):
            rng, counts, before = np.random.default_rng(n), Counts(), Counts()
            truth = float(moves(rng, shape, rng.standard_normal(2_000_000)).mean())
            for _ in range(sets):
                patient = np.repeat(np.arange(n), rng.integers(1, 11, n))
                values = moves(rng, shape, noise(rng, patient, 1, 0.5)[:, 0])
                counts.add("", mean_intervals(values, patient, bounded=True)[0], truth)
                before.add("", percentile(values, patient, rng), truth)
            width = np.mean(counts.width[""]) / truth
            yield f"| {shape} | {n} | {counts.coverage(''):.2f} | {before.coverage(''):.2f} | {width:.1f} |"


def flips(rng: np.random.Generator, patient: np.ndarray, share: float, correlation: float) -> np.ndarray:
    """Return which X-rays change (N,): a share of them, those of a patient together."""
    level = float(np.quantile(np.random.default_rng(0).standard_normal(200_000), 1 - share))
    return (noise(rng, patient, 1, correlation)[:, 0] > level).astype(float)


def differences(sets: int) -> Iterator[str]:
    """Yield the table of paired differences."""
    yield (
        "| patients | changed by token, control | correlation | coverage | p < .05 | McNemar of images p < .05 | "
        "disagree | before: coverage | before: disagree |"
    )
    yield "|---" * 9 + "|"
    for n in (6, 10, 24, 60, 200):
        for token, control in ((0.05, 0.05), (0.2, 0.2), (0.1, 0.05), (0.4, 0.2)):
            for correlation in (0.0, 0.5, 0.9):
                yield _paired(n, token, control, correlation, sets)


def _paired(n: int, token: float, control: float, correlation: float, sets: int) -> str:
    rng, counts, before = np.random.default_rng(n + int(1000 * (token + correlation))), Counts(), Counts()
    rejected, by_image, disagree, disagreed = [], [], [], []
    for k in range(sets):
        patient = np.repeat(np.arange(n), rng.integers(1, 11, n))
        first, second = (flips(rng, patient, share, correlation) for share in (token, control))
        found = sign_flips(first - second, patient, k)
        counts.add("", (found.low, found.high), token - control)
        rejected.append(found.p < 0.05)
        disagree.append(
            found.low is not None and found.high is not None and rejected[-1] == (found.low <= 0 <= found.high)
        )
        only, others = int((first > second).sum()), int((first < second).sum())
        by_image.append(only + others > 0 and binomtest(only, only + others).pvalue < 0.05)
        was = percentile(first - second, patient, rng)
        before.add("", was, token - control)
        disagreed.append(rejected[-1] == (was[0] <= 0 <= was[1]))
    cells = [f"{counts.coverage(''):.2f}", *(f"{np.mean(each):.1%}" for each in (rejected, by_image, disagree))]
    cells += [f"{before.coverage(''):.2f}", f"{np.mean(disagreed):.1%}"]
    return f"| {n} | {token:g}, {control:g} | {correlation:g} | " + " | ".join(cells) + " |"


def with_logits(table: pd.DataFrame) -> pd.DataFrame:
    """Return a drawn table with logits, as further scores need them."""
    return table.assign(**{f"logit_{c}": np.log(np.maximum(table[f"prob_{c}"], 1e-300)) for c in CLASSES})


def further(sets: int) -> Iterator[str]:
    """Yield the table of the further scores of the part ``classes``."""
    names: list[str] = []
    for accuracy in ACCURACIES[:-1]:
        signal = signal_of(accuracy)
        whole = with_logits(classes_drawn(np.random.default_rng(1), 100_000, 0.0, signal)[0])
        truth = {name: found["value"] for name, found in further_figures(whole).items()}
        for n in SIZES:
            for correlation in CORRELATIONS:
                rng, counts = np.random.default_rng(n + int(100 * (accuracy + correlation))), Counts()
                for _ in range(sets):
                    found = further_figures(with_logits(classes_drawn(rng, n, correlation, signal)[0]))
                    if any(value["value"] is None for name, value in found.items() if "precision" not in name):
                        continue  # a class is absent
                    for name, value in found.items():
                        counts.add(name, (value["low"], value["high"]), truth[name])
                if not names:
                    names = list(truth)
                    yield "| n | accuracy | correlation | sets | " + " | ".join(names) + " |"
                    yield "|---" * (len(names) + 4) + "|"
                cells = [f"{counts.coverage(name):.2f}" for name in names]
                yield (
                    f"| {n} | {accuracy:g} | {correlation:g} | {len(counts.held['ece'])} | " + " | ".join(cells) + " |"
                )


def further_figures(table: pd.DataFrame) -> dict[str, Any]:
    """Return the further scores by name: those of all classes, and those of the rarest class."""
    scores = further_scores(table, CLASSES, "single-label")
    return scores["overall"] | {f"{name} c": value for name, value in scores["per_class"]["c"].items()}


PARTS = {
    "classes": ("Figures of classes that exclude each other", lambda sets: summaries("classes", sets)),
    "findings": ("Figures of several findings", lambda sets: summaries("findings", max(1, sets // 2))),
    "further": ("Further scores of classes that exclude each other", lambda sets: further(max(1, sets // 2))),
    "means": ("Means of numbers in [0, 1], few patients", means),
    "differences": ("Paired differences", lambda sets: differences(max(1, sets // 2))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sets", type=int, default=1000, help="drawn for each row; findings, further and differences take half"
    )
    parser.add_argument("--part", action="append", choices=list(PARTS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    lines = [
        "# Do the intervals hold what they say?",
        "",
        f"Command: `{shlex.join(['python', 'benchmarks/intervals.py', *sys.argv[1:]])}`",
        "",
        "Share of drawn sets whose 95 % interval holds the true figure. Patients have 1 to 10 X-rays. What was drawn",
        "and what *before* means is at the top of the script. *narrowest*: the least width of any interval of the row.",
    ]
    for name in args.part or PARTS:
        title, part = PARTS[name]
        lines += ["", f"## {title}", ""]
        for line in part(args.sets):
            lines.append(line)
            print(line, flush=True)
    lines += ["", f"{time.perf_counter() - began:.0f} s on one core."]
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
