"""Is this map faithful? Measured when asked: what the network says of changed pictures, and of forgotten weights."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from cxr.explain.composites import composite_of
from cxr.explain.heatmap import Heatmap, Method
from cxr.explain.quality.localisation import Localisation, localise

from services import computing, explaining, load
from services.explaining import Xray
from widgets import page, viewer
from widgets.charts import COLOURS, GREY, empty_figure

if TYPE_CHECKING:
    from cxr.explain.quality.faithfulness import Faithfulness
    from cxr.explain.quality.perturbation import Curve, Perturbation
    from cxr.explain.quality.randomisation import Randomisation

MOST_KEPT = 8
"""As many measurements are kept while a page is open."""

_SIMILAR, _UNLIKE = 0.5, 0.2  # rank correlations; conventions, no tests


def section(network_ref: str, xray: Xray, method: Method, target: str) -> None:
    """Offer to measure the map of one class, and show what was found."""
    with st.expander("Is this map faithful?", icon=":material/fact_check:"):
        st.caption(
            "The network is tested again with parts of this picture removed, and with parts of its weights "
            "randomised. A faithful map marks the parts that matter to the network. They need not be disease."
        )
        key = (network_ref, load.model_stamp(network_ref), xray.stamp, method.key, target)
        measurements: dict = st.session_state.setdefault("faithful", {})
        if key not in measurements:
            place = st.empty()
            if not place.button(
                f"Measure the map of {viewer.plain(target)}", icon=":material/play_arrow:", key="faithful:start"
            ):
                return
            place.empty()
            measurements[key] = _measured(network_ref, xray, method, target)
            for oldest in list(measurements)[:-MOST_KEPT]:
                del measurements[oldest]
        result, where = measurements[key]
        show(result, where)


def _measured(network_ref: str, xray: Xray, method: Method, target: str) -> tuple[Faithfulness, str]:
    """Return what was measured, and on which device."""
    from cxr.explain.quality.faithfulness import measure_faithfulness

    bar = st.progress(0.0, "starting")

    def show(share: float, text: str) -> None:
        bar.progress(min(1.0, share), text)

    picture = explaining.network_picture(network_ref, xray)
    computed = computing.compute(
        network_ref,
        lambda network: measure_faithfulness(
            network,
            picture,
            target,
            method.composite,
            progress=show,
            bias=method.bias or None,
            precision=method.precision,
            **method.options,
        ),
    )
    bar.empty()
    return computed.value, computed.where


def show(result: Faithfulness, where: str = "") -> None:
    """Show all measures of one map, each with a sentence on how to read it, and where they were computed."""
    left, right = st.columns([1, 2])
    with left:
        st.metric("Removal: area over random", f"{result.perturbation.area:+.2f} logits")
        st.caption(verdict(result.perturbation))
        st.metric("Deletion area", f"{result.deletion.area:.2f}")
        st.caption("Mean probability while pixels are deleted, the most relevant first. Lower is better.")
        st.metric("Insertion area", f"{result.insertion.area:.2f}")
        st.caption("Mean probability while pixels are put back, the most relevant first. Higher is better.")
    right.plotly_chart(removal_curve(result.perturbation), width="stretch", key="faithful:removal")
    first, second, third = st.columns(3)
    first.plotly_chart(pixel_curves(result.deletion, result.insertion), width="stretch", key="faithful:pixels")
    first.caption("Probability of the class while single pixels are deleted, or put back into a blurred picture.")
    with second:
        _show_classes(result)
    with third:
        _show_randomisation(result.randomisation)
    took = f"Measured in {result.seconds:.1f} s {where}".rstrip()
    st.caption(f"{took}, on this one picture. Compare maps over many pictures before you draw conclusions.")


def verdict(measured: Perturbation) -> str:
    """Return in words whether the logit falls sooner by relevance than in random orders."""
    area, spread = measured.area, measured.areas
    how = (
        "Area between the two curves: how much sooner the logit falls when the most relevant regions are removed first."
    )
    if (spread > 0).all():
        return f"{how} It is above zero against each of {len(spread)} random orders: the map found what matters."
    if (spread < 0).all():
        return f"{how} It is below zero: random regions matter more than those that the map marks."
    return (
        f"{how} Random orders reach {spread.min():+.2f} to {spread.max():+.2f}: {area:+.2f} is no better than chance."
    )


def removal_curve(measured: Perturbation) -> go.Figure:
    """Logit of the class by the share of the picture taken out: by relevance and, as a band, in random orders."""
    table = measured.summary()
    share = 100 * table["share"]
    figure = empty_figure(
        "Regions removed", "% of the picture removed", f"logit of {html.escape(measured.target)}", 400
    )
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(x=share, y=table["low"], showlegend=False, **band)
    figure.add_scatter(
        x=share, y=table["high"], fill="tonexty", fillcolor="rgba(138,151,163,0.25)", name="range of random", **band
    )
    figure.add_scatter(x=share, y=table["random"], name="random order", line={"color": GREY, "dash": "dash"})
    figure.add_scatter(
        x=share,
        y=table["relevant"],
        name="most relevant first",
        line={"color": COLOURS[1], "width": 3},
        fill="tonexty",
        fillcolor="rgba(242,166,90,0.18)",
    )
    return figure


def pixel_curves(deletion: Curve, insertion: Curve) -> go.Figure:
    """Probability of the class while pixels are deleted and while they are put back."""
    figure = empty_figure("Deletion and insertion", "% of the pixels", "probability", 260)
    for name, curve, colour in (("deletion", deletion, COLOURS[1]), ("insertion", insertion, COLOURS[0])):
        figure.add_scatter(x=100 * curve.share, y=curve.probability, name=name, line={"color": colour, "width": 2})
    figure.update_yaxes(range=[-0.02, 1.02])
    return figure


def _show_classes(result: Faithfulness) -> None:
    if result.classes is None:
        st.caption("The network has one class only, so there is no other map to compare with.")
        return
    table = result.classes.table()
    figure = empty_figure("Maps of other classes", "cosine with this map", "", 260)
    figure.add_bar(
        x=table["cosine"], y=table["class"].map(html.escape), orientation="h", marker_color=COLOURS[2], showlegend=False
    )
    figure.update_xaxes(range=[-1.05, 1.05])
    figure.update_yaxes(type="category")  # classes may be called 0 and 1
    figure.update_layout(hovermode="closest")
    st.plotly_chart(figure, width="stretch", key="faithful:classes")
    st.caption(
        "1: the same map for both classes, so it is not class-specific. -1: what speaks for one class speaks against "
        "the other."
    )


def _show_randomisation(randomisation: Randomisation | None) -> None:
    if randomisation is None:
        st.caption("Parameters were not randomised: this method takes too long for that on a page.")
        return
    st.plotly_chart(randomisation_curve(randomisation), width="stretch", key="faithful:randomisation")
    st.caption(randomisation_verdict(float(randomisation.table()["spearman"].iloc[-1])))
    st.caption(
        "Similarity to this map while weights are randomised, from the classifier down to the stem. For a map that "
        "shows what the network learnt it falls towards 0 at the end. Similar maps at the first stages prove little."
    )


def randomisation_verdict(last: float) -> str:
    """Return in a sentence what the rank correlation with a network without learnt weights says of the map."""
    if not np.isfinite(last):
        return "With all weights random there is no relevance to compare with."
    figure = f"With all weights random the map still has a rank correlation of {last:.2f} with this one"
    if last > _SIMILAR:
        return f"{figure}: much of it does not depend on what was learnt."
    if last > _UNLIKE:
        return f"{figure}: part of it does not depend on what was learnt."
    return f"{figure}: it depends on what was learnt."


def randomisation_curve(randomisation: Randomisation) -> go.Figure:
    """Rank correlation of absolute relevance with the original map, stage by stage."""
    table = randomisation.table()
    figure = empty_figure("Weights randomised", "", "rank correlation", 260)
    stages = ["trained", *table["stage"]]
    figure.add_scatter(
        x=stages,
        y=np.concatenate([[1.0], table["spearman"]]),
        mode="lines+markers",
        line={"color": COLOURS[3], "width": 2},
        showlegend=False,
    )
    figure.update_yaxes(range=[min(-0.05, float(np.nan_to_num(table["spearman"]).min())), 1.05])
    return figure


@st.cache_data(max_entries=512, show_spinner=False)
def _localisations(
    of_map: tuple[object, ...], _heatmap: Heatmap, masks: dict[str, tuple[str, int]]
) -> dict[str, Localisation]:
    return {name: localise(_heatmap.relevance, load.mask(Path(path))) for name, (path, _) in masks.items()}


@page.refreshed(None)
def show_localisation(network_ref: str, xray: Xray, method: Method, heatmap: Heatmap) -> None:
    """Show how the map agrees with the masks of an X-ray that are not empty; nothing where it has none."""
    if not xray.masks:
        return
    title = "Does it lie where it should?"
    with page.folded(title, icon=":material/center_focus_strong:", key="localisation:fold") as is_open:
        if is_open:
            _show_localisation(network_ref, xray, method, heatmap)


def _show_localisation(network_ref: str, xray: Xray, method: Method, heatmap: Heatmap) -> None:
    of_map = (network_ref, load.model_stamp(network_ref), xray.id, xray.stamp, method.key, heatmap.target)
    masks = {name: (str(path), path.stat().st_mtime_ns) for name, path in xray.masks.items()}
    rows = {name: found for name, found in _localisations(of_map, heatmap, masks).items() if found.area > 0}
    if not rows:
        st.caption("The masks of this X-ray are empty.")
        return
    st.dataframe(
        [
            {
                "ground truth": name,
                "mass inside": 100 * measured.mass,
                "times chance": measured.gain,
                "top pixels inside": 100 * measured.rank,
                "strongest pixel": {1.0: "inside", 0.0: "outside"}.get(measured.pointing, ""),
                "area": 100 * measured.area,
            }
            for name, measured in rows.items()
        ],
        hide_index=True,
        width="stretch",
        column_config={
            "mass inside": st.column_config.NumberColumn(
                format="%.1f %%", help="Share of the positive relevance inside the mask (mass accuracy)."
            ),
            "times chance": st.column_config.NumberColumn(
                format="%.2f",
                help="Mass inside, divided by the mask's area. 1 is chance level.",
            ),
            "top pixels inside": st.column_config.NumberColumn(
                format="%.1f %%",
                help="Of the K most relevant pixels, those inside a mask of K pixels (rank accuracy).",
            ),
            "strongest pixel": st.column_config.TextColumn(help="Pointing game: where the most relevant pixel lies."),
            "area": st.column_config.NumberColumn(format="%.1f %%", help="Share of the picture inside the mask."),
        },
    )
    st.caption(
        "This measures where the network looked, not whether the map is right. If a network looks beside the "
        f"lesion, its correct map lies beside it too. {_of_positive(heatmap)}"
    )


def _of_positive(heatmap: Heatmap) -> str:
    if composite_of(heatmap.composite).is_lrp and heatmap.logit < 0:
        name = viewer.plain(heatmap.target)
        return f"Only positive (red) relevance counts. There is little of it, since the logit of {name} is below zero."
    return "Only positive (red) relevance counts."
