"""The heatmaps that a training drew of its mistakes while it ran."""

from __future__ import annotations

import streamlit as st

from cxr.explain import COMPOSITES
from cxr.explain.render import overlay
from cxr.runs import Run
from cxr.training.watching.heatmaps import EpochHeatmaps, drawn_epochs, read_heatmaps

from sections.live import worst
from widgets import pick, viewer

_COLUMNS = 4
_KEY = "live:drawn"


def show(run: Run) -> None:
    """Show the heatmaps of one epoch, of which the newest is offered; a training that drew none shows nothing."""
    epochs = [f"{stage}-{epoch}" for stage, epoch in drawn_epochs(run)]
    if not epochs:
        return
    st.header("Heatmaps drawn during the training", anchor=False)
    stage, epoch = map(int, _choose(run, epochs).split("-"))
    drawn = read_heatmaps(run, stage, epoch)
    if drawn is None:
        st.caption("The heatmaps of this epoch cannot be read: their file is damaged.")
        return
    st.caption(_about(drawn))
    for start in range(0, len(drawn.xrays), _COLUMNS):
        row = range(start, min(start + _COLUMNS, len(drawn.xrays)))
        for cell, k in zip(st.columns(_COLUMNS), row, strict=False):
            target = viewer.plain(drawn.targets[k])
            told = f"{worst.caption(drawn.xrays[k])}  \nLogit of {target}: {drawn.logits[k]:+.2f}"
            alt = f"{drawn.xrays[k]['image_id']} with its heatmap for {drawn.targets[k]}"
            cell.image(overlay(drawn.pictures[k], drawn.relevance[k]), caption=told, alt=alt, width="stretch")


def _choose(run: Run, epochs: list[str]) -> str:
    newest, key = epochs[-1], f"{_KEY}:{run.id}"
    pick.arrive(key, "drawn", newest, str, epochs)
    # Whoever looks at the newest epoch goes on to the next; whoever chose another one stays there.
    if st.session_state[key] == st.session_state.get(f"{key}:newest"):
        st.session_state[key] = newest
    st.session_state[f"{key}:newest"] = newest
    chosen = newest
    if len(epochs) > 1:
        chosen = st.select_slider("Stage and epoch", epochs, format_func=_named, key=key)
    pick.leave("drawn", chosen, newest)
    return chosen


def _named(value: str) -> str:
    stage, epoch = value.split("-")
    return f"stage {int(stage) + 1}, epoch {epoch}"


def _about(drawn: EpochHeatmaps) -> str:
    seen = " The network saw them without their burned-in text." if drawn.masked else ""
    return (
        f"The {len(drawn.xrays)} validation X-rays with the highest loss after epoch {drawn.epoch} of stage "
        f"{viewer.plain(drawn.stage)}, explained by the network of that moment "
        f"({COMPOSITES[drawn.composite].title}). Red speaks for the class that it predicted, of findings for the one "
        f"with the largest loss; blue speaks against it. Each picture has a colour scale of its own.{seen}"
    )
