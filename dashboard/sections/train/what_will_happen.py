"""What a training will do before it starts: its stages in numbers, changes from the preset, time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from cxr.data import Manifest
from cxr.errors import CxrError
from cxr.training.recipe import Recipe

from services import load
from widgets import page, viewer
from widgets.access import acts

if TYPE_CHECKING:
    from cxr.training.planning.plan import StagePlan

_KEY = "train:trials"


def show(recipe: Recipe, base: Recipe, data: Manifest) -> None:
    """Say in a few sentences what the recipe will do on these X-rays; one press measures a step."""
    from cxr.training.planning.plan import changes_from, in_words

    text, button = st.columns([8, 2], vertical_alignment="center")
    try:
        plans = load.plan(recipe, data)
    except CxrError as error:  # the start would refuse it with the same words
        text.warning(viewer.plain(page.sentence(error)), icon=":material/block:")
        return
    trials = st.session_state.setdefault(_KEY, {})
    key = (recipe.to_yaml(), len(plans[-1].classes))
    help_ = "Trains one step in a process of its own and says how long all will take, and with how much memory."
    if acts.button("Estimate", at=button, icon=":material/timer:", help=help_, width="stretch"):
        _try(recipe, key)
    text.markdown(viewer.plain(_timeline(recipe, plans) + in_words(plans, trials.get(key))))
    changes = changes_from(recipe, base)
    if changes:
        text.caption(viewer.plain(f"Changed from {base.name}: {', '.join(changes)}."))


def _try(recipe: Recipe, key: tuple[str, int]) -> None:
    from cxr.training.planning.trial import try_step

    def measure() -> None:
        with st.spinner("One step of the training …"):
            st.session_state[_KEY] = {key: try_step(recipe, key[1])}

    if page.tried(measure):
        st.rerun()


def _timeline(recipe: Recipe, plans: list[StagePlan]) -> str:
    """Return the stages as a line where there are several: first weights, then each task."""
    if len(plans) < 2:
        return ""
    first = recipe.weights or "random weights"
    return " → ".join([first, *(f"{plan.name} ({plan.epochs} epochs)" for plan in plans)]) + ". "
