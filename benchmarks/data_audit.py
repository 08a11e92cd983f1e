"""How often an audit speaks of a property that tells nothing, and how often the intervals of its AUC hold.

    python benchmarks/data_audit.py [--sets 300] [--out benchmarks/results/data_audit.md]

Properties and classes of patients with 1 to 10 X-rays are simulated and given to ``cxr.experiments.data_audit`` as
those of a data set are.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from cxr.evaluation.tests import holm
from cxr.experiments.data_audit.classes import Classes
from cxr.experiments.data_audit.predictability import Units
from cxr.experiments.data_audit.property_values import Property
from cxr.experiments.data_audit.results import SIGNIFICANT, Entry, associations

RESULTS = Path(__file__).with_name("results") / "data_audit.md"
N_EMPTY = 20  # properties without association in each set
EMPTY = (("two classes", 0.0), ("two classes", 0.9), ("three classes", 0.5), ("three findings", 0.5))
"""Tasks and correlations within a patient of the sets without association."""
WITH_AREAS = 10  # of so many sets one more has its areas under the curve measured, which take longest
SHARES = {0.6: (0.6, 0.4), 0.8: (0.8, 0.2), 0.95: (0.95, 0.05)}
"""By the AUC of a property with two values: how many X-rays of the class and of the others have the first one."""


def patients(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return the patient (N,) of each X-ray, 1 to 10 X-rays each."""
    sizes = rng.integers(1, 11, n)
    return np.repeat(np.arange(n), sizes)[:n]


def alike(rng: np.random.Generator, patient: np.ndarray, correlation: float) -> np.ndarray:
    """Return normal numbers (N,) of which those of one patient have this correlation."""
    own, shared = rng.normal(size=len(patient)), rng.normal(size=patient.max() + 1)[patient]
    return correlation**0.5 * shared + (1 - correlation) ** 0.5 * own


def classes_of(rng: np.random.Generator, patient: np.ndarray, task: str) -> Classes:
    """Return the classes of X-rays: those of a patient have one class, or each finding on half of their X-rays."""
    if task == "three findings":
        targets = np.column_stack([alike(rng, patient, 0.5) > 0.3 for _ in range(3)]).astype(float)
        return Classes(("A", "B", "C"), targets, "multi-label")
    n = 2 if task == "two classes" else 3
    label = rng.permutation(np.arange(patient.max() + 1) % n)[patient]
    return Classes(("A", "B", "C")[:n], np.eye(n)[label], "single-label")


def empty_properties(rng: np.random.Generator, patient: np.ndarray, correlation: float) -> list[Property]:
    """Return properties without association: numbers, categories, rare marks and numbers with unknown values."""
    properties = []
    for k in range(N_EMPTY):
        values = alike(rng, patient, correlation)
        series: pd.Series = pd.Series(values)
        if k % 4 == 1:
            series = pd.Series(np.digitize(norm.cdf(values), (0.4, 0.7, 0.9))).astype(str)
        elif k % 4 == 2:
            series = pd.Series(np.where(values > 1.2, "yes", "no"))
        elif k % 4 == 3:
            series = series.where(rng.random(len(values)) < 0.7)
        properties.append(Property(f"empty {k}", "", f"Empty {k}", series))
    return properties


def of_class(
    rng: np.random.Generator, patient: np.ndarray, correlation: float, own: np.ndarray, area: float
) -> Property:
    """Return a property with two values whose AUC for a class is ``area``."""
    share = np.where(own, *SHARES[area])
    values = np.where(norm.cdf(alike(rng, patient, correlation)) < share, "first", "second")
    return Property("planted", "", "Planted", pd.Series(values))


def audit(rng: np.random.Generator, n: int, task: str, correlation: float, area: float | None) -> list[Entry]:
    """Return the audit of a set of ``n`` X-rays with empty properties and, with ``area``, a planted one."""
    patient = patients(rng, n)
    classes = classes_of(rng, patient, task)
    properties = empty_properties(rng, patient, correlation)
    if area is not None:
        properties = [of_class(rng, patient, correlation, classes.targets[:, 0] == 1, area), *properties[:4]]
    images = pd.DataFrame({"image_id": np.arange(n).astype(str), "patient_id": patient.astype(str)})
    return associations(properties, images, classes, int(rng.integers(2**31)))


