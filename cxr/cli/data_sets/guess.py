"""``cxr data guess``: which importer fits a folder, and how its columns and labels would be read."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.output import Json, emit, say, show_table
from cxr.formatting import xrays

if TYPE_CHECKING:
    from cxr.data.importers.guessing import Guesses

_SHOWN = 12


def guess(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder, or a table.")], as_json: Json = False
) -> None:
    """Say how a folder could be imported, judged by its files: importer, columns, labels. No image is decoded."""
    from cxr.data.importers.guessing import guess as look_at

    guesses = look_at(path)

    def show(_: object) -> None:
        _show(guesses)

    emit(guesses.as_dict(), as_json, show)


def _show(guesses: Guesses) -> None:
    endings = ", ".join(f"{n:,} {ending or 'without ending'}" for ending, n in list(guesses.endings.items())[:6])
    say(f"{guesses.path}: {endings or 'no file'}{'' if guesses.complete else ' among the first 20,000 files'}")
    if not guesses.guesses:
        say("No importer fits. `cxr data kinds` lists them.")
    for made in guesses.guesses:
        of = "" if made.n is None else f": {xrays(made.n)}, {made.left_out:,} left out"
        say(f"{made.kind}{of}. Why: {made.reason}")
    refused = guesses.refused_tables if guesses.guesses else guesses.refused
    for name, reason in refused.items():
        say(f"not {name}: {reason}")
    if not guesses.guesses:
        return
    best = guesses.guesses[0]
    if best.columns:
        rows = [[facts["column"], facts["taken_as"] or "-", ", ".join(facts["examples"])] for facts in best.columns]
        show_table("", ["column", "read as", "values"], rows)
    if best.labels:
        labels = [[found["label"] or "-", found["becomes"] or "-", found["n"]] for found in best.labels[:_SHOWN]]
        show_table("", ["label", "class", "X-rays"], labels)
    from cxr.data.library import proposed_name

    name = proposed_name(Path(guesses.path)) or "NAME"
    say(f"try it: cxr data import {best.kind} {shlex.quote(best.path)} --name {name} --dry-run")
