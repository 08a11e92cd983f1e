"""Text experiments of whole splits: setting one up, starting it, choosing and watching it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import streamlit as st

from cxr.errors import CxrError
from cxr.runs import ACTIVE, Run, get_run, list_runs, start
from cxr.text import DEFAULT_MODE, MASK_MODES
from cxr.text.conditions import DEFAULT_DRAWS, MOST_DRAWS

from components import load, page, pick
from components import runs as run_parts
from components.subject import Subject, name_of

KIND = "text-experiment"
REFRESH_S = 1.5


def settings(how: dict[str, Any]) -> dict[str, Any]:
    """Let the user choose the rest of an experiment; returns its parameters, ``modes`` with that of ``how`` first."""
    others = [name for name in MASK_MODES if name != how["mode"]]
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    pick.arrive("experiments:modes", "also", (), _names)
    pick.remember_some("experiments:modes", others)
    also = left.pills(
        "Also mask by",
        others,
        selection_mode="multi",
        format_func=lambda name: MASK_MODES[name].title,
        key="experiments:modes",
        help="Each way of masking leaves another kind of patch. What all of them agree on is safest; each takes time.",
    )
    pick.leave("also", ",".join(also), "")
    pick.arrive("experiments:draws", "draws", DEFAULT_DRAWS, int, range(1, MOST_DRAWS + 1))
    help_ = "How often random boxes are drawn, as a control. More draws make the control more certain, and take longer."
    draws = int(right.number_input("Random draws", 1, MOST_DRAWS, key="experiments:draws", help=help_))
    pick.leave("draws", str(draws), str(DEFAULT_DRAWS))
    return {"modes": [how["mode"], *also], "margin": how["margin"], "draws": draws}


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name in MASK_MODES]


def begin(subject: Subject, how: dict[str, Any]) -> None:
    """Start an experiment on the chosen split and show it."""
    params = {"model": subject.reference, "manifest": subject.manifest_path, "split": subject.split, **how}
    run = start(KIND, params, name=f"text {subject.data_name} {subject.split}", manifest_hash=subject.data.hash())
    st.query_params["run"] = run.id
    st.rerun()


def complete_address(look: str) -> None:
    """Have an address that names an experiment and no network name what belongs to it, and open ``look``."""
    asked = st.query_params.get("run")
    if asked is None or "model" in st.query_params:
        return
    with contextlib.suppress(CxrError):  # what is unknown is told where experiments are chosen
        run = get_run(asked)
        if run.kind == KIND:
            params = run.spec["params"]
            where = {"model": params["model"], "data": name_of(Path(params["manifest"])), "split": params["split"]}
            st.query_params.update({"look": look} | where)


def choose(subject: Subject) -> Run:
    """Let the user choose an experiment, those of the present choice first; without any, say what to do."""
    every = list_runs(kind=KIND)
    mine = [run for run in every if _concerns(run, subject)]
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    others = len(every) - len(mine)
    help_ = "Lists experiments on other networks, data sets and splits too"
    show_all = others > 0 and right.toggle(f"All ({len(every)})", key="experiments:all", help=help_)
    listed = every if show_all else mine
    if not listed:
        more = f" {others} on other networks or data can be listed with the switch above." if others else ""
        page.nothing_yet(f"No experiment on this network and split yet. Start one: it runs in the background.{more}")
    labels = {run.id: _describe(run, named=show_all) for run in listed}
    by_id = {run.id: run for run in listed}
    with left:
        return by_id[pick.from_url("Experiment", list(by_id), labels, "run")]


def _concerns(run: Run, subject: Subject) -> bool:
    params = run.spec["params"]
    same_data = Path(params.get("manifest", "")).resolve() == subject.manifest_path.resolve()
    return same_data and (params.get("model"), params.get("split")) == (subject.reference, subject.split)


def _describe(run: Run, *, named: bool) -> str:
    params = run.spec["params"]
    where = f"{params.get('model')} on {run.spec['name'].removeprefix('text ')} · " if named else ""
    named_modes = [name for name in params.get("modes") or [params.get("mode")] if name in MASK_MODES] or [DEFAULT_MODE]
    mode = MASK_MODES[named_modes[0]].title + (f" + {len(named_modes) - 1}" if len(named_modes) > 1 else "")
    margin = f"margin {params['margin']:g} · " if "margin" in params else ""
    # The state stands below: a label that changes while its entry is chosen stays as it was in the browser.
    return f"{where}{mode} · {margin}{load.local_time(run.spec['created'])}"


def watch(run: Run) -> None:
    """Show state and buttons of an experiment, refreshed as long as it is active; the whole page follows its end."""
    active = run.status()["state"] in ACTIVE

    @st.fragment(run_every=REFRESH_S if active else None)
    def progress() -> None:
        status = run.status()
        if active and status["state"] not in ACTIVE:
            st.rerun()
        line, buttons = st.columns([5, 1], vertical_alignment="center")
        with line:
            run_parts.state_line(run, status)
        with buttons:
            run_parts.controls(run, status, key="experiment")

    progress()
