"""Pictures that stand still: X-rays at one display size, boxes with their text, two versions with a slider between."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np
import streamlit as st

from cxr.reports.slider import slider_html
from cxr.text import TextBox

from services import field_names

SIDE = 720
"""Longest side of a picture on a page, in pixels."""

MASK_COLOURS: dict[str, tuple[int, int, int]] = {
    "lesion": (255, 214, 64),
    "lung": (90, 214, 140),
    "token": (214, 120, 255),
}
"""Outline colour (RGB) of each ground-truth mask: neither red nor blue, which speak of relevance."""

_SLIDER_SIDE = 900  # as wide as a picture beside it, on screens up to full HD
BOX_COLOUR = (255, 176, 32)
_PLATE = (20, 24, 30)
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5


def at_display_size(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Return ``image`` (H, W) with its longest side brought to ``side``."""
    scale = side / max(image.shape)
    width, height = (max(1, round(n * scale)) for n in image.shape[::-1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def with_boxes(image: np.ndarray, boxes: Sequence[TextBox], side: int = SIDE, *, labels: bool = True) -> np.ndarray:
    """Return a uint8 image (H, W) at display size, RGB, with each box drawn and labelled with what was read.

    In small pictures labels cover what lies beside the boxes: leave them out there.
    """
    drawn = cv2.cvtColor(at_display_size(image, side), cv2.COLOR_GRAY2RGB)
    scale = np.array([drawn.shape[1] / image.shape[1], drawn.shape[0] / image.shape[0]] * 2)
    for box in boxes:
        x0, y0, x1, y1 = np.rint(np.array([box.x0, box.y0, box.x1, box.y1]) * scale).astype(int).tolist()
        cv2.rectangle(drawn, (x0 - 2, y0 - 2), (x1 + 1, y1 + 1), BOX_COLOUR, 2, cv2.LINE_AA)
        if labels:  # OpenCV's fonts hold ASCII alone; the table of tokens has the full transcription.
            _label(drawn, box.text.encode("ascii", "replace").decode(), x0, y0, y1)
    return drawn


def _label(picture: np.ndarray, text: str, left: int, top: int, bottom: int) -> None:
    """Write on a dark plate above the box, or below it at the picture's upper edge."""
    if not text:
        return
    (width, height), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
    left = max(0, min(left - 2, picture.shape[1] - width - 6))
    base = top - 6 if top >= height + 12 else bottom + height + 8
    cv2.rectangle(picture, (left, base - height - 4), (left + width + 6, base + 4), _PLATE, -1)
    cv2.putText(picture, text, (left + 3, base - 1), _FONT, _FONT_SCALE, BOX_COLOUR, 1, cv2.LINE_AA)


def plain(text: str) -> str:
    """Return text that Markdown leaves as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~$:<>-])", r"\\\1", text)


def as_markdown(line: str) -> str:
    """Return a sentence whose names of labels are no Markdown, but whose commands in backticks are."""
    parts = line.split("`")
    return "".join(f"`{part}`" if k % 2 else plain(part) for k, part in enumerate(parts))


def on_page(line: str, names: Mapping[str, str]) -> str:
    """Return a sentence as Markdown, with the fields among ``names`` in place of the options of commands."""
    return as_markdown(field_names.on_page(line, names))


def show_slider(before: np.ndarray, after: np.ndarray, titles: tuple[str, str]) -> None:
    """Show two pictures of one shape in one place, with a slider that wipes from the first to the second."""
    height, width = before.shape[:2]
    figure = slider_html(before, after, titles, round(_SLIDER_SIDE * width / max(height, width)))
    # The frame has a margin of its own, with which the picture would be smaller than one beside it. It inherits neither
    # the page's letters nor its colours: the titles stand outside.
    style = "<style>body {margin: 0} figcaption {display: none !important}</style>"
    with st.container(gap="xxsmall"):
        st.iframe(f"{style}{figure}", alt=" / ".join(titles))
        left, right = (escape(title) for title in titles)
        st.html(
            f"<div style='display: flex; justify-content: space-between; font-size: .875rem'><span>◀ {left}</span>"
            f"<span>{right} ▶</span></div>"
        )


def mask_colour(name: str) -> str:
    """Return the outline colour of a mask as ``#rrggbb``."""
    return _hex(MASK_COLOURS[name])


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
