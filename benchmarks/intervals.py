"""Do the intervals hold what they say? Sets are drawn whose true figures are known, with patients of 1 to 10 X-rays.

Parts:

- ``classes``: a network of three classes (half, three and two tenths of the patients; a patient has one class). Its
  logits are the class's signal and noise, of which the share ``correlation`` is a patient's own. Every figure of
  ``summarise``.
- ``findings``: three findings (.3, .5 and .1 of the X-rays), several in one X-ray; every figure of
  ``summarise_findings``.
- ``further``: balanced accuracy, sensitivity at given specificities, Brier score, log loss, calibration error and the
  like, of the sets of ``classes``; ``further-findings`` the same of the sets of ``findings``.
- ``means``: means of numbers in [0, 1] such as how far probabilities move, of few patients, even and skewed.
- ``differences``: token against control, with and without a true difference: intervals, p values, and how often the two
  disagree.

Beside them the ways before: Wilson's interval of images for accuracy, the percentile bootstrap over patients for means
and differences, McNemar's test of images.

    python benchmarks/intervals.py --sets 1000 --kept intervals.jsonl --out benchmarks/results/intervals.md

Sets are drawn in blocks, which ``--kept`` keeps; the same command continues after a cut. ``--minutes`` stops before.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from blocks import Blocks, Counts, Row, write_page
from scipy.stats import binomtest

from cxr.evaluation.intervals import mean_intervals, numbered, sign_flips, wilson
from cxr.evaluation.metrics import sigmoid, softmax, summarise
from cxr.evaluation.multilabel import summarise_findings
from cxr.evaluation.scores.further import further_scores

CLASSES = ["a", "b", "c"]
SHARES, PREVALENCE = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.5, 0.1])
# Accuracies of ``classes``; ``findings`` have the same signals.
ACCURACIES, CORRELATIONS, SIZES = (0.6, 0.9, 0.99, 1.0), (0.0, 0.2, 0.5, 0.9), (60, 600)
OVERALL = ("accuracy", "macro_f1", "auc", "average_precision")
HEADLINE = ("accuracy", *(f"mean {name}" for name in OVERALL[1:]))
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


@cache
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


@cache
def true_figures(kind: str, signal: float) -> dict[str, float]:
    """Return what the figures of an endless set are; they do not depend on the correlation."""
    rng = np.random.default_rng(1)
    sets = [figures_of(kind, rng, 40_000, 0.0, signal, one_patient=True) for _ in range(6)]
    return {name: float(np.mean([found[name]["value"] for found in sets])) for name in sets[0]}


def figures_of(
    kind: str, rng: np.random.Generator, n: int, correlation: float, signal: float, one_patient: bool = False
) -> dict[str, Any]:
    """Return every figure of a drawn set; of one patient they have no interval, which is quicker."""
    if kind in ("classes", "further"):
        table, _ = classes_drawn(rng, n, correlation, signal)
        table = table.assign(patient_id="one") if one_patient else table
        return figures(summarise(table, CLASSES)) if kind == "classes" else further_figures(with_logits(table))
    targets, chances, patient = findings_drawn(rng, n, correlation, signal)
    names = ["one"] * n if one_patient else patient.astype(str).tolist()
    if kind == "findings":
        return figures(summarise_findings(targets, chances, CLASSES, names))
    table = pd.DataFrame({"image_id": np.arange(n).astype(str), "patient_id": names})
    table = table.assign(**{f"prob_{c}": p for c, p in zip(CLASSES, chances.T, strict=True)})
    table = table.assign(**{f"target_{c}": t for c, t in zip(CLASSES, targets.T, strict=True)})
    return further_figures(with_logits(table, odds=True), "multi-label")


def percentile(values: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the percentile bootstrap's interval of a mean over patients, as it was."""
    patient = numbered(groups)
    sums, images = np.bincount(patient, weights=values), np.bincount(patient)
    draws = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS)
    low, high = np.quantile(draws @ sums / (draws @ images), [0.025, 0.975])
    return float(low), float(high)


