"""Heatmaps that are stored, given to a browser that asks for one without running the page's script.

A page that shows a viewer offers what the viewer would show after one more click. The offer has an address that cannot
be guessed, is of one session alone and ends with it, or when another page takes the place of the one that made it.
"""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import cv2
import numpy as np
import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cxr.errors import CxrError

from services import people
from widgets.panes import media

if TYPE_CHECKING:
    from widgets.panes.component import Scene

Wish = Mapping[str, str]
"""What is wanted, by the words of the page that made the offer."""
Cookies = Mapping[str, str]
"""Of the browser that asks."""
_TOKEN, _OFFER, _RENEWED = "frames:token", "frames:offer", "frames:renewed"


@dataclass(eq=False)
class Offer:
    """What a page offers.

    Attributes
    ----------
    context
        As of the page's :class:`~widgets.panes.component.Scene`: a browser that shows another one gets nothing.
    scene
        Returns what would be shown, given a wish and the token of its small pictures; None where that is not stored.
    small
        Returns the small picture of an X-ray by its id, uint8 (H, W).
    session_id, may_look
        Whose page it is, and what tells by the cookies of a browser whether it is that person's, who may still look.
    """

    context: str
    scene: Callable[[Wish, str], Scene | None]
    small: Callable[[str], np.ndarray]
    session_id: str = field(default_factory=lambda: _session_id())
    may_look: Callable[[Cookies], bool] = field(default_factory=people.may_look_later)

    def stands_for(self, cookies: Cookies) -> bool:
        """Return whether its page is still open, and the browser with these cookies may look."""
        is_open = not runtime.exists() or runtime.get_instance().is_active_session(self.session_id)
        return is_open and self.may_look(cookies)


_offers: WeakValueDictionary[str, Offer] = WeakValueDictionary()  # a session holds its own one


# --- by pages ------------------------------------------------------------------------------------------------------


def own_token() -> str:
    """Return what stands for this session in addresses."""
    token: str = st.session_state.setdefault(_TOKEN, secrets.token_urlsafe(16))
    return token


def offer(made: Offer) -> None:
    """Offer scenes and small pictures in this session, in place of what it offered before."""
    st.session_state[_OFFER] = _offers[own_token()] = made
    st.session_state[_RENEWED] = True


@contextmanager
def ended_unless_renewed() -> Iterator[None]:
    """End what a session offers at the end of a run of a page, inside, that offers nothing."""
    st.session_state.pop(_RENEWED, None)  # of a part that ran by itself, or of a run that was broken off
    yield
    if not st.session_state.pop(_RENEWED, False) and st.session_state.pop(_OFFER, None) is not None:
        _offers.pop(own_token(), None)


def _session_id() -> str:
    run = get_script_run_ctx()
    return run.session_id if run else ""


# --- to browsers ---------------------------------------------------------------------------------------------------


def answer(token: str, cookies: Cookies, wish: Wish, held: frozenset[str] = frozenset()) -> bytes | None:
    """Return what the viewer would show, with the files of its pictures but those ``held`` by the browser.

    The answer begins with the length of what follows as JSON (32 bits, little-endian): the viewer's ``data``, and the
    ``files`` with their address and size, which come behind it.
    """
    from widgets.panes import component  # loads much, which the server does not need to begin

    offered = _offers.get(token)
    if offered is None or not offered.stands_for(cookies) or wish.get("context") != offered.context:
        return None
    try:
        scene = offered.scene(wish, token)
        if scene is None:
            return None
        files = media.Files()
        data = component.data_of(scene, files.url)
    except (CxrError, OSError):  # told when somebody goes there
        return None
    finally:
        media.let_go()
    sent = {url: content for url, content in files.contents.items() if url not in held}
    sizes = [{"url": url, "size": len(content)} for url, content in sent.items()]
    head = json.dumps({"data": data, "files": sizes}).encode()
    return b"".join([struct.pack("<I", len(head)), head, *sent.values()])


def small_png(token: str, cookies: Cookies, image_id: str) -> bytes | None:
    """Return the small picture of an X-ray, a PNG file."""
    offered = _offers.get(token)
    if offered is None or not offered.stands_for(cookies):
        return None
    try:
        return cv2.imencode(".png", offered.small(image_id))[1].tobytes()
    except (CxrError, OSError, LookupError):
        return None
