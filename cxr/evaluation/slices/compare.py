"""Slices of predictions, each compared with the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from cxr.errors import CxrError, RunError, unknown, wrong_use
from cxr.evaluation.metrics import estimate, summarise
from cxr.evaluation.results import evaluation_results
from cxr.evaluation.seen import measured_rows, n_seen
from cxr.evaluation.slices.columns import Division, divisions, joined
from cxr.evaluation.slices.differences import Side, correlation_of, difference_limits, difference_p
from cxr.evaluation.slices.figures import Figure, figure_of, n_patients
from cxr.evaluation.slices.results import ClassFigure, Slice, SliceResults
from cxr.evaluation.slices.wording import conclusions, sentence_of
from cxr.evaluation.summary import summarise_predictions
from cxr.evaluation.tests import holm
from cxr.formatting import Estimate, verb, xrays
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.runs import Run

NOTHING: Estimate = {"value": None, "low": None, "high": None}
_TEST = "test"
_NOT_NEW = ("train", "val")
Where = dict[str, str | None]
_Part = tuple[Slice, np.ndarray]
"""A slice, and which X-rays (N,) it holds."""
Progress = Callable[[int, int], None]


def slices_of(
    run: Run,
    by: Sequence[str] = (),
    splits: Sequence[str] = (),
    *,
    pairs: bool = True,
    progress: Progress | None = None,
) -> SliceResults:
    """Return the slices of a finished evaluation, or of a training, which has evaluated its network.

    X-rays that the network has seen are left out where they are left out of the run's own figures.

    Parameters
    ----------
    by
        Columns of the manifest (or of the predictions); see :func:`cxr.evaluation.slices.columns.divisions`.
    splits
        Measured splits; by default test, else all but train and val, else all.
    pairs
        Also look for the worst slices of two columns.
    progress
        Called with how many slices are done and their total.

    Raises
    ------
    RunError
        If the run has no predictions, or not of such a split.
    ManifestError
        If there is no such column, or the manifest cannot be read.
    """
    table, results = run.predictions(), evaluation_results(run)
    if table is None or not results.get("classes") or "split" not in table:
        raise RunError(
            f"run {run.id} has no predictions to divide: give a finished evaluation or training (`cxr runs list`)"
        )
    measured = measured_rows(table, results)
    present = list(dict.fromkeys(str(name) for name in measured["split"]))
    chosen = list(dict.fromkeys(splits)) or _default_splits(present)
    for name in chosen:
        if name not in present:
            raise wrong_use(RunError(unknown("measured split", name, present)))
    measured = measured[measured["split"].isin(chosen)].reset_index(drop=True)
    rows, notes = _manifest_rows(run)
    seen = results.get("seen")
    if seen is not None and (left_out := n_seen(seen, left_out=True)):
        notes.append(
            f"{xrays(left_out)} of all splits {verb(left_out)} left out, as in the run's figures: the network has seen "
            f"{'it' if left_out == 1 else 'them'}."
        )
    task, classes = results.get("task", SINGLE_LABEL), results["classes"]
    found = slice_predictions(measured, classes, task, rows, by, pairs=pairs, progress=progress)
    return {**found, "splits": chosen, "notes": notes + found["notes"]}


def slice_predictions(
    table: pd.DataFrame,
    classes: Sequence[str],
    task: str = SINGLE_LABEL,
    rows: pd.DataFrame | None = None,
    by: Sequence[str] = (),
    *,
    pairs: bool = True,
    progress: Progress | None = None,
) -> SliceResults:
    """Return the slices of a table of predictions; see :func:`slices_of`.

    Parameters
    ----------
    table
        As ``predictions_table`` makes it; with ``target_<class>`` for findings.
    rows
        The table of a manifest, joined by image_id.
    """
    if task != MULTI_LABEL:
        table = table[table["label"].isin(list(classes))].reset_index(drop=True)
    figure = figure_of(table, classes, task)
    known = joined(table, rows)
    columns, skipped = divisions(known, by)
    single = [({of.column: name}, part) for of in columns for name, part in of.parts()]
    double = list(_pairs(columns)) if pairs else []
    tell = progress or (lambda done, total: None)
    slices: list[Slice] = []
    for done, (where, part) in enumerate(single):
        entry = compared(figure, where, part, classes)
        if not entry["too_small"]:
            entry["per_class"] = _per_class(table, figure, part, classes, task)
        slices.append(entry)
        tell(done + 1, len(single) + len(double))
    of_pairs: list[Slice] = []
    for done, (where, part) in enumerate(double):
        of_pairs.append(compared(figure, where, part, classes))
        tell(len(single) + done + 1, len(single) + len(double))
    enough = [entry for entry in of_pairs if not entry["too_small"]]
    tests = _correct(
        [(entry, part) for entry, (_, part) in zip([*slices, *of_pairs], [*single, *double], strict=True)],
    )
    for entry in (*slices, *enough):
        entry["sentence"] = sentence_of(entry, figure.name)
    everything = np.ones(len(table), dtype=bool)
    results: SliceResults = {
        "task": task,
        "classes": list(classes),
        "splits": list(dict.fromkeys(str(name) for name in table.get("split", []))),
        "n": len(table),
        "n_patients": n_patients(figure.patients, everything),
        "figure": figure.name,
        "overall": summarise_predictions(table, classes, task)["auc" if task == MULTI_LABEL else "accuracy"],
        "columns": {of.column: of.to_dict() for of in columns},
        "skipped": skipped,
        "slices": slices,
        "pairs": sorted(
            (entry for entry in enough if (entry["difference"]["value"] or 0.0) < 0),
            key=lambda entry: entry["figure"]["value"] or 0.0,
        ),
        "pairs_compared": len(enough),
        "pairs_too_small": len(of_pairs) - len(enough),
        "tests": tests,
        "conclusions": [],
        "notes": _notes(table, known, rows),
    }
    results["conclusions"] = conclusions(results)
    return results


def compared(figure: Figure, where: Where, part: np.ndarray, classes: Sequence[str]) -> Slice:
    """Return a slice (N,) bool with its figure, that of the rest, and the difference; its p is not corrected yet."""
    rest = ~part
    entry: Slice = {
        "where": where,
        "n": int(part.sum()),
        "n_patients": n_patients(figure.patients, part),
        "rest_n": int(rest.sum()),
        "rest_patients": n_patients(figure.patients, rest),
        "figure": NOTHING,
        "rest": NOTHING,
        "difference": {**NOTHING, "p": None, "p_holm": None},
        "findings": [],
        "per_class": {},
        "only_class": figure.only_class(part),
        "too_small": figure.too_small(part, rest),
        "sentence": "",
    }
    if entry["too_small"]:
        return entry
    findings = figure.comparable(part, rest)
    sides = figure.side(part, findings), figure.side(rest, findings)
    correlation = 0.0
    if set(figure.patients[part]) & set(figure.patients[rest]):
        of_part, of_rest = (figure.statistic(rows, findings) for rows in (part, rest))
        correlation = correlation_of(of_part, of_rest, figure.patients)
    limits = difference_limits(*sides, correlation)
    apart = estimate(sides[0].value - sides[1].value, limits)
    entry["figure"], entry["rest"] = (_estimate(side) for side in sides)
    entry["difference"] = {**apart, "p": difference_p(*sides, correlation), "p_holm": None}
    entry["findings"] = [classes[k] for k in findings]
    return entry


def _estimate(side: Side) -> Estimate:
    return estimate(side.value, side.limits())


def _per_class(
    table: pd.DataFrame, figure: Figure, part: np.ndarray, classes: Sequence[str], task: str
) -> dict[str, ClassFigure]:
    """Return recalls of classes, or AUCs of findings, as the run's own figures are made, where there are enough."""
    if task == MULTI_LABEL:
        values = {name: _estimate(figure.side(part, [k])) for k, name in enumerate(classes)}
    else:
        # Without probabilities: no AUC is needed here, which would take most of the time.
        labels = table.loc[part].drop(columns=[f"prob_{name}" for name in classes], errors="ignore")
        values = {name: scores["recall"] for name, scores in summarise(labels, classes)["per_class"].items()}
    figures: dict[str, ClassFigure] = {}
    for k, name in enumerate(classes):
        own, too_small = figure.with_class(part, k)
        figures[name] = {
            **(NOTHING if too_small else values[name]),
            "n": int(own.sum()),
            "n_patients": n_patients(figure.patients, own),
            "too_small": too_small,
        }
    return figures


