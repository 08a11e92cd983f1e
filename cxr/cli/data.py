"""``cxr demo`` and ``cxr data``: make, import, split and look at data sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand

from cxr.cli.audits.duplicates import FindDuplicates
from cxr.cli.data_contents import Contents, contents_of, show_contents, show_import, show_known
from cxr.cli.follow import Detach, SlurmOption, follow_or_leave
from cxr.cli.output import Json, WrongUse, assignments, bar, counted, emit, say, show_table
from cxr.json_types import JsonObject
from cxr.paths import data_root

if TYPE_CHECKING:
    from cxr.data.importers.import_options import Declaration
    from cxr.data.jobs import ImportSummary
    from cxr.runs import Run, Slurm

app = typer.Typer(help="Import data sets, split them, see what is in them.", no_args_is_help=True)
Data = Annotated[str, typer.Argument(metavar="DATA", help="A data set's name or the path of a manifest.")]
_CHOSEN_OPTIONS = "cxr.import.options"  # key of the context's storage


class ImportCommand(TyperCommand):
    """The command with one option for each that an importer declares.

    They are made when the command is parsed, so that no other command waits for the importers.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of the function, then the importers' options."""
        return [*super().get_params(ctx), *_import_parameters()]


def _given_options(ctx: typer.Context) -> JsonObject:
    """Return the importers' options that stand on the command line, by name."""
    chosen: JsonObject = ctx.meta.get(_CHOSEN_OPTIONS, {})
    return chosen


@cache
def _import_parameters() -> tuple[Any, ...]:
    from cxr.data.importers.import_options import all_declarations
    from cxr.data.importers.registry import SOURCES

    declared = all_declarations({kind: source.options for kind, source in SOURCES.items()})

    def holder(**_: Any) -> None:
        """Hold the options whose parameters Typer makes."""

    arguments = []
    for name, (declaration, kinds) in declared.items():
        described = declaration.help if len(kinds) == len(SOURCES) else f"{declaration.help} For {', '.join(kinds)}."
        annotation, default = _typed(declaration, described)
        arguments.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
        holder.__annotations__[name] = annotation
    holder.__annotations__.pop("_", None)
    holder.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(holder)
    made = [param for param in typer.main.get_command(app).params if param.name in declared]
    for param in made:
        param.expose_value = False
        param.callback = _keeper(declared[str(param.name)][0])
    return tuple(made)


def _typed(declaration: Declaration, described: str) -> tuple[Any, Any]:
    """Return the annotation and the default of an option."""
    if declaration.form in ("pairs", "words"):
        repeated = f"{described.rstrip('.')}; may be repeated." if described == declaration.help else described
        return Annotated[list[str] | None, typer.Option(declaration.flag, help=repeated)], None
    if declaration.form == "flag":
        return Annotated[bool, typer.Option(declaration.flag, help=described)], False
    return Annotated[str, typer.Option(declaration.flag, help=described)], declaration.default


def _keeper(declaration: Declaration) -> Any:
    """Return what keeps the value of an option that was given."""

    def keep(ctx: typer.Context, _: Any, value: Any) -> Any:
        if declaration.form == "pairs":
            value = assignments(value, declaration.flag)
        if declaration.form == "words":
            value = tuple(value or ())
        if value not in (None, declaration.default):
            ctx.meta.setdefault(_CHOSEN_OPTIONS, {})[declaration.name] = value
        return value

    return keep


