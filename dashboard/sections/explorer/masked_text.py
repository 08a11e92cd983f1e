"""The heatmap of an X-ray beside that of the same X-ray with its text masked."""

from __future__ import annotations

import numpy as np
import streamlit as st

from cxr.explain.heatmap import Method
from cxr.explain.render import colour_scale
from cxr.text import DEFAULT_MARGIN, DEFAULT_MODE, MASK_MODES

from sections.text import tokens
from services import explaining, load
from services.explaining import Xray
from widgets import page, pages, pick, viewer
from widgets.subject import Subject

_KEY = "explorer:masked"
HOW: tokens.MaskedBy = {"mode": DEFAULT_MODE, "margin": DEFAULT_MARGIN}


def switch() -> bool:
    """Let the user turn the comparison on."""
    pick.arrive(_KEY, "masked", False, pick.switched, accepted="0, 1")
    on = st.toggle("With its text masked", key=_KEY, help="The same heatmap beside it, without the burned-in text.")
    pick.leave("masked", str(int(on)), "0")
    return on


def show(
    chosen: Subject, xray: Xray, method: Method, target: str, *, opacity: float, percentile: float, values: np.ndarray
) -> bool:
    """Show both heatmaps at one colour scale, and what masking does to the network's answer; False without text."""
    network_ref = chosen.network_ref
    boxes, by_hand = tokens.corrected_or_found(chosen, xray)
    if not boxes:
        st.info("No text was found on this X-ray, so there is nothing to mask.", icon=":material/text_fields:")
        return False
    masked = tokens.masked(xray, boxes, HOW)
    maps = [explaining.heatmaps(network_ref, picture, method, [target]).heatmaps[target] for picture in (xray, masked)]
    scale = max(colour_scale(heatmap.relevance, percentile) for heatmap in maps)
    for_words, *cells = st.columns([3, 4, 4])
    titles = ("As it is", "Text masked")
    for cell, picture, heatmap, title in zip(cells, (xray, masked), maps, titles, strict=True):
        overlay = viewer.relevance_pictures(picture.pixels, heatmap.relevance, opacity, scale)[2]
        caption = f"{title}: logit of {viewer.plain(target)} {heatmap.logit:+.2f}"
        cell.image(overlay, caption=caption, alt=caption, width="stretch")
    with for_words:
        st.markdown(_in_words(chosen, xray, masked, values, target))
        found = "corrected by hand" if by_hand else "found by the detector"
        mode = MASK_MODES[HOW["mode"]].title.lower()
        st.caption(
            f"{page.counted(len(boxes), 'token')} {found}, masked: {mode}. Masking changes a picture by itself: the "
            "control with random boxes is on the page Text tokens."
        )
        st.page_link(
            pages.TEXT,
            label="With its control",
            icon=":material/text_fields:",
            query_params={**chosen.link, "image": xray.id},
        )
    viewer.show_scale(scale, target)
    return True


def _in_words(chosen: Subject, xray: Xray, masked: Xray, before: np.ndarray, target: str) -> str:
    """Return what the network says before and after, in Markdown."""
    network, _ = load.model(chosen.network_ref)
    after = explaining.logits(chosen.network_ref, masked)
    at = network.classes.index(target)
    was, now = (float(explaining.probabilities(network, values)[at]) for values in (before, after))
    moved = f"The probability of **{viewer.plain(target)}** goes from {was:.3f} to **{now:.3f}**."
    if explaining.is_of_findings(network):
        return moved
    names = [viewer.plain(network.classes[int(values.argmax())]) for values in (before, after)]
    if names[0] == names[1]:
        return f"The prediction stays **{names[0]}**. {moved}"
    return f"The prediction changes from **{names[0]}** to **{names[1]}**. {moved}"
