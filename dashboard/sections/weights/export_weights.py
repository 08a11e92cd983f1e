"""Giving a network away: its card, and exports that were checked against it."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from cxr.networks import seen_by

from services import load

if TYPE_CHECKING:
    from cxr.models.export import Exported

ONNX, TIMM = "onnx", "timm"
_TITLES = {ONNX: "ONNX", TIMM: "timm folder (zip)"}


@st.cache_data(max_entries=3, show_spinner="Exporting and checking …")
def _bytes(network_ref: str, stamp: int, format: str) -> tuple[bytes, float, float]:
    from cxr.models.export import export

    network, _ = load.model(network_ref)
    with tempfile.TemporaryDirectory(prefix="cxr-export-") as folder:
        done = export(network, Path(folder) / "exported", format, seen=seen_by(network_ref))
        return _packed(done), done.difference or 0.0, done.relative or 0.0


def _packed(done: Exported) -> bytes:
    """Return the file, or the folder as a zip."""
    if done.path.is_file():
        return done.path.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(done.path.iterdir()):
            archive.write(file, file.name)
    return packed.getvalue()


def card_button(markdown: str, name: str) -> None:
    """Offer the card as a page in Markdown."""
    st.download_button(
        "Card (Markdown)", markdown, f"{name}-card.md", "text/markdown", icon=":material/description:",
        on_click="ignore", key="weights:card",
    )  # fmt: skip


def export_buttons(network_ref: str, name: str) -> None:
    """Make an export on demand and offer it; says how far its logits are from ours."""
    for format, title in _TITLES.items():
        key = f"weights:export:{format}:{network_ref}"
        if st.button(f"Make {title}", icon=":material/output:", key=key):
            st.session_state["weights:made"] = (network_ref, format)
    if st.session_state.get("weights:made", (None,))[0] != network_ref:
        return
    format = st.session_state["weights:made"][1]
    data, difference, relative = _bytes(network_ref, load.model_stamp(network_ref), format)
    file = f"{name}.onnx" if format == ONNX else f"{name}-timm.zip"
    st.download_button(
        f"Download {file}", data, file, icon=":material/download:", type="primary", on_click="ignore",
        key="weights:download",
    )  # fmt: skip
    st.caption(
        f"Loaded again, its logits differ from the original's by at most {difference:.2g} ({relative:.1g} of the "
        "largest logit)."
    )