def with_logits(table: pd.DataFrame, odds: bool = False) -> pd.DataFrame:
    """Return a drawn table with logits, as further scores need them; with ``odds`` each finding's own."""
    chances = {c: np.maximum(table[f"prob_{c}"], 1e-300) for c in CLASSES}
    others = {c: np.maximum(1 - table[f"prob_{c}"], 1e-300) if odds else 1.0 for c in CLASSES}
    return table.assign(**{f"logit_{c}": np.log(chances[c] / others[c]) for c in CLASSES})


def further_figures(table: pd.DataFrame, task: str = "single-label") -> dict[str, Any]:
    """Return the further scores by name: those of all classes, and those of the rarest class."""
    scores = further_scores(table, CLASSES, task)
    return scores["overall"] | {f"{name} c": value for name, value in scores["per_class"]["c"].items()}


# --- the parts ------------------------------------------------------------------------------------------------------


def summary_drawn(row: Row, rng: np.random.Generator, sets: int) -> Counts:
    """Return how often the intervals of every figure of a row's sets hold."""
    kind, n, accuracy, correlation = str(row[0]), int(row[1]), float(row[2]), float(row[3])
    signal, counts = signal_of(accuracy), Counts()
    truth = true_figures(kind, signal)
    for _ in range(sets):
        found = figures_of(kind, rng, n, correlation, signal)
        if any(value["value"] is None for name, value in found.items() if "precision" not in name.split()[0]):
            continue  # a class is absent: its figures, and means without it, are others
        counts.sets += 1
        for name, value in found.items():
            counts.add_interval(name, (value["low"], value["high"]), truth[name])
            if name in HEADLINE and kind in ("classes", "findings"):
                counts.add(f"{name}: too high", value["low"] > truth[name] + 1e-9)
                counts.add(f"{name}: 1", value["value"] == 1)
        if kind == "classes":
            counts.add("accuracy before", _holds(wilson(n * found["accuracy"]["value"], n), truth["accuracy"]))
    return counts


def _holds(limits: tuple[float, float] | None, truth: float) -> bool:
    return limits is not None and limits[0] - 1e-9 <= truth <= limits[1] + 1e-9


def summary_rows(kind: str) -> list[Row]:
    """Return the rows of a summary; where all is right, a correlation of the noise changes nothing: one will do."""
    shown = {accuracy: CORRELATIONS if accuracy < 1 else CORRELATIONS[1:2] for accuracy in ACCURACIES}
    return [(kind, n, accuracy, rho) for n in SIZES for accuracy in ACCURACIES for rho in shown[accuracy]]


def summary_table(kind: str, blocks: Blocks) -> Iterator[str]:
    """Yield the table of every figure of a summary, and the places below 93 and above 98 %."""
    names = list(true_figures(kind, signal_of(ACCURACIES[0])))
    shown = [*names, "accuracy before"] if kind == "classes" else names
    yield "| X-rays | accuracy | correlation | sets | " + " | ".join(shown) + " | narrowest |"
    yield "|---" * (len(shown) + 5) + "|"
    low, high, held, headline = [], [], 0, []
    for row in summary_rows(kind):
        counts = blocks.counts(row)
        at = f"{row[2]:g}" if kind in ("classes", "further") else f"signal {signal_of(float(row[2])):.1f}"
        cells = [_percent(counts.share(name)) for name in shown] + [f"{min(counts.least.values(), default=0):.4f}"]
        yield f"| {row[1]} | {at} | {row[3]:g} | {counts.sets} | " + " | ".join(cells) + " |"
        for name in names if row[2] != 1 else ():
            place = f"{name} ({row[1]} X-rays, {at}, correlation {row[3]:g}): {_percent(counts.share(name))}"
            low += [(counts.share(name), place)] if counts.share(name) < 0.93 else []
            high += [place] if counts.share(name) > 0.98 else []
            held += 0.93 <= counts.share(name) <= 0.98
            if name in HEADLINE and kind in ("classes", "findings"):
                ends = [_percent(counts.share(f"{name}: {what}")) for what in ("too high", "1")]
                headline += [(counts.share(name), f"{place} (low end above {ends[0]}, figure 1 {ends[1]})")]
    yield ""
    yield "Where every prediction is right, so is every interval: those rows are not counted here."
    yield f"Of {held + len(low) + len(high)} cells {held} hold in 93 to 98 %, {len(high)} in more, {len(low)} in less."
    if headline:
        shares, above = [share for share, _ in headline], [place for share, place in headline if share > 0.98]
        yield (
            f"Of {len(headline)} cells of {', '.join(name for name in HEADLINE if name in names)} the least is "
            f"{_percent(min(shares))} %; {len(above)} hold in more than 98 %. Beside those stands how often even the "
            f"low end lies above the true figure, and how often the figure is 1: {'; '.join(above)}."
        )
    if low:
        yield "Less than 93 %: " + "; ".join(place for _, place in sorted(low)) + "."


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.1f}"


