"""The confusion matrix of a split beside the X-rays of the chosen cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from cxr import formatting
from cxr.evaluation.curves import confusion_matrix
from cxr.evaluation.curves.confusion import UNITS, Unit, row_shares, texts_of
from cxr.evaluation.metrics import patients_of

from sections.results import cells, xrays
from sections.results.evaluated import Evaluated
from widgets import address, page, pages, pick, viewer

CELL, _UNIT = "results:cell", "results:unit"
_IN_ADDRESS: dict[str, Unit] = {"percent": UNITS[1], "patients": UNITS[2]}
BY_PATIENT = (
    "Each patient counts once: a patient with several X-rays is spread evenly over the cells that they fall into, so "
    "cells need not be whole."
)


def show(evaluated: Evaluated) -> None:
    """Show the matrix on the left; on the right the errors, or the X-rays of the cell that was clicked."""
    left, right = st.columns([5, 6])
    with left:
        unit = unit_of()
        cell = cell_of(evaluated.classes)
        counts = np.asarray(evaluated.result["confusion"])
        matrix = counts
        if unit == UNITS[2]:
            rows = evaluated.labelled()
            truth, said = (pd.Categorical(rows[name], evaluated.classes).codes for name in ("label", "predicted"))
            matrix = confusion_matrix(truth, said, len(counts), patients_of(rows))
        chart(counts, matrix, evaluated.classes, unit, cell, evaluated, _take_cell)
        st.caption(BY_PATIENT if unit == UNITS[2] else "Click a cell to see its X-rays.")
    with right:
        shown, title = _chosen(evaluated.rows, cell)
        _heading(f"{title} ({len(shown):,})", cell is not None)
        by_id = shown.set_index("image_id")
        xrays.show(
            evaluated.data,
            shown,
            lambda i: (
                f"{viewer.plain(by_id.at[i, 'label'])} → {viewer.plain(by_id.at[i, 'predicted'])}  \n"
                f"{formatting.share(by_id.at[i, 'confidence'])}"
            ),
            key=f"results:{evaluated.split}:{cell}",
            link=evaluated.gallery_link,
            columns=4,
            rows_of_pictures=2,
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            page.csv_button(
                "Predictions as CSV",
                evaluated.every[evaluated.every["split"] == evaluated.split],
                f"{evaluated.run.id}-{evaluated.split}",
            )
            if evaluated.link:
                st.page_link(
                    pages.EXPLORER,
                    label="Explain its images",
                    icon=":material/radiology:",
                    query_params=evaluated.gallery_link,
                )


def unit_of() -> Unit:
    """Let the user choose what the cells count."""
    pick.arrive(_UNIT, "unit", UNITS[0], _IN_ADDRESS.__getitem__, accepted=", ".join(_IN_ADDRESS))
    unit = st.segmented_control("Cells", UNITS, required=True, key=_UNIT, label_visibility="collapsed") or UNITS[0]
    names = {title: name for name, title in _IN_ADDRESS.items()}
    pick.leave("unit", names.get(unit, ""), "")
    return unit


def chart(
    counts: np.ndarray,
    matrix: np.ndarray,
    names: Sequence[str],
    unit: Unit,
    cell: tuple[str, str] | None,
    evaluated: Evaluated,
    take: Callable[[tuple[str, str]], None],
) -> None:
    """Show a matrix whose cells can be clicked; ``take`` gets the cell, true and predicted class, then."""
    shares = [["–" if np.isnan(share) else formatting.share(share) for share in row] for row in row_shares(matrix)]
    below = [[f"{n:,} X-rays" for n in row] for row in counts.tolist()] if unit != UNITS[0] else shares
    key = f"confusion:{evaluated.run.id}:{evaluated.split}"
    cells.show(matrix, list(names), cell, texts_of(matrix, unit), below, key=key, take=take)


def cell_of(names: Sequence[str]) -> tuple[str, str] | None:
    """Return ``(true class, predicted class)`` of the cell that the address names, None where it names none."""
    cells = [address.joined((true, predicted)) for true in names for predicted in names]
    pick.arrive(CELL, "cell", "", allowed=["", *cells])
    name = st.session_state[CELL]
    pick.leave("cell", name, "")
    true, predicted = address.parted(name) if name else ("", "")
    return (true, predicted) if name else None


def _take_cell(cell: tuple[str, str]) -> None:
    """Show the images of the cell that was clicked; a second click shows all errors again."""
    name = address.joined(cell)
    st.session_state[CELL] = "" if name == st.session_state.get(CELL) else name


def _heading(title: str, chosen: bool) -> None:
    words, back = st.columns([5, 3] if chosen else [8, 1], vertical_alignment="center")
    words.header(viewer.plain(title), anchor=False)
    if chosen:
        back.button("Show all errors", icon=":material/undo:", key="results:all", on_click=_all_errors)


def _all_errors() -> None:
    """Leave the cell."""
    st.session_state[CELL] = ""


def _chosen(rows: pd.DataFrame, cell: tuple[str, str] | None) -> tuple[pd.DataFrame, str]:
    """Return the X-rays of a cell, or all errors, the most confident first, and what they are."""
    if cell is None:
        chosen, title = rows[~rows["correct"].astype(bool)], "Errors, the most confident first"
    else:
        chosen = rows[(rows["label"] == cell[0]) & (rows["predicted"] == cell[1])]
        title = f"True {cell[0]}, predicted {cell[1]}"
    return chosen.sort_values("confidence", ascending=False), title
