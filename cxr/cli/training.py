"""``cxr train`` and ``cxr recipe``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cxr.cli.follow import Detach, SlurmOption, follow_or_leave
from cxr.cli.output import Json, WrongUse, assignments, emit, note, show_table, stdout
from cxr.errors import RecipeError, wrong_use
from cxr.json_types import JsonObject
from cxr.runs import start

recipes = typer.Typer(help="See the recipes that come with the package.", no_args_is_help=True)
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="Preset (see `cxr recipe list`) or YAML file.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a value, such as stages.0.epochs=3; may be repeated.")
]


def train(
    recipe: RecipeName,
    data: Annotated[str, typer.Option(help="A data set's name or the path of a manifest.")],
    name: Annotated[str, typer.Option(help="A name for the run; by default the recipe's.")] = "",
    changes: Changes = None,
    plan: Annotated[
        bool,
        typer.Option(help="Say what would be trained, how long and with how much memory, by one step. Starts nothing."),
    ] = False,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Train a network. Ctrl-C saves and stops it. Closing the terminal leaves it running."""
    if plan:
        show_plan(load_changed(recipe, changes), data, as_json)
        return
    params = {"recipe": load_changed(recipe, changes), "manifest": data, "data_name": data}
    run = start("train", params, name=name, warn=note, where=slurm)
    follow_or_leave(run, detach, as_json)


def show_plan(recipe: JsonObject, data: str, as_json: bool) -> None:
    """Print what a training would do; the last stage's step is measured."""
    from dataclasses import asdict

    from cxr.data import Manifest
    from cxr.data.library import resolve_manifest
    from cxr.training import load_recipe
    from cxr.training.planning.plan import in_words, plan_stages, values_of
    from cxr.training.planning.trial import try_step

    checked = load_recipe(recipe)
    plans = plan_stages(checked, Manifest.load(resolve_manifest(data)))
    measured = try_step(checked, len(plans[-1].classes))
    values = {
        "stages": [values_of(stage) for stage in plans],
        "trial": asdict(measured),
        "seconds": sum(stage.seconds(measured) for stage in plans),
    }
    emit(values, as_json, lambda _: stdout().print(in_words(plans, measured), markup=False, soft_wrap=True))


@recipes.command("list")
def list_(as_json: Json = False) -> None:
    """List the presets."""
    from cxr.training import PRESETS, load_recipe

    rows = [{"name": name, "description": " ".join(load_recipe(name).description.split())} for name in PRESETS]
    emit(rows, as_json, lambda _: show_table("", ["recipe", "what it does"], [list(row.values()) for row in rows]))


@recipes.command("show")
def show(recipe: RecipeName, changes: Changes = None, as_json: Json = False) -> None:
    """Print a recipe as YAML, as a start for your own."""
    from cxr.training import load_recipe

    params = load_changed(recipe, changes)
    emit(params, as_json, lambda _: stdout().print(load_recipe(params).to_yaml(), markup=False, end=""))


def load_changed(recipe: str, changes: list[str] | None) -> JsonObject:
    """Return a recipe as plain values, with ``["stages.0.epochs=3", ...]`` applied and checked again."""
    from cxr.training import load_recipe

    values = {key: _value(key, text) for key, text in assignments(changes, "--set").items()}
    start = load_recipe(recipe)
    try:
        return start.changed(values).model_dump(mode="json")
    except RecipeError as error:  # of --set, since the recipe itself was read
        raise wrong_use(error) from None


def _value(key: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WrongUse(f"{key}: {text!r} is not YAML. Values are 3, 0.001, true, null, text, [a, b]") from error