def moves(rng: np.random.Generator, shape: str, z: np.ndarray) -> np.ndarray:
    """Return numbers in [0, 1] of normal ones: even, skewed (log-normal), or mostly 0."""
    if shape == "even":
        return 0.3 * sigmoid(z - 2)
    if shape == "skewed":
        return np.minimum(1, 0.01 * np.exp(1.3 * z))
    return np.minimum(1, np.where(z > 0.5, 0.05 * np.exp(1.2 * (z - 0.5)), 0))


@cache
def true_mean(shape: str) -> float:
    rng = np.random.default_rng(0)
    return float(moves(rng, shape, rng.standard_normal(4_000_000)).mean())


MEANS: list[Row] = [("means", shape, n) for shape in ("even", "skewed", "mostly 0") for n in (3, 6, 10, 30, 100)]


def means_drawn(row: Row, rng: np.random.Generator, sets: int) -> Counts:
    """Return how often intervals of means of few patients hold."""
    shape, n, counts = str(row[1]), int(row[2]), Counts(sets)
    for _ in range(sets):
        patient = np.repeat(np.arange(n), rng.integers(1, 11, n))
        values = moves(rng, shape, noise(rng, patient, 1, 0.5)[:, 0])
        counts.add_interval("mean", mean_intervals(values, patient, bounded=True)[0], true_mean(shape))
        counts.add_interval("before", percentile(values, patient, rng), true_mean(shape))
    return counts


def means_table(blocks: Blocks) -> Iterator[str]:
    """Yield the table of means of few patients."""
    yield "| numbers | patients | sets | coverage | before | width / mean |"
    yield "|---" * 6 + "|"
    for row in MEANS:
        counts = blocks.counts(row)
        coverage, before = _percent(counts.share("mean")), _percent(counts.share("before"))
        width = counts.width("mean") / true_mean(str(row[1]))
        yield f"| {row[1]} | {row[2]} | {counts.sets} | {coverage} | {before} | {width:.1f} |"


@cache
def level_of(share: float) -> float:
    return float(np.quantile(np.random.default_rng(0).standard_normal(200_000), 1 - share))


def flips(rng: np.random.Generator, patient: np.ndarray, share: float, correlation: float) -> np.ndarray:
    """Return which X-rays change (N,): a share of them, those of a patient together."""
    return (noise(rng, patient, 1, correlation)[:, 0] > level_of(share)).astype(float)


DIFFERENCES: list[Row] = [
    ("differences", n, token, control, correlation)
    for n in (6, 10, 24, 60, 200)
    for token, control in ((0.05, 0.05), (0.2, 0.2), (0.1, 0.05), (0.4, 0.2))
    for correlation in (0.0, 0.5, 0.9)
]


