"""What an audit gives: an entry for each property, the strongest first, and sentences about those that are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np
import pandas as pd

from cxr.errors import RunError
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.tests import holm
from cxr.experiments.data_audit.classes import Classes
from cxr.experiments.data_audit.predictability import Units
from cxr.experiments.data_audit.property_values import MissingColumn, Property
from cxr.formatting import NOTHING, Estimate, p_value, xrays
from cxr.models.card import MULTI_LABEL

if TYPE_CHECKING:
    from cxr.runs import Run

SIGNIFICANT = 0.05
NOTES = (
    "AUC: the property alone is the classifier, cross-validated by patient; 0.5 is chance, 1 tells every pair apart. "
    "The score of an X-ray is the share of the class among other patients' X-rays with the same value or range of "
    "values. Intervals are 95 %, over patients, of each row alone.",
    "p: labels are permuted over patients, each with one randomly drawn X-ray, and corrected for the number of "
    "properties (Holm). A property counts as shown where p is below 0.05; the others have a question mark.",
    "V: Cramer's V, corrected for its bias. Bits: mutual information less its mean under permuted labels. Both of one "
    "X-ray of each patient.",
    "A property that predicts the class does not show that a network uses it. One that does not may still do so "
    "together with others. Text and grey values may differ because the illness does.",
)


class Entry(TypedDict):
    """A property and how it goes with the class.

    ``known`` and ``missing`` are numbers of X-rays. ``best`` is the class that the sentence names. ``p_corrected`` is
    corrected over all properties. What cannot be computed is None, and ``reason`` says why.
    """

    name: str
    group: str
    title: str
    known: int
    missing: int
    values: int
    auc: Estimate
    by_class: dict[str, Estimate]
    best: str
    v: float | None
    bits: float | None
    chance: float | None
    p: float | None
    p_corrected: float | None
    shown: bool
    sentence: str
    reason: str


class ClassSize(TypedDict):
    """Numbers of X-rays and patients of a class."""

    images: int
    patients: int


class LeftOut(TypedDict):
    """An X-ray that could not be read, and why."""

    image_id: str
    reason: str


class AuditResults(TypedDict):
    """The results of an audit, as ``results.json`` holds them."""

    n_images: int
    n_patients: int
    task: str
    classes: list[str]
    by_class: dict[str, ClassSize]
    split: str
    text: bool
    finding: str
    properties: list[Entry]
    missing: list[MissingColumn]
    left_out: list[LeftOut]
    correction: str
    notes: list[str]
    provenance: dict[str, str]


def audit_results(run: Run) -> AuditResults:
    """Return the results of a finished audit.

    Raises
    ------
    RunError
        If the run is no audit of a data set, or is not finished.
    """
    results = run.results()
    if results is None or run.kind != "audit-data":
        raise RunError(f"run {run.id} has no results of an audit of a data set to report")
    return cast("AuditResults", results)


def associations(
    properties: Sequence[Property],
    images: pd.DataFrame,
    classes: Classes,
    seed: int = 0,
    step: Callable[[float], object] = lambda fraction: None,
) -> list[Entry]:
    """Return an entry for each property: those shown to go with the class first, by area under the curve.

    Parameters
    ----------
    properties
        Of the rows of ``images``.
    images
        (N,) rows of image_id and patient_id.
    step
        Called with the share of the properties that are done.
    """
    shared: dict[bytes, Units] = {}
    entries = []
    for done, own in enumerate(properties):
        counted = own.known & classes.known
        key = counted.tobytes()
        if key not in shared:
            shared[key] = Units(images[counted], classes.rows(counted), seed)
        entries.append(_entry(own, counted, shared[key], len(properties)))
        step((done + 1) / len(properties))
    for entry, p in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p_corrected"] = p
        entry["shown"] = p is not None and p < SIGNIFICANT
        entry["sentence"] = _sentence(entry, len(classes.names), classes.task) if entry["shown"] else ""
    return sorted(entries, key=lambda e: (not e["shown"], -(e["auc"]["value"] or 0.0), e["name"]))


def _entry(own: Property, counted: np.ndarray, units: Units, n_tests: int) -> Entry:
    codes = own.codes(units.n_drawn)[counted]
    entry = Entry(
        name=own.name,
        group=own.group,
        title=own.title,
        known=int(own.known.sum()),
        missing=int((~own.known).sum()),
        values=len(np.unique(codes)),
        auc=Estimate(value=None, low=None, high=None),
        by_class={},
        best="",
        v=None,
        bits=None,
        chance=None,
        p=None,
        p_corrected=None,
        shown=False,
        sentence="",
        reason="",
    )
    if not len(codes):
        return entry | {"reason": "unknown for every X-ray"}
    if entry["values"] < 2:
        return entry | {"reason": "the same for every X-ray"}
    found = units.association(np.unique(codes, return_inverse=True)[1], n_tests)
    entry |= {"auc": found.mean, "by_class": found.by_class, "v": found.v, "p": found.p}
    entry |= {"bits": found.bits, "chance": found.chance, "best": _best(found.by_class)}
    if found.p is None:
        return entry | {"reason": "every X-ray that has a value has the same class"}
    return entry | {"reason": units.too_few()}


def _best(by_class: Mapping[str, Estimate]) -> str:
    """Return the class whose interval begins highest, the first of equal ones."""
    ends = [(own["low"] if own["low"] is not None else own["value"], name) for name, own in by_class.items()]
    known = [(end, name) for end, name in ends if end is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else ""


def _sentence(entry: Entry, n_classes: int, task: str) -> str:
    """Return in plain words how a property goes with the class.

    >>> auc = {"value": 0.97, "low": 0.95, "high": 0.98}
    >>> _sentence({"title": "Image size", "best": "covid19", "by_class": {"covid19": auc}, "p_corrected": 0.001}, 3, "")
    'Image size alone tells covid19 from the rest with AUC 0.97 (0.95 to 0.98).'
    """
    p = f"corrected p {p_value(entry['p_corrected'])}"
    if not entry["best"]:
        return f"{entry['title']} goes with the class ({p}); {entry['reason']}."
    own = entry["by_class"][entry["best"]]
    others = [name for name in entry["by_class"] if name != entry["best"]]
    rest = "X-rays without it" if task == MULTI_LABEL else others[0] if n_classes == 2 else "the rest"
    if own["low"] is None or own["low"] <= 0.5:
        return f"{entry['title']} goes with the class ({p}), but alone it tells little: {auc_in_words(own)}."
    alone = "" if entry["title"].startswith("Whether") else " alone"
    return f"{entry['title']}{alone} tells {entry['best']} from {rest} with {auc_in_words(own)}."


def auc_in_words(own: Estimate) -> str:
    """Return ``AUC 0.97 (0.95 to 0.98)``."""
    return f"AUC {interval_in_words(own)}"


def interval_in_words(own: Estimate) -> str:
    """Return ``0.97 (0.95 to 0.98)``, "–" where there is no value."""
    value, low, high = own["value"], own["low"], own["high"]
    if value is None:
        return NOTHING
    return f"{value:.2f}" + ("" if low is None or high is None else f" ({low:.2f} to {high:.2f})")


def finding(entries: Sequence[Entry], images: pd.DataFrame, classes: Classes) -> str:
    """Return what an audit found in a few sentences, the strongest properties first."""
    n = xrays(int(classes.known.sum()), len(set(patients_of(images[classes.known]))))
    tested = [entry for entry in entries if entry["p"] is not None]
    shown = [entry for entry in entries if entry["shown"]]
    if not tested:
        return f"No property could be compared with the class on {n}."
    if not shown:
        enough = "" if any(entry["auc"]["value"] is not None for entry in tested) else " There are too few patients."
        return (
            f"None of {len(tested):,} properties is shown to predict the class, on {n}. That is no proof that none "
            f"does. {enough}"
        )
    some = " ".join(entry["sentence"] for entry in shown[:3])
    return f"{len(shown):,} of {len(tested):,} properties predict the class without a look at the chest, on {n}. {some}"


def bar_of(own: Estimate) -> tuple[float, float, float]:
    """Return the value of an estimate and the two ends of its bar in a figure: the value itself without an interval."""
    value, low, high = own["value"] or 0.0, own["low"], own["high"]
    return (value, value, value) if low is None or high is None else (value, low, high)


def entry_cells(entry: Entry) -> dict[str, str]:
    """Return a row of the table that people read, by its columns; ? after a property that is not shown."""
    classes = [(name, own) for name, own in entry["by_class"].items() if own["value"] is not None]
    best = entry["by_class"].get(entry["best"])
    return {
        "property": entry["title"] + ("" if entry["shown"] or entry["p"] is None else " ?"),
        "mean AUC": interval_in_words(entry["auc"]),
        "best at": f"{entry['best']} {interval_in_words(best)}" if best is not None and len(classes) > 1 else "",
        "V": NOTHING if entry["v"] is None else f"{entry['v']:.2f}",
        "bits": NOTHING if entry["bits"] is None else f"{entry['bits'] - (entry['chance'] or 0):.3f}",
        "p": p_value(entry["p_corrected"]),
        "unknown": f"{entry['missing']:,}" if entry["missing"] else "",
    }


def missing_cells(row: MissingColumn) -> dict[str, str]:
    """Return a row of the table of missing metadata, by its columns: on how many X-rays of each class."""
    counts = {name: own for name, own in row["by_class"].items() if own["of"]}
    return {"": row["title"], "every X-ray": f"{row['missing']:,} of {row['of']:,}"} | {
        name: f"{own['missing']:,} of {own['of']:,}" for name, own in counts.items()
    }


def flat(entries: Sequence[Entry]) -> pd.DataFrame:
    """Return the entries as a table: one row for each property, three columns for the AUC of each class."""
    rows = []
    for entry in entries:
        row = {key: value for key, value in entry.items() if key not in ("auc", "by_class")}
        row |= _numbers(entry["auc"])
        for name, own in entry["by_class"].items():
            row |= {f"{key} of {name}": value for key, value in _numbers(own).items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _numbers(own: Estimate) -> dict[str, float | None]:
    return {"auc": own["value"], "low": own["low"], "high": own["high"]}
