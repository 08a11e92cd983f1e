"""The heatmap as a DICOM secondary capture, to download."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import streamlit as st

from cxr.explain.heatmap import Heatmap
from cxr.networks import network_title

from services.explaining import Xray


def button(
    network_ref: str, xray: Xray, heatmap: Heatmap, scale: float, opacity: float, source: Path | None, name: str
) -> None:
    """Offer the capture of nobody, at the page's scale and opacity; it is made when the button is pressed."""
    missing = importlib.util.find_spec("highdicom") is None
    explanation = (
        "Needs a package that is not installed: `pip install 'cxr[dicom-out]'`."
        if missing
        else "The heatmap over the X-ray with its legend, without patient and study; `cxr explain` keeps them with "
        "`--keep-patient`. Text burned into the X-ray stays in the picture."
    )
    st.download_button(
        "Secondary capture (DICOM)",
        b"" if missing else partial(content, network_ref, xray, heatmap, scale, opacity, source),
        f"{name}.dcm",
        "application/dicom",
        icon=":material/download:",
        on_click="ignore",
        key="explorer:dcm",
        width="stretch",
        disabled=missing,
        help=explanation,
    )


def content(network_ref: str, xray: Xray, heatmap: Heatmap, scale: float, opacity: float, source: Path | None) -> bytes:
    """Return the capture's file; ``source`` is the X-ray's own, None for an upload."""
    from cxr.reports.exports.secondary_capture import captures

    title = network_title(network_ref)
    return captures(xray.pixels, [heatmap], title, source=source, scale=scale, alpha=opacity)[0]
