"""The audit of a data set as one HTML file that needs no other, as CSV, or its figure: what a collaborator is sent."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.evaluation.provenance import in_words, provenance_of, written_in_words
from cxr.experiments.data_audit.results import (
    AuditResults,
    Entry,
    audit_results,
    bar_of,
    entry_cells,
    flat,
    missing_cells,
)
from cxr.formatting import xrays
from cxr.models.card import MULTI_LABEL
from cxr.reports.figures import COLOURS, GREY, INK, Drawing
from cxr.reports.forms import columns_and_rows, data_set_of, write_report
from cxr.reports.html_page import page
from cxr.reports.identities import PRIVATE, Identities, Privacy
from cxr.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_IN_FIGURE, _ROW, _LETTERS = 30, 24, 44


def write(run: Run, path: Path, privacy: Privacy = PRIVATE) -> Path:
    """Write the report in the form that the name asks for and return the file: .html, .csv, .svg, .png or .pdf.

    Raises
    ------
    RunError
        For another ending, a folder that is not there, or an audit without results.
    """
    results = audit_results(run)
    caption = f"{how(run, results)} {in_words(provenance_of(run))}"
    return write_report(
        path,
        lambda: to_html(run, privacy),
        lambda: flat(results["properties"]),
        lambda: areas(results["properties"], caption),
    )


def to_html(run: Run, privacy: Privacy = PRIVATE) -> str:
    """Return the report of a finished audit as a page."""
    results = audit_results(run)
    identities = Identities.of_run(run, with_ids=privacy.with_ids)
    return page(
        "data_audit.html",
        title=f"Audit: {data_set_of(run)}",
        finding=results["finding"],
        how=how(run, results),
        basis=f"{in_words(provenance_of(run))} {written_in_words()}",
        sentences=[entry["sentence"] for entry in results["properties"] if entry["shown"]],
        areas=areas(results["properties"]),
        properties=columns_and_rows([entry_cells(entry) for entry in results["properties"] if entry["p"] is not None]),
        missing=columns_and_rows([missing_cells(row) for row in results["missing"]]),
        not_compared=[f"{entry['title']}: {entry['reason']}." for entry in results["properties"] if entry["reason"]],
        left_out=[identities.left_out(row) for row in results["left_out"]],
        notes=results["notes"],
    )


def how(run: Run, results: AuditResults) -> str:
    """Return which X-rays an audit is of, and what was compared."""
    noun = "Findings" if results["task"] == MULTI_LABEL else "Classes"
    sizes = ", ".join(f"{name} ({xrays(own['images'], own['patients'])})" for name, own in results["by_class"].items())
    without_text = "" if results["text"] else " Burned-in text was not searched for."
    split = f", split {results['split']}" if results["split"] else ""
    n = xrays(results["n_images"], results["n_patients"])
    return f"Data set {data_set_of(run)}{split}: {n}. {noun}: {sizes}.{without_text}"


def areas(entries: Sequence[Entry], caption: str = "") -> Drawing:
    """Return the mean areas under the curve of properties with their intervals, the strongest first.

    Those that are shown to go with the class are in colour and have a full circle.
    """
    known = [entry for entry in entries if entry["auc"]["value"] is not None]
    rows = known[:_IN_FIGURE]
    names = [textwrap.shorten(entry["title"], _LETTERS, placeholder=" …") for entry in rows]

    def paint(axes: Axes) -> None:
        for row, entry in enumerate(rows):
            colour = COLOURS[0] if entry["shown"] else GREY
            value, low, high = bar_of(entry["auc"])
            axes.hlines(row, low, high, color=colour, linewidth=3, zorder=2)
            face = colour if entry["shown"] else "white"
            axes.plot([value], [row], "o", color=colour, markerfacecolor=face, markersize=7, zorder=3)
        axes.axvline(0.5, color=INK, linewidth=0.8, zorder=1)
        axes.set_xlim(min([0.4, *(bar_of(entry["auc"])[1] for entry in rows)]) - 0.02, 1.0)
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x")
        axes.set_xlabel("AUC of the class from this property alone, mean over classes; 0.5 is chance", loc="right")

    more = f" (first {len(rows)} of {len(known)})" if len(known) > len(rows) else ""
    return Drawing(f"Properties that predict the class{more}", paint, 70 + _ROW * max(1, len(rows)), caption=caption)
