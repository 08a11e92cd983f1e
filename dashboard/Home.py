"""Entry of the dashboard: ``streamlit run dashboard/Home.py`` serves this app; its pages begin in ``every_page.py``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from first_paint import FirstPaint

app = st.App(Path(__file__).with_name("every_page.py"), middleware=[Middleware(FirstPaint)])
