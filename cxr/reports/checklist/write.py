"""Checklists as a file: HTML, Markdown or CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from cxr.errors import RunError
from cxr.evaluation.provenance import in_words, provenance_of, written_in_words
from cxr.files import replacing
from cxr.models.card_markdown import table
from cxr.reports.checklist.filling import Checklist, Entry, fill
from cxr.reports.forms import form_for
from cxr.reports.html_page import page
from cxr.reports.identities import Identities
from cxr.runs import Run

COLUMNS = ("item", "asks for", "state", "what the run says", "left to the author")


def write(run: Run, path: Path, names: Sequence[str] = ()) -> Path:
    """Write the checklists of a run in the form that the name asks for and return the file: .html, .md or .csv.

    Raises
    ------
    RunError
        For another ending, a folder that is not there, an unknown checklist, or a run without figures.
    """
    forms: dict[str, Callable[[], str]] = {
        ".html": lambda: to_html(run, filled_without_ids(run, names)),
        ".md": lambda: to_markdown(run, filled_without_ids(run, names)),
        ".csv": lambda: to_table(filled_without_ids(run, names)["entries"]).to_csv(index=False),
    }
    form = form_for(path, forms, RunError)
    with replacing(path) as draft:
        draft.write_text(form(), encoding="utf-8")
    return path


def filled_without_ids(run: Run, names: Sequence[str] = ()) -> Checklist:
    """Return the checklists of a run, filled in, as they are published: without ids of X-rays and patients."""
    return Identities.of_run(run).all_hidden(fill(run, names))


def to_table(entries: Sequence[Entry]) -> pd.DataFrame:
    """Return one row for each item."""
    return pd.DataFrame([{**entry, "missing": "; ".join(entry["missing"])} for entry in entries])


def cells_of(entry: Entry) -> list[str]:
    """Return the cells of an item, as :data:`COLUMNS` names them."""
    left = [entry["author"]] if entry["author"] else []
    left += [f"not recorded: {', '.join(entry['missing'])}"] if entry["missing"] else []
    return [f"{entry['number']} {entry['section']}", entry["asks"], entry["state"], entry["text"], "; ".join(left)]


def parts_of(checklist: Checklist) -> list[tuple[str, list[list[str]]]]:
    """Return the rows of each checklist with its name."""
    return [
        (name, [cells_of(entry) for entry in checklist["entries"] if entry["checklist"] == name])
        for name in checklist["counts"]
    ]


def to_markdown(run: Run, checklist: Checklist) -> str:
    """Return the checklists as Markdown."""
    parts = [
        f"# Checklists: {run.name}",
        checklist["finding"],
        f"{in_words(provenance_of(run))} {written_in_words()}",
        *(f"## {name}\n\n{table(COLUMNS, rows)}" for name, rows in parts_of(checklist)),
        *checklist["notes"],
    ]
    return "\n\n".join(parts) + "\n"


def to_html(run: Run, checklist: Checklist) -> str:
    """Return the checklists as one page that needs no other file."""
    return page(
        "checklist.html",
        title=f"Checklists: {run.name}",
        finding=checklist["finding"],
        basis=f"{in_words(provenance_of(run))} {written_in_words()}",
        columns=COLUMNS,
        parts=parts_of(checklist),
        notes=checklist["notes"],
    )
