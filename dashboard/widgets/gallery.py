"""X-rays in a grid, each with a caption and a link to the explorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

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
    param: str = "page",
) -> None:
    """Show X-rays ``columns`` by ``rows`` a page, whose number the URL's ``param`` has.

    ``link`` holds the query parameters (``model``, ``data``, ``split``) with which a picture opens in the explorer;
    where its split is none of the data's (data that were measured whole), an X-ray's own split takes its place.
    """
    per_page = columns * rows
    pages_total = -(-len(ids) // per_page)
    page = pick.page_number(pages_total, key=f"{key}:page", param=param) - 1
    shown = ids[page * per_page : (page + 1) * per_page]
    for start in range(0, len(shown), columns):
        for cell, image_id in zip(st.columns(columns), shown[start : start + columns], strict=False):
            with cell:
                st.image(load.thumbnail(data, image_id), caption=caption(image_id), width="stretch")
                if link is not None:
                    st.page_link(pages.EXPLORER, label="Explain", query_params=_query(data, image_id, link))


def _query(data: Manifest, image_id: str, link: dict[str, str]) -> dict[str, str]:
    own = data.row(image_id)["split"]
    if own and link.get("split") not in data.splits:
        link = {**link, "split": own}
    return {**link, "image": image_id}
