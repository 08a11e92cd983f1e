"""A relevance budget as one HTML file that needs no other, as CSV, or its figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.evaluation.provenance import in_words, provenance_of, written_in_words
from cxr.experiments.relevance.ranking import ranked_cells
from cxr.experiments.relevance.results import (
    RegionEntry,
    RelevanceResults,
    flat,
    images_table,
    relevance_regions_results,
)
from cxr.experiments.relevance.sentences import entry_cells
from cxr.formatting import Estimate, xrays
from cxr.reports.figures import COLOURS, GREY, INK, Drawing
from cxr.reports.forms import columns_and_rows, data_set_of, write_report
from cxr.reports.html_page import page
from cxr.reports.identities import PRIVATE, Identities, Privacy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cxr.runs import Run


MOST_CLASSES = 6
"""Of the most X-rays, that a figure shows beside all X-rays; tables hold all."""
_ROW, _LETTERS, _MOST_IMAGES = 22, 40, 20


def write(run: Run, path: Path, privacy: Privacy = PRIVATE) -> Path:
    """Write the report in the form that the name asks for and return the file: .html, .csv, .svg, .png or .pdf.

    Raises
    ------
    RunError
        For another ending, a folder that is not there, or a run without results.
    """
    results = relevance_regions_results(run)
    caption = f"{how(run, results)} {in_words(provenance_of(run))}"
    return write_report(
        path, lambda: to_html(run, privacy), lambda: flat(results["regions"]), lambda: gains(results, caption)
    )


def to_html(run: Run, privacy: Privacy = PRIVATE) -> str:
    """Return the report of a finished relevance budget as a page."""
    results = relevance_regions_results(run)
    cells = [entry_cells(entry) for entry in results["regions"]]
    identities = Identities.of_run(run, with_ids=privacy.with_ids)
    ranked = {
        region: [
            cells | {"X-ray": identities.name(cells["X-ray"])}
            for cells in ranked_cells(images_table(run), region)[:_MOST_IMAGES]
        ]
        for region in ("text", "border")
    }
    return page(
        "relevance.html",
        title=f"Where the relevance lies: {results['model']}",
        finding=results["finding"],
        how=how(run, results),
        basis=f"{in_words(provenance_of(run))} {written_in_words()}",
        gains=gains(results),
        changes=changes(results),
        sentences=[entry["sentence"] for entry in results["regions"] if entry["every"]],
        regions=columns_and_rows(cells),
        ranked=[
            (f"X-rays with the most relevance in the {name}", *columns_and_rows(rows))
            for name, rows in ranked.items()
            if rows
        ],
        left_out=[identities.left_out(row) for row in results["left_out"]],
        notes=results["notes"],
    )


def how(run: Run, results: RelevanceResults) -> str:
    """Return which X-rays a budget is of, and how it was made."""
    n = xrays(results["n_images"], results["n_patients"])
    drawn = f", drawn from {results['of']}" if results["of"] > results["n_images"] + len(results["left_out"]) else ""
    split = f", split {results['split']}" if results["split"] else ""
    text = "" if results["text"] else " Burned-in text was not searched for."
    nothing = results["without_relevance"]
    without = f" {nothing:,} maps without positive relevance are left out." if nothing else ""
    return (
        f"Data set {data_set_of(run)}{split}: {n}{drawn}. Composite "
        f"{results['composite']}. Lungs: {results['lungs']} ("
        f"{', '.join(f'{n} by {source}' for source, n in results['lungs_by_source'].items())}). Border: the outer "
        f"{100 * results['border']:g} %. {results['draws']} control places for each region.{text}{without}"
    )


def in_figure(entries: Sequence[RegionEntry]) -> list[tuple[str, RegionEntry]]:
    """Return the entries that a figure shows with their labels: each region of all X-rays, then of some classes."""
    largest: dict[str, int] = {}
    for entry in entries:
        if not entry["every"]:
            largest[entry["group"]] = max(largest.get(entry["group"], 0), entry["n"])
    classes = sorted(largest, key=lambda name: (-largest[name], name))[:MOST_CLASSES]
    rows = []
    for first in (entry for entry in entries if entry["every"]):
        rows.append((first["title"], first))
        own = [entry for entry in entries if entry["group"] in classes and entry["region"] == first["region"]]
        rows += [(f"for {entry['group']}", entry) for entry in own]
    return rows


def gains(results: RelevanceResults, caption: str = "") -> Drawing:
    """Return the figure of relevance per area: each region, its control places, and the planted mark."""

    rows = [
        (label, entry["gain"], entry["control_gain"], entry["gain_shown"])
        for label, entry in in_figure(results["regions"])
    ]
    if results["planted"]:
        rows.append(("a mark never learnt", results["planted"]["gain"], results["planted"]["gain_without"], False))

    def paint(axes: Axes) -> None:
        for place, (_, own, control, shown) in enumerate(rows):
            _bar(axes, place, own, COLOURS[0] if shown else GREY, filled=shown)
            if control["value"] is not None:
                axes.plot([control["value"]], [place], "|", color=INK, markersize=11, zorder=4)
        axes.axvline(1, color=INK, linewidth=0.8, zorder=1)
        _rows(axes, [label for label, *_ in rows])
        axes.set_xlim(left=0)
        axes.set_xlabel("relevance over area (1: no preference); upright stroke: control places", loc="right")

    return Drawing("Relevance per area by region", paint, 70 + _ROW * max(1, len(rows)), caption=caption)


def changes(results: RelevanceResults, caption: str = "") -> Drawing:
    """Return the figure of logit changes: without each region, and with as much change elsewhere."""

    rows = in_figure(results["regions"])

    def paint(axes: Axes) -> None:
        for place, (_, entry) in enumerate(rows):
            _bar(axes, place - 0.14, entry["logit_change"], COLOURS[0] if entry["shown"] else GREY, entry["shown"])
            _bar(axes, place + 0.2, entry["control_change"], INK, filled=False, thin=True)
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        _rows(axes, [label for label, _ in rows])
        axes.set_xlabel("change of the explained class's logit; thin: as much change elsewhere", loc="right")

    return Drawing("Logit without each region", paint, 70 + (_ROW + 6) * max(1, len(rows)), caption=caption)


def _bar(axes: Axes, place: float, own: Estimate, colour: str, filled: bool, thin: bool = False) -> None:
    value, low, high = own["value"], own["low"], own["high"]
    if value is None:
        return
    if low is not None and high is not None:
        axes.hlines(place, low, high, color=colour, linewidth=1.2 if thin else 3, zorder=2)
    axes.plot(
        [value],
        [place],
        "o",
        color=colour,
        markerfacecolor=colour if filled else "white",
        markersize=4 if thin else 7,
        zorder=3,
    )


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [textwrap.shorten(name, _LETTERS, placeholder=" …") for name in labels])
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
