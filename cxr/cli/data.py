"""``cxr demo`` and ``cxr data``: make, import, split and look at data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cxr.cli.output import Json, assignments, counted, emit, note, say, show_table
from cxr.errors import ManifestError

if TYPE_CHECKING:
    import pandas as pd

    from cxr.data import Manifest
    from cxr.data.sources import Uncertain

app = typer.Typer(help="Import data sets, split them, see what is in them.", no_args_is_help=True)
Data = Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or the path of a manifest.")]
SHOWN_REASONS = 10


def demo(
    n: Annotated[int, typer.Option(min=12, help="Number of X-rays.")] = 600,
    correlation: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much the burned-in text tells of the class.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 256,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; by default the data set `demo`.")] = None,
    as_json: Json = False,
) -> None:
    """Make synthetic chest X-rays with burned-in text and known masks."""
    from cxr.data.jobs import DEMO
    from cxr.data.library import describe_data_set
    from cxr.data.phantom import write_demo
    from cxr.paths import data_root

    folder = out or data_root() / "demo"
    with counted("X-rays made") as progress:
        manifest = write_demo(folder, n=n, correlation=correlation, seed=seed, size=size, progress=progress)
    if out is None:
        describe_data_set(folder.name, DEMO)
    told = _contents(manifest, str(manifest.path or folder / "manifest.csv"))
    emit(told, as_json, _show_contents)


@app.command("kinds")
def kinds(as_json: Json = False) -> None:
    """List the layouts that can be imported."""
    from cxr.data.sources import SOURCES

    rows = [
        {"kind": name, "title": source.title, "description": source.description} for name, source in SOURCES.items()
    ]
    emit(
        rows,
        as_json,
        lambda _: show_table("", ["kind", "title", "what it reads"], [list(row.values()) for row in rows]),
    )


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="See `cxr data kinds`.")],
    path: Annotated[Path, typer.Argument(help="The folder, or the manifest's file.")],
    name: Annotated[str, typer.Option(help="The name that the data set gets.")],
    column: Annotated[
        list[str] | None, typer.Option(help="ours=theirs, may be repeated; the usual names are known.")
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(help="their label=our class, may be repeated.")] = None,
    allow_modality: Annotated[
        list[str] | None, typer.Option(help="DICOM modality to take besides X-rays', such as SC; may be repeated.")
    ] = None,
    keep_labels: Annotated[
        bool, typer.Option("--keep-labels", help="Do not join spellings of one label (Covid, covid, COVID-19).")
    ] = False,
    uncertain: Annotated[
        str, typer.Option(help="What uncertain findings become: unknown, positive or negative.")
    ] = "unknown",
    source: Annotated[
        str, typer.Option(help="Hospital or data set of the X-rays whose source is not known otherwise.")
    ] = "",
    split: Annotated[bool, typer.Option(help="Make splits where the source brings none.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set of this name.")] = False,
    as_json: Json = False,
) -> None:
    """Read a folder of X-rays and keep it as a data set; whatever is left out is listed with the reason."""
    from cxr.data import import_data, split_manifest
    from cxr.data.library import save_data_set

    _refuse_taken(name, overwrite)
    columns, aliases = assignments(column, "--column"), assignments(alias, "--alias")
    with counted("files read") as progress:
        result = import_data(
            kind,
            path,
            columns=columns or None,
            aliases=aliases or None,
            modalities=allow_modality or (),
            uncertain=cast("Uncertain", uncertain),  # import_data refuses another word
            keep_labels=keep_labels,
            source=source,
            progress=progress,
        )
    if split and result.manifest.classes and not result.manifest.splits:
        result = result.with_manifest(split_manifest(result.manifest, seed=seed)[0])
    folder = save_data_set(name, result, overwrite=overwrite)
    told = _contents(result.manifest, str(folder / "manifest.csv"))
    told |= {"name": name, "kind": kind, "notes": list(result.notes)}
    told |= {"excluded": result.excluded.to_dict("records")}
    emit(told, as_json, _show_import)


@app.command("split")
def split(
    data: Data,
    fraction: Annotated[list[str] | None, typer.Option(help="split=share, such as train=.7; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Keep the result as this data set; needed if DATA is a file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Split by patient and by duplicate, stratified by class; earlier splits are replaced."""
    from cxr.data import Manifest, split_manifest
    from cxr.data.library import list_data_sets, resolve_manifest, save_data_set, update_data_set

    if name is None and data not in {known.name for known in list_data_sets()}:
        raise typer.BadParameter(f"{data!r} is no data set's name: say with --name how to keep the result")
    if name is not None:
        _refuse_taken(name, overwrite=False)
    manifest, aside = split_manifest(Manifest.load(resolve_manifest(data)), **_fractions(fraction), seed=seed)
    folder = save_data_set(name, manifest) if name else update_data_set(data, manifest)
    told = {**_contents(manifest, str(folder / "manifest.csv")), "name": name or data}
    told["aside"] = aside.to_dict("records")
    emit(told, as_json, _show_contents)
    if len(aside):
        note(f"{len(aside)} rows are in no split: they share a patient or a duplicate with another role")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the data sets."""
    from cxr.data.library import list_data_sets

    rows = [{"name": s.name, "kind": s.kind, "n": s.n, "manifest": str(s.manifest_path)} for s in list_data_sets()]

    def show(_: Any) -> None:
        if rows:
            show_table("", ["data set", "kind", "images", "manifest"], [list(row.values()) for row in rows])
        else:
            say("no data sets yet; `cxr demo` makes one, `cxr data import` reads yours")

    emit(rows, as_json, show)


@app.command("show")
def show(data: Data, as_json: Json = False) -> None:
    """Count the images by class, split and source."""
    from cxr.data import Manifest
    from cxr.data.library import resolve_manifest

    path = resolve_manifest(data)
    emit(_contents(Manifest.load(path), str(path)), as_json, _show_contents)


def _refuse_taken(name: str, overwrite: bool) -> None:
    """Refuse a taken name before hours of decoding rather than after them."""
    from cxr.data.library import check_name, list_data_sets

    check_name(name)
    if not overwrite and name in {known.name for known in list_data_sets()}:
        raise ManifestError(f"a data set called {name!r} is there already: choose another --name or give --overwrite")


def _fractions(given: list[str] | None) -> dict[str, dict[str, float]]:
    """Return the keyword argument of ``split_manifest``, empty for its default."""
    try:
        fractions = {name: float(value) for name, value in assignments(given, "--fraction").items()}
    except ValueError as error:
        raise typer.BadParameter(f"{error}; a share is a number such as 0.7", param_hint="'--fraction'") from error
    return {"fractions": fractions} if fractions else {}


def _contents(manifest: Manifest, path: str) -> dict[str, Any]:
    return {
        "manifest": path,
        "n": len(manifest),
        "classes": list(manifest.classes),
        "hash": manifest.hash(),
        "counts": _counts(manifest.table),
    }


def _counts(table: pd.DataFrame) -> list[dict[str, Any]]:
    keys = ["label", "split", "source"]
    return table.groupby(keys, sort=True).size().rename("n").reset_index().to_dict("records")


def _show_contents(told: dict[str, Any]) -> None:
    say(f"{told['n']} X-rays, {told['manifest']}")
    rows = [[row["label"] or "-", row["split"] or "-", row["source"] or "-", row["n"]] for row in told["counts"]]
    show_table("", ["class", "split", "source", "images"], rows)


def _show_import(told: dict[str, Any]) -> None:
    _show_contents(told)
    for line in told["notes"]:
        say(f"note: {line}")
    excluded = told["excluded"]
    if excluded:
        say(f"{len(excluded)} left out:")
        for row in excluded[:SHOWN_REASONS]:
            say(f"  {row['file']}: {row['reason']}")
        if len(excluded) > SHOWN_REASONS:
            say(f"  and {len(excluded) - SHOWN_REASONS} more, see excluded.csv beside the manifest")
