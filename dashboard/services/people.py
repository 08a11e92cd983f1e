"""Who is signed in, and what this person may do: a viewer looks, a researcher also starts, stops, changes and deletes.

Without an ``[auth]`` section in Streamlit's secrets nobody signs in, and whoever reaches the page is a researcher: the
dashboard listens to its own machine alone. With one, ``[roles]`` of the same file says who is what::

    [roles]
    researcher = ["ana@example.org", "*@radiology.example.org"]
    viewer = ["*@example.org"]

Source of the sign-in: https://docs.streamlit.io/develop/concepts/connections/authentication
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cxr.permission import NotAllowedError

Role = Literal["researcher", "viewer"]
ROLES: tuple[Role, ...] = ("researcher", "viewer")
_COOKIE = "_streamlit_user"


def asks_for_sign_in() -> bool:
    """Return whether this dashboard is for people who sign in."""
    return bool(_section("auth"))


def is_signed_in() -> bool:
    return bool(st.user.get("is_logged_in", False))


def name() -> str:
    """Return how the person who is signed in is called: the address of the e-mail, else the name."""
    return str(st.user.get("email") or st.user.get("name") or "somebody without a name")


def role() -> Role | None:
    """Return what the person in front of this page may do; None for somebody who may not even look."""
    if not asks_for_sign_in():
        return "researcher"
    return role_of(_email(), _section("roles")) if is_signed_in() else None


def may_look_later() -> Callable[[Mapping[str, str]], bool]:
    """Return what tells, outside of a page too, whether the person in front of this page may still look.

    It is given the cookies of who asks: with a sign-in, only the browser that has signed in for this page is answered.
    """
    signed_in, email, own = is_signed_in(), _email(), _of_sign_in(st.context.cookies)

    def may_look(cookies: Mapping[str, str]) -> bool:
        if not asks_for_sign_in():
            return True
        same_browser = bool(own) and _of_sign_in(cookies) == own
        return signed_in and same_browser and role_of(email, _section("roles")) is not None

    return may_look


def _of_sign_in(cookies: Mapping[str, str]) -> dict[str, str]:
    """Return the cookies that Streamlit signs for who is signed in: a long one stands in several."""
    return {name: value for name, value in cookies.items() if name.startswith(_COOKIE)}


def _email() -> str:
    """Return the address of who is signed in, "" where the provider has not verified it: it may be another person's."""
    return "" if st.user.get("email_verified") is False else str(st.user.get("email") or "")


def role_of(email: str, roles: Mapping[str, object]) -> Role | None:
    """Return the first role, researcher before viewer, one of whose patterns fits an address.

    Parameters
    ----------
    email
        The address, "" where there is none: it fits no pattern.
    roles
        The patterns of each role, in which ``*`` stands for any letters. Where there are none at all, whoever signs in
        is a viewer.
    """
    if not roles:
        return "viewer"
    if email:
        for named in ROLES:
            if any(fnmatchcase(email.casefold(), pattern.casefold()) for pattern in _patterns(roles.get(named))):
                return named
    return None


def may_change() -> bool:
    """Return whether this person may start, stop, change and delete."""
    return role() == "researcher"


def refuse_viewers(what: str) -> None:
    """Refuse to do what only a researcher may; work outside of a page is not asked.

    Raises
    ------
    NotAllowedError
        For a viewer, or somebody who is not signed in.
    """
    if get_script_run_ctx(suppress_warning=True) is not None and not may_change():
        who = f"{name()} is a viewer" if is_signed_in() else "nobody is signed in"
        raise NotAllowedError(f"{who} and may not {what}: ask a researcher")


def _patterns(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return [value]
    return [str(pattern) for pattern in value] if isinstance(value, Sequence) else []


def _section(title: str) -> Mapping[str, object]:
    try:
        found = st.secrets.get(title, {})
    except StreamlitSecretNotFoundError:  # there is no file of secrets
        return {}
    return found if isinstance(found, Mapping) else {}
