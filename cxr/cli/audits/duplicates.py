"""``cxr data duplicates``: X-rays that are in a data set more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.cli.output import Json, WrongUse, bar, emit, say, show_table
from cxr.json_types import JsonObject

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
    as_json: Json = False,
) -> None:
    """Find X-rays that are there twice: equal, or cropped, turned a little, inverted, brightened or saved otherwise.

    Nothing is removed. With --group, make new splits afterwards with `cxr data split`.
    """
    from cxr.data.audit.duplicates.data_set import duplicate_notes, search_data_set
    from cxr.data.notes import straddling_notes

    if out is not None and out.is_dir():
        raise WrongUse(f"--out {out} is a folder: give the path of a file, such as {out / 'duplicates.csv'}")
    with bar("looking for duplicates") as progress:
        result, file = search_data_set(data, group=group, out=out, progress=progress)
    value = {
        "manifest": str(result.manifest.path),
        **result.facts(group),
        "conflicts": {name: getattr(result.conflicts, name).to_dict("records") for name in result.conflicts.counts()},
        "notes": [*duplicate_notes(result), *(straddling_notes(result.manifest) if group else [])],
        "file": str(file) if file else None,
        "duplicates": result.table().to_dict("records"),
    }
    emit(value, as_json, _show)


def _show(value: JsonObject) -> None:
    for sentence in value["notes"]:
        say(sentence)
    pairs = value["duplicates"]
    rows = [[row["image_a"], row["image_b"], row["kind"], row["transform"], f"{row['score']:.3f}"] for row in pairs]
    if rows:
        show_table("", ["a", "b", "kind", "difference", "agreement"], rows[:_SHOWN])
    if len(rows) > _SHOWN:
        say(f"and {len(rows) - _SHOWN} more" + ("" if value["file"] else ": --out FILE writes all of them"))
    if value["file"]:
        say(f"all pairs: {value['file']}")
    if rows and value["grouped"]:
        say("The manifest's column dup_group holds the groups: splits keep them together.")
    elif rows:
        say("`--group` notes them in a data set's manifest, so that new splits keep them together.")
