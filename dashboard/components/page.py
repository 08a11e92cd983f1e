"""What every page has: a heading, errors told in one line, the same on the command line, and a next step."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st

from cxr.errors import CxrError

from components import charts


def header(title: str, lead: str) -> None:
    """Write the page's heading and one sentence that says what it is for."""
    st.html("<style>[data-testid=stMainBlockContainer] {padding: 3rem 3.5rem 4rem}</style>")
    st.title(title, anchor=False)
    st.caption(lead)


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Show a user's error as a box with its one line, and end the page there."""
    try:
        yield
    except CxrError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()


def estimate(cell: Any, label: str, value: Mapping | None, *, percent: bool = True, help: str = "") -> None:
    """Show an estimate as a large figure with its 95 % interval below it."""
    point, _, interval = charts.interval(value, percent=percent).partition(" [")
    cell.metric(label, point, help=help or None)
    if interval:
        cell.caption(f"95 % interval {interval.rstrip(']').replace(',', ' to')}")


def csv_button(label: str, table: pd.DataFrame, name: str) -> None:
    """Offer a table as ``name``.csv."""
    st.download_button(
        label,
        table.to_csv(index=False),
        f"{name}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"csv:{name}",
    )


def command(*words: object) -> None:
    """Show the command that does the same as this page."""
    with st.expander("The same on the command line", icon=":material/terminal:"):
        st.code(shlex.join(str(word) for word in words), language="bash", wrap_lines=True)


def nothing_yet(text: str, page: str | None = None, label: str = "") -> None:
    """Say why the page is empty and link to the page that fills it; the script ends here."""
    st.info(text, icon=":material/lightbulb:")
    if page:
        st.page_link(page, label=label, icon=":material/arrow_forward:")
    st.stop()


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{n} {noun}{'s' * (n != 1)}"