def differences_drawn(row: Row, rng: np.random.Generator, sets: int) -> Counts:
    """Return how often intervals of paired differences hold, and how often tests reject."""
    n, token, control, correlation = int(row[1]), float(row[2]), float(row[3]), float(row[4])
    counts, truth = Counts(sets), token - control
    for k in range(sets):
        patient = np.repeat(np.arange(n), rng.integers(1, 11, n))
        first, second = (flips(rng, patient, share, correlation) for share in (token, control))
        found = sign_flips(first - second, patient, int(rng.integers(2**31)) if k else 0)
        counts.add_interval("difference", (found.low, found.high), truth)
        rejected = found.p < 0.05
        counts.add("p", rejected)
        if found.low is not None and found.high is not None:
            counts.add("disagree", rejected == (found.low <= 0 <= found.high))
        only, others = int((first > second).sum()), int((first < second).sum())
        counts.add("mcnemar", only + others > 0 and binomtest(only, only + others).pvalue < 0.05)
        before = percentile(first - second, patient, rng)
        counts.add_interval("before", before, truth)
        counts.add("disagreed", rejected == (before[0] <= 0 <= before[1]))
    return counts


def differences_table(blocks: Blocks) -> Iterator[str]:
    """Yield the table of paired differences."""
    yield (
        "| patients | changed by token, control | correlation | sets | coverage | p < .05 | McNemar of images p < .05 "
        "| disagree | before: coverage | before: disagree |"
    )
    yield "|---" * 10 + "|"
    names = ("difference", "p", "mcnemar", "disagree", "before", "disagreed")
    for row in DIFFERENCES:
        counts = blocks.counts(row)
        cells = [_percent(counts.share(name)) for name in names]
        yield f"| {row[1]} | {row[2]:g}, {row[3]:g} | {row[4]:g} | {counts.sets} | " + " | ".join(cells) + " |"


Draw = Callable[[Row, np.random.Generator, int], Counts]
Part = tuple[str, list[Row], Draw, Callable[[Blocks], Iterator[str]]]


def of_summary(title: str, kind: str) -> Part:
    return title, summary_rows(kind), summary_drawn, lambda blocks: summary_table(kind, blocks)


PARTS: dict[str, Part] = {
    "classes": of_summary("Figures of classes that exclude each other", "classes"),
    "findings": of_summary("Figures of several findings", "findings"),
    "further": of_summary("Further scores of classes that exclude each other", "further"),
    "further-findings": of_summary("Further scores of several findings", "further-findings"),
    "means": ("Means of numbers in [0, 1], few patients", MEANS, means_drawn, means_table),
    "differences": ("Paired differences", DIFFERENCES, differences_drawn, differences_table),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000, help="drawn for each row, in whole blocks")
    parser.add_argument("--block", type=int, default=100, help="sets of a block")
    parser.add_argument("--part", action="append", choices=list(PARTS))
    parser.add_argument("--kept", type=Path, help="file that keeps the blocks, and that a next start continues")
    parser.add_argument("--minutes", type=float, default=np.inf, help="after which no block begins")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    blocks, until = Blocks(args.kept, args.block), time.time() + 60 * args.minutes
    parts = [PARTS[name] for name in args.part or PARTS]
    # Every part gets a tenth before any gets the next, so that a cut leaves all of them with as many sets.
    for sets in range(args.block, args.sets + args.block, args.block):
        for title, rows, draw, _ in parts:
            blocks.simulate(rows, min(sets, args.sets), draw, until)
            print(f"{time.strftime('%H:%M')} {sets} sets: {title}", flush=True)
    lines = [
        "# Do the intervals hold what they say?",
        "",
        f"Command: `{shlex.join(['python', 'benchmarks/intervals.py', *sys.argv[1:]])}`",
        "",
        "Percent of drawn sets whose 95 % interval holds the true figure. *sets*: drawn ones that have all classes.",
        "Patients have 1 to 10 X-rays. What was drawn and what *before* means is at the top of the script.",
        "*narrowest*: the least width of any interval of the row. *disagree*: the test rejects 0 and the interval",
        "holds it, or the reverse.",
    ]
    seconds = 0.0
    for title, rows, _, table in parts:
        lines += ["", f"## {title}", "", *table(blocks)]
        seconds += sum(blocks.counts(row).seconds for row in rows)
    lines += ["", f"{seconds:.0f} s of one core."]
    write_page(lines, args.out)


if __name__ == "__main__":
    main()
