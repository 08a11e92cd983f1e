"""What stands at an address of which there is no page."""

from __future__ import annotations

import streamlit as st

from services.page_list import SECTIONS
from widgets import address, page, pages

page.header("No such page", "The pages that there are stand below, and in the sidebar.")
refusal = f"The address names the page {pages.unknown_name()!r}, which is not here."
st.error(address.plain(refusal), icon=":material/link_off:")
for title, entries in SECTIONS.items():
    if title:
        st.caption(title)
    with st.container(horizontal=True):
        for path, name, icon in entries:
            st.page_link(path, label=name, icon=f":material/{icon}:")
