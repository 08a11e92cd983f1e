"""The table of runs: what each was, how it stands, what came of it, and where its page is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from cxr.runs import ACTIVE, Run, Status

from sections.home import run_address, trainings
from services import load
from widgets import address, pick

PER_PAGE = 12
TRAININGS_PER_PAGE = 200  # they can be sorted, which pages would cut in pieces
_ALL = "all"
KIND_NAMES = {
    "train": "training",
    "evaluate": "evaluation",
    "evaluate-predictions": "predictions",
    "explain": "heatmaps",
    "cluster-heatmaps": "clusters",
    "text-experiment": "masking text",
    "text-stamping": "stamping",
    "text-vocabulary": "vocabulary",
    "check-data": "data check",
    "audit-data": "data audit",
    "probe-data": "probes",
    "find-duplicates": "duplicates",
    "relevance-regions": "relevance",
    "import": "import",
    "demo": "synthetic X-rays",
    "study": "study",
    "audit-network": "trust audit",
}
"""What people call each kind of run."""


def choose(runs: Sequence[Run]) -> list[Run]:
    """Let the user choose a kind and a page of the list; returns the runs of that page."""
    counts = Counter(run.kind for run in runs)
    kinds = [_ALL, *sorted(counts)]
    left, right = st.columns([2, 4], vertical_alignment="bottom")
    pick.arrive("home:kind", "kind", _ALL, str, kinds)
    # Pills of all kinds do not fit a row.
    kind = left.selectbox(
        "Kind of run",
        kinds,
        key="home:kind",
        format_func=lambda name: f"{KIND_NAMES.get(name, name)} ({counts[name] if name != _ALL else len(runs):,})",
    )
    pick.leave("kind", kind, _ALL)
    chosen = [run for run in runs if kind in (_ALL, run.kind)]
    per_page = TRAININGS_PER_PAGE if kind == "train" else PER_PAGE
    with right:
        number = pick.page_number(-(-len(chosen) // per_page), key="home:page")
    return chosen[(number - 1) * per_page : number * per_page]


def show(runs: Sequence[Run]) -> None:
    """Show runs as a table, trainings alone with their parameters, and below it in full why some have failed."""
    statuses = {run.id: run.status() for run in runs}
    if st.session_state.get("home:kind") == "train":
        trainings.show(runs, statuses)
    else:
        _show_table(runs, statuses)
    for run in runs[:PER_PAGE]:
        if error := statuses[run.id].error:
            st.caption(f":red[**{address.plain(run.name)}** failed:] {address.plain(error)}")


def _show_table(runs: Sequence[Run], statuses: Mapping[str, Status]) -> None:
    st.dataframe(
        table(runs, statuses),
        hide_index=True,
        height="content",
        column_config={
            "page": st.column_config.LinkColumn("page", display_text="Open", width=55),
            "name": st.column_config.TextColumn("name", width=150),
            "data": st.column_config.TextColumn("data", width=80),
            "kind": st.column_config.TextColumn("kind", width=115),
            "state": st.column_config.TextColumn("state", width=70),
            "progress": st.column_config.ProgressColumn(
                "progress", min_value=0, max_value=1, format="percent", width=75
            ),
            "result": st.column_config.TextColumn("result", width=205),
            "started": st.column_config.TextColumn("started", width=90),
            "took": st.column_config.TextColumn("took", width=65),
        },
    )


def table(runs: Sequence[Run], statuses: Mapping[str, Status]) -> pd.DataFrame:
    """Return one row per run; only what is not over, or was stopped on its way, has a progress."""
    names = run_address.data_set_names()
    return pd.DataFrame(
        {
            "page": run_address.address_of(run, statuses[run.id], names),
            "name": run.name,
            "data": run_address.data_set_of(run.spec["params"], names) or "",
            "kind": KIND_NAMES.get(run.kind, run.kind),
            "state": statuses[run.id].state,
            "progress": round(statuses[run.id].progress, 2) if statuses[run.id].state in (*ACTIVE, "stopped") else None,
            "result": load.headline(run),
            "started": load.local_time(statuses[run.id].started or run.created),
            "took": load.duration(took(statuses[run.id])),
        }
        for run in runs
    )


def took(status: Status) -> float | None:
    """Return for how many seconds a run has run, or ran; None before it has begun."""
    if status.started is None:
        return None
    end = status.ended if status.state not in ACTIVE else time.time()
    return None if end is None else max(0.0, end - status.started)
