"""The pages of the dashboard, in the order of a researcher's work, and the sidebar that leads to them."""

from __future__ import annotations

import streamlit as st

from widgets import address
from widgets.access import sign_in
from widgets.page import told_in_one_line

HOME = "views/home.py"
DATA = "views/data.py"
TRAIN = "views/train.py"
LIVE = "views/live.py"
STUDY = "views/study.py"
RESULTS = "views/results.py"
TRUST = "views/trust.py"
COMPARE = "views/compare.py"
EXPLORER = "views/explorer.py"
TEXT = "views/text.py"
WEIGHTS = "views/weights.py"
GLOSSARY = "views/glossary.py"

_SECTIONS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "": ((HOME, "Home", "home"),),
    "Experiment": (
        (DATA, "Data", "photo_library"),
        (TRAIN, "Train", "model_training"),
        (LIVE, "Live", "show_chart"),
        (STUDY, "Studies", "science"),
    ),
    "Findings": (
        (RESULTS, "Results", "grid_on"),
        (TRUST, "Can this be trusted?", "policy"),
        (COMPARE, "Compare", "compare_arrows"),
        (EXPLORER, "LRP explorer", "radiology"),
        (TEXT, "Text tokens", "text_fields"),
    ),
    "Networks": ((WEIGHTS, "Weights", "deployed_code"),),
    "Help": ((GLOSSARY, "Glossary", "menu_book"),),
}


def show(chosen: st.Page) -> None:
    """Run a page. What goes wrong there is told in one line; the address names what it shows."""
    with address.in_step(chosen.url_path or "home"), told_in_one_line():
        chosen.run()


def navigate() -> st.Page:
    """Draw the sidebar and return the page that the URL asks for."""
    sections = {
        title: [
            st.Page(path, title=name, icon=f":material/{icon}:", default=path == HOME) for path, name, icon in entries
        ]
        for title, entries in _SECTIONS.items()
    }
    # Streamlit's own list of pages is no list to a screen reader: its items stand outside of any.
    page = st.navigation(sections, position="hidden")
    with st.sidebar.container(key="pages", gap="xxsmall"):
        for title, entries in sections.items():
            if title:
                st.caption(title)
            for entry in entries:
                st.page_link(entry, width="stretch")
    sign_in.who()
    st.sidebar.caption("For research on classifiers. Not a medical device.")
    return page
