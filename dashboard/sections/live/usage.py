"""What a training takes of its machine, drawn below its speed."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from cxr.runs.metrics.metrics_table import Metrics
from cxr.runs.metrics.usage_file import Usage

from sections.live import axes
from sections.live.axes import View
from sections.live.curves import MOST_POINTS
from widgets.charts import COLOURS, empty_figure, thinned

_CHARTS = (
    ("cores", "Processor", "cores busy", 1.0, "{:.2g} cores"),
    ("memory_mb", "Memory", "GB", 1e-3, "{:.1f} GB"),
    ("gpu", "GPU", "% busy", 1.0, "{:.0f} %"),
    ("gpu_mb", "GPU memory", "GB", 1e-3, "{:.1f} GB"),
)
_HEIGHT = 230


def show(usage: Usage, metrics: Metrics, view: View) -> None:
    """Show a small chart of each thing that was recorded, two beside each other, with its last value as title."""
    charts = charts_of(usage, metrics, view)
    for number, (name, figure) in enumerate(charts.items()):
        if number % 2 == 0:
            columns = st.columns(2)
        columns[number % 2].plotly_chart(figure, key=f"live:usage:{name}")


def charts_of(usage: Usage, metrics: Metrics, view: View) -> dict[str, go.Figure]:
    """Return a chart for each column that has a value, by the column's name."""
    x = axes.of_times(usage["time"], metrics, view)
    charts = {}
    for name, title, unit, factor, words in _CHARTS:
        values = factor * usage[name]
        last = values[np.isfinite(values)][-1:]
        placed = np.isfinite(x) & np.isfinite(values)
        if not placed.any():
            continue
        shown = np.flatnonzero(placed)[thinned(values[placed], MOST_POINTS)]
        figure = empty_figure(
            f"{title}: {words.format(last[0])}",
            view.title,
            unit,
            _HEIGHT,
            y_axis={"rangemode": "tozero"},
            fixed=True,
            uirevision=f"{view.axis} {view.unit_s}",
        )
        line = {"color": COLOURS[0], "width": 2}
        # A first row alone is a point, and no line.
        mode = "lines" if len(shown) > 1 else "markers"
        figure.add_scatter(x=x[shown], y=values[shown], mode=mode, line=line, name=unit, showlegend=False)
        charts[name] = figure
    return charts
