"""Pixels and relevance for the browser: each has an address, so that what is shown again is not sent again."""

from __future__ import annotations

import base64
from collections.abc import Callable

import cv2
import numpy as np
import streamlit as st
from streamlit import runtime

from widgets.panes import routes

_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)

Url = Callable[[bytes, str, str], str]
"""Returns the address of a file's content and MIME type, for a place of the page."""


@st.cache_data(max_entries=32, show_spinner=False)
def _png(stamp: str, _pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", _pixels, _FAST)[1].tobytes()


def url(content: bytes, mimetype: str, place: str) -> str:
    """Return an address of this server, which the browser may keep; ``place`` says which part of the page it is for."""
    if not runtime.exists():  # pages under test have no server
        return f"data:{mimetype};base64,{base64.b64encode(content).decode()}"
    return f"{routes.prefix()}{runtime.get_instance().media_file_mgr.add(content, mimetype, place)}"


def xray_url(pixels: np.ndarray, stamp: str, place: str, url: Url = url) -> str:
    """Return where the browser finds an X-ray, uint8 (H, W), without loss; ``stamp`` changes with its content."""
    return url(_png(stamp, pixels), "image/png", place)


def map_url(relevance: np.ndarray, place: str, url: Url = url) -> str:
    """Return where the browser finds a map (H, W): its float32 values row by row, little-endian."""
    return url(np.ascontiguousarray(relevance, "<f4").tobytes(), "application/octet-stream", place)


def picture_url(jpeg: bytes, place: str) -> str:
    """Return where the browser finds a small picture, a JPEG file."""
    return url(jpeg, "image/jpeg", place)


class Files:
    """Files with the addresses that a page would give them, for an answer that holds the files themselves."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def url(self, content: bytes, mimetype: str, place: str) -> str:
        """Do as :func:`url`."""
        address = url(content, mimetype, place)
        self.contents[address] = content
        return address


def let_go() -> None:
    """Have the server forget files that were given an address outside of a page, unless a page shows them too."""
    if runtime.exists():
        runtime.get_instance().media_file_mgr.clear_session_refs()
