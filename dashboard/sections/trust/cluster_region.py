"""The region of a cluster: what masking it does to the predictions, and as a mask for training."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from cxr.data import Manifest
from cxr.experiments.clusters.region.export import export_mask
from cxr.experiments.clusters.region.measure import measure_cluster
from cxr.experiments.clusters.region.places import mask_of
from cxr.experiments.clusters.results import ClusterEntry, Measurement, params_of
from cxr.explain.render import to_png
from cxr.paths import data_root
from cxr.runs import Run

from services import computing
from widgets import page, pages, viewer
from widgets.access import acts

_SIDE = 512


def show(run: Run, entry: ClusterEntry, data: Manifest, measured: Measurement | None) -> None:
    """Show what is known of masking a cluster's region, with the buttons that measure and export it."""
    area = f"{100 * entry['area']:.0f} % of the picture"
    st.markdown(f"**What it shows, masked** ({area}, outlined in green above)")
    if measured is not None:
        st.success(viewer.plain(measured["sentence"]), icon=":material/straighten:")
        with st.expander("What this does not show"):
            st.caption("\n".join(f"- {viewer.plain(note)}" for note in measured["notes"]))
    name = f"{data.path.parent.name if data.path else 'data'}-without-{run.id.split('-')[2]}-{entry['number']}"
    with st.container(horizontal=True):
        label = "Mask it and measure" if measured is None else "Measure again"
        kind: Literal["primary", "secondary"] = "primary" if measured is None else "secondary"
        if acts.button(label, icon=":material/straighten:", type=kind, key=f"clusters:measure:{run.id}"):
            _measure(run, entry)
        st.download_button(
            "Mask as a picture",
            to_png(mask_of(entry["boxes"], _SIDE)),
            f"cluster-{entry['number']}.png",
            "image/png",
            icon=":material/download:",
            on_click="ignore",
            key=f"clusters:mask:{run.id}",
        )
        there = (data_root() / name / "manifest.csv").exists()
        if not there and acts.button(
            "Data set to train without it", icon=":material/masked_transitions:", key="clusters:export"
        ):
            _export(run, entry, name)
    if there:
        st.caption(
            f"The data set {viewer.plain(name)} holds the same X-rays with this region as the box to mask, on each of "
            "them: a recipe that masks text hides the region instead."
        )
        st.page_link(
            pages.TRAIN, label="Train without it", icon=":material/model_training:", query_params={"data": name}
        )
    word = "--measure" if measured is None else "--export-mask"
    out = ["--out", "DIR"] if measured else []
    page.command("cxr", "clusters", run.id, word, entry["number"], *out, what="This region")


def _measure(run: Run, entry: ClusterEntry) -> None:
    bar = st.progress(0.0, "masking …")

    def work() -> None:
        computing.compute(
            params_of(run).network,
            lambda network: measure_cluster(
                run, entry["number"], network, progress=lambda done, text: bar.progress(done, text)
            ),
        )

    if page.tried(work):
        st.rerun()
    bar.empty()


def _export(run: Run, entry: ClusterEntry, name: str) -> None:
    bar = st.progress(0.0, "reading X-rays …")
    if page.tried(
        lambda: export_mask(
            run, entry["number"], data_root() / name, progress=lambda done, text: bar.progress(done, text)
        )
    ):
        st.rerun()
    bar.empty()
