"""The heatmap as a DICOM secondary capture, to download."""

from __future__ import annotations

import importlib.util

import streamlit as st

from cxr.explain.heatmap import Heatmap
from cxr.networks import network_title

from services.explaining import Xray
from widgets.subject import Subject


def button(
    network_ref: str,
    xray: Xray,
    heatmap: Heatmap,
    scale: float,
    opacity: float,
    chosen: Subject | None,
    name: str,
) -> None:
    """Offer the capture of nobody, at the page's scale and opacity; it is made when the button is pressed."""

    def content() -> bytes:
        from cxr.reports.exports.secondary_capture import captures

        source = None if chosen is None else chosen.data.image_path(xray.id)
        title = network_title(network_ref)
        return captures(xray.pixels, [heatmap], title, source=source, scale=scale, alpha=opacity)[0]

    missing = importlib.util.find_spec("highdicom") is None
    to_install = "Needs a package that is not installed: `pip install 'cxr[dicom-out]'`."
    st.download_button(
        "Secondary capture (DICOM)",
        b"" if missing else content,
        f"{name}.dcm",
        "application/dicom",
        icon=":material/download:",
        on_click="ignore",
        key="explorer:dcm",
        width="stretch",
        disabled=missing,
        help=to_install
        if missing
        else "The heatmap over the X-ray with its legend, without patient and study. The command "
        "`cxr explain` keeps them with `--keep-patient`. Text burned into the X-ray stays in the picture.",
    )
