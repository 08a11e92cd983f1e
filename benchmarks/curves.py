"""Do the bands of curves, and the intervals at a threshold, hold the true curve?

Scores are normal, higher where the class is there; of their noise the share ``correlation`` is a patient's own.
Patients have 1 to 10 X-rays and one class each, 35 of 100 have the one that is measured. The true curves are known. A
band holds at a place where its interval there does: the table has the mean over places, and the least of them.

    python benchmarks/curves.py --sets 200 --out benchmarks/results/curves.md
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from blocks import sets_and_out, write_page
from scipy.special import expit
from scipy.stats import norm

from cxr.evaluation.curves import OneClass, one_class, operating_point, precision_recall, reliability, roc
from cxr.evaluation.curves.reliability import bins_of
from cxr.formatting import Estimate

SHARE, SIGNAL, RARE, THRESHOLD = 0.35, 1.6, 0.02, 0.5
SIZES, CORRELATIONS = (60, 600), (0.0, 0.5, 0.9)
PLACES = {"ROC": (0.05, 0.1, 0.2, 0.3, 0.5, 0.8), "precision-recall": (0.2, 0.4, 0.5, 0.7, 0.8, 0.9)}
COLUMNS = ("ROC", "precision-recall", "calibration", "sensitivity", "specificity", "PPV", "NPV")


def drawn(rng: np.random.Generator, n: int, correlation: float) -> tuple[OneClass, np.ndarray]:
    """Return X-rays with calibrated probabilities, and these."""
    sizes = rng.integers(1, 11, n)
    patient = np.repeat(np.arange(n), sizes)[:n]
    positive = (rng.random(n) < SHARE)[patient]
    own = rng.standard_normal(n)[patient]
    score = np.sqrt(correlation) * own + np.sqrt(1 - correlation) * rng.standard_normal(n) + SIGNAL * positive
    chance = expit(SIGNAL * score - SIGNAL**2 / 2 + np.log(SHARE / (1 - SHARE)))  # P(class | score)
    return one_class(positive, chance, patient), chance


def true_values() -> dict[str, np.ndarray]:
    """Return the true sensitivities at :data:`PLACES`, the true precisions, and what is true at the threshold."""
    sensitivity = norm.sf(norm.isf(PLACES["ROC"]) - SIGNAL)
    recall = np.array(PLACES["precision-recall"])
    false = norm.sf(norm.isf(recall) + SIGNAL)
    cut = (np.log(THRESHOLD / (1 - THRESHOLD)) - np.log(SHARE / (1 - SHARE)) + SIGNAL**2 / 2) / SIGNAL
    hit, alarm = norm.sf(cut - SIGNAL), norm.sf(cut)
    ppv = RARE * hit / (RARE * hit + (1 - RARE) * alarm)
    npv = (1 - RARE) * (1 - alarm) / ((1 - RARE) * (1 - alarm) + RARE * (1 - hit))
    return {
        "ROC": sensitivity,
        "precision-recall": SHARE * recall / (SHARE * recall + (1 - SHARE) * false),
        "at": np.array([hit, 1 - alarm, ppv, npv]),
    }


def holds(interval: Estimate, truth: float) -> bool | None:
    """Return whether an interval holds the truth, None without one."""
    low, high = interval["low"], interval["high"]
    return None if low is None or high is None else bool(low <= truth <= high)


def one_set(one: OneClass, chance: np.ndarray, truth: Mapping[str, np.ndarray]) -> Iterator[tuple[str, int, bool]]:
    """Yield the column, the place and whether the interval there holds."""
    if one.undefined:
        return
    for name, curve in (("ROC", roc(one)), ("precision-recall", precision_recall(one))):
        band = curve.band
        for k, place in enumerate(PLACES[name]):
            at = np.flatnonzero(np.isclose(band.x, place)) if band is not None else np.zeros(0, int)
            if band is not None and len(at) and np.isfinite(band.low[at[0]]):
                yield name, k, bool(band.low[at[0]] <= truth[name][k] <= band.high[at[0]])
    bins = reliability(one)
    of = bins_of(one.score, len(bins)) if bins else np.zeros(0)
    for k, entry in enumerate(bins):
        held = holds(entry.share, float(chance[of == k].mean()))
        if held is not None:
            yield "calibration", k, held
    point = operating_point(one, THRESHOLD, RARE)
    figures = (point.sensitivity, point.specificity, point.ppv, point.npv)
    for name, figure, value in zip(COLUMNS[3:], figures, truth["at"], strict=True):
        held = holds(figure, float(value))
        if held is not None:
            yield name, 0, held


def row(n: int, correlation: float, sets: int) -> str:
    """Return a row of the table: the mean and the least share of sets that hold."""
    rng, truth = np.random.default_rng([n, round(10 * correlation)]), true_values()
    held: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(sets):
        for name, place, inside in one_set(*drawn(rng, n, correlation), truth):
            held[name][place].append(inside)
    cells = []
    for name in COLUMNS:
        shares = [100 * float(np.mean(values)) for values in held[name].values() if len(values) >= sets / 4]
        least = f" ({min(shares):.0f})" if len(shares) > 1 else ""
        cells.append(f"{np.mean(shares):.1f}{least}" if shares else "–")
    return f"| {n} | {correlation:g} | " + " | ".join(cells) + " |"


def main() -> None:
    """Draw, measure, and write the table."""
    args = sets_and_out(__doc__)
    lines = [
        "# Do bands of curves hold the true curve?",
        "",
        f"Command: `python benchmarks/curves.py --sets {args.sets}`. Share of {args.sets} drawn sets whose 95 %",
        "interval holds the truth, the mean over places of the curve (and the least of them). Predictive values are",
        f"at a prevalence of {100 * RARE:g} %, threshold {THRESHOLD:g}.",
        "",
        "| X-rays | correlation | " + " | ".join(COLUMNS) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for n in SIZES:
        for correlation in CORRELATIONS:
            lines.append(row(n, correlation, args.sets))
            print(lines[-1], flush=True)
    write_page(lines, args.out)


if __name__ == "__main__":
    main()
