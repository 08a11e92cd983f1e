"""Reporting checklists of what was audited, filled in."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from cxr.reports.checklist import Checklist
from cxr.reports.checklist.write import COLUMNS, filled_without_ids, parts_of, to_html, to_markdown, to_table
from cxr.runs import Run

from widgets import page, pick, viewer

_FORMS: dict[str, tuple[str, str, Callable[[Run, Checklist], str]]] = {
    "As one HTML file": ("html", "text/html", to_html),
    "As Markdown": ("md", "text/markdown", to_markdown),
}

_WIDTHS = {
    name: st.column_config.Column(width=width) for name, width in zip(COLUMNS, (130, 230, 70, 320, 220), strict=True)
}


def show(measured: Run) -> None:
    """Show the checklists of a training, an evaluation or a table of predictions once they are wanted."""
    st.header("Checklists", anchor=False)
    pick.arrive("trust:checklist", "checklist", False, pick.switched, accepted="0, 1")
    wanted = st.toggle(
        "Fill in CLAIM 2024, TRIPOD+AI and the model card",
        key="trust:checklist",
        help="From the run, its data, and other runs on the same network and data. It takes seconds.",
    )
    pick.leave("checklist", str(int(wanted)), "0")
    if not wanted:
        return
    filled = _filled(measured.id, str(measured.folder.path), len(_others()))
    st.markdown(viewer.plain(filled["finding"]))
    parts = parts_of(filled)
    for tab, (_, rows) in zip(st.tabs([name for name, _ in parts]), parts, strict=True):
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        tab.dataframe(frame, hide_index=True, row_height=70, column_config=_WIDTHS)
    with st.container(horizontal=True):
        for label, (ending, mime, make) in _FORMS.items():
            st.download_button(
                label,
                make(measured, filled),
                f"checklist-{measured.id}.{ending}",
                mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"checklist:{ending}",
            )
        page.csv_button("As CSV", to_table(filled["entries"]), f"checklist-{measured.id}")
    for note in filled["notes"]:
        st.caption(note)
    page.command("cxr", "checklist", measured.id, what="This checklist")


def _others() -> list[Run]:
    """Return the runs that may have something to say: with another one the lists are filled anew."""
    from cxr.runs import list_runs

    return list_runs()


@st.cache_data(max_entries=8, show_spinner="Filling in …")
def _filled(run_id: str, folder: str, n_runs: int) -> Checklist:
    return filled_without_ids(Run(folder))
