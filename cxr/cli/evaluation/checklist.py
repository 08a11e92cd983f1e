"""``cxr checklist``: reporting checklists, filled in from a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.output import Json, emit, say, show_table
from cxr.runs import get_run

if TYPE_CHECKING:
    from cxr.reports.checklist import Checklist


def checklist(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished training, evaluation or table of predictions.")],
    which: Annotated[
        list[str] | None,
        typer.Option("--which", help="claim, tripod or card; may be repeated. By default all."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write: .html, .md or .csv.")] = None,
    as_json: Json = False,
) -> None:
    """Fill in CLAIM 2024, TRIPOD+AI and the model card from a run; what only the author knows is listed.

    Data, splits, exclusions, metrics with intervals, robustness, errors, versions and checksums come from the run, its
    data, and other runs on the same network and data.
    """
    from cxr.reports.checklist import fill, write

    names = which or ()
    if out is not None:
        write(get_run(run), out, names)
        if not as_json:
            say(str(out))
            return
    emit(fill(get_run(run), names), as_json, _show)


def _show(checklist: Checklist) -> None:
    for name in checklist["counts"]:
        rows = [
            [
                entry["number"],
                entry["asks"],
                entry["state"],
                entry["text"] or ", ".join(entry["missing"]),
                entry["author"],
            ]
            for entry in checklist["entries"]
            if entry["checklist"] == name
        ]
        show_table(name, ["item", "asks for", "state", "the run says, or what would fill it", "author"], rows)
    say(checklist["finding"])
    for note in checklist["notes"]:
        say(note)
