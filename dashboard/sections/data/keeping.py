"""A data set handed on, or deleted: what would be lost is said first."""

from __future__ import annotations

from functools import partial

import streamlit as st

from cxr.data.exporting import manifest_zip
from cxr.data.library import DataSet
from cxr.data.removing import delete_data_set, what_would_be_lost

from widgets import address, page, viewer
from widgets.access import acts


def show(chosen: DataSet) -> None:
    """Offer a ZIP of the data set's tables, and to delete it."""
    with st.expander("Export or delete", icon=":material/inventory_2:"):
        left, right = st.columns(2)
        with left:
            st.download_button(
                "Tables as ZIP",
                partial(manifest_zip, chosen.name),
                f"{chosen.name}.zip",
                "application/zip",
                icon=":material/download:",
                on_click="ignore",
                key="keeping:zip",
            )
            st.caption("Manifest, what was left out, and notes. With the images, for another machine:")
            page.command_line("cxr", "data", "export", chosen.name, f"{chosen.name}.zip", "--images")
        with right:
            _deleting(chosen)


def _deleting(chosen: DataSet) -> None:
    if not st.toggle("Delete this data set", key=f"keeping:delete:{chosen.name}"):
        return
    loss = what_would_be_lost(chosen.name)
    for sentence in loss.in_words():
        st.markdown(viewer.plain(sentence))
    if loss.runs:
        st.dataframe([{"run": run_id, "kind": kind} for run_id, kind in loss.runs], height=140)
    stuck = bool(loss.needed_by or loss.active)
    typed = st.text_input("Type its name to delete it", key=f"keeping:name:{chosen.name}").strip()
    if acts.button(
        "Delete for good", icon=":material/delete:", key="keeping:go", disabled=stuck or typed != chosen.name
    ):
        delete_data_set(chosen.name)
        address.forget("data", "image")
        st.toast(f"{chosen.name} is deleted")
        st.rerun()
