"""What stands under a heatmap: where the logit went, the rules, what to doubt, and what is kept on disk."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.explain import COMPOSITES, DEFAULT_COMPOSITE, legend
from cxr.explain.composites import BIAS_LABELS, COMPARISON, LRP, composite_of, names_of, option_names
from cxr.explain.diagnostics import concerns
from cxr.explain.heatmap import Heatmap, Method
from cxr.explain.store import clear, usage

from sections.explorer import composite_options
from widgets import page, pick, viewer
from widgets.access import acts

TOP_LAYERS = 8


def choose_method(for_composite: DeltaGenerator, for_options: DeltaGenerator, for_bias: DeltaGenerator) -> Method:
    """Let the user choose composite, its options and, where its rules leave it open, what biases do.

    All of them stand in the URL. Another composite begins with its own defaults.
    """
    ranked = [*names_of(LRP), *names_of(COMPARISON)]
    with for_composite:
        labels = {name: COMPOSITES[name].label for name in ranked}
        name = pick.from_url(
            "Composite", ranked, labels, "composite", resets=option_names(), label_visibility="collapsed"
        )
    options = composite_options.choose(name, for_options)
    composite = composite_of(name)
    bias = None
    with for_bias:
        if composite.bias_modes:
            bias = pick.from_url("Biases of convolutions", composite.bias_modes, BIAS_LABELS, "bias")
        else:
            fixed = composite.fixed_bias
            st.selectbox("Biases of convolutions", [fixed], disabled=True, key=f"bias:fixed:{fixed}")
    return Method.of(name, bias, options=options)


def command_words(method: Method) -> list[str]:
    """Return what the command line takes for a method, without what is the default."""
    words = ["--composite", method.composite] if method.composite != DEFAULT_COMPOSITE else []
    words += ["--bias", method.bias] if method.bias != composite_of(method.composite).bias else []
    return words + composite_options.command_words(method.composite, dict(method.options))


def show_concerns(heatmaps: Sequence[Heatmap], scale: float) -> None:
    """Show what makes maps unreliable; nothing where all is well."""
    for heatmap in heatmaps:
        name = f"{viewer.plain(heatmap.target)}: " if len(heatmaps) > 1 else ""
        for sentence in concerns(heatmap, scale):
            st.warning(f"{name}{sentence}", icon=":material/warning:")


def show_ledger(heatmaps: Sequence[Heatmap]) -> None:
    """Show where the logits went, one column per class, and the layers that kept most."""
    booked = [heatmap for heatmap in heatmaps if heatmap.has_ledger]
    st.markdown("**Where the logit went**")
    if not booked:
        st.caption("This method has no ledger: it does not propagate the logit layer by layer.")
        return
    entries = {heatmap.target: legend.ledger(heatmap) for heatmap in booked}
    table = {viewer.plain(name): [_entry(value) for value in entry.values()] for name, entry in entries.items()}
    meaning = {"": list(legend.LEDGER_MEANS.values())} if len(booked) == 1 else {}
    st.table(pd.DataFrame(table | meaning, index=list(legend.LEDGER_MEANS)), border="horizontal")
    _show_layers(booked[0])


@page.refreshed(None)
def _show_layers(heatmap: Heatmap) -> None:
    with page.folded("Layers that absorbed or lost most", icon=":material/layers:", key="layers:fold") as is_open:
        if not is_open:
            return
        st.dataframe(top_layers(heatmap), hide_index=True, width="stretch", column_config=_LAYER_COLUMNS)
        st.caption(
            f"Of {viewer.plain(heatmap.target)}. Layers have the network's own names; batch norms are folded into "
            "convolutions."
        )


_LAYER_COLUMNS = {name: st.column_config.NumberColumn(name, format="%+.3g") for name in ("absorbed", "lost")}


def top_layers(heatmap: Heatmap, n: int = TOP_LAYERS) -> pd.DataFrame:
    """Return ``layer, absorbed, lost`` of the layers that kept most, the largest first; those of rounding left out."""
    table = legend.per_layer(heatmap)
    size = table["absorbed"].abs() + table["lost"].abs()
    largest = size[size > 1e-6 * abs(heatmap.logit)].sort_values(ascending=False, kind="stable")
    return table.loc[largest.index].head(n)


def show_rules(heatmap: Heatmap) -> None:
    """Show how a map was made: composite with its settings, and the rule of every kind of layer."""
    st.markdown("**How this map was made**")
    rules = legend.rules(heatmap)
    if rules:
        st.table(pd.DataFrame({"rule": map(viewer.plain, rules.values())}, index=list(rules)), border="horizontal")
    st.caption(composite_of(heatmap.composite).description)


@page.refreshed(None)
def show_stored() -> None:
    """Show how much is stored, with a button that deletes it."""
    with page.folded("Stored heatmaps", icon=":material/database:", key="stored:fold") as is_open:
        if not is_open:
            return
        stored = usage()
        st.caption(
            f"{page.counted(stored.maps, 'heatmap')} of {page.counted(stored.networks, 'network')}, "
            f"{stored.bytes / 1e6:.1f} MB. Deleted heatmaps are computed again when needed."
        )
        acts.button(
            "Delete stored heatmaps",
            icon=":material/delete:",
            on_click=_clear,
            disabled=not stored.maps,
        )


def _clear() -> None:
    page.tried(clear)


def _entry(value: float) -> str:
    return f"{value:+.4f}" if value == 0 or abs(value) >= 5e-5 else f"{value:+.0e}"
