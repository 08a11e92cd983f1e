"""The vocabulary of a data set's burned-in text: the search in the background, its table, and the images behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cxr.experiments.vocabulary.count import (
    GROUPS,
    MIN_IMAGES,
    finding,
    flat,
    odds_in_words,
    points_in_words,
    vocabulary,
)
from cxr.experiments.vocabulary.entries import Entry
from cxr.experiments.vocabulary.job import IMAGES, KIND, TOKENS, read_tables
from cxr.experiments.vocabulary.within_sources import in_words
from cxr.runs import ACTIVE, Run, list_runs
from cxr.text import Reviews

from sections.text import experiments, token_images
from services import load
from widgets import charts, page, pick, where
from widgets.access import acts
from widgets.run_state import start
from widgets.subject import Subject

EVERY = "all splits"
_TITLES = {"token": "Words", "kind": "Kinds", "place": "Places", "kind and place": "Kinds by place"}
_IN_CHART = 25

Tables = tuple[pd.DataFrame, pd.DataFrame]


def show(chosen: Subject) -> None:
    """Show the section: what was found on the chosen X-rays, or how to search them."""
    scope, least, spellings = st.columns([3, 2, 4], vertical_alignment="bottom")
    pick.arrive("vocabulary:scope", "scope", chosen.split, {"all": EVERY}.__getitem__, (chosen.split, EVERY))
    with scope:
        scope_name = st.segmented_control("X-rays", [chosen.split, EVERY], required=True, key="vocabulary:scope")
    pick.leave("scope", "all" if scope_name == EVERY else "", "")
    split = "" if scope_name == EVERY else chosen.split
    most = 10_000
    pick.arrive("vocabulary:least", "least", MIN_IMAGES, int, range(1, most + 1), accepted=f"1 to {most}")
    min_images = least.number_input("On at least … X-rays", 1, most, key="vocabulary:least")
    pick.leave("least", str(int(min_images)), str(MIN_IMAGES))
    pick.arrive("vocabulary:join", "join", False, pick.switched, accepted="0, 1")
    join = spellings.toggle(
        "Join near-equal spellings",
        key="vocabulary:join",
        help="A word of five letters or more that lacks one letter (PORTABL), has a digit in its place (P0RTABLE) "
        "or another of the same shape (GLINICA) counts as its commoner spelling. Upper and lower case are always one.",
    )
    pick.leave("join", str(int(join)), "0")
    split_manifest = chosen.data.select(split=split) if split else chosen.data
    place = where.choose_with_shards(KIND)
    run = _search(chosen, split, len(split_manifest), place)
    options = ["--split", split] * bool(split) + ["--min-images", min_images] + ["--join"] * join
    page.command("cxr", "text", "vocabulary", chosen.command_data, *options, *where.words(place))
    tables = None if run is None else _tables(run)
    if run is None or tables is None:
        return
    images, tokens = tables = tuple(table[table["image_id"].isin(split_manifest.ids)] for table in tables)
    entries = _entries(run.id, _stamp(run), split, int(min_images), join, tables)
    st.info(finding(images, tokens, entries), icon=":material/lightbulb:")
    _show_left_out(run)
    if not entries:
        return
    _show_entries(chosen, run, tables, entries, join)


# --- the search ----------------------------------------------------------------------------------------------------


def _search(chosen: Subject, split: str, n: int, place: where.Place) -> Run | None:
    """Offer to search these ``n`` X-rays, show the newest search that holds them, and return it."""
    run = newest(chosen.manifest_path, split)
    label = f"Search the text of {n:,} X-rays" if run is None else "Search again"
    active = run is not None and run.status()["state"] in ACTIVE
    if not active and acts.button(
        label, icon=":material/search:", type="primary" if run is None else "secondary", key="vocabulary:start"
    ):
        start(KIND, {"manifest": chosen.manifest_path, "split": split}, where=place.slurm, shards=place.shards)
        st.rerun()
    if run is None:
        st.caption(
            "Finds and reads the burned-in text of every X-ray in the background, less than a second each. X-rays "
            "searched before are not searched again. The result shows which token is on how many X-rays of which "
            "class."
        )
        return None
    if run.status()["state"] == "finished":
        _show_age(chosen, run)
    else:
        experiments.watch(run)
    return run


def newest(manifest: Path, split: str) -> Run | None:
    """Return the latest search of a split ("" for every image) of a manifest; else a finished one of every image."""
    runs = [(run, run.spec["params"]) for run in list_runs(kind=KIND)]
    searches = [
        (run, params) for run, params in runs if Path(params.get("manifest", "")).resolve() == manifest.resolve()
    ]
    own = (run for run, params in searches if (params.get("split") or "") == split)
    wider = (run for run, params in searches if not params.get("split") and run.status()["state"] == "finished")
    return next(own, None) or next(wider, None)


def _show_age(chosen: Subject, run: Run) -> None:
    """Say when the search was, and what has changed since."""
    searched = f"Searched {load.local_time(run.spec['created'])}."
    since = corrected_since(Reviews.beside(chosen.manifest_path), run.spec["created"])
    if since:
        searched += f" Corrected by hand since: {since}. Search again to count these; it takes seconds."
    if run.spec.get("manifest_hash") not in ("", chosen.data.hash()):
        searched += " Labels, splits or patients have changed since: search again."
    st.caption(searched)


def corrected_since(reviews: Reviews, when: float) -> int:
    """Return how many images were reviewed after a time (seconds since 1970)."""
    times = [pd.Timestamp(entry.saved).timestamp() for i in reviews.reviewed if (entry := reviews.entry(i))]
    return sum(time >= when for time in times)


def _stamp(run: Run) -> int:
    return sum((run.folder.path / name).stat().st_mtime_ns for name in (IMAGES, TOKENS))


def _tables(run: Run) -> Tables | None:
    if not all((run.folder.path / name).is_file() for name in (IMAGES, TOKENS)):
        if run.status()["state"] not in ACTIVE:
            st.info("This search ended early. Resume it: what was found so far is kept.", icon=":material/info:")
        return None
    return _read(str(run.folder.path), _stamp(run))


@st.cache_data(max_entries=8, show_spinner=False)
def _read(folder: str, stamp: int) -> Tables | None:
    return read_tables(Path(folder))


@st.cache_data(max_entries=32, show_spinner="Counting …")
def _entries(run_id: str, stamp: int, split: str, min_images: int, join: bool, _search_tables: Tables) -> list[Entry]:
    return vocabulary(*_search_tables, min_images=min_images, join=join)


def _show_left_out(run: Run) -> None:
    left_out = (run.results() or {}).get("left_out") or []
    if left_out:
        with st.expander(f"{len(left_out):,} images could not be read", icon=":material/warning:"):
            st.dataframe(pd.DataFrame(left_out), hide_index=True)


# --- the table -----------------------------------------------------------------------------------------------------


def _show_entries(chosen: Subject, run: Run, tables: Tables, entries: list[Entry], join: bool) -> None:
    pick.arrive("vocabulary:group", "count", GROUPS[0], allowed=GROUPS)
    group = st.segmented_control(
        "Count",
        list(GROUPS),
        format_func=lambda group: _TITLES[group],
        required=True,
        key="vocabulary:group",
        help=(
            "Kinds and places do not depend on reading the text. They also reveal a mark that only one class has in "
            "some corner."
        ),
    )
    pick.leave("count", group, GROUPS[0])
    listed = [entry for entry in entries if entry["group"] == group]
    if not listed:
        st.caption("None is on enough X-rays.")
        return
    tokens = [entry["token"] for entry in listed]
    pick.arrive("vocabulary:entry", "entry", "", allowed=["", *tokens])
    picked = st.session_state["vocabulary:entry"]
    event = st.dataframe(
        table(listed),
        hide_index=True,
        height=min(460, 38 + 35 * len(listed)),
        column_config=_columns(listed),
        on_select="rerun",
        selection_mode="single-row",
        selection_default={"selection": {"rows": [tokens.index(picked)] if picked else []}},
        key=f"vocabulary:table:{run.id}:{group}:{len(listed)}:{join}",
    )
    st.caption(_explanation(listed))
    page.csv_button("Whole table as CSV", flat(entries), f"vocabulary_{run.id}")
    rows = [row for row in event.selection.rows if row < len(listed)]
    entry = listed[rows[0]] if rows else listed[0]
    st.session_state["vocabulary:entry"] = tokens[rows[0]] if rows else ""
    pick.leave("entry", st.session_state["vocabulary:entry"], "")
    token_images.show(chosen, tables, entry, join, picked=bool(rows))
    left, right = st.columns(2)
    left.plotly_chart(heat(listed, "class", theme=page.theme()), key="vocabulary:by-class", theme="streamlit")
    right.plotly_chart(
        heat(listed, "source", tables[0], theme=page.theme()), key="vocabulary:by-source", theme="streamlit"
    )


def table(listed: list[Entry]) -> pd.DataFrame:
    """Return one row per token for the page: how often, on which class, and how much it tells."""
    rows = []
    for entry in listed:
        row: dict[str, object] = {"token": entry["token"], "X-rays": entry["images"]}
        if entry["points_to"] is not None:  # first what decides, since a narrow page shows the first columns
            odds = odds_in_words(entry["by_class"][entry["points_to"]])
            row |= {"points to": points_in_words(entry), "odds ratio": odds, "q": entry["q"]}
            if "within_sources" in entry:
                row["within sources"] = in_words(entry)
        row |= {name: round(counts["units"] / max(counts["of"], 1), 2) for name, counts in entry["by_class"].items()}
        if entry["bits"] is not None and entry["chance"] is not None:
            row["bits"] = entry["bits"] - entry["chance"]
        row["times"] = entry["times"]
        if any(e["spellings"] for e in listed):
            row["read as"] = ", ".join(f"{text} ({n:,})" for text, n in list(entry["spellings"].items())[:6])
        rows.append(row)
    return pd.DataFrame(rows)


def _columns(listed: list[Entry]) -> dict[str, Any]:
    shares = {
        name: st.column_config.ProgressColumn(
            name,
            min_value=0,
            max_value=1,
            format="percent",
            width=95,
            help=f"Share of the {counts['of']:,} patients of this class",
        )
        for name, counts in listed[0]["by_class"].items()
    }
    return shares | {
        "token": st.column_config.Column("token", pinned=True),
        "bits": st.column_config.NumberColumn("bits", format="%.3f", help="Information about the class, beyond chance"),
        "q": st.column_config.NumberColumn("q", format="%.2g", help="Exact p, corrected (Benjamini and Hochberg)"),
    }


def _explanation(listed: list[Entry]) -> str:
    if listed[0]["p"] is None:
        return "Fewer than two classes have labelled X-rays here, so only counts are shown."
    return (
        "Patients are counted, each once, with one randomly drawn X-ray. An X-ray without a patient counts by itself. "
        "Odds ratio: the class that the token points to against the rest, with an exact 95 % interval for this row "
        "alone; ∞ where a cell of the table is empty. q: exact p value, corrected for the number of tokens, kinds and "
        "places (Benjamini and Hochberg). ? after a class: not significant, its q is 0.05 or more. Bits: mutual "
        "information of token and class, beyond chance. Within sources: the same test among X-rays of the same source. "
        "Without it, a token may predict the class only because it predicts the source. Click a row to see its X-rays."
    )


def heat(listed: list[Entry], by: str, images: pd.DataFrame | None = None, *, theme: str = "dark") -> go.Figure:
    """Return counts of X-rays by token and class, or source, as squares; the colour is the share of that column."""
    shown = listed[:_IN_CHART]
    if by == "class" or images is None:
        names = list(shown[0]["by_class"])
        counts = np.array([[e["by_class"][c]["units"] for c in names] for e in shown], float).reshape(len(shown), -1)
        totals = np.array([shown[0]["by_class"][c]["of"] for c in names])
    else:
        sizes = images["source"].value_counts()
        names = list(sizes.index)
        counts = np.array([[e["by_source"].get(s, 0) for s in names] for e in shown], float).reshape(len(shown), -1)
        totals = sizes.to_numpy()
    share = counts / np.maximum(totals, 1)
    labels = [f"{name or '(none)'}<br>of {n:,}" for name, n in zip(names, totals, strict=True)]
    figure = go.Figure(
        go.Heatmap(
            z=share,
            x=labels,
            y=[entry["token"] for entry in shown],
            text=counts.astype(int),
            texttemplate="%{text}",
            hovertemplate="%{y}: %{text} (%{z:.0%})<extra></extra>",
            colorscale=list(enumerate(charts.MATRIX_COLOURS[theme])),
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=2,
            showscale=False,
        )
    )
    title = "Patients by class" if by == "class" else "X-rays by source"
    figure.update_layout(
        # At the very top: two lines of names stand between it and the squares.
        title={"text": title, "font": {"size": 16}, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 4}},
        height=126 + 26 * len(shown),
        margin={"l": 10, "r": 10, "t": 96, "b": 10},
    )
    figure.update_xaxes(side="top", type="category", fixedrange=True)
    figure.update_yaxes(autorange="reversed", type="category", automargin=True, fixedrange=True)
    return figure
