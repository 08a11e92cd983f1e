"""What the report of a run says: its conclusion, what it rests on, and its sections in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cxr.errors import RunError, unknown, wrong_use
from cxr.evaluation.provenance import in_words, provenance_of, written_in_words
from cxr.evaluation.results import Summary
from cxr.formatting import number, percent, xrays
from cxr.models.card import MULTI_LABEL
from cxr.reports.checklist.subject import Subject
from cxr.reports.identities import Identities, Privacy, holds
from cxr.reports.run import sections
from cxr.reports.run.choices import Choices
from cxr.reports.run.document import Document, Section, Text, with_words
from cxr.reports.run.heatmaps import heatmaps
from cxr.reports.run.metrics import metrics
from cxr.runs import Run

if TYPE_CHECKING:
    import pandas as pd

SECTIONS: tuple[Callable[[Subject, Choices, Identities], Section | None], ...] = (
    sections.data_card,
    sections.recipe,
    sections.curves,
    metrics,
    heatmaps,
    sections.text_experiment,
    sections.audit,
    sections.limits,
    sections.versions,
    sections.checklists,
)
"""Makers of the sections in their order; each gives its section, or None where it has nothing to say."""


def document_of(run: Run, choices: Choices) -> Document:
    """Return the report of a finished training, evaluation or table of predictions.

    Raises
    ------
    RunError
        For a run of another kind or without figures, or a split that it has not measured.
    CxrError
        For X-rays or networks that heatmaps were asked of and that are not at hand.
    """
    subject = Subject.of(run)
    split = measured_split(subject, choices.split)
    choices = replace(choices, split=split)
    identities = Identities.of(_tables(subject), with_ids=choices.with_ids)
    made = (make(subject, choices, identities) for make in SECTIONS)
    document = Document(
        title=f"Report: {run.name}",
        finding=_finding(split, subject.results["splits"][split]),
        basis=f"{in_words(provenance_of(run))} {written_in_words()}",
        sections=[_holds(choices), *(section for section in made if section is not None)],
    )
    return with_words(document, identities.hidden)


def measured_split(subject: Subject, wanted: str) -> str:
    """Return the split that a report draws: ``wanted``, else the test split, else the last that was measured."""
    splits = list(subject.results["splits"])
    if wanted and wanted not in splits:
        raise wrong_use(RunError(unknown("split", wanted, splits)))
    return wanted or ("test" if "test" in splits else splits[-1])


def _tables(subject: Subject) -> list[pd.DataFrame | None]:
    """Return the tables of all X-rays that a report may name."""
    return [
        subject.run.predictions(),
        subject.training_table,
        None if subject.manifest is None else subject.manifest.table,
    ]


def _finding(split: str, summary: Summary) -> str:
    of = xrays(summary["n"], summary.get("n_patients"))
    if summary.get("task") == MULTI_LABEL:
        return f"Mean AUC {number(summary['auc'])} on {of} ({split})."
    return f"Accuracy {percent(summary['accuracy'])}, AUC {number(summary['auc'])}, on {of} ({split})."


def _holds(choices: Choices) -> Section:
    text = f"{holds(Privacy(choices.with_images, choices.with_ids))} In brackets: 95 % intervals over patients."
    return Section("About this report", [Text(f"{text} For research. Not a medical device, not for diagnosis.")])
