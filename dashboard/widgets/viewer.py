"""Pictures that stand still: X-rays at one display size, boxes with their text, two versions with a slider between."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

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
    scaled = []
    for box in boxes:
        x0, y0, x1, y1 = np.rint(np.array([box.x0, box.y0, box.x1, box.y1]) * scale).astype(int).tolist()
        scaled.append(Rectangle(x0 - 2, y0 - 2, x1 + 1, y1 + 1))
    for x0, y0, x1, y1 in scaled:
        cv2.rectangle(drawn, (x0, y0), (x1, y1), BOX_COLOUR, 2, cv2.LINE_AA)
    taken = list(scaled)
    for box, place in zip(boxes, scaled, strict=True):
        if labels and box.text:  # OpenCV's fonts hold ASCII alone; the table of tokens has the full transcription.
            taken.append(_label(drawn, box.text.encode("ascii", "replace").decode(), place, taken))
    return drawn


class Rectangle(NamedTuple):
    """A part of a picture, in its pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    def meets(self, other: Rectangle) -> bool:
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1


def _label(picture: np.ndarray, text: str, box: Rectangle, taken: Sequence[Rectangle]) -> Rectangle:
    """Write on a dark plate beside the box, where it covers no box and no other plate; return the plate's place."""
    (width, height), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
    plate = label_place((width + 6, height + 8), box, taken, (picture.shape[1], picture.shape[0]))
    cv2.rectangle(picture, plate[:2], plate[2:], _PLATE, -1)
    cv2.putText(picture, text, (plate.x0 + 3, plate.y1 - 5), _FONT, _FONT_SCALE, BOX_COLOUR, 1, cv2.LINE_AA)
    return plate


def label_place(
    size: tuple[int, int], box: Rectangle, taken: Sequence[Rectangle], picture: tuple[int, int]
) -> Rectangle:
    """Return where the label of a box stands: above, below, right or left of it, the first that covers nothing.

    Sizes are (width, height). Where each of them covers something, it is above the box, below it at the upper edge.
    """
    (width, height), (right, bottom) = size, picture
    x = max(0, min(box.x0, right - width))
    corners = [
        (x, box.y0 - height - 1),
        (x, box.y1 + 2),
        (box.x1 + 2, box.y0),
        (box.x0 - width - 2, box.y0),
    ]
    places = [Rectangle(x0, y0, x0 + width, y0 + height) for x0, y0 in corners]
    inside = [p for p in places if p.x0 >= 0 and p.y0 >= 0 and p.x1 <= right and p.y1 <= bottom]
    free = [p for p in inside if not any(p.meets(other) for other in taken)]
    return (free or inside or places)[0]


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
