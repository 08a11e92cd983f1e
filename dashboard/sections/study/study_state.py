"""A study while it runs: its state and buttons, its members by recipe and seed, and its report read cheaply."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd
import streamlit as st

from cxr.experiments.study import Member, retry, stop_study
from cxr.experiments.study.comparison import Report, basis_of, compare
from cxr.experiments.study.curves import LearningCurve, learning_curve
from cxr.experiments.study.measures import METRIC_TITLES
from cxr.experiments.study.plan import Plan
from cxr.experiments.study.settings import StudyParams
from cxr.runs import Run
from cxr.training.recipe import Recipe

from widgets import page
from widgets import run_state as run_parts
from widgets.access import acts

MARKS = {"finished": "✓", "failed": "✗", "stopped": "◼", "running": "▶", "queued": "…", "stopping": "◻"}


@st.cache_data(max_entries=2000, show_spinner=False)
def _learning_curve(run_id: str, stamp: tuple[int, ...], state: str, _member: Member, _recipe: Recipe) -> LearningCurve:
    return learning_curve(_member, _recipe)


def learning_curves(study: Run, trainings: Sequence[Member]) -> list[LearningCurve]:
    """Return the learning curves of a study's members, reading again only those whose files have grown."""
    recipes = StudyParams.of(study.params).recipes
    return [
        _learning_curve(m.run.id, _stamp(m.run), m.state, m, recipes[m.recipe])
        if m.run
        else learning_curve(m, recipes[m.recipe])
        for m in trainings
    ]


def _stamp(run: Run) -> tuple[int, ...]:
    files = [run.folder.path / name for name in ("metrics.jsonl", "results.json")]
    return tuple(value for file in files if file.exists() for value in (file.stat().st_size, file.stat().st_mtime_ns))


def report(study: Run, plan: Plan, curves: Sequence[LearningCurve], k: int, level: float) -> Report:
    """Return the comparison for one length of the beginning and one level."""
    compared = compare(plan.model_copy(update={"first_epochs": [k], "accuracy": [level]}), curves, plan)
    return dataclasses.replace(compared, basis=basis_of(study))


def state(study: Run, trainings: Sequence[Member]) -> None:
    """Show the study's state and the buttons that it allows."""
    status = study.status()
    line, buttons = st.columns([5, 1], vertical_alignment="center")
    with line:
        run_parts.state_line(study, status)
    with buttons:
        run_parts.controls(study, status, key=f"study:{study.id}")
        _more_buttons(study, status["state"], [member.state for member in trainings])
    run_parts.rerun_when_changed(study, status)
    for text in (study.results() or {}).get("failures", []) if status["state"] == "finished" else []:
        st.warning(text, icon=":material/error:")


def _more_buttons(study: Run, state: str, states: Sequence[str]) -> None:
    """Offer what only a study has: stopping members that its dead process left, trying failed ones again."""
    if state not in run_parts.ACTIVE and any(s in run_parts.ACTIVE for s in states):
        if acts.button("Stop its trainings", icon=":material/stop_circle:", key="study:stop-members"):
            _do(lambda: stop_study(study))
    elif state == "finished" and any(s in ("failed", "stopped") for s in states):
        help_ = "Failed or stopped trainings continue from their checkpoints"
        if acts.button("Try again", icon=":material/replay:", key="study:retry", help=help_):
            _do(lambda: retry(study))


def _do(action: Any) -> None:
    if page.tried(action):
        st.rerun()


def member_table(study: Run, plan: Plan, trainings: Sequence[Member], curves: Sequence[LearningCurve]) -> pd.DataFrame:
    """Return one row per recipe, one column per seed; a cell is a link to the curves that ends in what it says."""
    cells = {
        (member.recipe, member.seed): _cell(member, learning_curve, plan)
        for member, learning_curve in zip(trainings, curves, strict=True)
    }
    rows = [{f"seed {seed}": cells[label, seed] for seed in plan.seeds} for label in plan.labels]
    return pd.DataFrame(rows, index=pd.Index(plan.labels, name="recipe"))


def _cell(member: Member, learning_curve: LearningCurve, plan: Plan) -> str:
    if member.run is None:
        return ""
    curve = learning_curve.curves.get(plan.metric) or {}
    best = (min if plan.lower_is_better else max)(curve.values()) if curve else None
    parts = [f"{MARKS.get(member.state, '')} {member.state}", f"epoch {max(curve, default=0)}/{learning_curve.epochs}"]
    if best is not None:
        parts.append(f"{best:.3f}" if plan.lower_is_better else f"{100 * best:.1f} %")
    return f"live?run={member.run.id}#{quote(' · '.join(parts))}"


def show_members(study: Run, plan: Plan, trainings: Sequence[Member], curves: Sequence[LearningCurve]) -> None:
    """Show the table of members; every cell leads to the training's curves."""
    table = member_table(study, plan, trainings, curves)
    link = {name: st.column_config.LinkColumn(name, display_text=r"#(.*)$") for name in table.columns}
    st.dataframe(table, column_config=link, width="stretch")
    st.caption(
        f"State, epoch of the last stage, best {METRIC_TITLES[plan.metric]}. Click one to see its curves on the Live "
        f"page.{_about_empty_cells(trainings)}"
    )


def _about_empty_cells(trainings: Sequence[Member]) -> str:
    empty = [member for member in trainings if member.run is None]
    deleted = sum(member.deleted for member in empty)
    if not deleted:
        return " An empty cell has not started." if empty else ""
    others = len(empty) - deleted
    rest = f", {others:,} {'was' if others == 1 else 'were'} not started" if others else ""
    return f" Empty cells: {page.counted(deleted, 'training')} {'was' if deleted == 1 else 'were'} deleted{rest}."
