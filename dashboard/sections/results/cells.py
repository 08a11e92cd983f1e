"""A confusion matrix whose cells are buttons: a table, which a keyboard and a screen reader can walk through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from cxr.evaluation.curves.confusion import row_shares

from widgets import charts, page, panes

_HERE = Path(panes.__file__).parent
_mount = st.components.v2.component(
    "cxr_matrix",
    js=(_HERE / "matrix.js").read_text(encoding="utf-8"),
    css=(_HERE / "matrix.css").read_text(encoding="utf-8"),
)


def show(
    matrix: np.ndarray,
    names: Sequence[str],
    chosen: tuple[str, str] | None,
    texts: Sequence[Sequence[str]],
    below: Sequence[Sequence[str]],
    *,
    key: str,
    take: Callable[[tuple[str, str]], None],
) -> None:
    """Show a matrix (rows are true classes, columns predicted ones), each cell the darker the more of its row it holds.

    ``texts`` stand large in the cells and ``below`` small. The cell ``chosen``, (true class, predicted class), has a
    frame. ``take`` gets the cell that was clicked, in a callback.
    """
    theme = page.theme()
    shares = np.nan_to_num(row_shares(np.asarray(matrix, float))).tolist()

    def clicked() -> None:
        state = st.session_state.get(key)
        cell = state.get("cell") if isinstance(state, Mapping) else None  # none where the page has been left since
        if isinstance(cell, Sequence) and len(cell) == 2 and all(name in names for name in cell):
            take((str(cell[0]), str(cell[1])))

    _mount(
        key=key,
        data={
            "classes": list(names),
            "texts": texts,
            "below": below,
            "grounds": [[charts.ground_of(share, theme) for share in row] for row in shares],
            "inks": [[charts.ink_on(share, theme) for share in row] for row in shares],
            "frame": charts.COLOURS[1],
            "chosen": [names.index(name) for name in chosen] if chosen else None,
        },
        on_cell_change=clicked,
    )
