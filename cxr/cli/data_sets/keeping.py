"""``cxr data delete`` and ``cxr data export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.cli.output import Json, WrongUse, bar, emit, say
from cxr.formatting import counted, xrays

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
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="A new folder, or a new file that ends in .zip.")
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Also copy images and masks, so that it can be imported elsewhere.")
    ] = False,
    croissant: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a description in Croissant: .json, .jsonld.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a data set's manifest, what was left out and what is known of it to a folder or a ZIP.

    Or describe it for other programs (--croissant): columns, splits, checksums, known biases and limitations, no row.
    """
    if (out is None) == (croissant is None):
        raise WrongUse("give either OUT, a new folder or .zip, or --croissant FILE")
    if croissant is not None:
        _describe(data, croissant, as_json)
    elif out is not None:
        _hand_on(data, out, images, as_json)


def _describe(data: str, croissant: Path, as_json: bool) -> None:
    from cxr.data import Manifest
    from cxr.data.library import resolve_manifest
    from cxr.reports.exports.croissant import write

    path = write(Manifest.load(resolve_manifest(data)), croissant)
    emit({"data": data, "croissant": str(path)}, as_json, lambda _: say(str(path)))


def _hand_on(data: str, out: Path, images: bool, as_json: bool) -> None:
    from cxr.data.exporting import export_data_set

    if out.suffix and out.suffix.lower() != ".zip":
        raise WrongUse(f"{out}: give a new folder, or a file that ends in .zip")
    with bar("files copied") as move:
        exported = export_data_set(
            data,
            out,
            images=images,
            progress=lambda done, total: move(done / total, f"files copied {done:,}/{total:,}"),
        )

    def show(_: object) -> None:
        say(f"{xrays(exported.n)}, {counted(exported.copied, 'file')} copied: {exported.path}")
        for file in exported.missing[:10]:
            say(f"  not there: {file}")

    value = {"path": str(exported.path), "n": exported.n, "copied": exported.copied, "missing": list(exported.missing)}
    emit(value, as_json, show)
