"""The figures of a run with their intervals, as tables and drawings."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from cxr.data.splits import in_order
from cxr.evaluation.curves import classes_of
from cxr.evaluation.multilabel import THRESHOLD
from cxr.evaluation.results import ClassScores, Summary
from cxr.evaluation.scores.results import FURTHER
from cxr.evaluation.seen import measured_rows
from cxr.evaluation.selection import sentences
from cxr.formatting import number, percent, xrays
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.reports.checklist.subject import Subject
from cxr.reports.figures import Drawing
from cxr.reports.identities import Identities
from cxr.reports.run.choices import Choices
from cxr.reports.run.document import Block, Bullets, Figure, Section, Table, Text
from cxr.reports.run.figures import class_curves, confusion


def metrics(subject: Subject, choices: Choices, identities: Identities) -> Section:
    """Return every figure of all splits, and the drawings of one."""
    splits = {name: subject.results["splits"][name] for name in in_order(subject.results["splits"])}
    blocks: list[Block] = [_overall(splits)]
    for split, summary in splits.items():
        blocks += _of_split(split, summary)
    blocks += [Figure(drawing) for drawing in drawings(subject, choices.split)]
    said = sentences(subject.results)
    return Section("Figures", [*blocks, *([Bullets(said)] if said else [])])


def _overall(splits: dict[str, Summary]) -> Table:
    of_findings = any(summary.get("task") == MULTI_LABEL for summary in splits.values())
    titles = ("mean AUC", "mean average precision") if of_findings else ("accuracy", "macro F1", "AUC")
    rows = []
    for split, summary in splits.items():
        scores = [number(summary["auc"]), number(summary.get("average_precision"))]
        if not of_findings:
            scores = [percent(summary.get("accuracy")), number(summary.get("macro_f1")), number(summary["auc"])]
        rows.append([split, xrays(summary["n"], summary.get("n_patients")), *scores])
    return Table(("split", "of", *titles), rows)


def _of_split(split: str, summary: Summary) -> Iterator[Block]:
    several = summary.get("task") == MULTI_LABEL
    row_of = _finding_row if several else _class_row
    rows = [row_of(name, scores) for name, scores in summary["per_class"].items()]
    if rows:
        yield Table(list(rows[0]), [list(row.values()) for row in rows], f"{split}: by {next(iter(rows[0]))}")
    further = summary.get("further")
    if further is None:
        return
    scaled = further["scaled"]
    after = {"brier": scaled.get("brier"), "log_loss": scaled.get("log_loss"), "ece": scaled.get("ece")}
    cells = [
        [title, number(further["overall"][key]), number(value) if (value := after.get(key)) else ""]
        for key, title in FURTHER.items()
        if key in further["overall"]
    ]
    yield Table(("score", "value", "after temperature scaling"), cells, f"{split}: further scores")
    yield Text(
        " ".join(
            [
                f"{further['errors']}.",
                *([f"Temperature scaling: {scaled['why']}."] if "why" in scaled else []),
                *(f"{c}: {why}." for c, why in further["undefined"].items()),
            ]
        ),
        True,
    )


def _class_row(name: str, scores: ClassScores) -> dict[str, str]:
    return {
        "class": name,
        "X-rays": str(scores.get("support", "")),
        "recall": percent(scores.get("recall")),
        "precision": percent(scores["precision"]),
        "F1": number(scores["f1"]),
        "AUC": number(scores["auc"]),
    }


def _finding_row(name: str, scores: ClassScores) -> dict[str, str]:
    return {
        "finding": name,
        "positive of known": f"{scores.get('positive', '')} of {scores.get('known', '')}",
        "AUC": number(scores["auc"]),
        "average precision": number(scores.get("average_precision")),
        "threshold": f"{scores.get('threshold', THRESHOLD):.3g}",
        "sensitivity": percent(scores.get("sensitivity")),
        "specificity": percent(scores.get("specificity")),
    }


def drawings(subject: Subject, split: str) -> Iterator[Drawing]:
    """Yield the drawings of a split: confusion matrix, ROC and calibration, where they are defined."""
    summary, table = subject.results["splits"][split], measured_table(subject, split)
    matrix = confusion(summary)
    if matrix is not None:
        yield matrix
    if table is None:
        return
    task = summary.get("task", SINGLE_LABEL)
    thresholds = subject.card.thresholds if subject.card else {}
    yield from class_curves(classes_of(table, summary["classes"], task, thresholds))


def measured_table(subject: Subject, split: str) -> pd.DataFrame | None:
    """Return the rows of a split that figures are of, None where the run has kept no predictions."""
    table = subject.run.predictions()
    if table is None:
        return None
    rows = measured_rows(table, subject.results)
    return rows[rows["split"] == split] if split in set(rows["split"]) else rows
