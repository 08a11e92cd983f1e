"""Clusters of heatmaps: a map of the X-rays, the mean heatmap of each cluster, and what one of them is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cxr.data import Manifest
from cxr.experiments.clusters.names import LONGEST, name_cluster, names_of, title_of
from cxr.experiments.clusters.region.measure import measurements_of
from cxr.experiments.clusters.results import ClusterEntry, ClusterResults, cluster_results, params_of
from cxr.formatting import NOTHING, number, times, xrays
from cxr.runs import Run

from sections.trust import cluster_region
from services import clusters as pictures
from services import load
from services.clusters import Clustered
from widgets import charts, page, pages, pick, viewer
from widgets.access import acts
from widgets.subject import name_of

_COLUMNS, _ROWS, _PER_ROW = 6, 2, 6
_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star")
"""With the colours, so that nobody needs to tell colours apart."""


def render(run: Run) -> None:
    """Show a finished run of clusters of heatmaps: the finding, the map, the clusters, and one of them opened."""
    results, names = cluster_results(run), names_of(run)
    st.info(viewer.plain(results["finding"]), icon=":material/scatter_plot:")
    if not results["clusters"]:
        _show_classes(results)
        return
    data = load.manifest(params_of(run).manifest)
    of = pictures.opened(run)
    target = _class(results)
    entries = [entry for entry in results["clusters"] if entry["target"] == target]
    left, right = st.columns([5, 6])
    with left:
        chosen = _map(of, entries, names)
    with right:
        _means(of, data, entries, names)
    entry = _cluster(entries, names)
    places = chosen or _places(of, entry)
    if chosen:
        st.markdown(f"**{page.counted(len(chosen), 'X-ray')} selected on the map**")
    else:
        st.markdown(f"**{viewer.plain(_title(entry, names))}**: {viewer.plain(entry['sentence'])}")
    _images(of, data, places)
    if not chosen:
        _about(run, entry, names)
        cluster_region.show(run, entry, data, measurements_of(run).get(entry["number"]))
    _show_classes(results)


def _title(entry: ClusterEntry, names: dict[int, str]) -> str:
    doubt = "" if entry["shown"] else " ?"
    return f"{entry['number']} · {title_of(entry['number'], entry['title'], names)}{doubt}"


def _class(results: ClusterResults) -> str:
    """Return the explained class whose clusters are looked at: by default one with clusters that are shown."""
    sizes = {of["target"]: of for of in results["classes"] if not of["reason"]}
    shown = {entry["target"] for entry in results["clusters"] if entry["shown"]}
    ranked = sorted(sizes, key=lambda name: (name not in shown, sizes[name]["n_clusters"] < 2))
    labels = {name: f"{name} · {page.counted(sizes[name]['n_clusters'], 'cluster')}" for name in ranked}
    return pick.from_url("Explained class", ranked, labels, "group", resets=("cluster",))


def _cluster(entries: Sequence[ClusterEntry], names: dict[int, str]) -> ClusterEntry:
    """Let the user choose a cluster; by default the first one that is shown and about a region."""
    ranked = sorted(entries, key=lambda e: (not e["shown"], e["region"] not in ("text", "border"), e["size"]))
    by_id = {str(entry["number"]): entry for entry in ranked}
    labels = {i: f"{_title(entry, names)} · {page.counted(entry['size'], 'X-ray')}" for i, entry in by_id.items()}
    return by_id[pick.from_url("Open a cluster", list(by_id), labels, "cluster", resets=("turn",))]


def _map(of: Clustered, entries: Sequence[ClusterEntry], names: dict[int, str]) -> list[int]:
    """Show the map and return the rows of the table that are selected on it."""
    figure = map_of(of.table, entries, names)
    key = f"clusters:map:{of.run.id}:{entries[0]['target']}"
    event = st.plotly_chart(figure, key=key, on_select="rerun", selection_mode=("points", "box", "lasso"))
    st.caption(
        "Each point is an X-ray; those whose heatmaps are alike lie near each other (t-SNE), so that distances between "
        "groups mean little. Click a point, or draw a box or a lasso, to see X-rays."
    )
    points = cast("list[dict[str, list[int]]]", event["selection"]["points"]) if event else []
    return [int(point["customdata"][0]) for point in points]


def map_of(table: pd.DataFrame, entries: Sequence[ClusterEntry], names: dict[int, str]) -> go.Figure:
    """Return the map of the X-rays of one class, a colour and a symbol for each cluster.

    A point's ``customdata`` is ``[row of the table, image id, label, source]``.
    """
    figure = charts.empty_figure("", "", "")
    for k, entry in enumerate(entries):
        inside = np.flatnonzero((table["cluster"] == entry["number"]).to_numpy())
        own = table.iloc[inside]
        figure.add_scatter(
            x=own["x"],
            y=own["y"],
            mode="markers",
            name=_title(entry, names),
            marker={
                "size": 8,
                "color": charts.COLOURS[k % len(charts.COLOURS)],
                "symbol": _SYMBOLS[k % len(_SYMBOLS)],
                "line": {"width": 0.5, "color": charts.GREY},
            },
            customdata=list(zip(inside.tolist(), own["image_id"], own["label"], own["source"], strict=True)),
            hovertemplate="%{customdata[1]}<br>%{customdata[2]} · %{customdata[3]}<extra></extra>",
        )
    figure.update_layout(
        height=330,
        hovermode="closest",
        dragmode="lasso",
        margin={"l": 4, "r": 4, "t": 8, "b": 4},
        legend={"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _means(of: Clustered, data: Manifest, entries: Sequence[ClusterEntry], names: dict[int, str]) -> None:
    """Show the mean heatmap of each cluster over its mean X-ray."""
    per_row = 3 if len(entries) <= 6 else 4
    for start in range(0, len(entries), per_row):
        for cell, entry in zip(st.columns(per_row), entries[start : start + per_row], strict=False):
            caption = f"{viewer.plain(_title(entry, names))} · {xrays(entry['size'], entry['patients'])}"
            cell.image(pictures.mean_picture(of, data, entry), caption=caption, alt=caption, width="stretch")
    st.caption(
        "Mean heatmaps over the mean of the most typical X-rays. Green: what a cluster uses more than the others. "
        "? : unstable, or perhaps by chance."
    )


def _places(of: Clustered, entry: ClusterEntry) -> list[int]:
    """Return the rows of a cluster's X-rays, the most typical first."""
    inside = np.flatnonzero((of.table["cluster"] == entry["number"]).to_numpy())
    typical = {image_id: k for k, image_id in enumerate(entry["examples"])}
    ids = of.table["image_id"].to_numpy()
    return sorted(inside.tolist(), key=lambda k: typical.get(ids[k], len(typical)))


