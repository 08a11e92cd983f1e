"""Protocol probes as one HTML file that needs no other, as CSV, or their figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.evaluation.provenance import in_words, provenance_of, written_in_words
from cxr.experiments.data_audit.results import bar_of
from cxr.experiments.probes.results import (
    KIND,
    ProbeEntry,
    ProbeResults,
    flat,
    in_figure,
    lungs_in_words,
    not_probed,
    probe_cells,
    probe_results,
    row_name,
    sampled_in_words,
)
from cxr.formatting import xrays
from cxr.reports.figures import COLOURS, GREY, INK, Drawing
from cxr.reports.forms import columns_and_rows, data_set_of, write_report
from cxr.reports.html_page import page
from cxr.reports.identities import PRIVATE, Identities, Privacy
from cxr.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["KIND", "how", "probes_drawing", "to_html", "write"]

_ROW, _LETTERS = 24, 56


def write(run: Run, path: Path, privacy: Privacy = PRIVATE) -> Path:
    """Write the report in the form that the name asks for and return the file: .html, .csv, .svg, .png or .pdf.

    Raises
    ------
    RunError
        For another ending, a folder that is not there, or probes without results.
    """
    results = probe_results(run)
    caption = f"{how(run, results)} {in_words(provenance_of(run))}"
    return write_report(
        path,
        lambda: to_html(run, privacy),
        lambda: flat(results["probes"]),
        lambda: probes_drawing(results["probes"], caption),
    )


def to_html(run: Run, privacy: Privacy = PRIVATE) -> str:
    """Return the report of finished probes as a page."""
    results = probe_results(run)
    entries = results["probes"]
    identities = Identities.of_run(run, with_ids=privacy.with_ids)
    return page(
        "probes.html",
        title=f"Protocol probes: {data_set_of(run)}",
        finding=results["finding"],
        how=how(run, results),
        basis=f"{in_words(provenance_of(run))} {written_in_words()}",
        warned=[entry["sentence"] for entry in entries if entry["warning"]],
        others=[entry["sentence"] for entry in entries if entry["shown"] and not entry["warning"]],
        figure=probes_drawing(entries),
        probes=columns_and_rows([probe_cells(entry) for entry in entries if entry["p"] is not None]),
        not_probed=not_probed(entries),
        left_out=[identities.left_out(row) for row in results["left_out"]],
        notes=results["notes"],
    )


def how(run: Run, results: ProbeResults) -> str:
    """Return which X-rays were probed, and where their lungs came from."""
    split = f", split {results['split']}" if results["split"] else ""
    text = "" if results["text"] else "Burned-in text was not searched for."
    parts = (
        f"Data set {data_set_of(run)}{split}: {xrays(results['n_images'], results['n_patients'])}.",
        sampled_in_words(results),
        lungs_in_words(results),
        text,
    )
    return " ".join(filter(None, parts))


def probes_drawing(entries: Sequence[ProbeEntry], caption: str = "") -> Drawing:
    """Return the balanced accuracy of probes with intervals and the level of chance of each.

    Those that warn are in colour, other ones that are shown in black; full circles are shown.
    """
    rows, more = in_figure(entries)
    names = [textwrap.shorten(row_name(entry), _LETTERS, placeholder=" …") for entry in rows]

    def paint(axes: Axes) -> None:
        for row, entry in enumerate(rows):
            colour = COLOURS[0] if entry["warning"] else INK if entry["shown"] else GREY
            value, low, high = bar_of(entry["score"])
            axes.hlines(row, low, high, color=colour, linewidth=3, zorder=2)
            face = colour if entry["shown"] else "white"
            axes.plot([value], [row], "o", color=colour, markerfacecolor=face, markersize=7, zorder=3)
            if entry["chance"] is not None:
                axes.plot([entry["chance"]], [row], "|", color=INK, markersize=11, zorder=1)
        axes.set_xlim(min([0.4, *(bar_of(entry["score"])[1] for entry in rows)]) - 0.02, 1.0)
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x")
        axes.set_xlabel("balanced accuracy, cross-validated by patient; the upright line is chance", loc="right")

    return Drawing(f"What a simple classifier reads{more}", paint, 70 + _ROW * max(1, len(rows)), caption=caption)
