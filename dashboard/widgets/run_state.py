"""A run's state, its buttons, and the table of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from cxr import runs
from cxr.runs import ACTIVE, Run, Status, list_runs
from cxr.runs.kinds import KINDS

from services import field_names, load
from widgets import address, page
from widgets.access import acts

REFRESH_S = 1.5
COLOURS: dict[str, Literal["gray", "blue", "orange", "yellow", "green", "red"]] = {
    "queued": "gray",
    "running": "blue",
    "stopping": "orange",
    "stopped": "yellow",
    "finished": "green",
    "failed": "red",
}


def start(kind: str, params: Mapping[str, Any], **more: Any) -> Run:
    """Start a run as :func:`cxr.runs.start` does, and say so meanwhile: reading and checking the data takes seconds."""
    with st.spinner("Starting …"):
        return runs.start(kind, params, **more)


def state_line(run: Run, status: Status) -> None:
    """Show a run's state, progress, ETA and error."""
    left, right = st.columns([1, 5], vertical_alignment="center")
    left.badge(status["state"], color=COLOURS[status["state"]])
    if status["state"] in ACTIVE:
        eta = f" · {load.duration(status['eta_s'])} left" if status.get("eta_s") is not None else ""
        right.progress(min(1.0, status["progress"]), f"{address.plain(status['message'] or 'starting …')}{eta}")
    elif status["state"] == "failed":
        error = status["error"] or "failed without a message; see the log"
        right.error(address.plain(field_names.on_page(error, field_names.of_kind(run.kind))))
    else:
        # Beside the badge the same word would stand twice.
        message = "" if status["message"] == status["state"] else f"{status['message']} · "
        right.caption(f"{address.plain(message)}ended {load.local_time(status['ended'])}")


def controls(run: Run, status: Status, *, key: str) -> None:
    """Show the buttons that a run's state allows: stop, resume."""
    state = status["state"]
    if state in ("queued", "running"):
        help_ = "Stops after the current step, with a checkpoint to resume from"
        if acts.button("Stop", icon=":material/stop_circle:", key=f"{key}:stop", help=help_):
            _do(run.stop)
    elif state == "stopping":
        st.button("Stopping …", disabled=True, key=f"{key}:stopping")
    elif state in ("stopped", "failed"):
        resumes = run.kind in KINDS and KINDS[run.kind].resumes
        help_ = "Continues from where it stopped" if resumes else "Restarts from the beginning"
        if acts.button("Resume", icon=":material/play_circle:", key=f"{key}:resume", type="primary", help=help_):
            _do(run.resume)


def watch(run: Run, *, key: str) -> None:
    """Show state and buttons of a run, refreshed as long as it is active; the whole page follows its end."""
    active = run.status()["state"] in ACTIVE

    @page.refreshed(REFRESH_S if active else None)
    def progress() -> None:
        rerun_when_gone(run)
        status = run.status()
        if active and status["state"] not in ACTIVE:
            st.rerun()
        line, buttons = st.columns([5, 1], vertical_alignment="center")
        with line:
            state_line(run, status)
        with buttons:
            controls(run, status, key=key)

    progress()


def newest_of_whole(kind: str, manifest: Path) -> Run | None:
    """Return the latest run of a kind on all X-rays of a manifest; one on a split is none."""
    for run in list_runs(kind=kind):
        params = run.spec["params"]
        if not params.get("split") and Path(params.get("manifest", "")).resolve() == manifest.resolve():
            return run
    return None


def _do(action: Callable[[], object]) -> None:
    page.tried(action)
    st.rerun()  # also where it was refused: somebody else has done something to the run since it was drawn


def rerun_when_changed(run: Run, status: Status) -> None:
    """Run the whole page once when a run starts or ends, so that the refreshing starts or ends with it."""
    states = st.session_state.setdefault("runs:states", {})
    before = states.get(run.id, status["state"])
    states[run.id] = status["state"]
    if before != status["state"]:
        st.rerun()


def rerun_when_gone(*runs: Run) -> None:
    """Run the whole page once when a run that a fragment shows has been deleted: its pickers then offer what is left.

    Also a press on such a run's button is dropped so.
    """
    if not all(run.folder.path.is_dir() for run in runs):
        st.rerun()
