"""Correcting the boxes around text by hand: drawn on the X-ray, edited in a table, saved beside the manifest."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.errors import CxrError, TextError, require
from cxr.text import KINDS, Reviews, TextBox, recognise, tokens_of
from cxr.text.detection_store import content_hash

from sections.text import review_queue, tokens
from services import explaining
from services.box_coordinates import SIDES, canvas_size, from_canvas, from_table, to_canvas, to_table
from services.explaining import Xray
from widgets import address, page, pages, pick
from widgets.access import acts
from widgets.subject import Subject

ZOOMS = (1.0, 1.5, 2.0, 3.0)
_STROKE = "#ffb020"
_FONT_SIZE = 10  # of the number beside a box: small, since it lies on what stands above
_TALLEST = 780  # pixels of the page; a larger picture is scrolled
_MESSAGE = "reviewing:said"
_WARNING = ":material/warning:"


@dataclass
class Draft:
    """Boxes of one image as they are being edited, in pixels of the file.

    ``saved`` are the boxes as saved or detected. The canvas is drawn from ``start``; ``current`` is what has become of
    it. A new ``version`` draws it anew. ``overtaken`` says that somebody else has saved other boxes meanwhile, until
    something is done about it.
    """

    saved: list[TextBox]
    start: list[TextBox] = field(default_factory=list)
    current: list[TextBox] = field(default_factory=list)
    zoom: float = 1.0
    version: int = 0
    overtaken: bool = False

    @property
    def changed(self) -> bool:
        """Whether something would be lost without a save."""
        return self.current != self.saved

    def restart(self, boxes: Sequence[TextBox]) -> None:
        """Draw these boxes anew."""
        self.start, self.current, self.version = list(boxes), list(boxes), self.version + 1

    def settle(self, boxes: Sequence[TextBox]) -> None:
        """Go on from these boxes, which are saved or detected."""
        self.saved, self.overtaken = list(boxes), False
        self.restart(boxes)

    def follow(self, boxes: list[TextBox]) -> bool:
        """Take over what is saved or detected now; return whether somebody else has changed it."""
        if self.saved == boxes:
            return False
        untouched = not self.changed
        self.saved, self.overtaken = boxes, True
        if untouched:
            self.restart(boxes)
        return True


def show(chosen: Subject) -> None:
    """Show the section: choose an X-ray of the split, correct its boxes, save them."""
    reviews = Reviews.beside(chosen.manifest_path)
    if _MESSAGE in st.session_state:
        st.toast(st.session_state.pop(_MESSAGE), icon=":material/check:")
    split_ids = chosen.data.select(split=chosen.split).ids
    image_id = review_queue.choose(chosen, split_ids, reviews.reviewed)
    if image_id is None:
        return
    xray = explaining.of_manifest(chosen.data, image_id)
    boxes, by_hand = tokens_of(xray.pixels, image_id, reviews, lambda _: tokens.boxes_of(xray))
    draft = _draft(chosen, xray, boxes)
    was_overtaken = draft.follow(boxes)
    state, zooms = st.columns([7, 3], vertical_alignment="center")
    _choose_zoom(draft, zooms)
    left, right = st.columns([9, 11], gap="small")
    with left:
        _draw(xray, draft, image_id)
    with right:
        fine = _edit(xray, draft, image_id)
    with state:
        changed = draft.changed or not fine
        _show_state(reviews, image_id, by_hand, changed=changed, progress=_progress(split_ids, reviews))
        if draft.overtaken:
            yours = (
                "Save puts yours in their place; Discard changes shows theirs." if changed else "They are shown now."
            )
            st.warning(f"Somebody else has changed the boxes of this X-ray since you opened it. {yours}", icon=_WARNING)
    with right:
        _buttons(reviews, xray, draft, split_ids, fine=fine, by_hand=by_hand, was_overtaken=was_overtaken)
    st.page_link(
        pages.EXPLORER,
        label="Open in the explorer",
        icon=":material/radiology:",
        query_params={**chosen.link, "image": image_id},
    )


def _draft(chosen: Subject, xray: Xray, boxes: list[TextBox]) -> Draft:
    """Return the draft of an image; what is not saved stays while other images and sections are looked at."""
    drafts: dict[Any, Draft] = st.session_state.setdefault("reviewing:drafts", {})
    key = (str(chosen.manifest_path), xray.id, xray.stamp)
    return drafts.setdefault(key, Draft(boxes, list(boxes), list(boxes)))


def _progress(split_ids: Sequence[str], reviews: Reviews) -> str:
    return f"{sum(i in reviews.reviewed for i in split_ids):,} of {len(split_ids):,} X-rays of this split reviewed"


def _show_state(reviews: Reviews, image_id: str, by_hand: bool, *, changed: bool, progress: str) -> None:
    review = reviews.entry(image_id)
    cells = st.columns([1, 6], vertical_alignment="center")
    if by_hand and review is not None:
        cells[0].badge("reviewed", icon=":material/check:", color="green")
        state = f"{_counted(review.boxes)}, saved {review.saved[:16].replace('T', ' ')} UTC in {reviews.path}"
    else:
        cells[0].badge("detected", icon=":material/text_fields:", color="gray")
        state = "as detected; experiments use these boxes until you save corrected ones"
    cells[1].caption(f"{state}{' · **unsaved changes**' if changed else ''} · {progress}")
    if review is not None and not by_hand:
        st.warning(
            "The file of this X-ray has changed since its boxes were corrected, so they are not used. Detected boxes "
            "are shown; save to review it again.",
            icon=_WARNING,
        )


# --- the canvas ----------------------------------------------------------------------------------------------------


def _choose_zoom(draft: Draft, at: DeltaGenerator) -> None:
    zooms = ", ".join(f"{zoom:g}" for zoom in ZOOMS)
    pick.arrive("reviewing:zoom", "zoom", ZOOMS[0], float, ZOOMS, accepted=zooms)
    chosen = at.segmented_control(
        "Zoom",
        ZOOMS,
        required=True,
        format_func=lambda z: f"{z:g} ×",
        key="reviewing:zoom",
        label_visibility="collapsed",
    )
    zoom = chosen or ZOOMS[0]
    pick.leave("zoom", f"{zoom:g}", f"{ZOOMS[0]:g}")
    if zoom != draft.zoom:
        draft.zoom = zoom
        draft.restart(draft.current)


def _draw(xray: Xray, draft: Draft, image_id: str) -> None:
    require("streamlit_drawable_canvas", extra="dashboard")
    from streamlit_drawable_canvas import boxes_to_drawing, st_canvas  # needs a Streamlit that runs

    zoom = draft.zoom
    if _canvas_key(image_id, draft) not in st.session_state and draft.current != draft.start:
        draft.restart(draft.current)  # the canvas was left in between, which forgets what was drawn on it
    shape, size = xray.pixels.shape, canvas_size(xray.pixels.shape, zoom)
    drawing = boxes_to_drawing(to_canvas(draft.start, shape, size), stroke_color=_STROKE, stroke_width=2)
    for drawn in drawing["objects"]:
        drawn["fontSize"] = _FONT_SIZE
    result = st_canvas(
        drawing_mode="labeled_rect",
        initial_drawing=drawing,
        background_image=_background(xray.id, xray.stamp, size, xray.pixels),
        width=size[0],
        height=size[1],
        max_display_height=_TALLEST,
        stroke_color=_STROKE,
        stroke_width=2,
        fill_color="rgba(0, 0, 0, 0)",
        font_size=_FONT_SIZE,
        key=_canvas_key(image_id, draft),
    )
    draft.current = from_canvas(result.boxes, draft.start, shape, size)
    st.caption(
        "Drag on the picture to add a box. Point at the picture and click the pencil above it to edit: move a box, "
        "drag its corners, or delete it. The arrows undo and redo."
    )


def _canvas_key(image_id: str, draft: Draft) -> str:
    return f"reviewing:canvas:{image_id}:{draft.version}"


@st.cache_data(max_entries=16, show_spinner=False)
def _background(image_id: str, stamp: str, size: tuple[int, int], _pixels: np.ndarray) -> bytes:
    method = cv2.INTER_AREA if size[0] < _pixels.shape[1] else cv2.INTER_CUBIC
    return cv2.imencode(".png", cv2.resize(_pixels, size, interpolation=method))[1].tobytes()


# --- the table -----------------------------------------------------------------------------------------------------


def _edit(xray: Xray, draft: Draft, image_id: str) -> bool:
    """Show the table; what is edited there is drawn anew. Returns whether every row is a box."""
    before = to_table(draft.current)
    state = zlib.crc32(repr(draft.current).encode())
    edited = st.data_editor(
        before,
        hide_index=True,
        num_rows="dynamic",
        column_config={
            "box": st.column_config.TextColumn("box", disabled=True, width=36),
            "text": st.column_config.TextColumn("text", default="", width=140),
            "kind": st.column_config.SelectboxColumn("kind", options=list(KINDS), width=66),
            **{
                side: st.column_config.NumberColumn(
                    side, width=46, min_value=0, max_value=xray.pixels.shape[1 - place % 2], step=1
                )
                for place, side in enumerate(SIDES)
            },
        },
        key=f"reviewing:table:{image_id}:{draft.version}:{state}",
    )
    st.caption(f"In pixels of the file ({xray.pixels.shape[1]} x {xray.pixels.shape[0]}).")
    try:
        boxes = from_table(edited, draft.current, xray.pixels.shape)
    except TextError as error:
        st.warning(str(error), icon=":material/edit:")
        return False
    if boxes != draft.current:
        draft.restart(boxes)
        st.rerun()
    return True


# --- the buttons ---------------------------------------------------------------------------------------------------


def _buttons(
    reviews: Reviews,
    xray: Xray,
    draft: Draft,
    split_ids: list[str],
    *,
    fine: bool,
    by_hand: bool,
    was_overtaken: bool,
) -> None:
    """Show the buttons. One that was pressed in front of other boxes than there are now changes nothing."""
    image_id = xray.id
    onward = review_queue.next_open(split_ids, image_id, reviews.reviewed)

    def save(boxes: Sequence[TextBox], onward: str | None = None) -> None:
        if not was_overtaken:
            _save(reviews, xray, draft, list(boxes), onward)

    first, second = st.columns(2)
    if acts.button(
        "Save",
        at=first,
        icon=":material/save:",
        type="primary",
        key="reviewing:save",
        disabled=not fine,
        width="stretch",
    ):
        save(draft.current)
    if acts.button(
        "Save, next",
        at=second,
        icon=":material/skip_next:",
        key="reviewing:save-next",
        disabled=not fine,
        width="stretch",
    ):
        save(draft.current, onward)
    help_ = "Saves this X-ray as free of text"
    if acts.button("No text", at=first, icon=":material/block:", key="reviewing:none", help=help_, width="stretch"):
        save([])
    unread = [box for box in draft.current if not box.text]
    if second.button(
        f"Read text ({len(unread):,})",
        icon=":material/document_scanner:",
        key="reviewing:read",
        disabled=not unread,
        width="stretch",
    ):
        read = dict(zip(unread, recognise(xray.pixels, unread), strict=True))
        draft.restart([read.get(box, box) for box in draft.current])
        st.rerun()
    help_ = "Deletes the saved boxes of this X-ray, so that the detected ones are used again"
    back = acts.button(
        "Back to detected",
        at=first,
        icon=":material/undo:",
        key="reviewing:back",
        help=help_,
        disabled=not by_hand,
        width="stretch",
    )
    if back and not was_overtaken and _tried(lambda: reviews.remove(image_id)) is not None:
        draft.settle(tokens.boxes_of(xray))
        st.rerun()
    if second.button(
        "Discard changes",
        icon=":material/close:",
        key="reviewing:drop",
        disabled=not draft.changed,
        width="stretch",
    ):
        draft.settle(draft.saved)
        st.rerun()


def _save(reviews: Reviews, xray: Xray, draft: Draft, boxes: list[TextBox], onward: str | None = None) -> None:
    path = _tried(lambda: reviews.save(xray.id, boxes, shape=xray.pixels.shape, content_hash=content_hash(xray.pixels)))
    if path is None:
        return
    draft.settle(boxes)
    st.session_state[_MESSAGE] = f"{xray.id}: {_counted(boxes)} saved in {path}"
    review_queue.go(onward)
    st.rerun()


def _counted(boxes: Sequence[TextBox]) -> str:
    return {0: "no text", 1: "1 box"}.get(len(boxes), f"{len(boxes):,} boxes")


def _tried(action: Any) -> Path | bool | None:
    """Do it; an error is told in one line, and what was drawn stays."""
    try:
        return action()
    except (CxrError, OSError) as error:
        st.error(address.plain(page.sentence(error)), icon=":material/error:")
        return None
