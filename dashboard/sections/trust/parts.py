"""The parts of an audit: which are done, what each looked at, and buttons for those that are missing."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import streamlit as st

from cxr.experiments.audit.findings import Finding, PartStatus, State
from cxr.experiments.audit.results import KIND
from cxr.reports.audit.contents import STATES
from cxr.runs import get_run

from sections.trust.findings import link_to
from sections.trust.since import Since, line
from services import field_names
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


def chips(parts: Sequence[PartStatus], since: Mapping[str, Since] = MappingProxyType({})) -> None:
    """Show a chip for each part: that it was looked at says nothing about what it found.

    A part that was not done says how it stands by what was run ``since``.
    """
    words = []
    apart = [part["title"] for part in parts if _apart(part, since)]
    for part in parts:
        state = part["state"]
        if part["title"] in apart:
            continue
        ending = "" if state == "done" else f" · {_word(part, since)}"
        words.append(f":{COLOURS[state]}-badge[{ICONS[state]} {viewer.plain(part['title'])}{ending}]")
    if apart:
        words.append(f":gray-badge[{ICONS['left-out']} {len(apart):,} left out: {viewer.plain(', '.join(apart))}]")
    st.markdown(" ".join(words))


def _apart(part: PartStatus, since: Mapping[str, Since]) -> bool:
    return part["state"] in ("left-out", "not-asked") and part["name"] not in since


def _word(part: PartStatus, since: Mapping[str, Since]) -> str:
    """Return how a part stands that was not done, by what was run since."""
    newer = since.get(part["name"])
    return STATES[part["state"]] if newer is None else f"not in this audit, {newer.word}"


def show(
    parts: Sequence[PartStatus],
    findings: Sequence[Finding],
    do: Callable[[str], None],
    since: Mapping[str, Since],
) -> None:
    """Show each part: what it found or looked at, its runs, what was run since, and a button where it is missing."""
    st.header("Part by part", anchor=False)
    for part in parts:
        own = [finding for finding in findings if finding["part"] == part["name"]]
        word = page.counted(len(own), "finding") if own else "looked at, no finding"
        word = word if part["state"] == "done" else _word(part, since)
        with st.expander(f"{part['title']}: {word}", icon=ICONS[part["state"]]):
            _part(part, own, do, since.get(part["name"]))
    for part in parts:
        if part["name"] in RENDERED:
            _render(part, since.get(part["name"]))


def _render(part: PartStatus, newer: Since | None) -> None:
    """Show the run of a part in full: the newest one, marked where it is newer than the audit."""
    name = f"sections.trust.{part['name']}"
    if importlib.util.find_spec(name) is None:
        return
    finished = [run for run in newer.runs if run.status()["state"] == "finished"] if newer is not None else []
    if finished:
        st.subheader(f"{part['title']} (newer than this audit)", anchor=False)
        importlib.import_module(name).render(finished[0])
    elif part["state"] == "done" and part["runs"]:
        st.subheader(part["title"], anchor=False)
        importlib.import_module(name).render(get_run(part["runs"][-1]))


def _said(line: str) -> str:
    """Return a sentence as Markdown; what this page has no field for is an option of a command."""
    names = {**field_names.of_kind(KIND), **field_names.WITHOUT_FIELD}
    return viewer.on_page(line, names)


def _part(part: PartStatus, findings: Sequence[Finding], do: Callable[[str], None], newer: Since | None) -> None:
    for finding in findings:
        st.markdown(f"- {viewer.plain(finding['sentence'])}")
    for sentence in part["looked"]:
        st.markdown(f"- {_said(sentence)}")
    if part["reason"] and newer is None:
        st.markdown(_said(f"{STATES[part['state']].capitalize()}: {part['reason']}."))
    if part["runs"]:
        whose = " (started by this audit)" if part["started"] else ""
        st.caption(viewer.plain(f"Rests on {', '.join(part['runs'])}{whose}."))
    if newer is not None:
        st.caption("Newer than this audit, and not in its findings:")
        for run in newer.runs:
            line(run)
    if part["state"] == "done":
        link_to(part["link"], "See it on its page")
    if part["state"] in ("missing", "failed"):
        if acts.button("Do this part", key=f"trust:do:{part['name']}", icon=":material/play_arrow:"):
            do(part["name"])
        page.command_line(*part["command"])
