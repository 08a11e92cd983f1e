"""Charts that several pages show, all made with Plotly and free of Streamlit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cxr import formatting
from cxr.runs.metrics.metrics_table import Metrics

COLOURS = ("#4fb3bf", "#f2a65a", "#b48ee0", "#7fc97f", "#e66a6a", "#6fa8dc")
CLASS_COLOURS = ("#56b4e9", "#e69f00", "#2fb98c", "#e48fbd", "#f0e442", "#ef7a4a", "#8fa2ff", "#c9c4b8")
"""Of Okabe and Ito, told apart by people who are colour-blind; brighter, since they stand on a dark ground."""
CLASS_DASHES = ("solid", "dash", "dot", "dashdot")
GREY = "#8899aa"
VALIDATED = ("start", "epoch")  # kinds of rows with figures on validation images: before the first step, and after
MOST_POINTS = 1500  # of a curve: more than a chart has pixels
_HEIGHT = 340


def empty_figure(title: str, x: str, y: str, height: int = _HEIGHT) -> go.Figure:
    """Return an empty figure in the layout of all charts."""
    figure = go.Figure()
    figure.update_layout(
        title={"text": title, "font": {"size": 16}},
        height=height,
        margin={"l": 50, "r": 10, "t": 60, "b": 46},
        xaxis_title=x,
        yaxis_title=y,
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.0, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        uirevision="keep",  # zoom and hidden lines survive the next refresh
    )
    return figure


def class_colour(name: str, classes: Sequence[str]) -> str:
    """Return the colour of a class: the same on every page, also where a network has its classes in another order."""
    return CLASS_COLOURS[sorted(classes).index(name) % len(CLASS_COLOURS)]


def class_dash(name: str, classes: Sequence[str]) -> str:
    """Return the dash of a class's lines, which tells it from the one of its colour where there are many."""
    return CLASS_DASHES[sorted(classes).index(name) // len(CLASS_COLOURS) % len(CLASS_DASHES)]


def smooth(values: Sequence[float], span: int = 15) -> np.ndarray:
    """Return an exponentially weighted mean, which is what the eye makes of a noisy loss."""
    return pd.Series(values, dtype=float).ewm(span=span).mean().to_numpy()


def by_stage(rows: Sequence[Mapping]) -> list[list[Mapping]]:
    """Return the rows of each stage: figures of different tasks are no one curve."""
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row.get("stage_index", 0))]


def _broken(parts: Sequence[tuple[Sequence, Sequence]]) -> tuple[list, list]:
    """Join curves to one trace whose line is broken between them."""
    x: list = []
    y: list = []
    for steps, values in parts:
        x += [None, *steps] if x and len(steps) else [*steps]
        y += [None, *values] if y and len(values) else [*values]
    return x, y