def _pairs(columns: Sequence[Division]) -> Iterator[tuple[Where, np.ndarray]]:
    """Yield the slices of two columns that are not empty and not the same X-rays as a slice of one of them."""
    for first, second in combinations(columns, 2):
        for one, in_one in first.parts():
            for other, in_other in second.parts():
                both = in_one & in_other
                if both.any() and both.sum() not in (in_one.sum(), in_other.sum()):
                    yield {first.column: one, second.column: other}, both


def _correct(entries: Sequence[_Part]) -> int:
    """Correct slices and pairs for their number: all were looked at to find what stands out. Returns the number.

    A slice and its rest are one question, whichever of the two is named, so that a column of two groups is counted
    once, and so are columns that divide the X-rays alike.
    """
    corrected = _corrected(entries)
    for entry, part in entries:
        entry["difference"]["p_holm"] = corrected.get(_question(part))
    return len(corrected)


def _corrected(entries: Sequence[_Part]) -> dict[bytes, float | None]:
    """Return the corrected p of each question that has one."""
    ps: dict[bytes, float | None] = {}
    for entry, part in entries:
        if entry["difference"]["p"] is not None:
            ps.setdefault(_question(part), entry["difference"]["p"])
    return dict(zip(ps, holm(list(ps.values())), strict=True))


def _question(part: np.ndarray) -> bytes:
    """Return the same for a slice (N,) bool and for its rest."""
    return np.packbits(part ^ part[:1]).tobytes()


def _default_splits(present: Sequence[str]) -> list[str]:
    if _TEST in present:
        return [_TEST]
    return [name for name in present if name not in _NOT_NEW] or list(present)


def _manifest_rows(run: Run) -> tuple[pd.DataFrame | None, list[str]]:
    """Return the table of the run's manifest, None and the reason where there is none any more."""
    from cxr.data import Manifest
    from cxr.data.library import resolve_manifest

    path = run.spec["params"].get("manifest")
    if not path:
        return None, ["The run names no manifest: only the columns of its predictions can be compared."]
    try:
        return Manifest.load(resolve_manifest(path)).table, []
    except CxrError as error:
        return None, [f"Only the columns of the predictions can be compared, the manifest cannot be read: {error}"]


def _notes(table: pd.DataFrame, known: pd.DataFrame, rows: pd.DataFrame | None) -> list[str]:
    notes = []
    if rows is not None and (gone := int((~known["image_id"].isin(rows["image_id"])).sum())):
        notes.append(f"{gone:,} X-rays are no longer in the manifest: they have no value in its columns.")
    if without := int((table["patient_id"] == "").sum()):
        notes.append(
            f"No patient is known of {without:,} of {len(table):,} X-rays: each counts as a patient of its own. "
            "Where some belong together, the intervals are too narrow."
        )
    return notes
