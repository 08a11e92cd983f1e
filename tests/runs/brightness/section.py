"""The section of a page."""

from __future__ import annotations

import streamlit as st

from cxr.errors import CxrError
from cxr.runs import list_runs, start


def show() -> None:
    """Start a measure, and show the newest one."""
    data = st.text_input("Data set", "xrays")
    if st.button("Measure"):
        try:
            start("brightness", {"manifest": data})
        except CxrError as error:
            st.error(str(error))
    for run in list_runs(kind="brightness")[:1]:
        st.caption(f"{run.name}: {run.status().state}")
        if results := run.results():
            st.table(results["groups"])


if __name__ == "__main__":
    show()