def demo(
    n: Annotated[int, typer.Option(min=12, help="Number of X-rays.")] = 600,
    correlation: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How strongly the burned-in text predicts the class.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 256,
    name: Annotated[str, typer.Option(help="Name of the new data set.")] = "demo",
    out: Annotated[Path | None, typer.Option(help="Folder to write to, in place of a data set with a name.")] = None,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Make synthetic chest X-rays with burned-in text and known masks."""
    from cxr.data.jobs import DEMO, check_free
    from cxr.data.library import check_name, describe_data_set

    check_name(name)
    if name != "demo" and out is None:  # only the synthetic one is made again without a word
        check_free(name)
    if slurm is not None or detach:
        if out is not None:
            raise WrongUse(f"--out {out} is for a command that works here and now: leave out --slurm and --detach")
        params = {"name": name, "n": n, "correlation": correlation, "seed": seed, "size": size}
        _in_a_run("demo", params, slurm, detach, as_json, show_contents)
        return
    from cxr.data.phantom import write_demo

    folder = out or data_root() / name
    with counted("X-rays made") as progress:
        manifest = write_demo(folder, n=n, correlation=correlation, seed=seed, size=size, progress=progress)
    if out is None:
        describe_data_set(folder.name, DEMO)
    contents = contents_of(manifest, str(manifest.path or folder / "manifest.csv"))
    emit(contents, as_json, show_contents)


@app.command("kinds")
def kinds(as_json: Json = False) -> None:
    """List the layouts that can be imported, and the options of each."""
    from cxr.data.importers.import_options import declarations
    from cxr.data.importers.registry import SOURCES

    rows = [
        {
            "kind": name,
            "title": source.title,
            "description": source.description,
            "options": [declaration.flag for declaration in declarations(source.options).values()],
        }
        for name, source in SOURCES.items()
    ]

    def show(_: Any) -> None:
        cells = [[row["kind"], row["title"], row["description"], " ".join(row["options"])] for row in rows]
        show_table("", ["kind", "title", "what it reads", "options"], cells)

    emit(rows, as_json, show)


@app.command("import", cls=ImportCommand)
def import_(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(help="See `cxr data kinds`.")],
    path: Annotated[Path, typer.Argument(help="The folder, or the manifest's file.")],
    name: Annotated[str, typer.Option(help="Name of the new data set.")],
    splits: Annotated[
        str,
        typer.Option(
            help="make: use the splits that come with the data, or make them; keep: use only those that come with the "
            "data; new: ignore those and make others; none: no splits."
        ),
    ] = "make",
    no_split: Annotated[bool, typer.Option("--no-split", help="The same as --splits keep.")] = False,
    _split: Annotated[bool, typer.Option("--split", hidden=True)] = False,  # the default, which once had this name
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set of this name.")] = False,
    find_duplicates: FindDuplicates = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the import would give; nothing is kept.")
    ] = False,
    checked: Annotated[
        int, typer.Option(min=0, help="Images that a dry run decodes, evenly spread; 0 for all of them.")
    ] = 100,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Import X-rays as a data set. Each image that is left out is listed with the reason.

    If splits cannot be made, the data set is imported without them.
    """
    from cxr.data.jobs import SPLITS, check_free, import_data_set

    if splits not in SPLITS:
        raise typer.BadParameter(f"{splits!r} is none of {', '.join(SPLITS)}", param_hint="'--splits'")
    splits = "keep" if no_split else splits
    if dry_run:
        if slurm is not None or detach or find_duplicates:
            raise WrongUse("--dry-run works here and now: leave out --slurm, --detach and --find-duplicates")
        _dry_run(kind, path, name, splits, seed, checked, _given_options(ctx), as_json)
        return
    if slurm is not None or detach:
        params = {"kind": kind, "path": path, "name": name, "splits": splits, "seed": seed, "overwrite": overwrite}
        params |= {"find_duplicates": True} if find_duplicates else {}
        _in_a_run("import", params | _given_options(ctx), slurm, detach, as_json, show_import)
        return
    check_free(name, overwrite)
    with bar("files read") as move:
        imported = import_data_set(
            kind,
            path,
            name,
            splits=splits,
            seed=seed,
            overwrite=overwrite,
            find_duplicates=find_duplicates,
            search_progress=move,
            progress=lambda done, total: move(done / max(total, 1), f"files read {done:,}/{total:,}"),
            **_given_options(ctx),
        )
    result = imported.result
    contents: Contents = {
        **contents_of(result.manifest, str(imported.folder / "manifest.csv")),
        **imported.as_dict(),
        "excluded": result.excluded.to_dict("records"),
    }
    emit(contents, as_json, show_import)


def _dry_run(
    kind: str, path: Path, name: str, splits: str, seed: int, checked: int, options: JsonObject, as_json: bool
) -> None:
    from cxr.cli.data_sets.dry_run import tell
    from cxr.data.dry_run import dry_run

    with bar("files read") as move:
        result = dry_run(
            kind,
            path,
            checked=checked or None,
            splits=splits,
            seed=seed,
            progress=lambda done, total: move(done / max(total, 1), f"files read {done:,}/{total:,}"),
            **options,
        )
    tell(result, name, as_json)


def _in_a_run(
    kind: str,
    params: JsonObject,
    slurm: Slurm | None,
    detach: bool,
    as_json: bool,
    show_contents: Callable[[Contents], None],
) -> None:
    """Do in a run what the command otherwise does itself, and print the same when it is finished."""
    from cxr.runs import start

    def show_finished(run: Run) -> None:
        from cxr.data import Manifest
        from cxr.data.library import read_excluded, resolve_manifest

        results = run.results() or {}
        path = resolve_manifest(results["data"])
        value = contents_of(Manifest.load(path), str(path))
        if kind == "import":
            known = {name: results[name] for name in results if name not in ("data", "images", "left_out")}
            value |= cast("ImportSummary", known)
            value["excluded"] = read_excluded(results["data"]).to_dict("records")
        emit(value, as_json, show_contents)

    follow_or_leave(start(kind, params, where=slurm), detach, as_json, show_finished)


@app.command("split")
def split(
    data: Data,
    fraction: Annotated[list[str] | None, typer.Option(help="split=share, such as train=.7; may be repeated.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A split that stays as it is, such as test; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Save the result as this data set; needed if DATA is a file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Split by patient and by duplicate, stratified by class. Earlier splits are replaced, except those in --keep.

    To take a validation split from train and leave the test split alone: --keep test --fraction train=0.9 --fraction
    val=0.1
    """
    from cxr.data.jobs import split_data_set, split_sizes
    from cxr.data.library import list_data_sets

    if name is None and data not in {data_set.name for data_set in list_data_sets()}:
        raise typer.BadParameter(f"{data!r} is not the name of a data set: give --name to save the result under")
    divided = split_data_set(data, name=name, fractions=_fractions(fraction), seed=seed, keep=tuple(keep or ()))
    contents: Contents = {
        **contents_of(divided.manifest, str(divided.folder / "manifest.csv")),
        "name": divided.name,
        "splits": split_sizes(divided.manifest),
        "notes": list(divided.notes),
        "aside": divided.set_aside.to_dict("records"),
    }
    emit(contents, as_json, show_known)


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
    from cxr.data.library import facts_beside, resolve_manifest

    path = resolve_manifest(data)
    facts = facts_beside(path)
    contents = contents_of(Manifest.load(path), str(path))
    contents |= {
        "notes": facts.get("notes", []) + facts.get("split_notes", []),
        "split_reason": facts.get("split_reason"),
    }
    emit(contents, as_json, show_known)


def _fractions(shares: list[str] | None) -> dict[str, float] | None:
    """Return the shares of the splits, None for the default ones."""
    try:
        fractions = {name: float(value) for name, value in assignments(shares, "--fraction").items()}
    except ValueError as error:
        raise typer.BadParameter(f"{error}; a share is a number such as 0.7", param_hint="'--fraction'") from error
    return fractions or None
