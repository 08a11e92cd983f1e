"""Overview: what there is, what is running, what to do next."""

from __future__ import annotations

import streamlit as st

from cxr.data.library import list_data_sets
from cxr.errors import CxrError
from cxr.paths import data_root
from cxr.runs import Slurm, list_runs, start

from widgets import address, page, pages, where
from widgets import run_state as run_parts

REFRESH_S = 3


def next_steps(sets: list, runs: list) -> list[tuple[str, str, str]]:
    """Return (page, link, why) of what a researcher would do now."""
    steps = []
    finished = [r for r in runs if r.kind == "train" and r.status()["state"] == "finished"]
    if not sets:
        steps.append((pages.DATA, "Get a data set", "Make the synthetic X-rays or import your own."))
    elif not any(d.kind != "synthetic" for d in sets):
        steps.append((pages.DATA, "Import your own X-rays", "A folder per class, a CSV, DICOM or a public data set."))
    if sets and not finished:
        steps.append((pages.TRAIN, "Train a network", "Or use the button on the right for a small one."))
    if finished:
        steps.append((pages.RESULTS, "Read the results", "Confusion matrix, intervals, the images behind each cell."))
    steps.append(
        (pages.EXPLORER, "Look at heatmaps", "Which pixels spoke for a class? Works with the shipped network.")
    )
    steps.append((pages.TEXT, "Mask the text", "Does the prediction depend on burned-in text?"))
    return steps


def train_demo(place: Slurm | None) -> None:
    """Start a training on the synthetic X-rays and go to its curves."""
    manifest = data_root() / "demo" / "manifest.csv"
    if not manifest.exists():
        raise CxrError("the synthetic X-rays are missing; make them on the Data page or with `cxr demo`")
    run = start("train", {"recipe": "demo", "manifest": manifest, "data_name": "demo"}, where=place)
    address.switch(pages.LIVE, run=run.id)


page.header(
    "Chest X-rays: what did the network look at?",
    "Train a classifier for COVID-19, pneumonia and normal, see its heatmaps, and measure what burned-in text does.",
)
with page.told_in_one_line():
    sets, runs = list_data_sets(), list_runs()

left, right = st.columns([3, 2], gap="large")
with left:
    st.subheader("What to do next", anchor=False)
    for target, label, why in next_steps(sets, runs):
        with st.container(border=True):
            st.page_link(target, label=f"**{label}**", icon=":material/arrow_forward:")
            st.caption(why)
with right:
    st.subheader("Try it now", anchor=False)
    st.write("A small DenseNet on the synthetic X-rays trains in under three minutes on two processor cores.")
    with page.told_in_one_line():
        pressed = st.button("Train a fresh demo network", type="primary", icon=":material/play_arrow:")
        place = where.choose("train", "home")
        if pressed:
            train_demo(place)
    st.subheader("Data sets", anchor=False)
    if sets:
        st.dataframe([{"name": d.name, "X-rays": d.n, "from": d.kind} for d in sets], hide_index=True)
    else:
        st.caption("None yet.")
    st.info(
        "Reported figures fall outside the hospital they were trained in: the paper's own test set gave 100 %, an "
        "outside test of a plain DenseNet201 by the same authors 71.7 % (95 % HDI 64.6 to 78.6).",
        icon=":material/warning:",
    )


@page.refreshed(REFRESH_S if any(r.status()["state"] in run_parts.ACTIVE for r in runs) else None)
def recent() -> None:
    st.subheader("Runs", anchor=False)
    newest = list_runs()[:15]
    if newest:
        run_parts.show_table(newest)
    else:
        st.caption("No run yet. Trainings, evaluations and text experiments appear here.")


recent()
page.command("cxr", "train", "demo", "--data", "demo", *where.words(place))