def covered(entries: list[Entry], truth: float) -> list[bool]:
    """Return for each interval of the class A whether it holds the true AUC."""
    own = [entry["by_class"]["A"] for entry in entries if entry["by_class"]]
    return [a["low"] <= truth <= a["high"] for a in own if a["low"] is not None and a["high"] is not None]


def percent(values: list[bool]) -> str:
    """Return the share of True with its number, "–" without any."""
    return f"{100 * np.mean(values):.1f} % of {len(values)}" if values else "–"


def p_values(rng: np.random.Generator, n: int, task: str, correlation: float) -> list[float | None]:
    """Return the p value of each property of a set in which none goes with the class."""
    patient = patients(rng, n)
    classes, properties = classes_of(rng, patient, task), empty_properties(rng, patient, correlation)
    images = pd.DataFrame({"image_id": np.arange(n).astype(str), "patient_id": patient.astype(str)})
    seed, ps = int(rng.integers(2**31)), []
    for own in properties:
        counted = own.known & classes.known
        units = Units(images[counted], classes.rows(counted), seed)
        ps.append(units.test(own.codes(units.n_drawn)[counted], len(properties))[3])
    return ps


def without_association(sets: int) -> list[str]:
    """Return the table of sets in which nothing goes with the class."""
    lines = [
        "| X-rays | classes | correlation within a patient | sets in which the audit is silent | p < 0.05 before "
        "correction | intervals of AUC that hold 0.5 |",
        "|---|---|---|---|---|---|",
    ]
    for n in (60, 600):
        for k, (task, correlation) in enumerate(EMPTY):
            rng = np.random.default_rng([n, k])
            ps = [p_values(rng, n, task, correlation) for _ in range(sets)]
            silent = [all(p is None or p >= SIGNIFICANT for p in holm(own)) for own in ps]
            small = [p < SIGNIFICANT for own in ps for p in own if p is not None]
            audits = [audit(rng, n, task, correlation, None) for _ in range(sets // WITH_AREAS)]
            hold = [held for entries in audits for held in covered(entries, 0.5)]
            cells = (n, task, correlation, percent(silent), percent(small), percent(hold))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def with_association(sets: int) -> list[str]:
    """Return the table of sets in which one property of five goes with the class."""
    lines = [
        "| X-rays | true AUC | sets in which it is shown | mean AUC | intervals that hold the true one |",
        "|---|---|---|---|---|",
    ]
    for n in (60, 600):
        for area in SHARES:
            rng = np.random.default_rng([n, int(100 * area), 1])
            audits = [audit(rng, n, "two classes", 0.5, area) for _ in range(sets)]
            planted = [next(e for e in entries if e["name"] == "planted") for entries in audits]
            values = [e["by_class"]["A"]["value"] for e in planted if e["by_class"]]
            known = [value for value in values if value is not None]
            mean = f"{np.mean(known):.3f}" if known else "–"
            shown = percent([entry["shown"] for entry in planted])
            cells = (n, area, shown, mean, percent(covered(planted, area)))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def main() -> None:
    """Simulate, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=300)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    begun = time.perf_counter()
    parts = [
        "# Audits of data sets",
        f"`python benchmarks/data_audit.py --sets {args.sets}`, fixed seeds, {platform.machine()}, Python "
        f"{platform.python_version()}. Patients have 1 to 10 X-rays. A patient has one class; findings differ between "
        "the X-rays of a patient.",
        "## Nothing goes with the class",
        f"{N_EMPTY} properties in each set: numbers, categories, rare marks, numbers of which 30 % are unknown. A "
        "silent audit shows none of them. Tables count one X-ray of each patient and are coarse, so that p is below "
        "0.05 in less than 5 %. Of 60 X-rays of about 11 patients there is often no AUC.",
        "\n".join(without_association(args.sets)),
        "## One property goes with the class",
        "Two classes, five properties, correlation 0.5 within a patient. The planted one has two values; the AUC of "
        "its best use is known. Means are of sets with enough patients.",
        "\n".join(with_association(args.sets)),
        f"{time.perf_counter() - begun:.0f} s on one core.",
    ]
    args.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(args.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
