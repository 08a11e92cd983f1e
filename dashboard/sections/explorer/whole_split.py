"""Heatmaps of a whole split: a run in the background, by the network and the method that the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from cxr.explain.heatmap import Method
from cxr.explain.run_files import INDEX
from cxr.explain.settings import ALL, Targets
from cxr.json_types import JsonObject
from cxr.runs import Run, list_runs

from sections.explorer import composite_options, heatmap_facts
from services import explaining, field_names, load
from widgets import address, locked, page, pick, viewer, where
from widgets import run_state as run_parts
from widgets.access import acts
from widgets.run_state import start
from widgets.subject import Subject, name_of

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

KIND = "explain"


@page.refreshed(None)
def section(chosen: Subject, network: XrayClassifier, method: Method, target: str) -> None:
    """Offer to explain all X-rays of the split, and show the run that does or did.

    ``target`` is a class, ``all``, or "" for the predicted class, as :class:`cxr.explain.settings.Targets` reads it.
    """
    runs = runs_of(chosen)
    asked, opened = address.asks("maps") is not None, any(r.active or r.id in _started_here() for r in runs.values())
    with page.folded(
        "Heatmaps of a whole split", icon=":material/burst_mode:", key="split:fold", asked=asked, opened=opened
    ) as is_open:
        if not is_open:
            return
        n = len(chosen.data.select(split=chosen.split))
        split = f"the split {viewer.plain(chosen.split)}" if chosen.split else "the data set"
        st.caption(
            f"Explains {_in_words(Targets.of(target, network), network)} on {page.counted(n, 'X-ray')} of {split} in "
            "the background, by the method chosen above. This page then shows the maps without computing them."
        )
        look = locked.choose_open(chosen.manifest_path, [chosen.split] if chosen.split else [], "split")
        place = where.choose_with_shards(KIND)
        if acts.button(f"Explain {page.counted(n, 'X-ray')}", icon=":material/play_arrow:", key="split:start"):
            run = begin(chosen, method, target, place, look)
            _started_here().add(run.id)
            address.ask(maps=run.id)
            st.rerun()
        if runs or address.asks("maps") is not None:
            labels = {run_id: describe(run) for run_id, run in runs.items()}
            _show(runs[pick.from_url("Run", list(runs), labels, "maps", missing=_missing)])
        goal = ["--target", target] if target else []
        words = [*goal, *heatmap_facts.command_words(method), *locked.words(look), *where.words(place)]
        split_words = ["--data", chosen.command_data, "--split", chosen.split]
        page.command("cxr", "explain", chosen.network_ref, *split_words, *words, what="These heatmaps")


def _started_here() -> set[str]:
    """Return the runs that were started on this page: their results stay in sight once they are there."""
    started: set[str] = st.session_state.setdefault("split:started", set())
    return started


def runs_of(chosen: Subject) -> dict[str, Run]:
    """Return the explaining runs of a network on these X-rays by id, the newest first."""
    return {run.id: run for run in list_runs(kind=KIND) if _concerns(run, chosen)}


def begin(chosen: Subject, method: Method, target: str, place: where.Place, opened: JsonObject) -> Run:
    """Start a run that explains the X-rays of the split."""
    params = {
        **opened,
        "model": chosen.network_ref,
        "manifest": chosen.manifest_path,
        "split": chosen.split or None,
        "composite": method.composite,
        "bias": method.bias or None,
        "options": composite_options.changed(method.composite, dict(method.options)),
        "targets": target or None,
    }
    return start(KIND, params, where=place.slurm, shards=place.shards)


def _in_words(targets: Targets, network: XrayClassifier) -> str:
    if targets.name:
        return f"the class {viewer.plain(targets.name)}"
    if targets.word == ALL:
        return "every class"
    return "the most probable class" if explaining.is_of_findings(network) else "the predicted class"


def _show(run: Run) -> None:
    """Show how far a run is, and what came of it once it has finished."""
    run_parts.watch(run, key=f"split:{run.id}")
    results = run.results()
    if results is None:
        return
    st.info(viewer.on_page(results["finding"], field_names.of_kind(run.kind)), icon=":material/burst_mode:")
    if results["left_out"]:
        first = results["left_out"][0]
        text = f"{page.counted(len(results['left_out']), 'X-ray')} could not be read, the first: "
        st.caption(viewer.plain(f"{text}{first['image_id']}: {first['reason']}"))
    page.csv_button("Table of the maps as CSV", _table(run), run.id)
    st.caption(f"All maps as one array, and this table, are in `{run.folder.path}`.")


def _table(run: Run) -> pd.DataFrame:
    return pd.read_parquet(run.folder.path / INDEX)


def _concerns(run: Run, chosen: Subject) -> bool:
    params = run.spec["params"]
    same_data = Path(params.get("manifest", "")).resolve() == chosen.manifest_path.resolve()
    return same_data and params.get("model") == chosen.network_ref and (params.get("split") or "") == chosen.split


def describe(run: Run) -> str:
    """Return what a list calls a run: its method, its target, when it was started."""
    params = run.spec["params"]
    target = params.get("targets") or "predicted"
    picked = f"{page.counted(len(params['ids']), 'picked X-ray')} · " if params.get("ids") else ""
    composite = params.get("composite") or "default composite"
    return f"{picked}{composite} · {target} · {load.local_time(run.spec['created'])}"


def _missing(run_id: str) -> str:
    """Return why a run is not among those listed; one on other X-rays or of another network can be opened."""
    run = next((run for run in list_runs(kind=KIND) if run.id == run_id), None)
    if run is None:
        return pick.missing_run(run_id, (KIND,))
    params = run.spec["params"]
    link = {"model": params["model"], "data": name_of(Path(params["manifest"])), "split": params.get("split") or ""}
    text = f"The run {run_id!r} explains other X-rays, or another network, than those chosen here."
    return address.refuse("maps", text, "Open it with its network and data", lambda: address.ask(maps=run_id, **link))
