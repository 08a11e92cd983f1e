"""Entry of the dashboard: ``streamlit run dashboard/Home.py``. Routes to the pages in ``views/``."""

from __future__ import annotations

import streamlit as st

from components import pages

st.set_page_config(page_title="cxr", page_icon=":material/radiology:", layout="wide")
pages.navigate().run()
