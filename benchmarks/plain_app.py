"""The floor of benchmarks/pages.py: a Streamlit app of a title, a table and a button that runs its part again."""

import pandas as pd
import streamlit as st

ROWS = 12


def press() -> None:
    st.session_state["presses"] = st.session_state.get("presses", 0) + 1


@st.fragment
def part() -> None:
    st.button("Press", on_click=press)
    st.write(f"Pressed {st.session_state.get('presses', 0)} times")


st.title("A plain app")
st.dataframe(pd.DataFrame({"name": [f"run {n}" for n in range(ROWS)], "number": range(ROWS)}))
part()
