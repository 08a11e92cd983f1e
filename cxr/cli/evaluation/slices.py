"""``cxr slices``: how good a network is on parts of the X-rays that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cxr.cli.output import Json, counted, emit, say, show_table
from cxr.runs import get_run

if TYPE_CHECKING:
    from cxr.evaluation.slices import Slice, SliceResults

_WORST = 5


def slices(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The id of a finished evaluation or training.")],
    split: Annotated[
        list[str] | None,
        typer.Option(help="A measured split, may be repeated; by default test, else all but train and val."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="A column of the manifest, may be repeated; by default source, view, sex, age and columns of your own."
        ),
    ] = None,
    pairs: Annotated[bool, typer.Option(help="Also look for the worst slices of two columns.")] = True,
    as_json: Json = False,
) -> None:
    """Compare parts of the X-rays of an evaluation with the rest: by source, view, sex, age, or any column.

    Accuracy, or the mean AUC of findings, with intervals over patients and p values corrected for all that is compared.
    Numbers are cut into bands. X-rays without a value are a group of their own.
    """
    from cxr.evaluation.slices import slices_of

    with counted("comparing slices") as move:
        results = slices_of(get_run(run), by or (), split or (), pairs=pairs, progress=move)
    emit({"run": run, **results}, as_json, lambda _: _show(results))


def _show(results: SliceResults) -> None:
    from cxr.evaluation.slices.wording import with_interval
    from cxr.formatting import xrays

    overall = with_interval(results["overall"], results["figure"], xrays(results["n"], results["n_patients"]))
    say(f"All X-rays ({', '.join(results['splits'])}): {results['figure']} {overall}")
    for line in results["conclusions"]:
        say(line)
    compared = [entry for entry in results["slices"] if not entry["too_small"]]
    if compared:
        show_table("", _columns(results), [_row(entry, results["figure"]) for entry in compared])
        _show_classes(results, compared)
    if results["pairs"]:
        title = f"Two columns: lowest {results['figure']} of {results['pairs_compared']:,} pairs compared"
        rows = [_row(entry, results["figure"]) for entry in results["pairs"][:_WORST]]
        show_table(title, _columns(results), rows)
    for entry in results["slices"]:
        if entry["too_small"]:
            say(entry["sentence"])
    if results["pairs_too_small"]:
        say(f"{results['pairs_too_small']:,} more pairs hold too few patients to compare.")
    for name, column in results["columns"].items():
        if column["edges"]:
            say(f"{name} is cut at {', '.join(f'{edge:g}' for edge in column['edges'])}.")
    for name, reason in results["skipped"].items():
        say(f"{name} is not compared: {reason}.")
    for line in results["notes"]:
        say(line)


def _columns(results: SliceResults) -> list[str]:
    return ["slice", "X-rays", "patients", results["figure"], "rest", "difference", "p", "p corrected"]


def _row(entry: Slice, figure: str) -> list[str | int]:
    from cxr.evaluation.slices.wording import where_in_words
    from cxr.formatting import number, p_value, percent, points

    shares = figure == "accuracy"
    difference = entry["difference"]
    return [
        where_in_words(entry["where"]),
        entry["n"],
        entry["n_patients"],
        *((percent if shares else number)(side) for side in (entry["figure"], entry["rest"])),
        points(difference) if shares else number(difference, signed=True),
        p_value(difference["p"]),
        p_value(difference["p_holm"]),
    ]


def _show_classes(results: SliceResults, compared: list[Slice]) -> None:
    from cxr.evaluation.slices.wording import where_in_words
    from cxr.formatting import number, percent

    written = percent if results["figure"] == "accuracy" else number
    title = "Recall by class" if results["figure"] == "accuracy" else "AUC by finding"
    rows = [
        [
            where_in_words(entry["where"]),
            *(of["too_small"] or f"{written(of)}, n = {of['n']:,}" for of in entry["per_class"].values()),
        ]
        for entry in compared
    ]
    show_table(title, ["slice", *results["classes"]], rows)
