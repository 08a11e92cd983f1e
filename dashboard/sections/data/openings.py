"""Held-out splits of a data set: how often their X-rays were looked at, and whether they are locked."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.data.library import DataSet
from cxr.data.openings import ALL, held_out_ids, in_words, locked_splits, openings_of, rows_of, set_locked

from widgets import tables, viewer
from widgets.access import acts

_COLUMNS = {"date": "date", "run": "run", "kind": "kind", "network": "of", "of_these": "X-rays"}


def show(chosen: DataSet, data: Manifest) -> list[Sequence[object]]:
    """Show the section of a data set; return the commands that do the same."""
    groups = held_out_ids(data, data.ids)
    st.header("Held-out splits", anchor=False)
    if not groups:
        st.caption("Every X-ray is in train or val. Make a test split above, so that a figure says something.")
        return []
    st.caption(
        "A test split is new to a network only until something is chosen by it. Each run that measures or explains "
        "held-out X-rays is counted, and the count stands beside its figures."
    )
    locked = locked_splits(data)
    rows = []
    for name, ids in groups.items():
        looks = openings_of(data, ids, name)
        rows += [{"split": name, **row} for row in rows_of(looks)]
        text, button = st.columns([6, 1], vertical_alignment="center")
        text.markdown(viewer.plain(in_words(looks, beside_figure=False)) + (" **Locked.**" if name in locked else ""))
        if name != ALL and name in data.splits:
            verb = "Unlock" if name in locked else "Lock"
            help_ = "Trainings, measures and experiments leave a locked split alone unless they are told to open it."
            if acts.button(verb, at=button, key=f"openings:{verb}:{chosen.name}:{name}", help=help_):
                set_locked(chosen.name, [name], locked=verb == "Lock")
                st.rerun()
    if rows:
        with st.expander(f"Looks ({len(rows):,})"):
            table = pd.DataFrame(rows)[["split", *_COLUMNS]].rename(columns=_COLUMNS)
            st.dataframe(
                table, hide_index=True, column_config=tables.counts_of(table), height=min(320, 38 + 35 * len(table))
            )
    return [("cxr", "data", "openings", chosen.name)]
