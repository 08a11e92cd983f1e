"""Which rows the grid shows, and in which order: filters and sort order, each in the address."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from sections.grid.rows import RIGHT, SHARE, TEXT, WRONG, filterable, is_number, sortable
from widgets import pick

ANY = "any"
_DATA_ORDER = "order of the data set"
_STEP = 0.01


def narrowed(rows: pd.DataFrame) -> pd.DataFrame:
    """Show the filters and return the rows that meet them."""
    rows = _by_names(rows, "label", "True class", "names")
    if "predicted" in rows:
        rows = _by_names(rows, "predicted", "Predicted", "said")
        rows = rows[_one_of(rows["outcome"], "outcome", "Right or wrong", (RIGHT, WRONG))]
        rows = _between(rows, "confidence", "confidence", "Confidence")
    if rows["source"].nunique() > 1 or pick_asked("from"):
        sources = sorted(rows["source"].unique())
        rows = rows[_some_of(rows["source"], "from", "Source", sources)]
    if TEXT in rows:
        rows = rows[_one_of(rows[TEXT], "text", "Has text", ("yes", "no"))]
    if SHARE in rows:
        rows = _between(rows, SHARE, "share", "Share of relevance in text")
    return _by_column(rows)


def pick_asked(param: str) -> bool:
    """Return whether a filter is set although there is nothing to choose from."""
    return bool(st.session_state.get(f"grid:{param}"))


def ordered(rows: pd.DataFrame, for_order: DeltaGenerator, for_direction: DeltaGenerator) -> pd.DataFrame:
    """Ask for the order and return the rows in it."""
    columns = sortable(rows)
    pick.arrive("grid:order", "order", _DATA_ORDER, allowed=columns)
    order = str(for_order.selectbox("Sort by", columns, key="grid:order", label_visibility="collapsed"))
    pick.leave("order", order, _DATA_ORDER)
    pick.arrive("grid:down", "down", False, pick.switched, accepted="0, 1")
    down = for_direction.toggle("Descending", key="grid:down")
    pick.leave("down", str(int(down)), "0")
    if order == _DATA_ORDER:
        return rows.iloc[::-1] if down else rows
    return rows.sort_values(order, ascending=not down, kind="stable", na_position="last")


def _by_names(rows: pd.DataFrame, param: str, title: str, column: str) -> pd.DataFrame:
    """Filter by a column of lists of names."""
    names = sorted({name for of_row in rows[column] for name in of_row if name})
    pick.arrive_some(f"grid:{param}", param, names)
    wanted = st.multiselect(title, names, key=f"grid:{param}", placeholder=ANY)
    pick.leave_some(param, wanted)
    return rows[[not wanted or not set(wanted).isdisjoint(of_row) for of_row in rows[column]]]


def _one_of(values: pd.Series, param: str, title: str, options: tuple[str, ...]) -> pd.Series:
    pick.arrive(f"grid:{param}", param, ANY, allowed=(ANY, *options))
    wanted = str(st.segmented_control(title, (ANY, *options), required=True, key=f"grid:{param}"))
    pick.leave(param, wanted, ANY)
    return values.eq(wanted) | (wanted == ANY)


def _some_of(values: pd.Series, param: str, title: str, options: list[str]) -> pd.Series:
    pick.arrive_some(f"grid:{param}", param, options)
    wanted = st.multiselect(
        title, options, key=f"grid:{param}", placeholder=ANY, format_func=lambda name: name or "(none)"
    )
    pick.leave_some(param, wanted)
    return values.isin(wanted) if wanted else pd.Series(True, index=values.index)


def _between(rows: pd.DataFrame, column: str, param: str, title: str) -> pd.DataFrame:
    """Filter by a number from 0 to 1; all of it is no filter, rows without a number stay then."""
    low, high = _range(param, title, 0.0, 1.0)
    if (low, high) == (0.0, 1.0):
        return rows
    return rows[rows[column].between(low, high)]


def _range(param: str, title: str, lowest: float, highest: float) -> tuple[float, float]:
    key, whole = f"grid:{param}", (lowest, highest)

    def read(text: str) -> tuple[float, float]:
        low, _, high = text.partition("-")
        values = float(low), float(high)
        if not lowest <= values[0] <= values[1] <= highest:
            raise ValueError(text)
        return values

    pick.arrive(key, param, whole, read, accepted=f"two numbers from {lowest:g} to {highest:g}, such as 0.2-0.8")
    st.slider(title, lowest, highest, step=_STEP, key=key)
    low, high = st.session_state[key]  # two, as the value that is held is a pair
    pick.leave(param, f"{low:g}-{high:g}", f"{lowest:g}-{highest:g}")
    return low, high


def _by_column(rows: pd.DataFrame) -> pd.DataFrame:
    """Filter by any column of the manifest."""
    columns = [ANY, *filterable(rows)]
    held = st.session_state.get("grid:column")
    if held is not None and held not in columns:
        columns.append(held)  # other filters left one value of it: it stays chosen
    pick.arrive("grid:column", "column", ANY, allowed=columns)
    column = str(st.selectbox("Column of the data set", columns, key="grid:column"))
    pick.leave("column", column, ANY)
    if column == ANY or column not in rows:
        return rows
    if is_number(rows[column]):
        text = st.text_input("From - to", key=f"grid:span:{column}", placeholder="such as 20-60").strip()
        low, _, high = text.partition("-")
        try:
            return rows[rows[column].between(float(low), float(high))] if text else rows
        except ValueError:
            st.warning("Write two numbers with - between them, such as 20-60.")
            return rows
    values = rows[column].fillna("").astype(str)
    options = sorted(values.unique())
    return rows[_some_of(values, "values", f"Values of {column}", options)]
