"""Trainings as a table with one column for each parameter and figure, to be sorted, and compared from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from cxr import formatting
from cxr.runs import Run, Status

from sections.home import run_address
from services import load
from widgets import address, page, pages

_KEY = "home:trainings"
# As text, with its interval: three decimals sort as numbers do.
_FIGURES = {
    "accuracy": st.column_config.TextColumn("accuracy", width=130, help="With its 95 % interval"),
    "AUC": st.column_config.TextColumn("AUC", width=130, help="Macro mean over classes or findings, 95 % interval"),
}
_PARAMETERS = {
    "backbone": st.column_config.TextColumn("backbone", width=100),
    "size": st.column_config.NumberColumn("size", format="%d", width=42),
    "epochs": st.column_config.NumberColumn("epochs", format="%d", width=52, help="Of all stages, as planned"),
    "learning rate": st.column_config.NumberColumn("rate", format="%.2g", width=50, help="Learning rate, last stage"),
    "seed": st.column_config.NumberColumn("seed", format="%d", width=42),
}


def show(runs: Sequence[Run], statuses: Mapping[str, Status]) -> None:
    """Show trainings as a table; those that are ticked there can be compared."""
    st.dataframe(
        table(runs, statuses),
        hide_index=True,
        height=min(600, 38 + 35 * len(runs)),
        key=_KEY,
        selection_mode="multi-row",
        on_select="rerun",
        placeholder="–",
        column_config={
            "page": st.column_config.LinkColumn("page", display_text="Open", width=45),
            "name": st.column_config.TextColumn("name", width=146),
            "data": st.column_config.TextColumn("data", width=85, help="And the split that the figures are of"),
            "state": st.column_config.TextColumn("state", width=62),
            **_FIGURES,
            **_PARAMETERS,
        },
    )
    chosen = [runs[row] for row in page.selected(_KEY, "rows") or () if row < len(runs)]
    if len(chosen) < 2:
        st.caption(
            "A click on a heading sorts. Tick two or more to compare them. Figures of different data say nothing about "
            "each other; of the same X-rays, *Compare* tells whether a difference is more than chance."
        )
        return
    first, *others = (run.id for run in chosen)
    measured = [run.id for run in chosen if load.predictions_file(run).exists()]
    with st.container(horizontal=True):
        if len(measured) > 1:
            query = {"runs": address.joined(measured)}
            st.page_link(pages.COMPARE, label="Compare on the same X-rays", query_params=query)
        query = {"run": first, "compare": address.joined(others)}
        st.page_link(pages.LIVE, label="Compare their curves", query_params=query)


def table(runs: Sequence[Run], statuses: Mapping[str, Status]) -> pd.DataFrame:
    """Return one row per training: what came of it, and its parameters."""
    names = run_address.data_set_names()
    rows = []
    for run in runs:
        split, figures = load.figures(run)
        data = run_address.data_set_of(run.spec["params"], names) or ""
        row = {
            "page": run_address.address_of(run, statuses[run.id], names),
            "name": run.name,
            "data": " · ".join(part for part in (data, split) if part),
            **{title: formatting.number(figures.get(title)) if figures.get(title) else None for title in _FIGURES},
            **_parameters(run.spec["params"].get("recipe")),
            "state": statuses[run.id].state,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _parameters(recipe: Any) -> dict[str, object]:
    """Return the parameters that trainings differ in most often, None for what a recipe of before does not state."""
    recipe = recipe if isinstance(recipe, Mapping) else {}
    stages = [stage for stage in recipe.get("stages") or () if isinstance(stage, Mapping)]
    epochs = [stage["epochs"] for stage in stages if stage.get("epochs")]
    return {
        "backbone": recipe.get("backbone"),
        "size": recipe.get("size"),
        "epochs": sum(epochs) or None,
        "learning rate": (stages[-1].get("optimiser") or {}).get("lr") if stages else None,
        "seed": recipe.get("seed"),
    }
