"""``cxr report``: everything that is known of a run in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.cli.output import Json, WithIds, WithImages, emit, say
from cxr.explain.composites import DEFAULT_COMPOSITE
from cxr.runs import get_run


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished training, evaluation or table of predictions.")],
    out: Annotated[Path, typer.Option(help="File to write: .html, .pdf or .ipynb (a notebook).")],
    heatmaps: Annotated[int, typer.Option(min=0, help="Explain so many X-rays of the split, chosen by a rule.")] = 0,
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="ID", help="Explain this X-ray; may be repeated.")
    ] = None,
    composite: Annotated[
        str, typer.Option(help="How they are explained; `cxr composites` lists the ways.")
    ] = DEFAULT_COMPOSITE,
    with_images: WithImages = False,
    with_ids: WithIds = False,
    split: Annotated[str, typer.Option(help="Whose figures are drawn; by default the test split.")] = "",
    finding: Annotated[int, typer.Option(min=1, help="Of an audit, as a notebook: the number of the finding.")] = 1,
    as_json: Json = False,
) -> None:
    """Write all that is known of a run into one file: HTML that needs no other, or PDF.

    Data card, recipe, curves, figures with intervals, heatmaps, burned-in text, audit, limits, versions, hashes and
    checklists. What others have measured on the same network is taken in. No patient data go in unless asked for.
    A notebook holds the Python calls that make the figures again, also of a text experiment or an audit's finding.
    """
    if out.suffix.lower() == ".ipynb":
        from cxr.reports import notebooks

        path = notebooks.write(notebooks.finding_of(get_run(run), split, finding), out)
    else:
        from cxr.reports.run import Choices, write

        choices = Choices(heatmaps, image or (), composite, with_images, with_ids, split)
        path = write(get_run(run), out, choices)
    emit({"run": run, "file": str(path), "bytes": path.stat().st_size}, as_json, lambda _: say(str(path)))
