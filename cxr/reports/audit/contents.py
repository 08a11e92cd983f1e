"""What the report of an audit says, in whatever form: findings, parts, and further sections as tables."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from cxr.data import Manifest
from cxr.data.library import resolve_manifest
from cxr.errors import CxrError
from cxr.evaluation.provenance import in_words, written_in_words
from cxr.experiments.audit.findings import Finding, PartStatus, written
from cxr.experiments.audit.results import NetworkAuditResults, network_audit_results
from cxr.formatting import xrays
from cxr.reports.checklist import fill, measured_run
from cxr.reports.identities import Identities, Privacy
from cxr.runs import Run, get_run

STATES = {
    "done": "done",
    "missing": "not done",
    "failed": "failed",
    "left-out": "left out",
    "not-asked": "not requested",
}
"""What people read for each state of a part."""


@dataclass(frozen=True)
class Section:
    """A further section: a sentence, and a table of ``rows`` below ``columns``."""

    title: str
    lead: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def checklist_section(run: Run, results: NetworkAuditResults) -> Section | None:
    """Return how far the reporting checklists are filled; None where nothing measured the network."""
    measured = measured_run(results["subject"]["network"], results["subject"]["table"])
    if measured is None:
        return None
    checklist = fill(measured)
    rows = [
        [name, *(str(counts[key]) for key in ("items", "filled", "partly", "not_recorded", "author"))]
        for name, counts in checklist["counts"].items()
    ]
    return Section(
        title="Reporting checklists",
        lead=f"`cxr checklist {measured.id} --out checklist.html` writes what fills each item. {checklist['notes'][0]}",
        columns=("checklist", "items", "filled", "in part", "not recorded", "author's alone"),
        rows=rows,
    )


SECTIONS: list[Callable[[Run, NetworkAuditResults], Section | None]] = [checklist_section]
"""Makers of further sections; each gives its section, or None where it has nothing to say."""


@dataclass(frozen=True)
class Row:
    """A finding as reports show it: all in words."""

    number: int
    weight: str
    sentence: str
    detail: str
    figure: str
    of: str
    not_shown: str
    next_step: str
    command: str


@dataclass(frozen=True)
class Contents:
    """All that a report of an audit says."""

    title: str
    finding: str
    how: str
    basis: str
    rows: Sequence[Row]
    looked: Sequence[str]
    parts: Sequence[Sequence[str]]
    sections: Sequence[Section]
    notes: Sequence[str]


def contents_of(run: Run) -> Contents:
    """Return the contents of the report of a finished audit."""
    results = network_audit_results(run)
    sections = (make(run, results) for make in SECTIONS)
    return Contents(
        title=f"Can this be trusted? {results['subject']['title']}",
        finding=results["finding"],
        how=how(results),
        basis=f"{in_words(results['provenance'])} {written_in_words()}",
        rows=[row_of(number, finding) for number, finding in enumerate(results["findings"], 1)],
        looked=[f"{part['title']}: {sentence}" for part in results["parts"] for sentence in part["looked"]],
        parts=[part_cells(part) for part in results["parts"]],
        sections=[section for section in sections if section is not None],
        notes=results["notes"],
    )


def identities_of(run: Run, privacy: Privacy) -> Identities:
    """Return the identities of all X-rays that the report of an audit may name."""
    subject = network_audit_results(run)["subject"]
    tables = [run.predictions()]
    for manifest in [subject["manifest"], *(name.partition(":")[0] for name in subject["external"])]:
        with contextlib.suppress(CxrError, OSError):
            tables.append(Manifest.load(resolve_manifest(manifest)).table if manifest else None)
    if subject["table"]:
        with contextlib.suppress(CxrError, OSError):
            tables.append(get_run(subject["table"]).predictions())
    return Identities.of(tables, with_ids=privacy.with_ids)


def how(results: NetworkAuditResults) -> str:
    """Return what was audited, and on which X-rays."""
    subject = results["subject"]
    what = "Network" if subject["network"] else "Predictions that were made elsewhere"
    of = f", {xrays(results['n_images'], results['n_patients'])}" if results["n_images"] else ""
    data = subject["data"] or "labels of the table"
    elsewhere = ", ".join(subject["external"]) or "none"
    return (
        f"{what}: {subject['title']}. Classes: {', '.join(subject['classes'])} ({subject['task']}). "
        f"Data: {data}, split {subject['split']}{of}. X-rays from elsewhere: {elsewhere}."
    )


def row_of(number: int, finding: Finding) -> Row:
    """Return a finding in words."""
    n = finding["n_images"]
    figure = written(finding)
    return Row(
        number=number,
        weight=finding["weight"],
        sentence=finding["sentence"],
        detail=finding.get("detail", ""),
        figure=f"{finding['figure_name']}: {figure}" if figure else "",
        of="" if n is None else xrays(n, finding["n_patients"]),
        not_shown=finding["not_shown"],
        next_step=finding["next_step"],
        command=shlex.join(finding["command"]),
    )


def part_cells(part: PartStatus) -> list[str]:
    """Return a part's title, state, reason and what does it alone."""
    command = shlex.join(part["command"]) if part["state"] in ("missing", "failed") else ""
    return [part["title"], STATES[part["state"]], part["reason"], ", ".join(part["runs"]), command]


PART_COLUMNS = ("part", "state", "why", "runs", "command")


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return the findings as a table: one row each, the heaviest first, with the figure's three numbers."""
    rows = [
        {
            "rank": rank,
            "weight": finding["weight"],
            "score": finding["score"],
            "part": finding["part"],
            "rule": finding["rule"],
            "name": finding["name"],
            "sentence": finding["sentence"],
            "detail": finding.get("detail", ""),
            "figure": finding["figure_name"],
            **finding["figure"],
            "images": finding["n_images"],
            "patients": finding["n_patients"],
            "not_shown": finding["not_shown"],
            "next_step": finding["next_step"],
            "command": shlex.join(finding["command"]),
        }
        for rank, finding in enumerate(findings, 1)
    ]
    columns = list(rows[0]) if rows else ["rank", "weight", "part", "sentence"]
    return pd.DataFrame(rows, columns=columns)
