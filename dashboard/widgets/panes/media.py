"""Pixels and relevance for the browser: each has an address, so that what is shown again is not sent again."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import streamlit as st
from streamlit import runtime

_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@st.cache_data(max_entries=32, show_spinner=False)
def _png(stamp: str, _pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", _pixels, _FAST)[1].tobytes()


def xray_url(pixels: np.ndarray, stamp: str, place: str) -> str:
    """Return where the browser finds an X-ray, uint8 (H, W), without loss; ``stamp`` changes with its content."""
    return _url(_png(stamp, pixels), "image/png", place)


def map_url(relevance: np.ndarray, place: str) -> str:
    """Return where the browser finds a map (H, W): its float32 values row by row, little-endian."""
    return _url(np.ascontiguousarray(relevance, "<f4").tobytes(), "application/octet-stream", place)


def picture_url(jpeg: bytes, place: str) -> str:
    """Return where the browser finds a small picture, a JPEG file."""
    return _url(jpeg, "image/jpeg", place)


def _url(content: bytes, mimetype: str, place: str) -> str:
    """Return an address of this server, which the browser may keep; ``place`` says which part of the page it is for."""
    if not runtime.exists():  # pages under test have no server
        return f"data:{mimetype};base64,{base64.b64encode(content).decode()}"
    path = runtime.get_instance().media_file_mgr.add(content, mimetype, place)
    prefix = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{prefix}{path}" if prefix else path
