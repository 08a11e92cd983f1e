"""Entry of the dashboard: ``streamlit run dashboard/Home.py`` serves this app; its pages begin in ``every_page.py``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from cxr.machine import give_memory_back_at_once

from first_paint import FirstPaint
from services import left_pages, no_compiler, quiet_end
from widgets.panes.routes import Answers, routes

# What holds for the whole server, before its first visitor comes.
give_memory_back_at_once()
no_compiler.leave_out()
left_pages.ignore_questions_of_left_pages()
quiet_end.end_quietly()


def stored_frames() -> Answers:
    from widgets.panes import frames  # what it loads needs a server that runs

    return frames


app = st.App(
    Path(__file__).with_name("every_page.py"), routes=routes(stored_frames), middleware=[Middleware(FirstPaint)]
)
