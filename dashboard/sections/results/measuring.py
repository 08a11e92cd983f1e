"""Measuring a network on X-rays of the library; also what stands on the page of results before there are any."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data.library import list_data_sets
from cxr.json_types import JsonObject
from cxr.models.weights import is_shipped, list_weights
from cxr.networks import training_of
from cxr.runs import Run, list_runs

from sections.results import table_form
from widgets import address, locked, page, pages, pick, where
from widgets.access import acts
from widgets.run_state import start

# What a new run is not asked for.
_FORGOTTEN = (
    "split", "finding", "outcome", "cell", "page", "class", "threshold", "prevalence", "column", "slice", "slice-page",
)  # fmt: skip


def elsewhere(run: Run, network: str) -> None:
    """Let the user measure the network on another data set: a run of its own, shown here when it is done."""
    with st.expander("Evaluate this network on other X-rays", icon=":material/travel_explore:"):
        st.caption("A high figure on a split of the training data proves little. X-rays of another hospital say more.")
        # Its own for each run: a press on the page of a deleted run must not measure the one that takes its place.
        _measure(network, run.name, run.id, st.columns([3, 1], vertical_alignment="bottom"))


def lead_to_the_first(kinds: Collection[str]) -> None:
    """Where no run of these kinds is here or asked for, say what can be measured without a training; end the page."""
    if address.asks("run") or any(run.kind in kinds for run in list_runs()):
        return
    at_hand = {name: is_shipped(path) for name, path, _ in list_weights()}
    with_data = bool(list_data_sets())
    shipped = next((name for name, comes_with_it in at_hand.items() if comes_with_it), None)
    st.info(address.plain(_ways_to_results(shipped, bool(at_hand), with_data)), icon=":material/lightbulb:")
    with st.container(horizontal=True):
        if not with_data:
            st.page_link(pages.DATA, label="Go to Data", icon=":material/arrow_forward:")
        st.page_link(pages.TRAIN, label="Start a training", icon=":material/arrow_forward:")
    if at_hand and with_data:
        with st.expander("Evaluate a network that is here", icon=":material/travel_explore:", expanded=True):
            names = sorted(at_hand, key=lambda name: name != shipped)
            pick.remember("results:at-hand", names[0], names)
            for_network, *others = st.columns([2, 2, 1], vertical_alignment="bottom")
            network = str(for_network.selectbox("Network", names, key="results:at-hand"))
            _measure(network, network, network, others)
    table_form.show()
    raise address.Ended


def _ways_to_results(shipped: str | None, at_hand: bool, with_data: bool) -> str:
    ways = ["No network has been measured yet, so there are no results."]
    if shipped is not None:
        ways.append(f"The small network {shipped} comes with this tool: it can be measured without a training.")
    if not with_data:
        ways.append("X-rays are needed first: make the synthetic ones or import your own.")
    elif at_hand:
        ways.append("Choose a network and a data set below, or train a network of your own.")
    return " ".join(ways)


def _measure(network: str, called: str, key: str, cells: Sequence[DeltaGenerator]) -> None:
    """Ask for the data set in the first of two cells; the button in the second starts the run."""
    field, start_it = cells
    sets = {d.name: d for d in list_data_sets()}
    name = field.selectbox("Data set", list(sets), key="results:elsewhere")
    include_seen = st.checkbox(
        "Include X-rays that the network has seen",
        key="results:include-seen",
        help="X-rays that it was trained or chosen on are left out of every figure, unless you include them here.",
    )
    opened = locked.choose_open(sets[name].manifest_path, (), "results") if name else {}
    place = where.choose_with_shards("evaluate", "results")
    words = ["--include-seen"] * include_seen + [*locked.words(opened), *where.words(place)]
    page.command_line("cxr", "evaluate", network, "--data", name or "DATA", *words)
    if acts.button("Measure", at=start_it, icon=":material/play_arrow:", key=f"results:measure:{key}") and name:
        params: JsonObject = {**as_params(network), "manifest": str(sets[name].manifest_path), **opened}
        if include_seen:
            params["include_seen"] = True
        address.forget(*_FORGOTTEN)
        started = start("evaluate", params, name=f"{called} on {name}", where=place.slurm, shards=place.shards)
        address.ask(run=started.id)
        st.rerun()


def as_params(network: str) -> dict[str, str]:
    """Return how a run's parameters name a network: as a training's run or as weights."""
    return {"run" if training_of(network) else "weights": network}
