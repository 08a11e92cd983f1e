"""One X-ray of a data set, large, with all that is known of it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.errors import CxrError

from services import explaining
from widgets import address, page, pages, pick, viewer
from widgets.panes import component, scenes

_KEY = "data:image"


def open_it(image_id: str) -> None:
    """Have the next run of the page show this X-ray."""
    address.ask(image=image_id)


def show(name: str, data: Manifest) -> None:
    """Show the X-ray of the data set ``name`` that was asked for, if one was."""
    wanted = address.asks("image") or st.session_state.get(_KEY)
    pick.arrive(_KEY, "image", "", allowed=data.positions if wanted else ("",))
    image_id = str(st.session_state[_KEY])
    pick.leave("image", image_id, "")
    if not image_id:
        return
    with st.container(border=True):
        left, right = st.columns([5, 6])
        with left:
            _picture(data, image_id)
        with right:
            _known(name, data, image_id)


def _picture(data: Manifest, image_id: str) -> None:
    try:
        xray = explaining.of_manifest(data, image_id)
    except (CxrError, OSError) as error:
        st.error(address.plain(page.sentence(error)), icon=":material/broken_image:")
        return
    component.show(scenes.alone(xray), key="data:viewer")


def _known(name: str, data: Manifest, image_id: str) -> None:
    row = data.row(image_id)
    heading, close = st.columns([5, 1], vertical_alignment="center")
    heading.markdown(f"**{viewer.plain(image_id)}**")
    close.button("Close", on_click=address.forget, args=("image",))
    known = {column: _written(value) for column, value in row.items() if str(value) not in ("", "nan")}
    table = pd.DataFrame({"column": known.keys(), "value": known.values()})
    # Paths are long: the names of the columns take no more room than they need.
    widths = {"column": st.column_config.TextColumn(width=110), "value": st.column_config.TextColumn(width=390)}
    st.dataframe(table, hide_index=True, height=min(420, 38 + 35 * len(table)), column_config=widths)
    query = {"data": name, "image": image_id} | ({"split": row["split"]} if row["split"] else {})
    with st.container(horizontal=True):
        st.page_link(pages.EXPLORER, label="Explain", icon=":material/radiology:", query_params=query)
        st.page_link(pages.TEXT, label="Its burned-in text", icon=":material/text_fields:", query_params=query)


def _written(value: object) -> str:
    """Return a value as people write it: an age of whole years without decimals."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
