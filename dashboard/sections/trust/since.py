"""What was run since an audit: it stands beside the parts that it is of, marked as newer than the audit."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

import streamlit as st

from cxr.experiments.audit.findings import PartStatus
from cxr.experiments.audit.later import later_runs
from cxr.runs import ACTIVE, Run, get_run, list_runs

from sections.home.run_address import address_of, data_set_names
from sections.trust.findings import link_to
from services import field_names, load
from widgets import page, viewer
from widgets import run_state as run_parts
from widgets.access import acts

_WORDS = {"finished": "done since", "failed": "failed since", "stopped": "stopped since"}
_LONGEST = 160
REFRESH_S = 2.0


@dataclass(frozen=True)
class Since:
    """Runs for a part that an audit has not seen, and whether an audit would now do the part in seconds."""

    runs: tuple[Run, ...]
    complete: bool

    @property
    def state(self) -> str:
        """How the part stands by them: finished where it has all that it needs, else the state of what is open."""
        states = [run.status()["state"] for run in self.runs]
        return next((state for state in states if state != "finished"), "finished" if self.complete else "stopped")

    @property
    def word(self) -> str:
        """The state as a chip says it."""
        return _WORDS.get(self.state, "running now")


def of(audit: Run) -> dict[str, Since]:
    """Return by the names of parts what was run since a finished audit."""
    others = tuple((run.id, run.status()["state"]) for run in list_runs())
    newer = _newer(audit.id, str(audit.folder.path), others)
    return {name: Since(tuple(get_run(run_id) for run_id in ids), done) for name, (ids, done) in newer.items()}


@st.cache_data(max_entries=8, show_spinner=False)
def _newer(run_id: str, folder: str, others: tuple[tuple[str, str], ...]) -> dict[str, tuple[list[str], bool]]:
    return {name: ([run.id for run in later.runs], later.complete) for name, later in later_runs(Run(folder)).items()}


def show(parts: Sequence[PartStatus], since: Mapping[str, Since], take_in: Callable[[], None]) -> None:
    """Name the parts that were run since the audit, with state, result and link, and offer to take them in."""
    if not since:
        return
    with st.container(border=True, gap="small"):
        st.markdown("**Newer than this audit, and not in its findings**")
        for part in parts:
            if part["name"] in since:
                for run in since[part["name"]].runs:
                    line(run, part["title"])
        ready = [name for name, newer in since.items() if newer.complete]
        if ready and acts.button(
            f"Take {page.counted(len(ready), 'newer part')} into a quick look",
            icon=":material/bolt:",
            key="trust:take-in",
            help="Seconds: weighs these results like the rest. This audit stays as it is.",
        ):
            take_in()
    _follow([run for newer in since.values() for run in newer.runs])


def line(run: Run, title: str = "") -> None:
    """Show a run by its state, when it was, its result or error, and a link to the page that shows it."""
    status = run.status()
    state = status["state"]
    result = load.headline(run) if state == "finished" else status["error"] if state == "failed" else status["message"]
    result = field_names.on_page(result or "", field_names.of_kind(run.kind))
    short = textwrap.shorten(result, _LONGEST, placeholder=" …")
    badge = f":{run_parts.COLOURS[state]}-badge[{state}]"
    of = f"**{viewer.plain(title)}** " if title else ""
    left, right = st.columns([17, 3], vertical_alignment="center")
    left.markdown(f"{badge} {of}{load.local_time(run.created)}. {viewer.plain(short[:1].upper() + short[1:])}")
    place = address_of(run, status, data_set_names())
    if place is not None:
        name, _, query = place.partition("?")
        with right:
            link_to({"page": name, "parameters": dict(parse_qsl(query))}, "See it")


def _follow(runs: Sequence[Run]) -> None:
    """Follow runs that are active: the page is drawn anew once one of them ends."""
    active = {run.id for run in runs if run.status()["state"] in ACTIVE}

    @page.refreshed(REFRESH_S if active else None)
    def follow() -> None:
        if {run.id for run in runs if run.folder.path.is_dir() and run.status()["state"] in ACTIVE} != active:
            st.rerun()

    follow()
