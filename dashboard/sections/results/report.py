"""The report of a run as a file, which is made when it is asked for and not before."""

from __future__ import annotations

from functools import partial

import streamlit as st

from cxr.reports.run import FORMS, Choices, document_of
from cxr.runs import Run

from widgets import page

_FILES = {
    ".html": ("As one HTML file", "text/html"),
    ".pdf": ("As PDF", "application/pdf"),
}
_MOST = 24


def show(run: Run, split: str, *, explains: bool) -> None:
    """Offer the report of a run; ``explains`` says that it has a network whose heatmaps can be made."""
    with st.expander("Report of this run", icon=":material/description:"):
        st.caption(
            "Data card, recipe, curves, figures, burned-in text, audit, limits, versions and hashes, checklists. "
            "X-rays get running numbers unless you choose otherwise, and ids of patients never go in. "
            "It takes some seconds from the click."
        )
        row = st.container(horizontal=True, vertical_alignment="bottom")
        n = 0
        if explains:
            n = int(row.number_input("Heatmaps", 0, _MOST, 0, key="results:report:heatmaps", width=110))
        with_images = row.checkbox("Show the X-rays themselves", key="results:report:images", disabled=not n)
        with_ids = row.checkbox("Call X-rays by their ids", key="results:report:ids")
        choices = Choices(heatmaps=n, with_images=with_images and n > 0, with_ids=with_ids, split=split)
        for ending, (label, mime) in _FILES.items():
            row.download_button(
                label,
                partial(content, run, ending, choices),
                f"report-{run.id}{ending}",
                mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"results:report:{ending}",
            )
        page.command_line("cxr", "report", run.id, "--out", "report.html", *words(choices))


def content(run: Run, ending: str, choices: Choices) -> bytes:
    """Return the report as the contents of a file with this ending."""
    return FORMS[ending](document_of(run, choices))


def words(choices: Choices) -> list[str]:
    """Return what the command line takes for the same report."""
    heatmaps = ["--heatmaps", str(choices.heatmaps)] if choices.heatmaps else []
    images = ["--with-images"] if choices.with_images else []
    ids = ["--with-ids"] if choices.with_ids else []
    return [*heatmaps, *images, *ids, "--split", choices.split]
