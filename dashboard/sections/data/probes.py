"""Protocol probes: started in the background, and what is read without the lungs, from the border or from text."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cxr.data import Manifest
from cxr.data.library import DataSet
from cxr.experiments.data_audit.results import bar_of
from cxr.experiments.probes.results import (
    KIND,
    ProbeEntry,
    ProbeResults,
    flat,
    in_figure,
    lungs_in_words,
    not_probed,
    probe_cells,
    probe_results,
    row_name,
    sampled_in_words,
)
from cxr.experiments.probes.settings import MASKS
from cxr.reports import probes as report
from cxr.reports.identities import Privacy
from cxr.runs import ACTIVE, Run

from services import load
from widgets import charts, page, pick, tables, viewer, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start

_WARNING, _SHOWN = charts.COLOURS[1], charts.COLOURS[0]
_MASKS = {
    "segmentation": "Shipped segmentation",
    "manifest": "Masks of the data set",
    "box": "A box where lungs usually are",
}


def show(chosen: DataSet, data: Manifest) -> Sequence[object]:
    """Show what the newest probes of this data set found, or how to start them; return the command that does it."""
    st.header("Protocol probes", anchor=False)
    st.caption(
        "Can a simple classifier tell the source, or the class, from the X-ray without its lungs, from its border or "
        "from its text alone? If so, a network can too, without a look at the disease."
    )
    run = run_parts.newest_of_whole(KIND, chosen.manifest_path)
    running = run is not None and run.status()["state"] in ACTIVE
    found = st.container()  # above the form: whoever comes back wants to see it
    masks, text = _options(data, running=running)
    place = where.choose_with_shards(KIND)
    label = f"Probe these {len(data):,} X-rays" if run is None else "Probe again"
    kind: Literal["primary", "secondary"] = "primary" if run is None else "secondary"
    if not running and acts.button(label, icon=":material/experiment:", type=kind, key="probes:start"):
        params = {"manifest": chosen.manifest_path, "masks": masks, "text": text}
        start(KIND, params, where=place.slurm, shards=place.shards)
        st.rerun()
    words = [*["--masks", masks][: 2 * (masks != MASKS[0])], *["--no-text"] * (not text)]
    with found:
        if run is not None and run.status()["state"] != "finished":
            run_parts.watch(run, key="probes")
        elif run is not None:
            _show_results(run, probe_results(run), changed=run.spec.get("manifest_hash") not in ("", data.hash()))
    return ("cxr", "data", "probe", chosen.name, *words, *where.words(place))


def _options(data: Manifest, *, running: bool) -> tuple[str, bool]:
    """Show the choice of masks, those of the data set only where each X-ray has one, and whether text is searched."""
    every_one_has_a_mask = bool((data.table["lung_mask"] != "").all())
    offered = [name for name in MASKS if name != "manifest" or every_one_has_a_mask]
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    pick.remember("probes:masks", MASKS[0], offered)
    masks = left.selectbox(
        "Lungs",
        offered,
        format_func=_MASKS.__getitem__,
        key="probes:masks",
        disabled=running,
        help="One way for all X-rays: masks that only one source has would give that source away.",
    )
    pick.remember("probes:text", True)
    text = right.toggle(
        "Search for burned-in text",
        key="probes:text",
        disabled=running,
        help="Takes most of the time, less than a second for each X-ray. Those searched before are not searched again.",
    )
    return str(masks), text


def _show_results(run: Run, results: ProbeResults, *, changed: bool) -> None:
    entries = results["probes"]
    warned = [entry for entry in entries if entry["warning"]]
    box, icon = (st.warning, ":material/warning:") if warned else (st.info, ":material/lightbulb:")
    box(viewer.plain(results["finding"]), icon=icon)
    probed = (f"Probed {load.local_time(run.spec['created'])}.", lungs_in_words(results), sampled_in_words(results))
    again = " Labels, splits or patients have changed since: probe again." if changed else ""
    st.caption(" ".join(filter(None, probed)) + again)
    if any(entry["score"]["value"] is not None for entry in entries):
        st.plotly_chart(figure(entries), key="probes:figure", theme="streamlit")
    compared = [probe_cells(entry) for entry in entries if entry["p"] is not None]
    if compared:
        frame = pd.DataFrame(compared)
        height = min(420, 38 + 35 * len(frame))
        st.dataframe(frame, hide_index=True, height=height, column_config=tables.counts_of(frame))
    with st.expander("How to read this"):
        st.caption("\n".join(f"- {viewer.plain(note)}" for note in results["notes"]))
    reasons = [f"- {viewer.plain(line)}" for line in not_probed(entries)]
    if reasons:
        st.markdown("**What could not be probed**")
        st.caption("\n".join(reasons))
    if results["left_out"]:
        with st.expander(f"{page.counted(len(results['left_out']), 'image')} could not be read"):
            st.dataframe(pd.DataFrame(results["left_out"]), hide_index=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        privacy = page.privacy("probes", images=False)
        st.download_button(
            "Report as a page",
            lambda: _html(run.id, str(run.folder.path), privacy).encode(),
            f"probes_{run.id}.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
            key="probes:html",
        )
        page.csv_button("Whole table as CSV", flat(entries), f"probes_{run.id}")


@st.cache_data(max_entries=8, show_spinner=False)
def _html(run_id: str, folder: str, privacy: Privacy) -> str:
    return report.to_html(Run(folder), privacy)


def figure(entries: Sequence[ProbeEntry]) -> go.Figure:
    """Return the balanced accuracy of each probe with its interval and its level of chance; warnings are in colour."""
    rows, more = in_figure(entries)
    chart = charts.empty_figure("", "balanced accuracy, cross-validated by patient", "")
    kinds = (
        ("a warning", _WARNING, "circle", [e for e in rows if e["warning"]]),
        ("read where it may be", _SHOWN, "circle", [e for e in rows if e["shown"] and not e["warning"]]),
        ("not shown (p 0.05 or more)", charts.GREY, "circle-open", [e for e in rows if not e["shown"]]),
    )
    for name, colour, symbol, own in kinds:
        if not own:
            continue
        bars = [bar_of(entry["score"]) for entry in own]
        chart.add_scatter(
            x=[value for value, _, _ in bars],
            y=[html.escape(row_name(entry)) for entry in own],
            mode="markers",
            name=name,
            marker={"color": colour, "size": 9, "symbol": symbol},
            error_x={
                "array": [high - value for value, _, high in bars],
                "arrayminus": [value - low for value, low, _ in bars],
                "thickness": 2.5,
                "width": 0,
            },
            customdata=[bar[1:] for bar in bars],
            hovertemplate="%{y}: %{x:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})<extra></extra>",
        )
    chart.add_scatter(
        x=[entry["chance"] for entry in rows],
        y=[html.escape(row_name(entry)) for entry in rows],
        mode="markers",
        name="chance",
        marker={"color": charts.GREY, "size": 12, "symbol": "line-ns-open", "line": {"width": 2}},
        hovertemplate="%{y}: chance %{x:.2f}<extra></extra>",
    )
    chart.update_layout(
        title={"text": f"What a simple classifier reads{more}", "font": {"size": 16}},
        height=150 + 24 * len(rows),
        hovermode="closest",
        margin={"l": 10, "r": 10, "t": 70, "b": 46},
    )
    chart.update_yaxes(
        type="category",
        automargin=True,
        fixedrange=True,
        categoryorder="array",
        categoryarray=[html.escape(row_name(entry)) for entry in reversed(rows)],
    )
    chart.update_xaxes(fixedrange=True)
    return chart
