"""The choices of the page of running trainings, all of which stand in its address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import streamlit as st

from cxr.runs import Run

from sections.live.axes import AXES, SMOOTHING, SMOOTHINGS, Axis, View
from widgets import pick

_AXIS_TITLES = {"step": "Steps", "epoch": "Epochs", "time": "Time"}


def choose_runs(chosen: Run, others: Sequence[Run]) -> list[Run]:
    """Let the user choose trainings to be drawn beside the chosen one."""
    by_id = {run.id: run for run in others}
    labels = pick.describe_runs([chosen, *others])
    del labels[chosen.id]
    pick.arrive_some("live:compare", "compare", list(labels), gone=pick.gone_run)
    compared = st.multiselect(
        "Compare with", list(labels), format_func=labels.__getitem__, placeholder="other trainings", key="live:compare"
    )
    pick.leave_some("compare", compared)
    return [by_id[run_id] for run_id in compared if run_id != chosen.id]


def choose_view(n_seeds: int) -> tuple[View, bool]:
    """Let the user choose how curves are drawn, and whether the seeds of a study are drawn as a band.

    ``n_seeds`` is how many runs that differ in their seed alone there are; with one there is no such choice.
    """
    axis_box, smoothing_box, switches = st.columns([3, 4, 4], vertical_alignment="bottom", gap="medium")
    pick.arrive("live:x", "x", "step", str, AXES)
    axis = axis_box.segmented_control(
        "From left to right", AXES, format_func=_AXIS_TITLES.__getitem__, key="live:x", required=True
    )
    pick.leave("x", axis, "step")
    pick.arrive("live:smooth", "smooth", SMOOTHING, int, SMOOTHINGS, accepted=", ".join(map(str, SMOOTHINGS)))
    smoothing = smoothing_box.select_slider(
        "Smoothing, in steps",
        SMOOTHINGS,
        key="live:smooth",
        help="The span of an exponentially weighted mean. The faint line is the unsmoothed loss; 1 shows it alone.",
    )
    pick.leave("smooth", str(smoothing), str(SMOOTHING))
    with switches.container(horizontal=True, gap="medium"):
        pick.arrive("live:log", "log", False, pick.switched, accepted="0, 1")
        log = st.toggle("Log scale", key="live:log", help="Of losses and learning rates")
        pick.leave("log", "1" if log else "0", "0")
        seeds = _choose_band(n_seeds)
    return View(cast(Axis, axis), smoothing, log), seeds


def is_band_chosen(n_seeds: int) -> bool:
    """Return whether the band over that many seeds was chosen when the page last ran."""
    return n_seeds > 1 and bool(st.session_state.get("live:seeds"))


def _choose_band(n_seeds: int) -> bool:
    if n_seeds < 2:
        why = "0, since no other run differs in its seed alone"
        pick.arrive("live:seeds", "seeds", False, pick.switched, (False,), accepted=why)
        return False
    pick.arrive("live:seeds", "seeds", False, pick.switched, accepted="0, 1")
    seeds = st.toggle(
        f"Band over {n_seeds} seeds",
        key="live:seeds",
        help="The mean of the runs of this study that differ in their seed alone, and their range from the lowest to "
        "the highest",
    )
    pick.leave("seeds", "1" if seeds else "0", "0")
    return seeds
