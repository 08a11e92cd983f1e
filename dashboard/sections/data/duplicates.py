"""X-rays that are in a data set more than once: what the last search found, or how to make one."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from cxr.data.audit.duplicates.data_set import PAIRS_FILE
from cxr.data.library import DataSet, DuplicateFacts, facts_beside

from widgets import page

_SIDES = ("image_id", "label", "split", "patient_id")
_REST = {"transform": "how b differs from a", "score": "agreement"}


def show(chosen: DataSet) -> None:
    """Show the section of a data set."""
    st.subheader("Duplicates", anchor=False)
    facts = facts_beside(chosen.manifest_path).get("duplicates")
    if facts is None:
        st.caption(
            "Not looked for yet. One X-ray may be here twice: cropped, turned a little, inverted, brightened or saved "
            "again. If it is in two splits, the figures on the test split are too good. This command looks for them, "
            "and lets new splits keep them together:"
        )
        page.command_line("cxr", "data", "duplicates", chosen.name, "--group")
        return
    st.caption(in_words(facts))
    pairs = _pairs(chosen)
    if pairs is not None and len(pairs):
        st.dataframe(pairs, hide_index=True, height=min(320, 38 + 35 * len(pairs)))
    if facts["pairs"] and not facts["grouped"]:
        st.caption("New splits do not keep them together yet. This command lets them:")
    page.command_line(
        "cxr", "data", "duplicates", chosen.name, *["--group"] * bool(facts["pairs"] and not facts["grouped"])
    )


def in_words(facts: DuplicateFacts) -> str:
    """Return what was found in one sentence."""
    if not facts["pairs"]:
        return f"None of {page.counted(facts['compared'], 'X-ray')} is here twice."
    kept = " New splits keep each group together." if facts["grouped"] else ""
    return (
        f"{facts['images']:,} of {page.counted(facts['compared'], 'X-ray')} are here more than once: "
        f"{page.counted(facts['pairs'], 'pair')} in {page.counted(facts['groups'], 'group')}, "
        f"{facts['exact']:,} with the same pixels.{kept}"
    )


def _pairs(chosen: DataSet) -> pd.DataFrame | None:
    """Return the pairs that were written, those of two splits first, then those of two labels."""
    file = chosen.folder / PAIRS_FILE
    if not file.is_file():
        return None
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    images, *others = ([f"{name}_{side}" for side in "ab"] for name in _SIDES)
    columns = [*images, *_REST, *(column for pair in others for column in pair)]
    if not set(columns) <= set(table.columns):  # written by somebody else
        return None
    together = table["split_a"].eq(table["split_b"]).astype(int), table["label_a"].eq(table["label_b"]).astype(int)
    order = pd.DataFrame(dict(enumerate(together))).sort_values([0, 1], kind="stable").index
    titles = {name: name.replace("_id", "").replace("_", " ") for name in columns} | _REST
    return table.loc[order, columns].rename(columns=titles)
