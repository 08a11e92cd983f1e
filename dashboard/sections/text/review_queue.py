"""The X-rays of a split that a person has reviewed and those that are left: choosing the next one."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from widgets import address, pick
from widgets.subject import Subject

ALL, OPEN, DONE = "all", "not reviewed", "reviewed"
_GO = "reviewing:go"


def choose(chosen: Subject, split_ids: list[str], reviewed: frozenset[str]) -> str | None:
    """Let the user choose one of the X-rays and return its id; None, with the reason shown, where none is left."""
    if _GO in st.session_state:
        st.session_state["pick:image"] = st.session_state.pop(_GO)
    done = sum(i in reviewed for i in split_ids)
    # Rows without labels: what is chosen says what it is, and the picture fits the window.
    which, picker, following = st.columns([9, 9, 3], vertical_alignment="bottom")
    counts = {ALL: len(split_ids), OPEN: len(split_ids) - done, DONE: done}
    pick.arrive("reviewing:filter", "reviewed", ALL, allowed=(ALL, OPEN, DONE))
    with which:
        shown = st.segmented_control(
            "Show",
            [ALL, OPEN, DONE],
            required=True,
            format_func=lambda name: f"{name} ({counts[name]:,})",
            key="reviewing:filter",
            label_visibility="collapsed",
        )
    pick.leave("reviewed", shown, ALL)
    ids = [i for i in split_ids if shown == ALL or (i in reviewed) == (shown == DONE)]
    if not ids and not address.asks("image"):
        text = "Every X-ray of this split is reviewed." if shown == OPEN else "No X-ray of this split is reviewed yet."
        st.info(text, icon=":material/lightbulb:")
        return None
    labels = chosen.data.table.set_index("image_id")["label"]
    captions = {i: f"{'✓' if i in reviewed else '○'} {i} · {labels[i] or 'unlabelled'}" for i in ids}

    def missing(image_id: str) -> str:
        if image_id in split_ids:
            return f"The X-ray {image_id!r} is not in the list {shown!r}."
        return f"There is no X-ray {image_id[:80]!r} in this split."

    with picker:
        image_id = pick.from_url(
            f"X-ray (of {len(ids):,}; ✓ reviewed, ○ not yet)",
            ids,
            captions,
            "image",
            missing=missing,
            label_visibility="collapsed",
        )
    target = next_open(split_ids, image_id, reviewed)
    following.button(
        "Next",
        help="The next X-ray that is not reviewed yet",
        icon=":material/skip_next:",
        key="reviewing:next",
        disabled=target is None,
        on_click=go,
        args=(target,),
        width="stretch",
    )
    return image_id


def next_open(split_ids: Sequence[str], current: str, reviewed: frozenset[str]) -> str | None:
    """Return the next image after ``current`` that nobody reviewed, around the end; None if there is none."""
    place = list(split_ids).index(current)
    return next((i for i in [*split_ids[place + 1 :], *split_ids[:place]] if i not in reviewed), None)


def go(image_id: str | None) -> None:
    """Show this image at the next run of the page."""
    if image_id is not None:
        st.session_state[_GO] = image_id
