"""The heatmap of an X-ray beside that of the same X-ray with its text masked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from cxr.explain.heatmap import Heatmap, Method
from cxr.text import DEFAULT_MARGIN, DEFAULT_MODE, MASK_MODES

from sections.text import tokens
from services import explaining, load
from services.explaining import Xray
from widgets import page, pages, pick, viewer
from widgets.subject import Subject

KEY = "explorer:masked"
HOW: tokens.MaskedBy = {"mode": DEFAULT_MODE, "margin": DEFAULT_MARGIN}


def switch() -> bool:
    """Let the user turn the comparison on."""
    pick.arrive(KEY, "masked", False, pick.switched, accepted="0, 1")
    on = st.toggle("With its text masked", key=KEY, help="The same heatmap beside it, without the burned-in text.")
    pick.leave("masked", str(int(on)), "0")
    return on


@dataclass(frozen=True)
class Masked:
    """An X-ray with its text masked, and its map."""

    xray: Xray
    heatmap: Heatmap
    n_tokens: int
    by_hand: bool


def masked(chosen: Subject, xray: Xray, method: Method, target: str) -> Masked | None:
    """Return the X-ray with its text masked and its map; None, and why, without text."""
    boxes, by_hand = tokens.corrected_or_found(chosen, xray)
    if not boxes:
        st.info("No text was found on this X-ray, so there is nothing to mask.", icon=":material/text_fields:")
        return None
    without = tokens.masked(xray, boxes, HOW)
    heatmap = explaining.heatmaps(chosen.network_ref, without, method, [target]).heatmaps[target]
    return Masked(without, heatmap, len(boxes), by_hand)


def show(chosen: Subject, xray: Xray, without: Masked, values: np.ndarray) -> None:
    """Say what masking does to the network's answer."""
    st.markdown(_in_words(chosen, without.xray, values, without.heatmap.target))
    found = "corrected by hand" if without.by_hand else "found by the detector"
    mode = MASK_MODES[HOW["mode"]].title.lower()
    st.caption(
        f"{page.counted(without.n_tokens, 'token')} {found}, masked: {mode}. Masking changes a picture by itself: the "
        "control with random boxes is on the page Text tokens."
    )
    st.page_link(
        pages.TEXT,
        label="With its control",
        icon=":material/text_fields:",
        query_params={**chosen.link, "image": xray.id},
    )


def _in_words(chosen: Subject, without: Xray, before: np.ndarray, target: str) -> str:
    """Return what the network says before and after, in Markdown."""
    network, _ = load.model(chosen.network_ref)
    after = explaining.logits(chosen.network_ref, without)
    at = network.classes.index(target)
    was, now = (float(explaining.probabilities(network, values)[at]) for values in (before, after))
    moved = f"The probability of **{viewer.plain(target)}** goes from {was:.3f} to **{now:.3f}**."
    if explaining.is_of_findings(network):
        return moved
    names = [viewer.plain(network.classes[int(values.argmax())]) for values in (before, after)]
    if names[0] == names[1]:
        return f"The prediction stays **{names[0]}**. {moved}"
    return f"The prediction changes from **{names[0]}** to **{names[1]}**. {moved}"
