"""Do the intervals of a mean over classes hold where few patients have one of them?

- ``recall``: the mean recall of an audit's X-rays from elsewhere, and the difference of two such sets that are alike. A
  network of three classes as in ``intervals.py``: patients have 1 to 10 X-rays and one class; of the noise of the
  logits, the share ``correlation`` is a patient's own. Sets without six patients of each class are drawn again. Beside
  it the way before, in which the mean's variance was as certain as that of all X-rays together.
- ``macro F1`` of the same sets, whose variance is as certain as that of all X-rays together.
- ``probes``: balanced accuracy and mean AUC of a protocol probe. Descriptors are noise, of which the share
  ``correlation`` is a patient's own, and one number that says the class. The truth is the mean over the sets.

    python benchmarks/rare_classes.py --sets 200 --out benchmarks/results/rare_classes.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from blocks import sets_and_out, write_page
from intervals import CLASSES, noise, patients, signal_of

from cxr.evaluation.intervals import FEWEST_PATIENTS, Limits, effective_patients, mean_of_patients
from cxr.evaluation.metrics import patients_of, ratio, summarise
from cxr.evaluation.slices.differences import Side, difference_limits
from cxr.experiments.audit.parts.external import mean_recall
from cxr.experiments.probes.descriptors import block_weights
from cxr.experiments.probes.discriminant import Folds, dealt
from cxr.experiments.probes.probing import Predictions, measured
from cxr.experiments.probes.questions import FEWEST_PATIENTS as FEWEST_PROBED
from cxr.experiments.probes.questions import Question, one_of_each
from cxr.formatting import Estimate

ACCURACIES, CORRELATIONS = (0.6, 0.9, 0.99), (0.0, 0.5, 0.9)
RECALLS = ((200, (0.5, 0.3, 0.2)), (600, (0.8, 0.15, 0.05)))
PROBES = ((100, 2, 0.15, 8.0), (100, 2, 0.5, 8.0), (300, 3, 0.05, 16.0))
"""Patients, classes, the share of each class but the first, and what a class adds to its number."""


def drawn(rng: np.random.Generator, n: int, correlation: float, signal: float, shares: Sequence[float]) -> pd.DataFrame:
    """Return the predictions of n X-rays with enough patients of each class."""
    while True:
        patient = patients(rng, n)
        of_patient = rng.choice(3, patient.max() + 1, p=shares)
        if np.bincount(of_patient, minlength=3).min() >= FEWEST_PATIENTS:
            break
    label = of_patient[patient]
    predicted = (noise(rng, patient, 3, correlation) + signal * np.eye(3)[label]).argmax(1)
    table = pd.DataFrame({"image_id": np.arange(n).astype(str), "patient_id": patient.astype(str)})
    return table.assign(label=np.array(CLASSES)[label], predicted=np.array(CLASSES)[predicted])


def before(rows: pd.DataFrame) -> Side:
    """Return the mean recall with its variance as certain as that of all X-rays together."""
    of_class = np.column_stack([(rows["label"] == name).to_numpy(np.float64) for name in CLASSES])
    hits = of_class * (rows["label"] == rows["predicted"]).to_numpy(np.float64)[:, None]
    groups = patients_of(rows)

    def statistic(weights: np.ndarray) -> np.ndarray:
        return ratio(weights @ hits, weights @ of_class).mean(1, keepdims=True)

    return Side.of(statistic, groups, mean_of_patients([effective_patients(groups, column) for column in of_class.T]))


def true_recall(signal: float) -> float:
    """Return the recall of each class, which is the same for all."""
    scores = np.random.default_rng(0).standard_normal((1_000_000, 3))
    scores[:, 0] += signal
    return float((scores.argmax(1) == 0).mean())


def holds(limits: Limits | None, truth: float) -> bool:
    """Return whether an interval holds the truth."""
    return limits is not None and limits[0] - 1e-9 <= truth <= limits[1] + 1e-9


def recall_rows(sets: int) -> Iterator[str]:
    """Yield a row for each setting of the mean recall."""
    for n, shares in RECALLS:
        for accuracy in ACCURACIES:
            signal = signal_of(accuracy)
            truth = true_recall(signal)
            for correlation in CORRELATIONS:
                rng = np.random.default_rng([n, round(100 * accuracy), round(10 * correlation)])
                held = []
                for _ in range(sets):
                    own, elsewhere = (drawn(rng, n, correlation, signal, shares) for _ in range(2))
                    now = [mean_recall(rows, CLASSES) for rows in (own, elsewhere)]
                    once = [before(rows) for rows in (own, elsewhere)]
                    held.append(
                        [holds(side[0].limits(), truth) for side in (once, now)]
                        + [holds(difference_limits(side[0], side[1]), 0.0) for side in (once, now)]
                    )
                cells = " | ".join(f"{100 * share:.1f}" for share in np.mean(held, axis=0))
                yield f"| {n} | {', '.join(map(str, shares))} | {truth:.3f} | {correlation:g} | {cells} |"


def true_macro_f1(signal: float, shares: Sequence[float]) -> float:
    """Return the macro F1 of an endless set."""
    rng, n = np.random.default_rng(0), 1_000_000
    label = rng.choice(3, n, p=shares)
    said = (rng.standard_normal((n, 3)) + signal * np.eye(3)[label]).argmax(1)
    both = [2 * ((label == c) & (said == c)).sum() / ((label == c).sum() + (said == c).sum()) for c in range(3)]
    return float(np.mean(both))


def f1_rows(sets: int) -> Iterator[str]:
    """Yield a row for each setting of macro F1."""
    for n, shares in RECALLS:
        for accuracy in ACCURACIES:
            signal = signal_of(accuracy)
            truth = true_macro_f1(signal, shares)
            for correlation in CORRELATIONS:
                rng, held = np.random.default_rng([n, round(100 * accuracy), round(10 * correlation)]), []
                for _ in range(sets):
                    score = summarise(drawn(rng, n, correlation, signal, shares), CLASSES)["macro_f1"]
                    low, high = score["low"], score["high"]
                    held.append(holds(None if low is None or high is None else (low, high), truth))
                cells = f"{truth:.3f} | {correlation:g} | {100 * np.mean(held):.1f}"
                yield f"| {n} | {', '.join(map(str, shares))} | {cells} |"


def probed(rng: np.random.Generator, n: int, k: int, share: float, signal: float, correlation: float) -> list[Estimate]:
    """Return balanced accuracy and mean AUC of a probe of the X-rays of n patients."""
    weights = block_weights()
    while True:
        groups = np.repeat(np.arange(n), rng.integers(1, 11, n))
        codes = rng.choice(k, n, p=[1 - share * (k - 1), *[share] * (k - 1)])[groups]
        one = one_of_each(groups, np.ones(len(groups), bool), 0)
        if np.bincount(codes[one], minlength=k).min() >= FEWEST_PROBED:
            break
    points = noise(rng, groups, len(weights), correlation).astype(np.float32)
    points[np.arange(len(codes)), codes] += signal
    folds = Folds.of(points, dealt(codes, groups, one, 0), weights)
    scores = folds.scores(codes[None], k, np.ones(len(codes), bool))[0].astype(np.float64)
    said = Predictions(
        Question("class", "", tuple("abcd"[:k]), codes), "full", np.arange(len(codes)), codes, folds.fold, scores
    )
    return list(measured(said, scores, groups))


def probe_rows(sets: int) -> Iterator[str]:
    """Yield a row for each setting of the probes."""
    for n, k, share, signal in PROBES:
        for correlation in (0.5, 0.9):
            rng = np.random.default_rng([n, k, round(10 * correlation)])
            entries = [probed(rng, n, k, share, signal, correlation) for _ in range(sets)]
            cells = []
            for figure in zip(*entries, strict=True):
                low, value, high = np.array([[e["low"], e["value"], e["high"]] for e in figure], np.float64).T
                mean = value.mean()
                cells += [f"{mean:.3f}", f"{100 * np.mean((low <= mean) & (mean <= high)):.1f}"]
            yield f"| {n} | {k} | {share:g} | {correlation:g} | {' | '.join(cells)} |"


def main() -> None:
    """Draw, measure, and write both tables."""
    args = sets_and_out(__doc__)
    lines = [
        "# Means over classes of which few patients have one",
        "",
        f"Command: `python benchmarks/rare_classes.py --sets {args.sets} --out benchmarks/results/rare_classes.md`.",
        f"Per cent of {args.sets} drawn sets whose 95 % interval holds the truth. What was drawn is at the top of the",
        "script.",
    ]
    for title, head, rows in (
        (
            "Mean recall, and what is lost elsewhere",
            "X-rays | shares of classes | true recall | correlation | mean, before | mean | lost, before | lost",
            recall_rows,
        ),
        ("Macro F1", "X-rays | shares of classes | true macro F1 | correlation | holds", f1_rows),
        (
            "Protocol probes",
            "patients | classes | share of each but the first | correlation | mean score | holds | mean AUC | holds",
            probe_rows,
        ),
    ):
        lines += ["", f"## {title}", "", f"| {head} |", "|---" * len(head.split("|")) + "|"]
        for line in rows(args.sets):
            print(line, flush=True)
            lines.append(line)
    write_page(lines, args.out)


if __name__ == "__main__":
    main()
