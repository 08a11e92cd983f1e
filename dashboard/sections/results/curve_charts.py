"""Charts of what predictions are worth: ROC, precision-recall, calibration, scores by class, and slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import plotly.graph_objects as go

from cxr.evaluation.curves import Curve, Histogram, ReliabilityBin
from cxr.formatting import Estimate

from sections.results.brush import WITH, WITHOUT, bar_ends
from widgets.charts import GREY, NOTABLE, ORDINARY, class_colour, class_dash, empty_figure

_HEIGHT = 400


class ForestRow(TypedDict):
    """A line of a forest plot; ``stands_out`` says that the difference holds after correction."""

    label: str
    figure: Estimate
    difference: Estimate
    stands_out: bool


def faded(colour: str, opacity: float = 0.22) -> str:
    """Return a colour ``#rrggbb`` that lets the ground through."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def curves(
    by_class: Mapping[str, Curve], chosen: str, classes: Sequence[str], *, roc: bool, point: tuple[float, float] | None
) -> go.Figure:
    """ROC or precision-recall curves of all classes, that of the chosen one wide and with its band.

    ``point`` is where the threshold lies on the chosen curve.
    """
    figure = _square("1 - specificity", "sensitivity") if roc else _square("recall", "precision")
    if roc:
        line = {"color": GREY, "width": 1, "dash": "dot"}
        figure.add_scatter(x=[0, 1], y=[0, 1], line=line, mode="lines", showlegend=False, hoverinfo="skip")
    colour = class_colour(chosen, classes)
    band = by_class[chosen].band
    if band is not None:
        edge = {"width": 0}
        figure.add_scatter(
            x=band.x, y=band.high, mode="lines", line=edge, showlegend=False, hoverinfo="skip", legendgroup="band"
        )
        figure.add_scatter(
            x=band.x,
            y=band.low,
            mode="lines",
            line=edge,
            fill="tonexty",
            fillcolor=faded(colour),
            name="95 %, pointwise",
            hoverinfo="skip",
            legendgroup="band",
        )
    for name in sorted(by_class, key=lambda name: name == chosen):  # the chosen one on top
        curve = by_class[name].thinned(300)
        figure.add_scatter(
            x=curve.x,
            y=curve.y,
            mode="lines",
            name=name,
            opacity=1 if name == chosen else 0.55,
            line={
                "color": class_colour(name, classes),
                "width": 3 if name == chosen else 1.2,
                "dash": class_dash(name, classes),
                "simplify": False,
            },
            customdata=curve.thresholds,
            hovertemplate="%{x:.3f}, %{y:.3f} at threshold %{customdata:.3f}",
        )
    if point is not None:
        marker = {"size": 13, "color": colour, "line": {"color": "white", "width": 2}}
        figure.add_scatter(x=[point[0]], y=[point[1]], mode="markers", marker=marker, name="threshold")
    return figure


def calibration(bins: Sequence[ReliabilityBin], scaled: Sequence[ReliabilityBin], colour: str) -> go.Figure:
    """Calibration curve of one class: the share that has it over the probability, before and after scaling."""
    figure = _square("mean probability of the bin", "share that has the class")
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 1], line=line, mode="lines", showlegend=False, hoverinfo="skip")
    having = [entry for entry in bins if entry.share["low"] is not None]
    edge = {"width": 0}
    x = [entry.probability for entry in having]
    figure.add_scatter(
        x=x, y=[e.share["high"] for e in having], mode="lines", line=edge, showlegend=False, hoverinfo="skip"
    )
    figure.add_scatter(
        x=x,
        y=[e.share["low"] for e in having],
        mode="lines",
        line=edge,
        fill="tonexty",
        fillcolor=faded(colour),
        name="95 % of each bin",
        hoverinfo="skip",
    )
    for name, entries, dash, symbol in (
        ("as measured", bins, "solid", "circle"),
        ("after temperature scaling", scaled, "dot", "diamond-open"),
    ):
        if entries:
            figure.add_scatter(
                x=[entry.probability for entry in entries],
                y=[entry.share["value"] for entry in entries],
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2.5 if dash == "solid" else 1.5, "dash": dash},
                marker={"size": 8, "symbol": symbol},
                customdata=[
                    # After scaling a bin's ends are no probabilities of the network itself: it is not selected by them.
                    [entry.n, entry.n_patients, *((entry.low, entry.high, "") if entries is bins else ())]
                    for entry in entries
                ],
                hovertemplate="%{y:.3f} of %{customdata[0]} X-rays of %{customdata[1]} patients",
            )
    return figure


