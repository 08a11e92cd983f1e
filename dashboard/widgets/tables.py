"""What tables of several pages have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pandas as pd
import streamlit as st

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

_MOST_TURNED = 4
"""So many columns, besides the one with what they hold, fit a page."""
COUNT = st.column_config.NumberColumn(format="localized")
"""A column of counts, with separators of thousands."""


_WHOLE = 30  # rows of a table that is shown without a scroll bar of its own


def height_of(n_rows: int) -> Literal["content", "auto"]:
    """Return the height of a table: one of classes or tokens is seen whole, one of hundreds of rows is scrolled."""
    return "content" if n_rows <= _WHOLE else "auto"


def counts_of(frame: pd.DataFrame) -> dict[str, ColumnConfig]:
    """Return the configuration of a table whose whole numbers are counts, each with separators of thousands."""
    return {str(name): COUNT for name in frame if pd.api.types.is_integer_dtype(frame[name])}


def show_wide(frame: pd.DataFrame, n_keys: int = 1) -> None:
    """Show a table of many columns so that each can be read with what it belongs to.

    A table of few rows is turned: its columns become rows. Else its first ``n_keys`` columns stay while the others are
    scrolled.
    """
    keys = frame.columns[:n_keys]
    if len(keys) == 1 and len(frame) <= _MOST_TURNED and frame[keys[0]].is_unique:
        st.dataframe(frame.set_index(keys[0]).astype(str).T, height="content")
    else:
        pinned = {name: st.column_config.Column(pinned=True) for name in keys}
        st.dataframe(frame, hide_index=True, column_config=pinned, height=height_of(len(frame)))
