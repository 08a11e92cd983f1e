"""The X-rays that carry a token of the vocabulary, each with the token's boxes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from cxr.data import Manifest, read_xray
from cxr.experiments.vocabulary.count import boxes_with
from cxr.experiments.vocabulary.entries import Entry
from cxr.text import TextBox

from widgets import page, pages, pick, viewer
from widgets.subject import Subject

_BOX_COLUMNS = ("x0", "y0", "x1", "y1", "text", "score", "kind")
_PER_PAGE, _PER_ROW = 12, 6
_THUMBNAIL = 256


def show(chosen: Subject, tables: tuple[pd.DataFrame, pd.DataFrame], entry: Entry, join: bool, *, picked: bool) -> None:
    """Show the X-rays of a split or data set that carry a token, with their boxes and links to the explorer."""
    boxes = boxes_with(tables[1], entry["group"], entry["token"], join)
    labels = tables[0].set_index("image_id")["label"]
    ids_of_data = set(chosen.data.ids)
    ids = [i for i in boxes["image_id"].unique() if i in ids_of_data]
    hint = "" if picked else " · the first row; click another one to see its X-rays"
    st.markdown(f"**{viewer.plain(entry['token'])}** on {page.counted(len(ids), 'X-ray')}{hint}")
    key = f"vocabulary:page:{entry['group']}:{entry['token']}"
    number = pick.page_number(-(-len(ids) // _PER_PAGE), key=key)
    shown = ids[(number - 1) * _PER_PAGE : number * _PER_PAGE]
    by_image = dict(iter(boxes.groupby("image_id")))
    for first in range(0, len(shown), _PER_ROW):
        for cell, image_id in zip(st.columns(_PER_ROW), shown[first : first + _PER_ROW], strict=False):
            with cell:
                picture = _picture(chosen.data, image_id, by_image[image_id])
                st.image(picture, alt=f"{image_id} with its tokens in boxes", width="stretch")
                # Two lines below each picture, so that the links below them stand in line.
                st.caption(f"{viewer.plain(labels[image_id] or 'unlabelled')}  \n{viewer.plain(image_id)}")
                link = {**chosen.link, "split": _split_of(chosen, image_id), "image": image_id}
                st.page_link(pages.EXPLORER, label="Explain", icon=":material/radiology:", query_params=link)


def _split_of(chosen: Subject, image_id: str) -> str:
    return str(chosen.data.row(image_id)["split"]) or chosen.split


def _picture(data: Manifest, image_id: str, rows: pd.DataFrame) -> np.ndarray:
    path = data.image_path(image_id)
    if not path.is_file():
        return np.zeros((_THUMBNAIL, _THUMBNAIL, 3), np.uint8)
    boxes = [TextBox(**entry) for entry in rows[list(_BOX_COLUMNS)].to_dict("records")]
    return _drawn(str(path), path.stat().st_mtime_ns, tuple(boxes))


@st.cache_data(max_entries=512, show_spinner=False)
def _drawn(path: str, stamp: int, boxes: tuple[TextBox, ...]) -> np.ndarray:
    """Return an X-ray in a square with its boxes, so that the rows below pictures stay in line."""
    drawn = viewer.with_boxes(read_xray(path), boxes, _THUMBNAIL, labels=False)
    square = np.zeros((_THUMBNAIL, _THUMBNAIL, 3), np.uint8)
    top, left = ((_THUMBNAIL - n) // 2 for n in drawn.shape[:2])
    square[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
    return square
