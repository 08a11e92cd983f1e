"""The dry run of an import: what it would give and leave out, before anything is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import streamlit as st

from cxr.data.dry_run import CHECKED, DryRun, dry_run
from cxr.data.importers.import_options import given_options
from cxr.data.importers.registry import SOURCES
from cxr.errors import CxrError

from services import field_names
from widgets import page, tables, viewer


def show(kind: str, path: str, splits: str, options: Mapping[str, Callable[[], object]], key: str) -> None:
    """Offer to try the import without keeping anything, and show what came of it for as long as it is of this form."""
    pressed = st.button(
        "Try it, keep nothing",
        icon=":material/fact_check:",
        key=f"{key}:try",
        help=f"Reads all names, labels and columns, and decodes {CHECKED} of the images.",
    )
    if pressed and not path:
        raise CxrError("no folder or file given: enter its full path")
    try:
        values = given_options((SOURCES[kind].options,), {name: read() for name, read in options.items()})
    except CxrError as error:
        if pressed:
            st.error(viewer.plain(page.sentence(error)), icon=":material/error:")
        return
    asked = repr((kind, path, splits, values))
    if pressed:
        with st.spinner(f"Reading the files and {CHECKED} images …"):
            try:
                result = dry_run(kind, path, splits=splits, workers=0, **values)
            except (CxrError, OSError) as error:
                st.session_state.pop("import:tried", None)
                st.error(viewer.plain(page.sentence(error)), icon=":material/error:")
                return
        st.session_state["import:tried"] = (asked, result)
    tried = st.session_state.get("import:tried")
    if tried is not None and tried[0] == asked:
        _show(tried[1])


def _show(result: DryRun) -> None:
    with st.container(border=True):
        cells = st.columns(4)
        cells[0].metric("X-rays", f"{result.n:,}")
        cells[1].metric("Patients", f"{result.patients:,}" if result.patients else "unknown")
        cells[2].metric("Left out", f"{len(result.excluded):,}")
        cells[3].metric("Images decoded", f"{result.checked:,}", help=f"{result.unreadable} of them cannot be used.")
        left, right = st.columns(2)
        of_classes = pd.DataFrame({"class": list(result.counts), "X-rays": list(result.counts.values())})
        left.dataframe(
            of_classes,
            hide_index=True,
            height=min(250, 38 + 35 * len(of_classes)),
            column_config=tables.counts_of(of_classes),
        )
        with right:
            if result.splits:
                sizes = ", ".join(f"{name} {n:,}" for name, n in result.splits.items())
                st.markdown(viewer.plain(f"Splits: {sizes}"))
            else:
                st.info(viewer.plain(f"No splits: {result.split_reason}."), icon=":material/call_split:")
            for note in result.notes:
                st.caption(viewer.plain(field_names.on_page(note, field_names.of_import())))
        if result.left_out:
            st.markdown("Left out, by reason")
            st.dataframe(pd.DataFrame(result.left_out), hide_index=True)
            table = pd.DataFrame(result.excluded, columns=["file", "reason"])
            page.csv_button("All files that are left out as CSV", table, "left_out")
