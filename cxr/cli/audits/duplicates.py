"""``cxr data duplicates``: X-rays that are in a data set more than once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.follow import Detach, SlurmOption, follow_or_leave
from cxr.cli.output import Json, WrongUse, emit, say, show_table
from cxr.files import replacing
from cxr.json_types import JsonObject

if TYPE_CHECKING:
    from cxr.runs import Run

_SHOWN = 10
FindDuplicates = Annotated[
    bool,
    typer.Option(
        "--find-duplicates", help="Also find X-rays that are there twice, and keep them in one split: minutes more."
    ),
]


def duplicates(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or the path of a manifest.")],
    group: Annotated[
        bool,
        typer.Option("--group", help="Note them in the manifest (dup_group), so that new splits keep them together."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the pairs (CSV); by default duplicates.csv beside a data set's manifest."),
    ] = None,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Find X-rays that are there twice: equal, or cropped, turned a little, inverted, brightened or saved otherwise.

    Nothing is removed. With --group, make new splits afterwards with `cxr data split`. Ctrl-C loses nothing:
    `cxr runs resume` continues from there.
    """
    from cxr.runs import start

    if out is not None and out.is_dir():
        raise WrongUse(f"--out {out} is a folder: give the path of a file, such as {out / 'duplicates.csv'}")
    if out is not None and detach:
        raise WrongUse("--out needs the end of the search: leave out --detach, or take duplicates.csv of the run")

    def show_finished(run: Run) -> None:
        emit(_value(run, out), as_json, _show)

    started = start("find-duplicates", {"manifest": data, "group": group}, where=slurm)
    follow_or_leave(started, detach, as_json, show_finished)


def _value(run: Run, out: Path | None) -> JsonObject:
    """Return what is printed of a finished search; its pairs are written to ``out`` too."""
    from cxr.experiments.duplicates.results import pairs_of, search_results

    results, pairs = search_results(run), pairs_of(run)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as draft:
            pairs.to_csv(draft, index=False)
    return {
        "run": run.id,
        "manifest": str(run.spec["params"]["manifest"]),
        **results["counts"],
        "conflicts": results["conflicts"],
        "notes": results["notes"],
        "file": str(out) if out is not None else results["file"],
        "duplicates": pairs.to_dict("records"),
    }


def _show(value: JsonObject) -> None:
    for sentence in value["notes"]:
        say(sentence)
    pairs = value["duplicates"]
    rows = [[row["image_a"], row["image_b"], row["kind"], row["transform"], f"{row['score']:.3f}"] for row in pairs]
    if rows:
        show_table("", ["a", "b", "kind", "difference", "agreement"], rows[:_SHOWN])
    if len(rows) > _SHOWN:
        say(f"and {len(rows) - _SHOWN:,} more" + ("" if value["file"] else ": --out FILE writes all of them"))
    if value["file"]:
        say(f"all pairs: {value['file']}")
    if rows and value["grouped"]:
        say("The manifest's column dup_group holds the groups: splits keep them together.")
    elif rows:
        say("`--group` notes them in a data set's manifest, so that new splits keep them together.")