def _curve(rows: Sequence[Mapping], key: str) -> tuple[list, list]:
    """Return steps and values of ``key`` with a gap between stages."""
    parts = []
    for stage in by_stage(rows):
        having = [row for row in stage if row.get(key) is not None]
        having = having[:: 1 + len(having) // MOST_POINTS]
        parts.append(([row["step"] for row in having], [row[key] for row in having]))
    return _broken(parts)


def _training_curve(metrics: Metrics, most_points: int) -> tuple[tuple[list, list], tuple[list, list]]:
    """Return the raw and the smoothed training loss, thinned to ``most_points``, with a gap between stages."""
    steps, losses, stages = (metrics.steps[name] for name in ("step", "loss", "stage_index"))
    finite = np.isfinite(losses)
    steps, losses, stages = steps[finite], losses[finite], stages[finite]
    ends = np.flatnonzero(np.diff(stages)) + 1
    raw, smoothed = [], []
    for part in np.split(np.arange(len(steps)), ends):
        room = max(2, most_points * len(part) // max(1, len(steps)))
        shown = extremes(losses[part], room)
        raw.append((steps[part][shown].tolist(), losses[part][shown].tolist()))
        every = 1 + len(part) // room
        smoothed.append((steps[part][::every].tolist(), smooth(losses[part])[::every].tolist()))
    return _broken(raw), _broken(smoothed)


def extremes(values: np.ndarray, most: int) -> np.ndarray:
    """Return the positions of at most ``most`` values: of each of equal parts the smallest and the largest.

    A curve drawn through them has every spike of the whole one.
    """
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), max(1, most // 2) + 1).astype(int)
    parts = [values[start:end] for start, end in itertools.pairwise(edges)]
    ends = [(start + int(part.argmin()), start + int(part.argmax())) for start, part in zip(edges, parts, strict=False)]
    return np.unique([*ends, (0, len(values) - 1)])


def _mark_stages(figure: go.Figure, metrics: Mapping[str, Metrics]) -> None:
    """Draw where the stages of a single training begin; those of several would only lie on each other."""
    # Each stage has a row `start`, which carries the last step of the stage before: there the new one begins.
    starts = next(iter(metrics.values())).of_kind(*VALIDATED) if len(metrics) == 1 else []
    stages = by_stage(starts)
    if len(stages) < 2:
        return
    for rows in stages:
        figure.add_vline(
            x=rows[0]["step"],
            line={"color": "#8899aa", "width": 1, "dash": "dot"},
            annotation={"text": rows[0]["stage"], "font": {"size": 12, "color": "#8899aa"}},
            annotation_position="bottom right",
        )


def loss_curves(metrics: Mapping[str, Metrics], most_points: int = MOST_POINTS) -> go.Figure:
    """Training loss per step (smoothed over the faint raw line) and validation loss per epoch, for several runs."""
    figure = empty_figure("Loss", "step", "loss")
    for (name, run_metrics), colour in zip(metrics.items(), _colours(len(metrics)), strict=True):
        before = f"{name} · " if len(metrics) > 1 else ""
        raw, smoothed = _training_curve(run_metrics, most_points)
        line = {"color": colour, "width": 1}
        figure.add_scatter(x=raw[0], y=raw[1], line=line, opacity=0.25, showlegend=False, hoverinfo="skip")
        line = {"color": colour, "width": 2}
        figure.add_scatter(x=smoothed[0], y=smoothed[1], name=f"{before}training", line=line)
        steps, losses = _curve(run_metrics.of_kind(*VALIDATED), "val_loss")
        figure.add_scatter(
            x=steps,
            y=losses,
            name=f"{before}validation",
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": "dot"},
            marker={"size": 7},
        )
    _mark_stages(figure, metrics)
    return figure


def score_curves(metrics: Mapping[str, Metrics]) -> go.Figure:
    """Validation accuracy and macro F1 (or mean AUC of a multi-label stage) per epoch, for several runs."""
    figure = empty_figure("Validation", "step", "score")
    figure.update_yaxes(range=[0, 1.02])
    styles = (
        ("val_accuracy", "accuracy", "solid"),
        ("val_macro_f1", "macro F1", "dash"),
        ("val_auc", "AUC", "dot"),
        ("val_average_precision", "average precision", "dashdot"),
    )
    for (name, run_metrics), colour in zip(metrics.items(), _colours(len(metrics)), strict=True):
        before = f"{name} · " if len(metrics) > 1 else ""
        epochs = run_metrics.of_kind(*VALIDATED)
        for key, label, dash in styles:
            # Runs of before have an accuracy of findings: most are absent, so it is high for any network.
            own = [row for row in epochs if key != "val_accuracy" or row.get("val_auc") is None]
            steps, values = _curve(own, key)
            if steps:
                line = {"color": colour, "width": 2, "dash": dash}
                figure.add_scatter(x=steps, y=values, name=f"{before}{label}", mode="lines+markers", line=line)
    _mark_stages(figure, metrics)
    return figure


def neuron_curves(rows: Sequence[Mapping]) -> go.Figure:
    """How far each output neuron has moved since its stage began, per epoch; kept neurons solid, new ones dashed."""
    figure = empty_figure("Output neurons: change since the stage began", "epoch", "|w − w₀| / |w₀|")
    figure.update_xaxes(dtick=max(1, len(rows) // 10))  # no ticks between epochs
    names = list(rows[-1]["neurons"])
    for name in names:
        colour = class_colour(name, names)
        old_class = rows[-1]["neurons"][name]["kept"]
        figure.add_scatter(
            x=[row["epoch"] for row in rows],
            y=[row["neurons"][name]["change"] for row in rows],
            name=f"{name} (was {old_class})" if old_class else f"{name} (new)",
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": "solid" if old_class else "dash"},
        )
    return figure


def _colours(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def confusion(
    counts: Sequence[Sequence[float]] | np.ndarray,
    classes: Sequence[str],
    chosen: tuple[str, str] | None = None,
    texts: Sequence[Sequence[str]] | None = None,
    below: Sequence[Sequence[str]] | None = None,
) -> go.Figure:
    """Confusion matrix as clickable squares: rows are the true class, columns the predicted one.

    The cell ``chosen``, (true class, predicted class), has a frame; the others stay as legible as they were.
    Squares are scatter markers because heat map cells return no selection. A point's ``customdata`` is
    ``[true class, predicted class]``. ``texts`` stand large in the cells (the counts by default), ``below`` small
    (the share of the row by default).
    """
    matrix = np.asarray(counts)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-9)
    cells = list(np.ndindex(*matrix.shape))
    large = texts if texts is not None else [[f"{value:g}" for value in row] for row in matrix]
    small = below if below is not None else [[f"{value:.0%}" for value in row] for row in share]
    framed = (classes.index(chosen[0]), classes.index(chosen[1])) if chosen else None
    side = max(46, min(80, 216 // len(classes)))
    marker = {
        "symbol": "square",
        "size": side,
        "color": share.ravel(),
        "colorscale": [[0, "#1f2a34"], [1, "#63c7d3"]],
        "cmin": 0,
        "cmax": 1,
        "line": {
            "width": [4 if cell == framed else 1 for cell in cells],
            "color": [COLOURS[1] if cell == framed else "#2c3742" for cell in cells],
        },
    }
    figure = go.Figure(
        go.Scatter(
            x=[classes[predicted] for _, predicted in cells],
            y=[classes[true] for true, _ in cells],
            mode="markers+text",
            text=[f"<b>{large[true][predicted]}</b><br>{small[true][predicted]}" for true, predicted in cells],
            textfont={"size": 13, "color": ["white" if share[cell] < 0.6 else "#08222a" for cell in cells]},
            customdata=[[classes[true], classes[predicted]] for true, predicted in cells],
            hovertemplate="true %{y}, predicted %{x}<extra>click to see the images</extra>",
            marker=marker,
            # The frame says which cell is chosen; Plotly would fade all others.
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        )
    )
    span = len(classes) * (side + 6)
    figure.update_layout(
        height=span + 58,
        width=span + 110,
        margin={"l": 100, "r": 6, "t": 46, "b": 6},
        clickmode="event+select",
        dragmode=False,
        showlegend=False,
    )
    common = {"showgrid": False, "zeroline": False, "fixedrange": True, "categoryarray": list(classes)}
    ends = [-0.55, len(classes) - 0.45]
    figure.update_xaxes(title={"text": "predicted", "standoff": 4}, side="top", range=ends, **common)
    figure.update_yaxes(title={"text": "true", "standoff": 4}, range=ends[::-1], **common)
    return figure


def interval(estimate: formatting.Estimate | None, *, percent: bool = True) -> str:
    """Return an estimate with its interval as people write it: ``71.7 % [64.6, 78.6]``."""
    return formatting.percent(estimate) if percent else formatting.number(estimate)
