"""Entry of the dashboard: ``streamlit run dashboard/Home.py``. Routes to the pages in ``views/``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from cxr.machine import give_memory_back_at_once
from cxr.permission import guard_with

from sections.home import tour
from services import left_pages, no_compiler, people, warm_up
from widgets import pages
from widgets.access import sign_in

# A file of our own: an icon by its name would be fetched from a host of fonts.
st.set_page_config(
    page_title="cxr", page_icon=Path(__file__).with_name("icon.png"), layout="wide", initial_sidebar_state=250
)
give_memory_back_at_once()
no_compiler.leave_out()
guard_with(people.refuse_viewers)
left_pages.ignore_questions_of_left_pages()
try:
    if sign_in.gate():
        pages.show(pages.navigate(), above=tour.banner)
finally:
    warm_up.start()
