"""The audit of a data set: started in the background, what tells the classes apart, and what is missing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cxr.data import Manifest
from cxr.data.library import DataSet
from cxr.experiments.data_audit.job import KIND
from cxr.experiments.data_audit.results import (
    AuditResults,
    Entry,
    audit_results,
    bar_of,
    entry_cells,
    flat,
    missing_cells,
)
from cxr.reports import data_audit as report
from cxr.reports.identities import Privacy
from cxr.runs import ACTIVE, Run

from services import load
from widgets import charts, page, pick, tables, viewer, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start

_IN_CHART = 25


def show(chosen: DataSet, data: Manifest) -> Sequence[object]:
    """Show what the newest audit of this data set found, or how to start one; return the command that does it."""
    st.header("Audit", anchor=False)
    st.caption(
        "What tells the classes apart without a look at the chest? Source, view, sex, age, size, file format, borders, "
        "grey values and burned-in text are each compared with the class."
    )
    run = run_parts.newest_of_whole(KIND, chosen.manifest_path)
    running = run is not None and run.status()["state"] in ACTIVE
    found = st.container()  # above the form: whoever comes back wants to see it
    pick.remember("audit:text", True)
    text = st.toggle(
        "Search for burned-in text",
        key="audit:text",
        disabled=running,
        help="Takes most of the time, less than a second for each X-ray. Those searched before are not searched again.",
    )
    place = where.choose_with_shards(KIND)
    label = f"Audit these {len(data):,} X-rays" if run is None else "Audit again"
    kind: Literal["primary", "secondary"] = "primary" if run is None else "secondary"
    if not running and acts.button(label, icon=":material/troubleshoot:", type=kind, key="audit:start"):
        start(KIND, {"manifest": chosen.manifest_path, "text": text}, where=place.slurm, shards=place.shards)
        st.rerun()
    with found:
        if run is not None and run.status()["state"] != "finished":
            run_parts.watch(run, key="audit")
        elif run is not None:
            _show_results(run, audit_results(run), changed=run.spec.get("manifest_hash") not in ("", data.hash()))
    return ("cxr", "data", "audit", chosen.name, *["--no-text"] * (not text), *where.words(place))


def _show_results(run: Run, results: AuditResults, *, changed: bool) -> None:
    entries = results["properties"]
    shown = [entry for entry in entries if entry["shown"]]
    st.info(viewer.plain(results["finding"]), icon=":material/lightbulb:")
    audited = f"Audited {load.local_time(run.spec['created'])}."
    st.caption(audited + (" Labels, splits or patients have changed since: audit again." if changed else ""))
    st.plotly_chart(forest(entries), key="audit:forest", theme="streamlit")
    if len(shown) > 3:
        with st.expander(f"All {len(shown):,} in sentences"):
            st.markdown("\n".join(f"- {viewer.plain(entry['sentence'])}" for entry in shown))
    compared = [entry_cells(entry) for entry in entries if entry["p"] is not None]
    if compared:
        frame = pd.DataFrame(compared)
        height = min(420, 38 + 35 * len(frame))
        st.dataframe(frame, hide_index=True, height=height, column_config=tables.counts_of(frame))
    with st.expander("How to read this"):
        st.caption("\n".join(f"- {viewer.plain(note)}" for note in results["notes"]))
    missing = [missing_cells(row) for row in results["missing"]]
    left, right = st.columns(2)
    with left:
        st.markdown("**Metadata that are missing**")
        st.dataframe(pd.DataFrame(missing), hide_index=True)
    with right:
        st.markdown("**What could not be computed**")
        reasons = [f"- {viewer.plain(e['title'])}: {viewer.plain(e['reason'])}" for e in entries if e["reason"]]
        st.caption("\n".join(reasons) or "Every property was compared.")
    if results["left_out"]:
        with st.expander(f"{page.counted(len(results['left_out']), 'image')} could not be read"):
            st.dataframe(pd.DataFrame(results["left_out"]), hide_index=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        privacy = page.privacy("audit", images=False)
        st.download_button(
            "Report as a page",
            lambda: _html(run.id, str(run.folder.path), privacy).encode(),
            f"audit_{run.id}.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
            key="audit:html",
        )
        page.csv_button("Whole table as CSV", flat(entries), f"audit_{run.id}")


@st.cache_data(max_entries=8, show_spinner=False)
def _html(run_id: str, folder: str, privacy: Privacy) -> str:
    return report.to_html(Run(folder), privacy)


def forest(entries: Sequence[Entry]) -> go.Figure:
    """Return the mean AUC of each property with its interval, the strongest at the top; those shown are in colour."""
    known = [entry for entry in entries if entry["auc"]["value"] is not None]
    rows = known[:_IN_CHART]
    figure = charts.empty_figure("", "AUC of the class from this property alone (mean over classes)", "")
    kinds = ((True, charts.COLOURS[0], "goes with the class"), (False, charts.GREY, "not shown to (p 0.05 or more)"))
    for shown, colour, name in kinds:
        own = [entry for entry in rows if entry["shown"] == shown]
        if not own:
            continue
        bars = [bar_of(entry["auc"]) for entry in own]
        figure.add_scatter(
            x=[value for value, _, _ in bars],
            y=[html.escape(entry["title"]) for entry in own],
            mode="markers",
            name=name,
            marker={"color": colour, "size": 9, "symbol": "circle" if shown else "circle-open"},
            error_x={
                "array": [high - value for value, _, high in bars],
                "arrayminus": [value - low for value, low, _ in bars],
                "thickness": 2.5,
                "width": 0,
            },
            customdata=[bar[1:] for bar in bars],
            hovertemplate="%{y}: %{x:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})<extra></extra>",
        )
    figure.add_vline(x=0.5, line_width=1, line_color=charts.GREY)
    more = f" (first {len(rows):,} of {len(known):,})" if len(known) > len(rows) else ""
    figure.update_layout(
        title={"text": f"Each property alone{more}; 0.5 is chance", "font": {"size": 16}},
        height=150 + 24 * len(rows),
        hovermode="closest",
        margin={"l": 10, "r": 10, "t": 60, "b": 46},
    )
    figure.update_yaxes(
        type="category",
        automargin=True,
        fixedrange=True,
        categoryorder="array",
        categoryarray=[html.escape(entry["title"]) for entry in reversed(rows)],
    )
    figure.update_xaxes(fixedrange=True)
    return figure
