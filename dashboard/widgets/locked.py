"""Splits that are locked: the tick that opens one for a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from cxr.data.openings import locked_splits
from cxr.json_types import JsonObject

from services import load
from widgets import viewer


def choose_open(manifest: Path, splits: Sequence[str], key: str) -> JsonObject:
    """Let the user open locked splits that a run would look at; returns the run's parameters for it.

    Nothing is shown where none of ``splits`` is locked; without ``splits`` every one counts.
    """
    locked = [name for name in locked_splits(load.manifest(manifest)) if not splits or name in splits]
    if not locked:
        return {}
    names = ", ".join(viewer.plain(name) for name in locked)
    opened = st.checkbox(
        f"Open the locked split {names}",
        key=f"{key}:open-locked",
        help="Each look at it is counted and stands beside every figure.",
    )
    return {"open_locked": True} if opened else {}


def words(params: JsonObject) -> list[str]:
    """Return what the command line needs for the same."""
    return ["--open-locked"] * bool(params.get("open_locked"))
