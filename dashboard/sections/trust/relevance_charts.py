"""The chart of a relevance budget: relevance per area on the left, the logit without each region on the right."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr.experiments.relevance.results import RelevanceResults
from cxr.formatting import Estimate
from cxr.reports.relevance import in_figure

from widgets import charts

_MARK = "a mark never learnt"


def regions(results: RelevanceResults) -> go.Figure:
    """Return the chart: a row for each region, of all X-rays and of classes, and one for the planted mark."""
    rows = in_figure(results["regions"])
    names = [f"<b>{html.escape(name)}</b>" if entry["every"] else html.escape(name) for name, entry in rows]
    places = list(range(len(rows) + bool(results["planted"])))
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    for shown, colour in ((True, charts.COLOURS[0]), (False, charts.GREY)):
        gains = [(place, entry["gain"]) for place, (_, entry) in enumerate(rows) if entry["gain_shown"] == shown]
        if results["planted"] and not shown:
            gains.append((len(rows), results["planted"]["gain"]))
        _bars(figure, gains, colour, filled=shown, column=1, form=".2f")
        falls = [
            (place - 0.12, entry["logit_change"]) for place, (_, entry) in enumerate(rows) if entry["shown"] == shown
        ]
        _bars(figure, falls, colour, filled=shown, column=2, form="+.3f")
    controls = [(place, entry["control_gain"]) for place, (_, entry) in enumerate(rows)]
    if results["planted"]:
        controls.append((len(rows), results["planted"]["gain_without"]))
    _strokes(figure, controls)
    elsewhere = [(place + 0.18, entry["control_change"]) for place, (_, entry) in enumerate(rows)]
    _bars(figure, elsewhere, charts.COLOURS[1], filled=False, column=2, form="+.3f", thin=True)
    figure.add_vline(x=1, line_width=1, line_color=charts.GREY, row=1, col=1)
    figure.add_vline(x=0, line_width=1, line_color=charts.GREY, row=1, col=2)
    labels = [*names, *([f"<b>{_MARK}</b>"] if results["planted"] else [])]
    figure.update_yaxes(tickvals=places, ticktext=labels, range=[len(places) - 0.5, -0.5], fixedrange=True)
    figure.update_yaxes(automargin=True, showgrid=False, zeroline=False)
    figure.update_xaxes(fixedrange=True)
    figure.update_xaxes(
        title_text="relevance over area (1: no preference; |: control places)", rangemode="tozero", col=1
    )
    figure.update_xaxes(title_text="logit without it (orange: as much change elsewhere)", col=2)
    figure.update_layout(
        height=110 + 26 * len(places),
        showlegend=False,
        margin={"l": 10, "r": 10, "t": 14, "b": 46},
        hovermode="closest",
    )
    return figure


def _bars(
    figure: go.Figure,
    rows: Sequence[tuple[float, Estimate]],
    colour: str,
    *,
    filled: bool,
    column: int,
    form: str,
    thin: bool = False,
) -> None:
    known = [(place, own) for place, own in rows if own["value"] is not None]
    if not known:
        return
    ends = [_ends(own) for _, own in known]
    figure.add_scatter(
        x=[value for value, _, _ in ends],
        y=[place for place, _ in known],
        mode="markers",
        marker={"color": colour, "size": 6 if thin else 9, "symbol": "circle" if filled else "circle-open"},
        error_x={
            "array": [high - value for value, _, high in ends],
            "arrayminus": [value - low for value, low, _ in ends],
            "thickness": 1.2 if thin else 2.5,
            "width": 0,
        },
        customdata=[end[1:] for end in ends],
        hovertemplate=f"%{{x:{form}}} (%{{customdata[0]:{form}}} to %{{customdata[1]:{form}}})<extra></extra>",
        row=1,
        col=column,
    )


def _strokes(figure: go.Figure, rows: Sequence[tuple[float, Estimate]]) -> None:
    known = [(place, own["value"]) for place, own in rows if own["value"] is not None]
    figure.add_scatter(
        x=[value for _, value in known],
        y=[place for place, _ in known],
        mode="markers",
        marker={"color": charts.COLOURS[1], "size": 13, "symbol": "line-ns-open", "line": {"width": 2}},
        hovertemplate="control places: %{x:.2f}<extra></extra>",
        row=1,
        col=1,
    )


def _ends(own: Estimate) -> tuple[float, float, float]:
    value, low, high = own["value"] or 0.0, own["low"], own["high"]
    return (value, value, value) if low is None or high is None else (value, low, high)
