"""The pages of the dashboard, and the sidebar that leads to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from urllib.parse import unquote, urlsplit

import streamlit as st

from cxr.runs.index import one_look

from services.page_list import (
    COMPARE,
    DATA,
    EXPLORER,
    GLOSSARY,
    HOME,
    LIVE,
    RESULTS,
    SECTIONS,
    STUDY,
    TEXT,
    TITLES,
    TRAIN,
    TRUST,
    UNKNOWN,
    WEIGHTS,
    name_in_address,
)
from widgets import address
from widgets.access import sign_in
from widgets.page import told_in_one_line

__all__ = (
    "COMPARE",
    "DATA",
    "EXPLORER",
    "GLOSSARY",
    "HOME",
    "LIVE",
    "RESULTS",
    "STUDY",
    "TEXT",
    "TRAIN",
    "TRUST",
    "WEIGHTS",
    "asked_name",
    "link",
    "navigate",
    "show",
    "unknown_name",
)

_SHOWN, _UNKNOWN = "pages:shown", "pages:unknown"


def show(chosen: st.Page, above: Callable[[str], object]) -> None:
    """Run a page. What goes wrong there is told in one line; the address names what it shows.

    ``above`` draws what stands above the page; it is given the page's name in the address.
    """
    name = (chosen.url_path if chosen.url_path in TITLES else name_in_address(UNKNOWN)) or "home"
    with address.in_step(name), told_in_one_line(), one_look():
        st.session_state[_SHOWN] = name
        above(name)
        chosen.run()


def asked_name() -> str:
    """Return what the browser's address names as the page, "" for the first one."""
    path = urlsplit(st.context.url or "").path
    return unquote(path.rpartition("/")[2]).strip()


def unknown_name() -> str:
    """Return the last name of a page that an address named and that is none."""
    return str(st.session_state[_UNKNOWN])


def link(page: str, label: str, query: Mapping[str, str], *, key: str, icon: str | None = None) -> None:
    """Link to what a page shows under an address, be it this page or another.

    Streamlit's own link to the page that is shown leaves the browser's address as it was, and with the next message of
    the browser the page goes back to it. So a link within a page is a button.
    """
    if PurePath(page).stem == st.session_state.get(_SHOWN):
        st.button(label, icon=icon, key=key, type="tertiary", on_click=address.ask, kwargs=dict(query))
    else:
        st.page_link(page, label=label, icon=icon, query_params=query)


def navigate() -> st.Page:
    """Draw the sidebar and return the page that the URL asks for."""
    sections = {
        title: [
            st.Page(path, title=name, icon=f":material/{icon}:", default=path == HOME) for path, name, icon in entries
        ]
        for title, entries in SECTIONS.items()
    }
    if (asked := asked_name()) not in TITLES:
        st.session_state[_UNKNOWN] = asked  # stays, for Back to lead to it
    # A page of that very name: for one that it does not know Streamlit shows the first, below a dialog.
    names = [st.session_state[_UNKNOWN]] if _UNKNOWN in st.session_state else []
    unknown = [st.Page(UNKNOWN, title="No such page", url_path=name, visibility="hidden") for name in names]
    # Streamlit's own list of pages is no list to a screen reader: its items stand outside of any.
    page = st.navigation({**sections, "": [*sections[""], *unknown]}, position="hidden")
    with st.sidebar.container(key="pages", gap="xxsmall"):
        for title, entries in sections.items():
            if title:
                st.caption(title)
            for entry in entries:
                st.page_link(entry, width="stretch")
    sign_in.who()
    st.sidebar.caption("For research on classifiers. Not a medical device.")
    return page
