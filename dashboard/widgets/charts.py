"""Charts that several pages show, all made with Plotly and free of Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from tsdownsample import MinMaxDownsampler, MinMaxLTTBDownsampler

from cxr import formatting

COLOURS = ("#1f95a3", "#d0762a", "#9a6fd0", "#4d9a4a", "#d45555", "#4a86c5")
CLASS_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#9678ff", "#785a78", "#f0004b", "#a587b4", "#694bd2")
"""The first three are of Okabe and Ito. All are told apart by people who are colour-blind, on a light and on a dark
ground; ``tests/dashboard/test_colours.py`` measures both."""
NOTABLE, ORDINARY = "#d55e00", "#0072b2"
"""Of marks in a list: what differs or stands out, and the rest."""
MATRIX_COLOURS = {"light": ("#eaf1f3", "#0b5560"), "dark": ("#1f2a34", "#63c7d3")}
"""From no to all X-rays of a row, away from the page's ground."""
CLASS_DASHES = ("solid", "dash", "dot", "dashdot")
GREY = "#808c99"
_HEIGHT = 340
_MARGIN = {"l": 50, "r": 10, "t": 60, "b": 46}
_FIXED_MARGIN = _MARGIN | {"l": 62}  # pixels, enough for ticks such as 0.0001
_FIXED_AXIS: dict[str, object] = {"automargin": False, "ticklabeloverflow": "allow"}


def empty_figure(
    title: str,
    x: str,
    y: str,
    height: int = _HEIGHT,
    *,
    x_axis: Mapping[str, object] | None = None,
    y_axis: Mapping[str, object] | None = None,
    fixed: bool = False,
    **layout: object,
) -> go.Figure:
    """Return an empty figure in the layout of all charts; ``x_axis``, ``y_axis`` and ``layout`` change parts of it.

    Plotly takes a fifth of the time for a layout that a figure begins with, compared with one that is given later.
    ``fixed`` is for axes of numbers alone: Plotly draws a chart a second time when it has to measure labels to find its
    margins.
    """
    axis = _FIXED_AXIS if fixed else {}
    common: dict[str, object] = {
        "title": {"text": title, "font": {"size": 16}},
        "height": height,
        "margin": _FIXED_MARGIN if fixed else _MARGIN,
        "xaxis": {"title": {"text": x}, **axis, **(x_axis or {})},
        "yaxis": {"title": {"text": y}, **axis, **(y_axis or {})},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": 1.0, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        "uirevision": "keep",  # zoom and hidden lines survive the next refresh
    }
    return go.Figure(layout=common | layout)


def add_band(
    figure: go.Figure, x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str, name: str = ""
) -> None:
    """Fill what lies between two curves over ``x``, behind the lines and without an entry in the legend."""
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=0.18,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        name=name,
    )


def class_colour(name: str, classes: Sequence[str]) -> str:
    """Return the colour of a class: the same on every page, also where a network has its classes in another order."""
    return CLASS_COLOURS[sorted(classes).index(name) % len(CLASS_COLOURS)]


def class_dash(name: str, classes: Sequence[str]) -> str:
    """Return the dash of a class's lines, which tells it from the one of its colour where there are many."""
    return CLASS_DASHES[sorted(classes).index(name) // len(CLASS_COLOURS) % len(CLASS_DASHES)]


def thinned(values: np.ndarray, most: int) -> np.ndarray:
    """Return the positions of at most ``most`` of the finite ``values`` by which their curve looks as the whole does.

    Half of them are the smallest and the largest of equal parts, so that no spike is lost. The others are those that
    the largest triangles of three points keep (min-max LTTB), so that the shape between the spikes is right.
    """
    if len(values) <= most:
        return np.arange(len(values))
    values, half = np.ascontiguousarray(values), max(2, most // 4 * 2)
    spikes = MinMaxDownsampler().downsample(values, n_out=half)
    shape = MinMaxLTTBDownsampler().downsample(values, n_out=max(3, most - half))
    return np.union1d(spikes, shape).astype(np.intp)


def ground_of(share: float, theme: str) -> str:
    """Return the colour, ``#rrggbb``, of a cell of a matrix that holds a share of its row, 0 to 1.

    ``theme`` is that of the page, light or dark.
    """
    return "#" + "".join(f"{round(255 * part):02x}" for part in _ground(share, theme))


def ink_on(share: float, theme: str) -> str:
    """Return black or white, whichever is easier to read on a cell of a matrix that holds a share of its row."""
    rgb = _ground(share, theme)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])  # WCAG 2
    return "#000000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def _ground(share: float, theme: str) -> np.ndarray:
    ends = np.array([[int(end[k : k + 2], 16) / 255 for k in (1, 3, 5)] for end in MATRIX_COLOURS[theme]])
    return np.asarray(ends[0] + share * (ends[1] - ends[0]))


def interval(estimate: formatting.Estimate | None, *, percent: bool = True) -> str:
    """Return an estimate with its interval as people write it: ``71.7 % [64.6, 78.6]``."""
    return formatting.percent(estimate) if percent else formatting.number(estimate)
