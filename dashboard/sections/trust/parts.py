"""The parts of an audit: which are done, what each looked at, and buttons for those that are missing."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Literal

import streamlit as st

from cxr.experiments.audit.findings import Finding, PartStatus, State
from cxr.reports.audit.contents import STATES
from cxr.runs import get_run

from sections.trust.findings import link_to
from widgets import page, viewer
from widgets.access import acts

COLOURS: dict[State, Literal["blue", "orange", "red", "gray"]] = {
    "done": "blue",  # no green: that a part was looked at is no praise
    "missing": "orange",
    "failed": "red",
    "left-out": "gray",
    "not-asked": "gray",
}
ICONS: dict[State, str] = {
    "done": ":material/visibility:",
    "missing": ":material/hourglass_empty:",
    "failed": ":material/error:",
    "left-out": ":material/block:",
    "not-asked": ":material/block:",
}
RENDERED = ("relevance", "clusters")
"""Parts whose runs this page shows itself, each by the module of this folder that is called so."""


def chips(parts: Sequence[PartStatus]) -> None:
    """Show a chip for each part: that it was looked at says nothing about what it found."""
    words = []
    apart = [part["title"] for part in parts if part["state"] in ("left-out", "not-asked")]
    for part in parts:
        state = part["state"]
        if part["title"] in apart:
            continue
        ending = "" if state == "done" else f" · {STATES[state]}"
        words.append(f":{COLOURS[state]}-badge[{ICONS[state]} {viewer.plain(part['title'])}{ending}]")
    if apart:
        words.append(f":gray-badge[{ICONS['left-out']} {len(apart):,} left out: {viewer.plain(', '.join(apart))}]")
    st.markdown(" ".join(words))


def show(parts: Sequence[PartStatus], findings: Sequence[Finding], do: Callable[[str], None]) -> None:
    """Show each part: what it found or looked at, its runs, and a button where it is missing."""
    st.header("Part by part", anchor=False)
    for part in parts:
        own = [finding for finding in findings if finding["part"] == part["name"]]
        word = page.counted(len(own), "finding") if own else "looked at, no finding"
        word = word if part["state"] == "done" else STATES[part["state"]]
        with st.expander(f"{part['title']}: {word}", icon=ICONS[part["state"]]):
            _part(part, own, do)
    for part in parts:
        if part["name"] in RENDERED and part["state"] == "done" and part["runs"]:
            _render(part)


def _render(part: PartStatus) -> None:
    """Show the run of a part in full."""
    name = f"sections.trust.{part['name']}"
    if importlib.util.find_spec(name) is not None:
        st.subheader(part["title"], anchor=False)
        importlib.import_module(name).render(get_run(part["runs"][-1]))


def _part(part: PartStatus, findings: Sequence[Finding], do: Callable[[str], None]) -> None:
    for finding in findings:
        st.markdown(f"- {viewer.plain(finding['sentence'])}")
    for sentence in part["looked"]:
        st.markdown(f"- {viewer.plain(sentence)}")
    if part["reason"]:
        st.markdown(viewer.plain(f"{STATES[part['state']].capitalize()}: {part['reason']}."))
    if part["runs"]:
        whose = " (started by this audit)" if part["started"] else ""
        st.caption(viewer.plain(f"Rests on {', '.join(part['runs'])}{whose}."))
    if part["state"] == "done":
        link_to(part["link"], "See it on its page")
    if part["state"] in ("missing", "failed"):
        if acts.button("Do this part", key=f"trust:do:{part['name']}", icon=":material/play_arrow:"):
            do(part["name"])
        page.command_line(*part["command"])
