"""Findings as cards, the heaviest first: figure and interval, what is not shown, what to try next, and the X-rays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from cxr.data import Manifest
from cxr.experiments.audit.findings import Finding, Link, Weight, written
from cxr.experiments.audit.results import KIND
from cxr.formatting import xrays
from cxr.reports.notebooks import finding_of
from cxr.runs import Run

from services import field_names, load
from widgets import gallery, page, pages, pick, viewer

COLOURS: dict[Weight, Literal["red", "orange", "gray"]] = {"serious": "red", "warning": "orange", "note": "gray"}
ICONS: dict[Weight, str] = {
    "serious": ":material/error:",
    "warning": ":material/warning:",
    "note": ":material/info:",
}
_PAGES = {
    "data": pages.DATA,
    "results": pages.RESULTS,
    "explorer": pages.EXPLORER,
    "text": pages.TEXT,
}
_FEW = 3  # pictures on a card


def show(findings: Sequence[Finding], data: Manifest | None, link: dict[str, str], finished: Run | None = None) -> None:
    """Show findings, and the X-rays behind the one that the user chose; those of a ``finished`` audit as notebooks."""
    with_images = [str(number) for number, finding in enumerate(findings, 1) if finding["images"]]
    numbers = {number: number for number in with_images}
    accepted = f"the number of a finding that has X-rays ({', '.join(with_images) or 'none has'})"
    pick.arrive("trust:finding", "finding", "", numbers.__getitem__, accepted=accepted)
    if st.session_state["trust:finding"] not in ("", *with_images):  # of an audit that was shown before
        st.session_state["trust:finding"] = ""
    for number, finding in enumerate(findings, 1):
        _card(number, finding, data, finished)
    chosen = st.session_state["trust:finding"]
    pick.leave("finding", chosen, "")
    if chosen and data is not None:
        finding = findings[int(chosen) - 1]
        present = set(data.ids)
        ids = [image_id for image_id in finding["images"] if image_id in present]
        st.header(f"The X-rays behind finding {chosen}", anchor=False)
        st.caption(viewer.plain(finding["sentence"]))
        gallery.grid(data, ids, lambda i: str(data.row(i)["label"]), key=f"trust:images:{chosen}", link=link or None)


def _card(number: int, finding: Finding, data: Manifest | None, finished: Run | None) -> None:
    weight = finding["weight"]
    present = set(data.ids) if data is not None else set()
    ids = [image_id for image_id in finding["images"] if image_id in present]
    with st.container(border=True, gap="small"):
        left, right = st.columns([7, 3] if ids else [17, 3], vertical_alignment="center")
        with left:
            figure = written(finding)
            bold = f" **{viewer.plain(figure)}** {viewer.plain(finding['figure_name'])}" if figure else ""
            st.markdown(f"{number}\\. :{COLOURS[weight]}-badge[{ICONS[weight]} {weight}]{bold}")
            n = finding["n_images"]
            of = f"{xrays(n, finding['n_patients'])}. " if n is not None else ""
            not_shown = f"Not shown: {finding['not_shown']}" if finding["not_shown"] else ""
            st.markdown(viewer.plain(finding["sentence"]))
            st.caption(viewer.plain(f"{of}{not_shown}"))
            if detail := finding.get("detail"):
                with st.expander("More"):
                    st.markdown(viewer.plain(detail))
        with right:
            if data is not None and ids:
                row = st.container(horizontal=True, gap="small")
                for image_id in ids[:_FEW]:
                    row.image(load.thumbnail(data, image_id, 96), alt=image_id, width=64)
            with st.container(horizontal=True, gap="small"):
                if ids:
                    st.button(
                        page.counted(len(ids), "X-ray"),
                        key=f"trust:see:{number}",
                        icon=":material/photo_library:",
                        on_click=_choose,
                        args=(str(number),),
                        help="Shows them below, or hides them again",
                    )
                _next(finding, number, finished)


def _choose(number: str) -> None:
    """Show the X-rays of a finding, or hide them again."""
    st.session_state["trust:finding"] = "" if st.session_state.get("trust:finding") == number else number


def _next(finding: Finding, number: int, finished: Run | None) -> None:
    with st.popover("Next", icon=":material/arrow_forward:"):
        if finding["next_step"]:
            st.markdown(viewer.on_page(finding["next_step"], field_names.of_kind(KIND)))
        if finding["command"]:
            page.command_line(*finding["command"])
        link_to(finding["link"], "See it there")
        if finished is not None:
            page.notebook(finding_of(finished, number=number), f"finding-{number}-{finished.id}")


def link_to(link: Link, label: str) -> None:
    """Show a link to another page, if there is one to show."""
    if link["page"] in _PAGES:
        parameters = {name: value for name, value in link["parameters"].items() if value}
        st.page_link(_PAGES[link["page"]], label=label, icon=":material/open_in_new:", query_params=parameters)