def _images(of: Clustered, data: Manifest, places: Sequence[int]) -> None:
    per_page = _PER_ROW * _ROWS
    turn = _turn(-(-len(places) // per_page)) - 1
    shown = places[turn * per_page : (turn + 1) * per_page]
    params = params_of(of.run)
    for start in range(0, len(shown), _PER_ROW):
        for cell, place in zip(st.columns(_PER_ROW), shown[start : start + _PER_ROW], strict=False):
            row = of.table.iloc[place]
            with cell:
                about = " · ".join(filter(None, (row["label"], row["source"], row["view"])))
                alt = f"Heatmap over {row['image_id']}"
                st.image(pictures.thumbnail(of, data, place), caption=viewer.plain(about), alt=alt, width="stretch")
                query = {
                    "model": params.network,
                    "data": name_of(params.manifest),
                    "split": data.row(row["image_id"])["split"],
                    "image": row["image_id"],
                    "target": row["target"],
                }
                own = {key: str(value) for key, value in query.items() if value}
                pages.link(pages.EXPLORER, "Explain", own, key=f"clusters:explain:{place}")


def _turn(total: int) -> int:
    """Let the user choose a page of the X-rays; by a parameter of its own, since others on the page list X-rays too."""
    last = max(1, total)
    pick.arrive("clusters:turn", "turn", 1, int, range(1, last + 1), accepted=f"1 to {last}")
    chosen = 1
    if last > 1:
        chosen = int(st.number_input(f"Page (of {last:,})", 1, last, key="clusters:turn", width=140))
    pick.leave("turn", str(chosen), "1")
    return chosen


def _about(run: Run, entry: ClusterEntry, names: dict[int, str]) -> None:
    """Show the figures of a cluster, and let people name it."""
    left, right = st.columns([3, 2])
    with left:
        rows = [
            {
                "region": region["region"],
                "share of relevance": number(region["share"]),
                "over its area": times(region["gain"]),
                "over the others": times(region["relative"]) + ("" if region["shown"] else " ?"),
            }
            for region in entry["regions"]
        ]
        if rows:
            st.dataframe(pd.DataFrame(rows), hide_index=True)
        counts = {"class": entry["classes"], "source": entry["sources"], "view": entry["views"]}
        st.caption(
            " · ".join(
                f"{name}: {viewer.plain(', '.join(f'{value} {n:,}' for value, n in list(of.items())[:5]))}"
                for name, of in counts.items()
            )
        )
    with right:
        stability = NOTHING if entry["stability"] is None else f"{entry['stability']:.2f}"
        by_chance = entry["separateness_by_chance"]
        chance = "" if by_chance is None else f" (by chance {by_chance:.1f})"
        apart = number(entry["separateness"]) + chance
        st.caption(f"Stability in halves of the patients: {stability}. Separateness: {apart}.")
        key = f"clusters:name:{run.id}:{entry['number']}"
        pick.remember(key, names.get(entry["number"], ""))
        name = st.text_input("Name of this cluster", key=key, placeholder=entry["title"], max_chars=LONGEST)
        if acts.button("Save the name", icon=":material/label:", key=f"{key}:save") and page.tried(
            lambda: name_cluster(run, entry["number"], name)
        ):
            st.rerun()


def _show_classes(results: ClusterResults) -> None:
    with st.expander("Explained classes, and how to read this"):
        for of in results["classes"]:
            st.markdown(f"- {viewer.plain(of['sentence'])}")
            for association in of["associations"]:
                if association["shown"]:
                    st.caption(viewer.plain(association["sentence"]))
        st.caption("\n".join(f"- {viewer.plain(note)}" for note in results["notes"]))
        st.caption(f"Regions were measured on {results['in_regions']:,} of {results['n_maps']:,} heatmaps.")
