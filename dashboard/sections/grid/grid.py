"""The explorer's grid: hundreds of X-rays with their heatmaps, filtered and sorted, to select and open."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.formatting import xrays
from cxr.models import XrayClassifier
from cxr.runs import ACTIVE, Run
from cxr.text.corrections import FileTokens
from cxr.text.search import search_each

from sections.explorer import whole_split
from sections.grid import actions, filters, tiles
from sections.grid import rows as grid_rows
from services import explaining, load
from widgets import page, pick, run_state, subject
from widgets.subject import Subject

_TOKENS = "grid:tokens"


def section() -> None:
    """Ask whose X-rays are shown, and show the grid."""
    row = st.columns([4, 3, 9, 4, 3, 4], vertical_alignment="center")
    with row[0].popover("Network", width="stretch"):
        network_ref = subject.network(st.container())
        chosen = subject.choose(network_ref, st.container(), st.container())
    row[-1].button("One X-ray", icon=":material/image:", key="grid:leave", on_click=actions.show_one, width="stretch")
    with row[4].popover("Sort", width="stretch"):
        ordering = [st.container(), st.container()]
    show(chosen, load.model(network_ref)[0], [*row[1:4], *ordering])


def show(chosen: Subject, network: XrayClassifier, cells: list[DeltaGenerator]) -> None:
    """Show the grid. ``cells`` take the filters, the run, the kind of picture, the order and its direction."""
    for_filters, for_run, for_picture, for_order, for_direction = cells
    runs = whole_split.runs_of(chosen)
    with for_run:
        run = _choose_run(runs)
    pick.arrive("grid:picture", "shown", tiles.OVERLAY, allowed=tiles.PICTURES)
    picture = str(
        for_picture.selectbox(
            "Picture", tiles.PICTURES, key="grid:picture", label_visibility="collapsed", disabled=run is None
        )
    )
    pick.leave("shown", picture, tiles.OVERLAY)
    with for_filters.popover("Filter", width="stretch"):
        predictions = explaining.predictions(chosen)
        every = grid_rows.build(chosen.data, chosen.split, network, predictions, run)
        every = grid_rows.with_text(every, _tokens(chosen, every), run)
        rows = filters.narrowed(every)
    rows = filters.ordered(rows, for_order, for_direction)
    for active in [other for other in runs.values() if other.status()["state"] in ACTIVE]:
        run_state.watch(active, key=f"grid:{active.id}")
    if rows.empty:
        page.nothing_yet("No X-ray matches these filters. Clear one of them.")
    _part(chosen, rows, run, picture)
    _say_what_is_missing(chosen, every, run)


@page.refreshed(None)
def _part(chosen: Subject, rows: pd.DataFrame, run: Run | None, picture: str) -> None:
    """Show the buttons and the grid; scrolling and selecting run this part of the page alone."""
    actions.show(chosen, rows, tiles.selected_of(rows), run)
    opened = tiles.show(chosen.data, rows, run, picture, _stamp(chosen, rows, run, picture))
    if opened:
        actions.open_one(opened)
        st.rerun()


def _stamp(chosen: Subject, rows: pd.DataFrame, run: Run | None, picture: str) -> str:
    """Return what changes with what the grid shows, or with its order."""
    what = "\n".join([*chosen.link.values(), run.id if run else "", picture, str(len(rows)), *rows["image_id"]])
    return hashlib.blake2b(what.encode(), digest_size=8).hexdigest()


def _choose_run(runs: Mapping[str, Run]) -> Run | None:
    """Ask whose heatmaps are shown; None where no run has any."""
    with_maps = {run_id: run for run_id, run in runs.items() if len(grid_rows.index_of(run))}
    if not with_maps:
        st.button("No heatmaps yet", disabled=True, width="stretch", key="grid:no-run")
        return None
    labels = {run_id: whole_split.describe(run) for run_id, run in with_maps.items()}
    pick.arrive("grid:run", "heatmaps", next(iter(with_maps)), allowed=tuple(with_maps))
    chosen = str(
        st.selectbox(
            "Heatmaps of", list(with_maps), format_func=labels.__getitem__, key="grid:run", label_visibility="collapsed"
        )
    )
    pick.leave("heatmaps", chosen, next(iter(with_maps)))
    return with_maps[chosen]


def _tokens(chosen: Subject, rows: pd.DataFrame) -> Mapping[str, FileTokens | str] | None:
    """Return the burned-in text of the X-rays, once it has been searched for; few X-rays are searched at once."""
    path = chosen.manifest_path
    key = (str(path), path.stat().st_mtime_ns, chosen.split)
    held: dict[tuple[str, int, str], Mapping[str, FileTokens | str]] = st.session_state.setdefault(_TOKENS, {})
    ids = rows["image_id"].tolist()
    if key in held and set(ids) <= held[key].keys():
        return held[key]
    st.caption("Filters and order by burned-in text need to know where it is.")
    label = f"Look for text on {page.counted(len(ids), 'X-ray')}"
    if not st.button(label, icon=":material/search:", key="grid:search"):
        return None
    bar = st.progress(0.0, "Looking for text …")

    def report(done: float, text: str) -> None:
        bar.progress(done, text)

    held[key] = search_each(chosen.data.select(ids=ids), report)
    bar.empty()
    return held[key]


def _say_what_is_missing(chosen: Subject, rows: pd.DataFrame, run: Run | None) -> None:
    n = len(chosen.data.select(split=chosen.split))
    if run is None:
        st.caption("These are X-rays alone. *Explain* above makes their heatmaps in the background.")
    elif len(rows) < n:
        st.caption(f"The chosen run holds heatmaps of {len(rows):,} of {xrays(n)}; the others are not shown.")
    doubtful = int((rows["concerns"].fillna("") != "").sum()) if "concerns" in rows else 0
    scaled = "Each map has its own colour scale. " if run is not None else ""
    concerns = f"{page.counted(doubtful, 'map')} with concerns (column *concerns*)." if doubtful else ""
    if scaled or concerns:
        st.caption(f"{scaled}Red speaks for the class, blue against it. {concerns}")
