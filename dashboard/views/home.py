"""Overview: what there is, what is running, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import streamlit as st

from cxr.data.library import list_data_sets
from cxr.paths import data_root
from cxr.runs import Run, list_runs

from sections.home import runs_table, tour
from sections.home.next_step import OTHER_STEPS, best_step
from widgets import address, page, pages, tables, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start

REFRESH_S = 3
SHOWN = 5  # of the runs that are not over


def try_it(runs: Sequence[Run]) -> tuple[str, ...]:
    """Offer a training on the synthetic X-rays, or to make these first; return the command that does it."""
    manifest = data_root() / "demo" / "manifest.csv"
    if manifest.exists():
        st.write("A small DenseNet on the synthetic X-rays trains in under three minutes on two free processor cores.")
        pressed = acts.button("Train a fresh demo network", type="primary", icon=":material/play_arrow:")
        place = where.choose("train", "home")
        if pressed:
            run = start("train", {"recipe": "demo", "manifest": manifest, "data_name": "demo"}, where=place)
            address.switch(pages.LIVE, run=run.id)
        return ("cxr", "train", "demo", "--data", "demo", *where.words(place))
    st.write("Make the synthetic X-rays, which takes a minute. A small DenseNet learns from them in three more.")
    if any(run.kind == "demo" and run.active for run in runs):
        st.caption("They are being made, see below.")
        return ("cxr", "demo")
    pressed = acts.button("Make the synthetic X-rays", type="primary", icon=":material/auto_awesome:")
    place = where.choose("demo", "home:demo")
    if pressed:
        start("demo", {}, where=place)
        st.rerun()
    return ("cxr", "demo", *where.words(place))


page.header(
    "Chest X-rays: what did the network look at?",
    "Train a classifier for COVID-19, pneumonia and normal, see its heatmaps, and measure what burned-in text does.",
)
with page.told_in_one_line():
    sets, runs = list_data_sets(), list_runs()

step = best_step(sets, runs)
left, right = st.columns([3, 2], gap="large")
with left:
    st.header("Next step", anchor=False)
    with st.container(border=True):
        st.page_link(step.page, label=f"**{step.label}**", icon=":material/arrow_forward:", query_params=step.query)
        st.caption(address.plain(step.why))
    if any(data_set.name == "demo" for data_set in sets):
        tour.link("New here? Take the tour: six stops, a few minutes, nothing to install or train")
    else:
        st.caption("A tour leads through the tool as soon as the synthetic X-rays are there.")
    st.caption("Or:")
    for cell, other in zip(st.columns(len(OTHER_STEPS)), OTHER_STEPS, strict=True):
        cell.page_link(other.page, label=other.label, icon=other.icon, help=other.why, query_params=other.query)
with right:
    st.header("Try it now", anchor=False)
    with page.told_in_one_line():
        command = try_it(runs)


@page.refreshed(REFRESH_S if any(run.active for run in runs) else None)
def running() -> None:
    """Show what is not over; the whole page follows where that changes."""
    active = [run for run in list_runs() if run.active]
    page.rerun_when_other("home:active", [run.id for run in active])
    if not active:
        return
    st.header("Running", anchor=False)
    for run in active[:SHOWN]:
        name, line = st.columns([2, 5], vertical_alignment="center")
        name.markdown(f"**{address.plain(run.name)}** · {run.kind}")
        with line:
            run_parts.state_line(run, run.status())
    if len(active) > SHOWN:
        st.caption(f"and {len(active) - SHOWN} more, see the table")


running()
with page.told_in_one_line():
    st.header("Runs", anchor=False)
    if runs:
        runs_table.show(runs_table.choose(runs))
    else:
        st.caption("No run yet. Trainings, evaluations and text experiments appear here.")
st.header("Data sets", anchor=False)
if sets:
    rows = [
        {"page": f"data?{urlencode({'data': d.name})}", "name": d.name, "X-rays": d.n, "from": d.kind or "–"}
        for d in sets
    ]
    page_of_set = st.column_config.LinkColumn("page", display_text="Open", width=55)
    st.dataframe(rows, hide_index=True, column_config={"page": page_of_set, "X-rays": tables.COUNT})
else:
    st.caption("None yet.")
st.info(
    "Reported figures fall outside the hospital they were trained in: the paper's own test set gave 100 %, an "
    "outside test of a plain DenseNet201 by the same authors 71.7 % (95 % HDI 64.6 to 78.6).",
    icon=":material/warning:",
)
page.command(*command)
