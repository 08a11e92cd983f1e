"""The X-rays that a training got most wrong at its last validation, which open in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from cxr import formatting
from cxr.data import Manifest
from cxr.networks import has_network
from cxr.runs import Run
from cxr.training.watching.heatmaps import FOLDER as HEATMAPS
from cxr.training.watching.worst import WORST, WorstOfValidation, WorstXray, read_worst

from services import load
from widgets import gallery, subject, viewer

_COLUMNS = 8
_DRAWN = "live:worst"


def read(run: Run) -> WorstOfValidation | None:
    """Return what a page is going to draw, which is what :func:`follow` compares with: call it first."""
    stamp, worst = _stamp(run), read_worst(run)  # in this order: what comes in between is drawn at the next look
    ids = [xray["image_id"] for xray in worst["xrays"]] if worst is not None else []
    st.session_state[_DRAWN] = (run.id, stamp, ids)
    return worst


def show(run: Run, worst: WorstOfValidation | None) -> None:
    """Show the X-rays with the highest loss as a row; a training of an earlier version has none."""
    if worst is None or not worst["xrays"]:
        return
    data = load.manifest_of(run) if worst["manifest"] is None else load.manifest(worst["manifest"])
    known = set(data.table["image_id"])
    by_id = {xray["image_id"]: xray for xray in worst["xrays"] if xray["image_id"] in known}
    link = _link(run, worst, data, list(by_id))
    st.header(viewer.plain(title(worst)), anchor=False)
    gallery.grid(
        data,
        list(by_id),
        lambda image_id: caption(by_id[image_id]),
        key=f"live:worst:{run.id}",
        columns=_COLUMNS,
        rows=1,
        link=link,
        picker_below=True,
    )
    st.caption(_about(worst, explains=link is not None))


def follow(run: Run) -> None:
    """Draw the page again when there has been a validation; not under an X-ray that somebody has opened."""
    run_id, stamp, ids = st.session_state.get(_DRAWN, ("", (), []))
    if run_id != run.id or stamp == _stamp(run):
        return
    if gallery.opened() in ids:
        st.button("Show the X-rays of the newest validation", icon=":material/update:", on_click=gallery.forget_opened)
    else:
        st.rerun()


def title(worst: WorstOfValidation) -> str:
    """Return the heading: when the validation was."""
    when = f"after epoch {worst['epoch']}" if worst["epoch"] else "before the first step"
    return f"Highest loss on validation X-rays, {when} of stage {worst['stage']}"


def caption(xray: WorstXray) -> str:
    """Return truth, prediction and how sure the network was of it."""
    truth, predicted = viewer.plain(xray["truth"]), viewer.plain(xray["predicted"])
    return f"{truth} → {predicted}  \n{formatting.share(xray['confidence'])}, loss {xray['loss']:.2f}"


def _about(worst: WorstOfValidation, *, explains: bool) -> str:
    parts = ["What the data say → what the network predicted, its confidence, and the loss of the X-ray."]
    if worst["masked"]:
        parts.append("The network saw them without their burned-in text.")
    if explains:
        parts.append("An opened X-ray is explained by the best epoch so far, which may be another one.")
    return " ".join(parts)


def _link(run: Run, worst: WorstOfValidation, data: Manifest, ids: Sequence[str]) -> dict[str, str] | None:
    """Return where the explorer shows them: once there is a network, if the X-rays are of a split of the run's data."""
    splits = set(data.table.set_index("image_id")["split"].reindex(ids))
    if worst["manifest"] is not None or "" in splits or not has_network(run):
        return None
    # No split: that of each X-ray takes its place, for a stage before the last one validates on some of `train`.
    return {"model": run.id, "data": subject.name_of(Path(run.spec["params"]["manifest"])), "split": ""}


def _stamp(run: Run) -> tuple[int, ...]:
    """Return when each of what a page shows of the validations was written, 0 for what is not there."""
    stamps = []
    for name in (WORST, HEATMAPS):
        try:
            stamps.append((run.folder.path / name).stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)
