"""Start a training from a recipe, and see those that run."""

from __future__ import annotations

import contextlib

import streamlit as st
import yaml

from cxr.data import DataSet, Manifest
from cxr.data.jobs import VALIDATION, split_data_set
from cxr.errors import CxrError
from cxr.runs import list_runs
from cxr.training.recipe import PRESETS, load_recipe, parse_recipe

from sections.train import device_queue, recipe_form, what_will_happen
from services import load
from widgets import address, page, pages, pick, viewer, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start

REFRESH_S = 1.5
MOST_COMMANDS = 3


def edited(base: dict, preset: str) -> dict:
    """Return the recipe as the form or the YAML text has it; not yet validated."""
    by_hand = st.toggle("Write the YAML myself", key=f"train:by-hand:{preset}")
    if not by_hand:
        return recipe_form.recipe_form(base, key=f"train:{preset}")
    text = st.text_area("Recipe", parse_recipe(base).to_yaml(), height=480, key=f"train:yaml:{preset}")
    try:
        recipe = yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        raise CxrError(f"the recipe is not YAML{f', see line {place.line + 1}' if place else ''}") from error
    if not isinstance(recipe, dict):
        raise CxrError("the recipe must consist of keys and values, like the presets")
    return recipe


def offer_validation(data_set: DataSet, data: Manifest) -> None:
    """Where train and test came with the data, but no validation split: offer to take it from train."""
    if "val" in data.splits or not {"train", "test"} <= set(data.splits):
        return
    st.warning(
        f"{data_set.name} has no validation split, which is needed to choose the best epoch. A tenth of the patients "
        "of the train split can become the validation split. The test split stays as it is.",
        icon=":material/call_split:",
    )
    if acts.button("Take validation from train", icon=":material/call_split:"):
        split_data_set(data_set.name, fractions=VALIDATION, keep=["test"])
        st.rerun()


@page.refreshed(REFRESH_S if any(run.active for run in list_runs(kind="train")) else None)
def trainings() -> None:
    """Show the newest trainings with their buttons."""
    for run in list_runs(kind="train")[:6]:
        status = run.status()
        with st.container(border=True):
            name, buttons = st.columns([6, 2], vertical_alignment="center")
            name.markdown(f"**{viewer.plain(run.spec['name'])}** · {load.local_time(run.spec['created'])}")
            with buttons.container(horizontal=True, vertical_alignment="center"):
                run_parts.controls(run, status, key=f"train:{run.id}")
                st.page_link(pages.LIVE, label="Curves", icon=":material/show_chart:", query_params={"run": run.id})
            run_parts.state_line(run, status)


page.header(
    "Train",
    "Train a network from a recipe. The training goes on when you close this page or the dashboard.",
    dense=True,
)
with page.told_in_one_line():
    left, right = st.columns(2)
    with left:
        data_set = pick.data_set()
        data = load.manifest(data_set.manifest_path)
    with right:
        names = list(PRESETS)
        preset = pick.from_url("Recipe to start from", names, {}, "recipe")
    base = load_recipe(preset)
    st.caption(base.description)
    if not data.splits:
        page.nothing_yet(
            f"{data_set.name} has no splits yet; make them on the Data page.", pages.DATA, "Make the splits"
        )
    offer_validation(data_set, data)

# What will happen, and the button that lets it, stand on the first screen; the fields that change it come below.
to_start, fields = st.container(border=True, key="train:start"), st.container()
with to_start, page.told_in_one_line():
    with fields:
        recipe = parse_recipe(edited(base.model_dump(mode="json"), preset))
    what_will_happen.show(recipe, base, data)
    for_name, for_seeds, for_button = st.columns([6, 2, 2], vertical_alignment="bottom")
    name = for_name.text_input(
        "Name of the run", f"{recipe.name} on {data_set.name}", key=f"train:name:{preset}:{data_set.name}"
    )
    n_seeds = int(
        for_seeds.number_input(
            "Number of seeds",
            1,
            20,
            1,
            key=f"train:seeds:{preset}",
            help="One training each, from the seed below on. They wait for the device one after the other. A study "
            "also compares recipes over seeds.",
        )
    )
    recipes = [recipe.changed({"seed": recipe.seed + k}) for k in range(n_seeds)]
    pressed = acts.button(
        "Start training", at=for_button, type="primary", icon=":material/play_arrow:", width="stretch"
    )
    with contextlib.suppress(CxrError):  # what cannot be trained at all is said when it is to start
        for line in load.label_warnings(recipe, data):
            st.warning(line, icon=":material/rule:")
    place = where.choose("train")
    if pressed:
        with st.spinner("Looking for the weights to start from" if recipe.weights else "Starting"):
            runs = [
                start(
                    "train",
                    {"recipe": one, "manifest": data_set.manifest_path, "data_name": data_set.name},
                    name=name if n_seeds == 1 else f"{name}, seed {one.seed}",
                    where=place,
                )
                for one in recipes
            ]
        others = {"compare": address.joined([run.id for run in runs[1:]])} if n_seeds > 1 else {}
        address.switch(pages.LIVE, run=runs[0].id, **others)

with st.expander("This recipe as YAML", icon=":material/description:"):
    page.code(recipe.to_yaml())
    st.download_button("Download", recipe.to_yaml(), f"{recipe.name}.yaml", "text/yaml", on_click="ignore")
file = f"{recipe.name}.yaml" if recipe != base else preset
for number, one in enumerate(recipes[:MOST_COMMANDS]):
    seed = ["--set", f"seed={one.seed}"] if number else []
    page.command("cxr", "train", file, "--data", data_set.name, *seed, *where.words(place))
if list_runs(kind="train"):
    device_queue.section()
    st.header("Trainings", anchor=False)
    trainings()
