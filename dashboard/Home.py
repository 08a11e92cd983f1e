"""Entry of the dashboard: ``streamlit run dashboard/Home.py`` serves this app; its pages begin in ``every_page.py``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from cxr.machine import give_memory_back_at_once

from first_paint import FirstPaint
from services import left_pages, no_compiler, quiet_end
from widgets.panes import frames

# What holds for the whole server, before its first visitor comes.
give_memory_back_at_once()
no_compiler.leave_out()
left_pages.ignore_questions_of_left_pages()
quiet_end.end_quietly()

app = st.App(Path(__file__).with_name("every_page.py"), routes=frames.routes(), middleware=[Middleware(FirstPaint)])
