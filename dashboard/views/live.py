"""Curves of one or several trainings while they run."""

from __future__ import annotations

import streamlit as st

from cxr.runs import Run, get_run, list_runs

from components import charts, load, page, pages, pick
from components import runs as run_parts

REFRESH_S = 1.5


def new_rows(run: Run) -> list[dict]:
    """Return all metric rows of a run, reading only what has been added since the last refresh."""
    readers = st.session_state.setdefault("live:readers", {})
    if run.id not in readers:
        readers[run.id] = (run.folder.metrics_reader(), [])
    reader, rows = readers[run.id]
    fresh = reader.read()
    if reader.reset:
        rows.clear()
    rows.extend(fresh)
    return rows


def throughput(rows: list[dict]) -> str:
    recent = [row["images_per_s"] for row in rows[-40:] if row.get("images_per_s")]
    return f"{sum(recent) / len(recent):.1f} images/s" if recent else "–"


page.header("Live", "Loss and validation curves as they grow. Closing this page does not touch the training.")
with page.told_in_one_line():
    left, right = st.columns(2)
    with left:
        chosen = pick.run("train", empty="No training has been started yet, so there are no curves to watch.")
    others = [r for r in list_runs(kind="train") if r.id != chosen.id]
labels = {r.id: pick.describe_run(r) for r in others}
compare = right.multiselect("Compare with", list(labels), format_func=labels.get, placeholder="other trainings")


@st.fragment(run_every=REFRESH_S if chosen.status()["state"] in run_parts.ACTIVE else None)
def live() -> None:
    status = chosen.status()
    top, buttons = st.columns([6, 1], vertical_alignment="center")
    with top:
        run_parts.state_line(chosen, status)
    with buttons:
        run_parts.controls(chosen, status, key="live")
    run_parts.rerun_when_changed(chosen, status)

    rows = new_rows(chosen)
    metrics = {chosen.spec["name"]: rows}
    for run_id in compare:
        other = get_run(run_id)
        name = other.spec["name"]
        metrics[name if name not in metrics else f"{name} ({run_id[-9:]})"] = new_rows(other)
    epochs = [row for row in rows if row.get("kind") == "epoch"]
    steps = [row for row in rows if row.get("kind") == "step"]
    cells = st.columns(5)
    cells[0].metric("Epochs done", len(epochs))
    cells[1].metric("Steps", steps[-1]["step"] if steps else 0)
    cells[2].metric("Throughput", throughput(steps) if status["state"] in run_parts.ACTIVE else "–")
    cells[3].metric("Time left", load.duration(status.get("eta_s")) if status["state"] in run_parts.ACTIVE else "–")
    best = max((row["val_accuracy"] for row in epochs if row.get("val_accuracy") is not None), default=None)
    cells[4].metric("Best val. accuracy", "–" if best is None else f"{best * 100:.1f} %")
    left, right = st.columns(2)
    left.plotly_chart(charts.loss_curves(metrics), key="live:loss")
    right.plotly_chart(charts.score_curves(metrics), key="live:score")
    if not rows:
        st.caption("The first point comes when the images are decoded and the first steps are done.")
    with st.expander("Log", expanded=status["state"] == "failed"):
        st.code("\n".join(chosen.folder.log_tail(40)) or "empty so far", language=None)


live()
if chosen.status()["state"] == "finished":
    st.page_link(pages.RESULTS, label="See its results", icon=":material/grid_on:", query_params={"run": chosen.id})
page.command("cxr", "runs", "show", chosen.id)
