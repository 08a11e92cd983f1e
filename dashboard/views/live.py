"""Curves of one or several trainings while they run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from cxr.runs import Run, Status, list_runs, told_apart
from cxr.runs.metrics.metrics_table import Metrics

from sections.live import curves, drawn, options, seeds, usage, worst
from sections.live.axes import View, unit_for
from services import load
from widgets import page, pages, pick
from widgets import run_state as run_parts

REFRESH_S = 1.5
RECENT = 40  # steps that speed and waiting are taken over


def throughput(metrics: Metrics) -> str:
    recent = metrics.steps["images_per_s"][-RECENT:]
    recent = recent[recent > 0]
    return f"{recent.mean():.1f}" if len(recent) else "–"


def best_score(run: Run, epochs: list[dict]) -> tuple[str, str]:
    """Return title and value of the best score of the stage that is trained now."""
    stages = run.spec["params"]["recipe"].get("stages") or [{}]
    if not epochs:
        return f"Best val. {'AUC' if stages[0].get('task') == 'multi-label' else 'accuracy'}", "–"
    stage = epochs[-1]["stage"]
    own = [row for row in epochs if row["stage"] == stage]
    # Runs of before have an accuracy of findings: most are absent, so it is high for any network.
    key, title = ("val_auc", "AUC") if own[-1].get("val_auc") is not None else ("val_accuracy", "accuracy")
    best = max((row[key] for row in own if row.get(key) is not None), default=None)
    several = len(stages) > 1
    title = f"Best val. {title}{f' ({stage})' if several else ''}"
    return title, "–" if best is None else f"{best:.3f}" if key == "val_auc" else f"{best * 100:.1f} %"


def waited(metrics: Metrics) -> str:
    """Return the share of the last steps' time that the training stood still for data."""
    speed, wait, times = (metrics.steps[name][-RECENT:] for name in ("images_per_s", "wait_s", "time"))
    recorded = (speed > 0) & np.isfinite(wait)
    wait, times = wait[recorded], times[recorded]
    if len(times) < 2 or times[-1] <= times[0]:
        return "–"
    return f"{100 * wait[1:].sum() / (times[-1] - times[0]):.1f} %"


def figures(status: Status, own: Metrics) -> None:
    """Show what the training has done, how fast it is, and how long it needs or took."""
    epochs, steps = own.of_kind("epoch"), own.steps["step"]
    cells = st.columns(5)
    cells[0].metric("Epochs done", len(epochs))
    cells[1].metric("Steps", f"{steps[-1]:,}" if len(steps) else "0")
    help_ = f"{waited(own)} of the last steps' time was spent waiting for data"
    cells[2].metric("Images per second", throughput(own), help=help_)
    if status["state"] in run_parts.ACTIVE:
        cells[3].metric("Time left", load.duration(status["eta_s"]))
    else:
        took = status["ended"] - status["started"] if status["ended"] and status["started"] else None
        help_ = "With the time that it stood still, if it was stopped and resumed"
        cells[3].metric("From start to end", load.duration(took), help=help_)
    label, best = best_score(chosen, epochs)
    help_ = "The highest of all epochs so far, which is too good as an estimate. Results show figures with intervals."
    cells[4].metric(label, best, help=help_)


def charts(metrics: dict[str, Metrics], of_seeds: list[Metrics], scaled: View) -> None:
    """Draw loss, scores, learning rate and speed; the first of ``metrics`` is of the run that was chosen."""
    left, right = st.columns(2)
    left.plotly_chart(curves.loss_curves(metrics, scaled, of_seeds), key="live:loss")
    right.plotly_chart(curves.score_curves(metrics, scaled, of_seeds), key="live:score")
    left.plotly_chart(curves.rate_curves(metrics, scaled), key="live:rate")
    right.plotly_chart(curves.speed_curves(metrics, scaled), key="live:speed")


page.header(
    "Live", "Loss and validation curves as they grow. Closing this page does not stop the training.", dense=True
)
with page.told_in_one_line():
    left, right = st.columns(2)
    with left:
        chosen = pick.run("train", empty="No training has been started yet, so there are no curves to watch.")
    others = [run for run in list_runs(kind="train") if run.id != chosen.id]
    with right:
        compared = options.choose_runs(chosen, others)
    same_recipe = seeds.siblings(chosen, others)


was_band = options.is_band_chosen(len(same_recipe))


def watched(as_band: bool) -> list[Run]:
    return [chosen, *compared, *(same_recipe if as_band else [])]


@page.refreshed(REFRESH_S if any(run.active for run in watched(was_band)) else None)
def live() -> None:
    """How curves are drawn is chosen in here: the rest of the page stays as it is."""
    view, as_band = options.choose_view(len(same_recipe))
    if as_band != was_band:
        st.rerun()  # whether it refreshes itself may change
    run_parts.rerun_when_gone(*watched(as_band))
    statuses = {run.id: run.status() for run in watched(as_band)}
    status = statuses[chosen.id]
    top, buttons = st.columns([5, 1], vertical_alignment="center")
    with top:
        run_parts.state_line(chosen, status)
    with buttons:
        run_parts.controls(chosen, status, key=f"live:{chosen.id}")
        if status["state"] == "finished":  # the next step, which nobody would look for below the curves
            to_results = {"run": chosen.id}
            st.page_link(pages.RESULTS, label="See its results", icon=":material/grid_on:", query_params=to_results)
    for run in watched(as_band):
        run_parts.rerun_when_changed(run, statuses[run.id])

    own = load.metrics(chosen)
    names = told_apart({run.id: run.name for run in [chosen, *compared]})
    metrics = {names[chosen.id]: own} | {names[run.id]: load.metrics(run) for run in compared}
    of_seeds = [load.metrics(run) for run in same_recipe] if as_band else []
    scaled = replace(view, unit_s=unit_for([*metrics.values(), *of_seeds]))
    figures(status, own)
    if any(map(len, [*metrics.values(), *of_seeds])):
        charts(metrics, of_seeds, scaled)
    elif status["state"] in run_parts.ACTIVE:
        st.caption("Curves begin once the images are decoded and the first steps are done.")
    else:
        st.caption("It ended before its first step, so there are no curves.")
    usage.show(load.usage(chosen), own, scaled)
    neurons = own.of_kind("neurons")
    neurons = [row for row in neurons if row["stage"] == neurons[-1]["stage"]]
    if neurons and any(n["kept"] for n in neurons[-1]["neurons"].values()):
        st.plotly_chart(curves.neuron_curves(neurons), key="live:neurons")
    with st.expander("Log", expanded=status["state"] == "failed"):
        page.code("\n".join(chosen.folder.log_tail(40)) or "empty so far")
    worst.follow(chosen)


worst_now = worst.read(chosen)
live()
with page.told_in_one_line(below_heading=False):
    worst.show(chosen, worst_now)
    drawn.show(chosen)
if chosen.status()["state"] == "queued":
    st.page_link(pages.TRAIN, label="See the queue and change its order", icon=":material/format_list_numbered:")
page.command("cxr", "runs", "show", chosen.id)
