"""The page before the sign-in, and in the sidebar who is signed in."""

from __future__ import annotations

import streamlit as st

from cxr.errors import MissingPackageError, require

from services import people
from widgets import address

# The provider sends everybody back to the first page; the address that was opened waits in this tab.
_REMEMBER = """<script>
if (location.pathname + location.search !== "/") sessionStorage.setItem("cxr:wanted", location.href);
</script>"""
_GO_ON = """<script>
(() => {
  const wanted = sessionStorage.getItem("cxr:wanted");
  if (!wanted) return;
  sessionStorage.removeItem("cxr:wanted");
  if (wanted !== location.href) location.replace(wanted);
})();
</script>"""


def gate() -> bool:
    """Return whether this person may look; where not, show how to sign in, or who may help."""
    if not people.asks_for_sign_in():
        return True
    if not people.is_signed_in():
        _sign_in()
    elif people.role() is None:
        _no_role()
    else:
        st.html(_GO_ON, unsafe_allow_javascript=True)
        return True
    return False


def who() -> None:
    """Show in the sidebar who is signed in and as what."""
    if people.asks_for_sign_in():
        st.sidebar.caption(f"{address.plain(people.name())} · {people.role()}")
        st.sidebar.button("Sign out", icon=":material/logout:", key="people:out", on_click=st.logout)


def _sign_in() -> None:
    st.title("cxr", anchor=False)
    st.write("Chest X-ray classifiers, and what they look at. Sign in to open this dashboard.")
    try:
        require("authlib", extra="sign-in")
    except MissingPackageError as error:
        st.error(address.plain(str(error)), icon=":material/error:")
        return
    st.button("Sign in", icon=":material/login:", type="primary", key="people:in", on_click=st.login)
    st.html(_REMEMBER, unsafe_allow_javascript=True)


def _no_role() -> None:
    st.title("cxr", anchor=False)
    st.error(
        f"{address.plain(people.name())} is signed in, but has no role here. Whoever runs this dashboard can add the "
        "address to [roles] in its secrets file.",
        icon=":material/person_off:",
    )
    st.button("Sign out", icon=":material/logout:", key="people:out", on_click=st.logout)
