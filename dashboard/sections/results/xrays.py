"""X-rays of a choice on the Results page: as pictures, or in a table where nothing tells where they lie."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from cxr.data import Manifest

from widgets import gallery

_MOST = 500
_NOT_SHOWN = ("logit_", "target_")
NO_PICTURES = (
    "Measure the predictions with a data set to see the X-rays themselves: "
    "`cxr evaluate --predictions FILE --data SET`."
)


def stated(rows: pd.DataFrame) -> pd.Series:
    """Return what is known of each X-ray by its id: its findings, or its label where it has none."""
    by_id = rows.set_index("image_id")
    if "findings" not in by_id:
        return by_id["label"]
    return by_id["findings"].where(by_id["findings"] != "", by_id["label"]).str.replace("|", ", ")


def show(
    data: Manifest | None,
    rows: pd.DataFrame,
    caption: Callable[[str], str],
    *,
    key: str,
    link: dict[str, str],
    columns: int = 6,
    rows_of_pictures: int = 3,
    param: str = "page",
) -> None:
    """Show the X-rays of some rows of predictions, each with its caption, and a link to the explorer if there is one.

    ``param`` is what the address calls their page. Without ``data`` there are no pictures: the rows are listed, the
    first 500 of them.
    """
    if rows.empty:
        st.caption("None.")
        return
    if data is not None:
        ids = rows["image_id"].tolist()
        beside = columns < 6
        gallery.grid(
            data,
            ids,
            caption,
            key=key,
            columns=columns,
            rows=rows_of_pictures,
            link=link or None,
            picker_below=beside,
            param=param,
        )
        return
    listed = [name for name in rows if not name.startswith(_NOT_SHOWN) and (rows[name] != "").any()]
    st.dataframe(rows[listed].head(_MOST), hide_index=True, height=300)
    st.caption(f"{f'The first {_MOST} of {len(rows):,}. ' if len(rows) > _MOST else ''}{NO_PICTURES}")
