"""The form of a study: recipes among the presets, seeds and common changes, or its YAML by hand."""

from __future__ import annotations

from typing import Any, TypedDict

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data.library import DataSet
from cxr.errors import CxrError
from cxr.experiments.study import EXAMPLES, METRICS, Plan, parse_plan
from cxr.experiments.study.measures import METRIC_TITLES
from cxr.experiments.study.plan import MOST_SEEDS, parse_text
from cxr.json_types import JsonObject
from cxr.training.recipe import PRESETS, load_recipe

from sections.train.recipe_form import BACKBONES
from services import load
from widgets import address

AS_IN_THE_RECIPES = "as in the recipes"
RANDOM = "random (no ImageNet)"
CLAIMED = ("scratch", "twice", "twice-keep")
"""The recipes whose order the paper claims."""
INSTEAD = "demo"
"""What a recipe is compared with where the others cannot be trained."""
_TEXT = "study:yaml"


def study_form(data_set: DataSet, for_name: DeltaGenerator) -> Plan:
    """Show the form for a data set, its first field in the cell ``for_name``, and return the plan.

    What cannot be a plan raises a CxrError and keeps what was typed.
    """
    if st.toggle("Write the YAML myself", key="study:by-hand"):
        return _by_hand()
    name = for_name.text_input("Name of the study", "study", key="study:name")
    presets, reason = first_recipes(data_set)
    chosen = st.multiselect(
        "Recipes, the first one is the baseline", list(PRESETS), presets, key=f"study:recipes:{data_set.name}"
    )
    if reason:
        st.caption(address.plain(reason))
    first, second = _settings(), _comparison()
    if not chosen:
        raise CxrError("choose one recipe or more")
    recipes = {preset: {"recipe": preset, "set": _own_changes(preset, first)} for preset in chosen}
    return parse_plan({"name": name.strip(), "recipes": recipes, "set": _common_changes(first)} | second)


def first_recipes(data_set: DataSet) -> tuple[list[str], str]:
    """Return the recipes that the form begins with, and why they are not those of the paper's claim, "" if they are.

    These are the ones that can be trained on the data set; where fewer than two can, the demo recipe takes the place.
    """
    data = load.manifest(data_set.manifest_path)
    why_not = {preset: load.why_untrainable(load_recipe(preset), data) for preset in CLAIMED}
    refused = [preset for preset in CLAIMED if why_not[preset]]
    fitting = [preset for preset in CLAIMED if not why_not[preset]]
    if len(refused) == len(CLAIMED) or not refused:  # to leave all of them there says why when it is to start
        return list(CLAIMED), ""
    reason = f"{' and '.join(refused)} cannot be trained on {data_set.name}: {why_not[refused[0]]}."
    return fitting if len(fitting) > 1 else [*fitting, INSTEAD], reason


def _by_hand() -> Plan:
    st.session_state.setdefault(_TEXT, EXAMPLES["claim"])
    st.file_uploader("A study's file", ["yaml", "yml"], key="study:file", on_change=_take_file)
    return parse_text(st.text_area("Study", key=_TEXT, height=420))


def _take_file() -> None:
    uploaded = st.session_state["study:file"]
    if uploaded is not None:
        st.session_state[_TEXT] = uploaded.getvalue().decode("utf-8", "replace")


class _Settings(TypedDict):
    backbone: str
    weights: str
    size: int | None
    epochs: int | None
    before: int | None


def _settings() -> _Settings:
    """Return what is changed in the recipes; None leaves a value as it is."""
    cells = st.columns(5)
    own: dict[str, Any] = {"value": None, "placeholder": "recipe's"}
    backbones = [AS_IN_THE_RECIPES, *BACKBONES]
    return {
        "backbone": cells[0].selectbox("Backbone", backbones, key="study:backbone"),
        "weights": cells[1].selectbox("Initial weights", [AS_IN_THE_RECIPES, RANDOM], key="study:weights"),
        "size": cells[2].number_input("Image size (pixels)", 32, 1024, step=32, key="study:size", **own),
        "epochs": cells[3].number_input("Epochs, last stage", 1, 1000, key="study:epochs", **own),
        "before": cells[4].number_input("Epochs, stages before", 1, 1000, key="study:before", **own),
    }


def _comparison() -> JsonObject:
    cells = st.columns(5)
    return {
        "seeds": cells[0].number_input("Seeds", 1, MOST_SEEDS, 3, key="study:seeds", help="The same for all recipes"),
        "metric": cells[1].selectbox("Compared by", METRICS, format_func=METRIC_TITLES.__getitem__, key="study:metric"),
        "first_epochs": cells[2].number_input(
            "The beginning (epochs)",
            1,
            1000,
            5,
            key="study:first",
            help="The mean over so many first epochs is compared, beside the best epoch",
        ),
        "accuracy": cells[3].number_input(
            "Level to reach",
            0.01,
            10.0,
            0.7,
            0.05,
            key="study:level",
            help="How many epochs a training takes to reach this value of the measure is compared",
        ),
        "parallel": cells[4].number_input("Trainings at once", 1, 64, 1, key="study:parallel", help="On this machine"),
    }


def _common_changes(settings: _Settings) -> JsonObject:
    changes: JsonObject = {}
    if settings["backbone"] != AS_IN_THE_RECIPES:
        changes |= {"backbone": settings["backbone"], "backbone_args": {}}
    if settings["weights"] == RANDOM:
        changes["weights"] = None
    if settings["size"] is not None:
        changes["size"] = int(settings["size"])
    if settings["epochs"] is not None:
        changes["stages.-1.epochs"] = int(settings["epochs"])
    return changes


def _own_changes(preset: str, settings: _Settings) -> JsonObject:
    """Return the epochs of every stage before the last one, where a recipe has such."""
    if settings["before"] is None:
        return {}
    return {f"stages.{i}.epochs": int(settings["before"]) for i in range(len(load_recipe(preset).stages) - 1)}