def scores(bars: Histogram, name: str, colour: str, threshold: float) -> go.Figure:
    """Histogram of a class's probability: X-rays that have the class above the axis, the others below it."""
    figure = empty_figure("", f"probability of {name}", "X-rays", _HEIGHT)
    middles = (bars.edges[:-1] + bars.edges[1:]) / 2
    width = bars.edges[1] - bars.edges[0]
    for title, counts, sign, fill, side in (
        (f"with {name}", bars.with_class, 1, colour, WITH),
        ("without", bars.without, -1, GREY, WITHOUT),
    ):
        figure.add_bar(
            x=middles,
            y=sign * counts,
            width=width * 0.92,
            name=title,
            marker={"color": fill},
            customdata=[[int(n), *ends, side] for n, ends in zip(counts, bar_ends(bars.edges), strict=True)],
            hovertemplate="%{customdata[0]}",
        )
    figure.add_vline(x=threshold, line={"color": "white", "width": 2}, annotation={"text": f"threshold {threshold:g}"})
    most = max(1, int(max(bars.with_class.max(initial=0), bars.without.max(initial=0))))
    power = 10 ** math.floor(math.log10(most))
    step = max(1, int(next(power * part for part in (0.5, 1, 2.5, 5) if most <= 3 * power * part) if most > 3 else 1))
    ticks = [k * step for k in range(-3, 4)]
    figure.update_layout(barmode="overlay", margin={"l": 60, "r": 10, "t": 40, "b": 46})
    figure.update_xaxes(range=[0, 1])
    figure.update_yaxes(tickvals=ticks, ticktext=[f"{abs(tick):,}" for tick in ticks])
    return figure


def forest(rows: Sequence[ForestRow], overall: float | None, *, figure_name: str, percent: bool) -> go.Figure:
    """Forest plot: on the left each slice's figure, on the right its difference to the rest, with their intervals."""
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.03, column_widths=[0.55, 0.45])
    scale = 100 if percent else 1
    places = list(range(len(rows)))
    colours = [NOTABLE if row["stands_out"] else ORDINARY for row in rows]
    columns = ([row["figure"] for row in rows], [row["difference"] for row in rows])
    for column, values in enumerate(columns, 1):
        ends = [
            (scale * (v["high"] - v["value"]), scale * (v["value"] - v["low"]))
            if v["value"] is not None and v["low"] is not None and v["high"] is not None
            else (0, 0)
            for v in values
        ]
        for place, value, (above, below), colour in zip(places, values, ends, colours, strict=True):
            if value["value"] is None:
                continue
            figure.add_scatter(
                x=[scale * value["value"]],
                y=[place],
                mode="markers",
                marker={"color": colour, "size": 9, "symbol": "square"},
                error_x={"type": "data", "array": [above], "arrayminus": [below], "color": colour, "thickness": 2},
                hovertemplate=f"{'%{x:.1f} %' if percent and column == 1 else '%{x:.3g}'}<extra></extra>",
                showlegend=False,
                row=1,
                col=column,
            )
    line = {"color": GREY, "width": 1, "dash": "dot"}
    if overall is not None:
        figure.add_vline(x=scale * overall, line=line, col=1)
    figure.add_vline(x=0, line=line, col=2)
    figure.update_layout(height=70 + 26 * len(rows), margin={"l": 10, "r": 10, "t": 10, "b": 46}, hovermode="closest")
    unit = " (%)" if percent else ""
    figure.update_xaxes(title=f"{figure_name}{unit}", col=1)
    figure.update_xaxes(title=f"difference to the rest{' (points)' if percent else ''}", col=2)
    figure.update_yaxes(
        tickvals=places,
        ticktext=[row["label"] for row in rows],
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        zeroline=False,
    )
    return figure


def _square(x: str, y: str) -> go.Figure:
    figure = empty_figure("", x, y, _HEIGHT)
    figure.update_layout(
        hovermode="closest",
        margin={"l": 50, "r": 10, "t": 10, "b": 46},
        legend={"orientation": "v", "x": 1.02, "y": 1, "xanchor": "left", "yanchor": "top"},
    )
    figure.update_xaxes(range=[-0.01, 1.01])
    figure.update_yaxes(range=[-0.01, 1.02])
    return figure
