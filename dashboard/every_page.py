"""What runs at each step of a visitor, whatever the page: sign-in, the sidebar, then the page of ``views/``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from cxr.permission import guard_with

from sections.home import tour
from services import people, warm_up
from widgets import pages
from widgets.access import sign_in
from widgets.panes import frames

# A file of our own: an icon by its name would be fetched from a host of fonts.
st.set_page_config(
    page_title="cxr", page_icon=Path(__file__).with_name("icon.png"), layout="wide", initial_sidebar_state=250
)
guard_with(people.refuse_viewers)
try:
    with frames.ended_unless_renewed():
        if sign_in.gate():
            pages.show(pages.navigate(), above=tour.banner)
finally:
    warm_up.start()
