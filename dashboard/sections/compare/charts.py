"""Charts of a comparison: each run's figures beside rules that look at no X-ray, and the differences."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

import plotly.graph_objects as go

from cxr.evaluation.comparison import ComparisonResults
from cxr.evaluation.comparison.results import Difference

from widgets.charts import COLOURS, GREY, NOTABLE, ORDINARY

_WIDEST = 26  # letters of a line of a label
_ROW, _LINE = 34, 17  # pixels


def figures(results: ComparisonResults, measure: str) -> go.Figure:
    """Return a measure of every run with its interval, and the baselines as diamonds."""
    figure = go.Figure()
    names = []
    for place, run in enumerate(results["runs"]):
        value = run["figures"][measure]
        names.append(run["name"])
        if value["value"] is not None:
            figure.add_scatter(
                **_point(place, value["value"], value["low"], value["high"], COLOURS[place % 6], "square")
            )
    for baseline in results["baselines"]:
        own = baseline["figures"].get(measure)
        if own is not None:
            figure.add_scatter(**_point(len(names), own, None, None, GREY, "diamond"))
            names.append(baseline["name"])
    return _laid_out(figure, names, measure)


def differences(rows: Sequence[Difference], names: dict[str, str]) -> go.Figure:
    """Return differences with their intervals around 0; those that hold after correction are orange."""
    figure = go.Figure()
    labels = []
    for place, row in enumerate(rows):
        labels.append(f"{names[row['run']]} - {names[row['against']]}" if len(names) > 2 else row["measure"])
        if row["value"] is not None:
            colour = NOTABLE if row["different"] else ORDINARY
            figure.add_scatter(**_point(place, row["value"], row["low"], row["high"], colour, "square"))
    figure.add_vline(x=0, line={"color": GREY, "width": 1, "dash": "dot"})
    return _laid_out(figure, labels, "difference")


def _point(
    place: int, value: float, low: float | None, high: float | None, colour: str, symbol: str
) -> dict[str, object]:
    bars = {} if low is None or high is None else {"array": [high - value], "arrayminus": [value - low]}
    return {
        "x": [value],
        "y": [place],
        "mode": "markers",
        "marker": {"color": colour, "size": 11, "symbol": symbol},
        "error_x": {"type": "data", "color": colour, "thickness": 2, **bars},
        "hovertemplate": "%{x:.3f}<extra></extra>",
        "showlegend": False,
    }


def _laid_out(figure: go.Figure, labels: Sequence[str], title: str) -> go.Figure:
    lines = [textwrap.wrap(html.escape(label, quote=False), _WIDEST) for label in labels]
    row = max([_ROW, *(_LINE * len(of_label) for of_label in lines)])
    figure.update_layout(height=64 + row * len(labels), margin={"l": 10, "r": 10, "t": 6, "b": 44}, hovermode="closest")
    figure.update_xaxes(title=title)
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=["<br>".join(of_label) for of_label in lines],
        range=[len(labels) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        zeroline=False,
    )
    return figure
