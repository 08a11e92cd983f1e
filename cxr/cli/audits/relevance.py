"""``cxr relevance``: which regions of the X-rays a network's heatmaps lie in, and what removing each does."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.audits.openings import OpenLocked
from cxr.cli.explaining import numbers
from cxr.cli.follow import Detach, SlurmOption, follow_or_leave
from cxr.cli.models import DataOption, Device, check_split, manifest_of
from cxr.cli.output import Json, WithIds, emit, say, show_table
from cxr.errors import RunError
from cxr.explain.composites import BIASES, DEFAULT_COMPOSITE, choices_in_words
from cxr.json_types import JsonObject
from cxr.runs import get_run, is_run_id, start

if TYPE_CHECKING:
    from cxr.experiments.relevance.results import RelevanceResults
    from cxr.runs import Run

_KIND = "relevance-regions"


def relevance(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A training run's id, a weights file, or the name of shipped weights; or a finished run of this "
            "command, to show it again.",
        ),
    ],
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="The split to look at; '' for every X-ray.")] = "test",
    limit: Annotated[int, typer.Option(min=0, help="How many X-rays, drawn by the seed; 0 takes all.")] = 300,
    composite: Annotated[
        str, typer.Option(help=f"{choices_in_words()} `cxr composites` describes them.")
    ] = DEFAULT_COMPOSITE,
    target: Annotated[
        str,
        typer.Option(
            help="Class whose logit is explained, label, or all; default: the predicted (most probable) class."
        ),
    ] = "",
    bias: Annotated[
        str | None, typer.Option(metavar="|".join(BIASES), help="Biases in alpha-beta rules; default: the composite's.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the composite; may be repeated.")
    ] = None,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Search for burned-in text, a region of its own.")] = (
        True
    ),
    lungs: Annotated[
        str,
        typer.Option(
            help="Where lungs come from, for all X-rays alike: auto (the data's masks where each X-ray has one, else "
            "segmentation), segmentation, or box."
        ),
    ] = "auto",
    border: Annotated[float, typer.Option(help="Width of the border as a share of the shorter side.")] = 0.08,
    draws: Annotated[int, typer.Option(min=1, max=20, help="Control places drawn for each region.")] = 3,
    planted: Annotated[
        bool,
        typer.Option("--planted/--no-planted", help="Stamp a mark that the network cannot know, for comparison."),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write a report: .html (self-contained), .csv; .svg, .png or .pdf for the figure."),
    ] = None,
    with_ids: WithIds = False,
    open_locked: OpenLocked = False,
    device: Device = "auto",
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Share out heatmaps among text, lungs, border and the rest, and remove each region.

    Each share stands over the region's area; removing a region is held against as much change elsewhere. Ctrl-C loses
    nothing: `cxr runs resume` continues from there.
    """
    if out is not None:
        from cxr.reports.forms import check_report

        check_report(out)

    def show_finished(run: Run) -> None:
        from cxr.experiments.relevance.results import relevance_regions_results

        results = relevance_regions_results(run)
        if out is not None:
            from cxr.reports.identities import Privacy
            from cxr.reports.relevance import write

            write(run, out, Privacy(with_ids=with_ids))
        emit({"run": run.id, **results}, as_json, lambda _: _show(run, results, out))

    finished = _finished(model)
    if finished is not None:
        show_finished(finished)
        return
    manifest = manifest_of(model, data)
    check_split(manifest, split)
    params: JsonObject = {
        "model": model,
        "manifest": manifest,
        "split": split,
        "limit": limit,
        "composite": composite,
        "bias": bias,
        "options": dict(numbers(option)),
        "targets": target,
        "text": text,
        "lungs": lungs,
        "border": border,
        "draws": draws,
        "planted": planted,
        "seed": seed,
        "device": device,
    }
    params |= {"open_locked": True} if open_locked else {}
    follow_or_leave(start(_KIND, params, where=slurm), detach, as_json, show_finished)


def _finished(name: str) -> Run | None:
    """Return the run of this command that ``name`` means, None if it means a network."""
    if is_run_id(name):
        with suppress(RunError):
            run = get_run(name)
            return run if run.kind == _KIND else None
    return None


def _show(run: Run, results: RelevanceResults, out: Path | None) -> None:
    from cxr.experiments.relevance.sentences import entry_cells

    say(results["finding"])
    rows = [entry_cells(entry) for entry in results["regions"]]
    if rows:
        show_table("", list(rows[0]), [list(row.values()) for row in rows])
    if results["left_out"]:
        first = results["left_out"][0]
        say(f"{len(results['left_out']):,} images could not be read, the first: {first['image_id']}: {first['reason']}")
    for line in results["notes"]:
        say(line)
    say(f"report: {out}" if out else f"run {run.id}; `cxr relevance {run.id} --out FILE` writes its report")
