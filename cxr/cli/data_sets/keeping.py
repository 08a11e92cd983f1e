"""``cxr data delete`` and ``cxr data export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.cli.output import Json, WrongUse, bar, emit, say

Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set's name.")]


def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without this, only say what would be lost.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a data set. Without --yes nothing is deleted: what would be lost is listed, with the runs that use it.

    Images that lie elsewhere stay where they are.
    """
    from cxr.data.removing import delete_data_set, what_would_be_lost

    loss = delete_data_set(name) if yes else what_would_be_lost(name)

    def show(_: object) -> None:
        for sentence in loss.in_words():
            say(sentence)
        for run_id, kind in loss.runs:
            say(f"  {run_id} ({kind})")
        say(f"deleted {name}" if yes else f"nothing deleted; `cxr data delete {name} --yes` does it")

    emit({**loss.as_dict(), "deleted": yes}, as_json, show)


def export(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or the path of a manifest.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or a new file that ends in .zip.")],
    images: Annotated[
        bool, typer.Option("--images", help="Also copy images and masks, so that it can be imported elsewhere.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a data set's manifest, what was left out and what is known of it to a folder or a ZIP."""
    from cxr.data.exporting import export_data_set

    if out.suffix and out.suffix.lower() != ".zip":
        raise WrongUse(f"{out}: give a new folder, or a file that ends in .zip")
    with bar("files copied") as move:
        exported = export_data_set(
            data, out, images=images, progress=lambda done, total: move(done / total, f"files copied {done}/{total}")
        )

    def show(_: object) -> None:
        say(f"{exported.n} X-rays, {exported.copied} files copied: {exported.path}")
        for file in exported.missing[:10]:
            say(f"  not there: {file}")

    value = {"path": str(exported.path), "n": exported.n, "copied": exported.copied, "missing": list(exported.missing)}
    emit(value, as_json, show)
