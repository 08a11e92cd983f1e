"""The grid itself: only pictures in sight are made and fetched; the rest is a number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.data.images.resize import fit_square
from cxr.explain.render import heatmap_rgb, overlay
from cxr.runs import Run

from sections.grid.rows import caption, caption_parts, read_map
from services import load
from widgets import panes
from widgets.panes import media

_HERE = Path(panes.__file__).parent
_mount = st.components.v2.component(
    "cxr_grid",
    js=(_HERE / "grid.js").read_text(encoding="utf-8"),
    css=(_HERE / "grid.css").read_text(encoding="utf-8"),
)
SIDE = 160
_MOST_AT_ONCE = 120
OVERLAY, XRAY, HEATMAP = "overlay", "X-ray", "heatmap"
PICTURES = (OVERLAY, XRAY, HEATMAP)
_PERCENTILE = 99.5


class Tile(TypedDict):
    """A picture of the grid, by its place in the order."""

    at: int
    id: str
    url: str
    caption: str
    classes: str
    sure: str
    alt: str
    wrong: bool


def selected_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return which of these X-rays are selected; the selection is kept by id, so that it outlives another order."""
    ids = set(rows["image_id"])
    return tuple(image_id for image_id in st.session_state.get("grid:selected", ()) if image_id in ids)


def show(data: Manifest, rows: pd.DataFrame, run: Run | None, picture: str, stamp: str) -> str:
    """Show the grid; returns the X-ray that was opened, or "".

    ``stamp`` changes with rows, order and kind of picture: what the browser holds is then forgotten. What works on the
    selection is shown before: the grid lets a click on a file wait until it hears that its selection has arrived.
    """
    state = st.session_state.get("grid:tiles")
    window = _window(state.get("window") if isinstance(state, Mapping) else None, stamp, len(rows))
    told = _mount(
        key="grid:tiles",
        data={
            "stamp": stamp,
            "total": len(rows),
            "tiles": _tiles(data, rows.iloc[window[0] : window[1]], window[0], run, picture),
            "selected": list(selected_of(rows)),
            "turn": _turn(),
            "heard": st.session_state.get("grid:heard", 0),
        },
        on_window_change=lambda: None,
        on_selected_change=_heard,
        on_open_change=lambda: None,
    )
    return str(told.open) if told.open in set(rows["image_id"]) else ""


def select(ids: Sequence[str]) -> None:
    """Select these X-rays and no others: for use in a callback."""
    st.session_state["grid:selected"] = list(ids)
    st.session_state["grid:turn"] = _turn() + 1


def _turn() -> int:
    """Return how often the page has changed the selection: what the browser selected before that is over."""
    return int(st.session_state.get("grid:turn", 0))


def _heard() -> None:
    state = st.session_state.get("grid:tiles")
    told = state.get("selected") if isinstance(state, Mapping) else None
    if not isinstance(told, Mapping):
        return
    number, turn, ids = told.get("number"), told.get("turn"), told.get("ids")
    if isinstance(number, int):
        st.session_state["grid:heard"] = number
    if isinstance(ids, list) and turn == _turn():
        st.session_state["grid:selected"] = [str(image_id) for image_id in ids]


def _window(asked: object, stamp: str, total: int) -> tuple[int, int]:
    """Return first and last place that the browser asked for, the beginning where it has not asked yet."""
    first, count = 0, 48
    if isinstance(asked, Mapping) and asked.get("stamp") == stamp:
        wanted, many = asked.get("first"), asked.get("count")
        if isinstance(wanted, int) and isinstance(many, int):
            first, count = max(0, min(wanted, total)), max(1, min(many, _MOST_AT_ONCE))
    return first, min(total, first + count)


def _tiles(data: Manifest, rows: pd.DataFrame, first: int, run: Run | None, picture: str) -> list[Tile]:
    tiles: list[Tile] = []
    for place, row in enumerate(rows.to_dict("records"), first):
        of_row = {str(name): value for name, value in row.items()}
        words, (classes, sure) = caption(of_row), caption_parts(of_row)
        drawn = run if run is not None and picture != XRAY else None
        content = _picture(data, str(row["image_id"]), drawn, row.get("row"), row.get("scale"), picture)
        of = f"heatmap of {row['target']} on " if drawn is not None else ""
        tiles.append(
            {
                "at": place,
                "id": str(row["image_id"]),
                "url": media.picture_url(content, f"grid:{place}"),
                "caption": words,
                "classes": classes,
                "sure": sure,
                "alt": f"{of}{row['image_id']}: {words}",
                "wrong": row.get("outcome") == "wrong",
            }
        )
    return tiles


def _picture(data: Manifest, image_id: str, run: Run | None, row: object, scale: object, picture: str) -> bytes:
    path = data.image_path(image_id)
    if run is None or not isinstance(row, int) or not isinstance(scale, float):
        return _drawn(str(path), _stamp(path), "", 0, 1.0, XRAY, data, image_id, None)
    return _drawn(str(path), _stamp(path), run.id, row, scale, picture, data, image_id, run)


@st.cache_data(max_entries=4000, show_spinner=False)
def _drawn(
    path: str,
    stamp: int,
    run_id: str,
    row: int,
    scale: float,
    picture: str,
    _data: Manifest,
    _image_id: str,
    _run: Run | None,
) -> bytes:
    """Return a JPEG of SIDE x SIDE: networks see a stretched square, so the map lies on one."""
    if _run is None:
        return _jpeg(load.thumbnail(_data, _image_id, SIDE))
    flat = read_map(_run, row, scale)
    if picture == HEATMAP:
        return _jpeg(cv2.resize(heatmap_rgb(flat, percentile=_PERCENTILE), (SIDE, SIDE))[..., ::-1])
    file = Path(path)
    image = fit_square(load.xray(_data, _image_id), SIDE) if file.exists() else np.zeros((SIDE, SIDE), np.uint8)
    return _jpeg(overlay(image, flat, percentile=_PERCENTILE)[..., ::-1])


def _jpeg(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels), (cv2.IMWRITE_JPEG_QUALITY, 88))[1].tobytes()


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
