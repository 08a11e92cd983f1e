"""Runs of clusters of heatmaps: started for a network and a split, followed, and shown when they are done."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from cxr.experiments.clusters.results import KIND
from cxr.explain.heatmap import Method
from cxr.runs import Run, Slurm, list_runs

from sections.explorer import heatmap_facts
from sections.trust import clusters
from services import load
from widgets import address, page, pick, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start
from widgets.subject import Subject, name_of


@page.refreshed(None)
def section(chosen: Subject, method: Method, target: str) -> None:
    """Offer to cluster the heatmaps of a split, and show the run that does or did.

    ``target`` is a class, ``all``, or "" for the predicted class.
    """
    runs = {run.id: run for run in list_runs(kind=KIND) if _concerns(run, chosen)}
    asked, title = address.asks("clusters") is not None, "Clusters of heatmaps"
    with page.folded(
        title, icon=":material/scatter_plot:", key="clusters:fold", asked=asked, opened=bool(runs)
    ) as is_open:
        if not is_open:
            return
        n = len(chosen.data.select(split=chosen.split))
        st.caption(
            "Which X-rays does the network decide by the same part of the picture? Heatmaps that are alike are put "
            "together; a cluster about burned-in text or the border is a reason to look closer."
        )
        if runs or address.asks("clusters") is not None:
            labels = {run_id: load.local_time(run.spec["created"]) for run_id, run in runs.items()}
            run = runs[
                pick.from_url(
                    "Clusters",
                    list(runs),
                    labels,
                    "clusters",
                    missing=_missing,
                    resets=("group", "cluster", "turn"),
                )
            ]
            if run.status()["state"] == "finished":
                clusters.render(run)
            else:
                run_parts.watch(run, key=f"clusters:{run.id}")
        place = where.choose(KIND)
        label = f"Cluster the heatmaps of {page.counted(n, 'X-ray')}"
        if acts.button(label, icon=":material/scatter_plot:", key="clusters:start"):
            address.ask(clusters=_start(chosen, method, target, place).id)
            st.rerun()
        words = ["--split", chosen.split] if chosen.split else ["--split", ""]
        words += heatmap_facts.command_words(method)
        words += ["--target", target] if target else []
        words += where.words(place)
        given = ("--data", chosen.command_data, *words)
        page.command("cxr", "clusters", chosen.network_ref, *given, what="These clusters")


def _start(chosen: Subject, method: Method, target: str, place: Slurm | None) -> Run:
    params = {
        "model": chosen.network_ref,
        "manifest": chosen.manifest_path,
        "split": chosen.split or None,
        "composite": method.composite,
        "options": dict(method.options),
        "bias": method.bias or None,
        "targets": target or None,
    }
    return start(KIND, params, where=place)


def _concerns(run: Run, chosen: Subject) -> bool:
    params = run.spec["params"]
    same_data = Path(params.get("manifest", "")).resolve() == chosen.manifest_path.resolve()
    return same_data and params.get("model") == chosen.network_ref and (params.get("split") or "") == chosen.split


def _missing(run_id: str) -> str:
    """Return why a run is not among those listed; one on other X-rays or of another network can be opened."""
    run = next((run for run in list_runs(kind=KIND) if run.id == run_id), None)
    if run is None:
        return pick.missing_run(run_id, (KIND,))
    params = run.spec["params"]
    link = {"model": params["model"], "data": name_of(Path(params["manifest"])), "split": params.get("split") or ""}
    text = f"The run {run_id!r} clusters heatmaps of other X-rays, or of another network, than those chosen here."
    return address.refuse(
        "clusters", text, "Open it with its network and data", lambda: address.ask(clusters=run_id, **link)
    )
