"""Buttons that start, stop, change or delete something. A viewer sees them, and cannot press them."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from services import people

FOR_RESEARCHERS = "Researchers may do this. You are signed in as a viewer."


def button(label: str, *, at: DeltaGenerator | None = None, help: str | None = None, **options: Any) -> bool:
    """Draw a button at a place, by default here, and return whether it was pressed by somebody who may.

    Parameters
    ----------
    options
        As ``st.button`` takes them.
    """
    allowed = people.may_change()
    if not allowed:
        options["disabled"], help = True, FOR_RESEARCHERS
    return (at or st).button(label, help=help, **options) and allowed


def submit(label: str, *, help: str | None = None, **options: Any) -> bool:
    """Draw the button that sends a form and return whether somebody who may pressed it; options as Streamlit's own."""
    allowed = people.may_change()
    if not allowed:
        options["disabled"], help = True, FOR_RESEARCHERS
    return st.form_submit_button(label, help=help, **options) and allowed
