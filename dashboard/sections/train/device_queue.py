"""The queue of this machine's devices: which run has which, who waits, and buttons that change the order."""

from __future__ import annotations

import contextlib

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.errors import CxrError
from cxr.runs import DeviceQueue, get_run
from cxr.runs.queue import QueueRow

from services import load
from widgets import page, pages, viewer
from widgets.access import acts

REFRESH_S = 1.5
_WIDTHS = (1, 5, 3, 2, 3)
_PAGES = {"train": pages.LIVE, "evaluate": pages.RESULTS, "text-experiment": pages.TEXT}
"""Where a run of a kind is seen by its id alone."""


@page.refreshed(REFRESH_S)
def section() -> None:
    """Show the queue as it is now."""
    rows = DeviceQueue().rows()
    st.header("Queue", anchor=False)
    if not rows:
        st.caption(
            "No run uses a device of this machine or waits for one. Each device works on one run at a time; the others "
            "wait here."
        )
        return
    waiting = [row for row in rows if row["place"]]
    with st.container(border=True):
        for row in rows:
            place, name, device, since, buttons = st.columns(_WIDTHS, vertical_alignment="center")
            place.markdown(f"**{row['place']}**" if row["place"] else ":blue-badge[runs]")
            _name(name, row)
            device.markdown(viewer.plain(row["wish"]))
            since.caption(f"since {load.local_time(row['since'])}")
            if row["place"]:
                with buttons.container(horizontal=True, gap="small"):
                    _buttons(row, waiting)
    if len(waiting) > 1:
        st.caption("The same on the command line: `cxr runs move RUN --first`, `--last` or `--before OTHER`.")


def _name(cell: DeltaGenerator, row: QueueRow) -> None:
    """Show a run's name, as a link to the page that shows its kind if there is one."""
    label, kind = viewer.plain(row["name"]), ""
    with contextlib.suppress(CxrError, OSError):  # deleted since
        kind = get_run(row["id"]).kind
    if kind in _PAGES:
        cell.page_link(_PAGES[kind], label=label, query_params={"run": row["id"]})
    else:
        cell.markdown(label)


def _buttons(row: QueueRow, waiting: list[QueueRow]) -> None:
    # Up and down pass the next one that wants the same device; passing others would change nothing.
    rivals = [other["id"] for other in waiting if set(other["devices"]) & set(row["devices"])]
    at = rivals.index(row["id"])
    later = rivals[at + 2] if at + 2 < len(rivals) else None
    moves: tuple[tuple[str, str, bool, str | None, bool], ...] = (
        ("vertical_align_top", "To the front", at > 0, None, False),
        ("arrow_upward", "One place up", at > 0, rivals[at - 1], False),
        ("arrow_downward", "One place down", at + 1 < len(rivals), later, later is None),
    )
    for icon, help_, possible, before, last in moves:
        acts.button(
            f":material/{icon}:",
            key=f"queue:{row['id']}:{icon}",
            help=help_,
            disabled=not possible,
            on_click=_move,
            args=(row["id"], before, last),
        )


def _move(run_id: str, before: str | None, last: bool) -> None:
    page.tried(lambda: DeviceQueue().move(run_id, before=before, last=last))  # its turn may have come since the drawing
