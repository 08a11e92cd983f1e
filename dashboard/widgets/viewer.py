"""The image viewer: X-rays at one display size, heatmaps with their scale, outlines of masks, boxes with their text."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import streamlit as st

from cxr.explain import render
from cxr.reports.slider import slider_html
from cxr.text import TextBox

if TYPE_CHECKING:
    from cxr.explain.heatmap import Heatmap

SIDE = 720
"""Longest side of a picture on a page, in pixels."""

MASK_COLOURS: dict[str, tuple[int, int, int]] = {
    "lesion": (255, 214, 64),
    "lung": (90, 214, 140),
    "token": (214, 120, 255),
}
"""Outline colour (RGB) of each ground-truth mask: neither red nor blue, which speak of relevance."""

_SLIDER_SIDE = 560
BOX_COLOUR = (255, 176, 32)
_PLATE = (20, 24, 30)
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5


def at_display_size(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Return ``image`` (H, W) with its longest side brought to ``side``."""
    scale = side / max(image.shape)
    width, height = (max(1, round(n * scale)) for n in image.shape[::-1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def with_outlines(picture: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Return a copy of the picture (H, W, 3) with the outline of every mask (any size, above 127 is inside)."""
    drawn = picture.copy()
    for name, mask in masks.items():
        fitted = cv2.resize(mask, (drawn.shape[1], drawn.shape[0]), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours((fitted > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, MASK_COLOURS[name], 2, cv2.LINE_AA)
    return drawn


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


def relevance_pictures(image: np.ndarray, relevance: np.ndarray, opacity: float, scale: float) -> list[np.ndarray]:
    """Return X-ray, heatmap and overlay, uint8 RGB of one size.

    Parameters
    ----------
    image
        The X-ray, uint8 (H, W), at its own size.
    relevance
        The map (h, w) at the network's input size.
    opacity
        How much of the X-ray full colour covers, 0 to 1.
    scale
        The relevance that gets full colour.
    """
    shown = at_display_size(image)
    # Nearest neighbour: every square is one input value of the network, none is invented.
    size = (shown.shape[1], shown.shape[0])
    heat = cv2.resize(render.heatmap_rgb(relevance, scale), size, interpolation=cv2.INTER_NEAREST)
    return [
        cv2.cvtColor(shown, cv2.COLOR_GRAY2RGB),
        heat,
        render.overlay(shown, relevance, opacity, scale),
    ]


def show_relevance(
    image: np.ndarray, heatmap: Heatmap, *, opacity: float, scale: float, masks: dict[str, np.ndarray]
) -> None:
    """Show X-ray, heatmap and overlay side by side at one size, the colour map's scale below them."""
    target = heatmap.target
    captions = ("X-ray", f"Heatmap: red speaks for {plain(target)}, blue against it", "Overlay")
    pictures = relevance_pictures(image, heatmap.relevance, opacity, scale)
    for cell, picture, caption in zip(st.columns(3), pictures, captions, strict=True):
        cell.image(with_outlines(picture, masks), caption=caption, alt=caption, width="stretch")
    show_scale(scale, target)


def show_classes(
    image: np.ndarray,
    heatmaps: Sequence[Heatmap],
    *,
    opacity: float,
    scale: float,
    masks: dict[str, np.ndarray],
    per_row: int = 3,
) -> None:
    """Show heatmap and overlay of several classes, a column each, all at one colour scale, which stands below them."""
    for start in range(0, len(heatmaps), per_row):
        for cell, heatmap in zip(st.columns(per_row), heatmaps[start : start + per_row], strict=False):
            _, heat, laid = relevance_pictures(image, heatmap.relevance, opacity, scale)
            cell.markdown(f"**{plain(heatmap.target)}** · logit {heatmap.logit:+.3f}")
            cell.image(with_outlines(laid, masks), alt=f"Overlay, {heatmap.target}", width="stretch")
            cell.image(with_outlines(heat, masks), alt=f"Heatmap, {heatmap.target}", width="stretch")
    show_scale(scale, "the class")


def plain(text: str) -> str:
    """Return text that Markdown leaves as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~$:<>-])", r"\\\1", text)


def as_markdown(line: str) -> str:
    """Return a sentence whose names of labels are no Markdown, but whose commands in backticks are."""
    parts = line.split("`")
    return "".join(f"`{part}`" if k % 2 else plain(part) for k, part in enumerate(parts))


def show_scale(scale: float, target: str) -> None:
    """Show the colour map from ``-scale`` to ``scale`` with its numbers."""
    colours = render.heatmap_rgb(np.linspace(-1, 1, 21)[None], 1.0)[0]
    gradient = ", ".join(_hex(tuple(colour)) for colour in colours.tolist())
    name = html.escape(target)
    st.html(
        "<div style='display:flex;align-items:center;gap:0.75rem;font-size:0.875rem'>"
        f"<span>against {name} <b>{-scale:.2g}</b></span>"
        f"<span style='flex:1;height:0.9rem;border-radius:0.25rem;background:linear-gradient(90deg,{gradient})'></span>"
        f"<span><b>+{scale:.2g}</b> for {name}</span></div>"
    )


def show_overlays(images: Sequence[np.ndarray], maps: Sequence[np.ndarray], titles: Sequence[str], target: str) -> None:
    """Show several X-rays under their relevance in one colour scale, which stands below them."""
    scale = max(render.colour_scale(relevance, 99.5) for relevance in maps)
    pictures = [
        render.overlay(at_display_size(image), relevance, 0.8, scale)
        for image, relevance in zip(images, maps, strict=True)
    ]
    for cell, picture, title in zip(st.columns(len(pictures)), pictures, titles, strict=True):
        cell.image(
            picture, caption=f"{title}: red speaks for {plain(target)}, blue against it", alt=title, width="stretch"
        )
    show_scale(scale, target)


def show_slider(before: np.ndarray, after: np.ndarray, titles: tuple[str, str]) -> None:
    """Show two pictures of one shape in one place, with a slider that wipes from the first to the second."""
    height, width = before.shape[:2]
    colour = "#16202a" if st.context.theme.type == "light" else "#e6ebef"  # a frame does not inherit the theme's
    figure = slider_html(before, after, titles, round(_SLIDER_SIDE * width / max(height, width)))
    st.iframe(f"<div style='color:{colour};font-family:sans-serif'>{figure}</div>", alt=" / ".join(titles))


def mask_colour(name: str) -> str:
    """Return the outline colour of a mask as ``#rrggbb``."""
    return _hex(MASK_COLOURS[name])


def legend_of(masks: dict[str, np.ndarray]) -> str:
    """Return a line of Markdown that names the outlines in their colours, "" without any."""
    return " · ".join(f":color[{name}]{{foreground='{_hex(MASK_COLOURS[name])}'}}" for name in masks)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
