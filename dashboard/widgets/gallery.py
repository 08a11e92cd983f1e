"""X-rays in a grid, each with a caption and a link to the explorer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data import Manifest

from services import load
from widgets import pages, pick


def grid(
    data: Manifest,
    ids: Sequence[str],
    caption: Callable[[str], str],
    *,
    key: str,
    columns: int = 6,
    rows: int = 3,
    link: dict[str, str] | None = None,
    picker_below: bool = False,
    param: str = "page",
    on_open: Callable[[str], None] | None = None,
    picker_in: DeltaGenerator | None = None,
) -> None:
    """Show X-rays ``columns`` by ``rows`` a page; the page is chosen above them, or below, and the address calls it
    ``param``.

    ``link`` holds the query parameters (``model``, ``data``, ``split``) with which a picture opens in the explorer;
    where its split is none of the data's (data that were measured whole), an X-ray's own split takes its place.
    ``picker_in`` is the place of that choice if it is another. ``on_open`` gets the id of an X-ray whose button is
    pressed.
    """
    per_page = columns * rows
    pages_total = -(-len(ids) // per_page)
    pictures = st.container() if picker_below else None
    with picker_in or contextlib.nullcontext():
        page = pick.page_number(pages_total, key=f"{key}:page", param=param) - 1
    shown = ids[page * per_page : (page + 1) * per_page]
    with pictures or contextlib.nullcontext():
        for start in range(0, len(shown), columns):
            for cell, image_id in zip(st.columns(columns), shown[start : start + columns], strict=False):
                with cell:
                    _picture(data, image_id, caption(image_id), link)
                    if on_open is not None:
                        _open_button(image_id, on_open, key)


def _picture(data: Manifest, image_id: str, caption: str, link: dict[str, str] | None) -> None:
    """Show one X-ray; a click on it, or on the link below it, opens it in the explorer."""
    query = None if link is None else _query(data, image_id, link)
    address_of = None if query is None else f"explorer?{urlencode(query)}"
    st.image(load.thumbnail(data, image_id), caption=caption, width="stretch", link=address_of, alt=image_id)
    if query is not None:
        st.page_link(pages.EXPLORER, label="Explain", query_params=query)


def _open_button(image_id: str, on_open: Callable[[str], None], key: str) -> None:
    st.button(
        image_id,
        key=f"{key}:open:{image_id}",
        type="tertiary",
        help="Show it large, with all that is known of it",
        on_click=on_open,
        args=(image_id,),
        width="stretch",
    )


def _query(data: Manifest, image_id: str, link: dict[str, str]) -> dict[str, str]:
    own = data.row(image_id)["split"]
    if own and link.get("split") not in data.splits:
        link = {**link, "split": own}
    return {**link, "image": image_id}
