"""The charts of trainings: loss, validation, learning rate and speed, of several runs or of the seeds of one recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from cxr.runs.metrics.metrics_table import Metrics

from sections.live import axes
from sections.live.axes import Floats, View
from widgets.charts import COLOURS, GREY, add_band, class_colour, empty_figure, thinned

VALIDATED = ("start", "epoch")  # kinds of rows with figures on validation images: before the first step, and after
MOST_POINTS = 1500  # of a curve: more than a chart has pixels
_GRID = 300  # points of a band over seeds
_SCORES = (
    ("val_accuracy", "accuracy", "solid", COLOURS[0]),
    ("val_macro_f1", "macro F1", "dash", COLOURS[1]),
    ("val_auc", "AUC", "longdashdot", COLOURS[2]),
    ("val_average_precision", "average precision", "dot", COLOURS[3]),
)
_VALIDATION = "dash"  # of dots a restless line has thousands, which take a browser longer to draw than all else here
Curve = tuple[Floats, Floats]
"""Positions on the axis and values; NaN where the line is broken."""
_HEIGHT, _NAME_HEIGHT, _NAMES_WITHIN = 370, 20, 4  # pixels; so many names take no room from the lines
DEFAULT = View()


def loss_curves(runs: Mapping[str, Metrics], view: View = DEFAULT, seeds: Sequence[Metrics] = ()) -> go.Figure:
    """Training loss (smoothed over the faint raw line) and validation loss, for several runs: a colour each.

    Of ``seeds``, further runs of the first one's recipe, the mean is drawn and the range from the lowest to the
    highest as a band.
    """
    figure = _figure("Loss", "loss", view, len(runs), 2, **_scale(view))
    for number, (name, metrics) in enumerate(runs.items()):
        colour, before = _colour(number), _before(name, runs)
        if number == 0 and seeds:
            _add_band(figure, [loss_curve(own, view)[1] for own in seeds], f"{before}training", colour)
            bands = [_of_validation(own, "val_loss", view) for own in seeds]
            _add_band(figure, bands, f"{before}validation", colour, dash=_VALIDATION)
            continue
        raw, smoothed = loss_curve(metrics, view)
        _add(figure, raw, colour=colour, width=1, opacity=0.25, showlegend=False, hoverinfo="skip")
        _add(figure, smoothed, f"{before}training", colour)
        _add(figure, _of_validation(metrics, "val_loss", view), f"{before}validation", colour, _VALIDATION, marks=True)
    _mark_stages(figure, runs, view)
    return figure


def score_curves(runs: Mapping[str, Metrics], view: View = DEFAULT, seeds: Sequence[Metrics] = ()) -> go.Figure:
    """Validation accuracy and macro F1 (or mean AUC of a multi-label stage) per epoch.

    A dash for each score; a colour for each run, or for each score where there is one run.
    """
    figure = _figure("Validation", "score", view, len(runs), 2, range=[0, 1.02])
    for number, (name, metrics) in enumerate(runs.items()):
        for key, label, dash, own_colour in _SCORES:
            colour = own_colour if len(runs) == 1 else _colour(number)
            title = f"{_before(name, runs)}{label}"
            if number == 0 and seeds:
                bands = [_of_validation(own, key, view) for own in seeds]
                _add_band(figure, [band for band in bands if len(band[0])], title, colour, dash)
            elif len((curve := _of_validation(metrics, key, view))[0]):
                _add(figure, curve, title, colour, dash, marks=True)
    _mark_stages(figure, runs, view)
    return figure


def rate_curves(runs: Mapping[str, Metrics], view: View = DEFAULT) -> go.Figure:
    """The learning rate of each step."""
    scale = _scale(view) or {"rangemode": "tozero"}
    figure = _figure("Learning rate", "learning rate", view, len(runs), 1, exponentformat="e", **scale)
    for number, (name, metrics) in enumerate(runs.items()):
        _add(figure, column_curve(metrics, "lr", view), name, _colour(number))
    return figure


def speed_curves(runs: Mapping[str, Metrics], view: View = DEFAULT) -> go.Figure:
    """Images per second, smoothed as the loss is."""
    figure = _figure("Images per second", "images per second", view, len(runs), 1, rangemode="tozero")
    for number, (name, metrics) in enumerate(runs.items()):
        _add(figure, column_curve(metrics, "images_per_s", view, smoothed=True), name, _colour(number))
    return figure


def neuron_curves(rows: Sequence[Mapping]) -> go.Figure:
    """How far each output neuron has moved since its stage began, per epoch; kept neurons solid, new ones dashed."""
    figure = empty_figure("Output neurons: change since the stage began", "epoch", "|w − w₀| / |w₀|", fixed=True)
    figure.update_xaxes(dtick=max(1, len(rows) // 10))  # no ticks between epochs
    names = list(rows[-1]["neurons"])
    for name in names:
        old_class = rows[-1]["neurons"][name]["kept"]
        figure.add_scatter(
            x=[row["epoch"] for row in rows],
            y=[row["neurons"][name]["change"] for row in rows],
            name=f"{name} (was {old_class})" if old_class else f"{name} (new)",
            mode="lines+markers",
            line={"color": class_colour(name, names), "width": 2, "dash": "solid" if old_class else "dash"},
        )
    return figure


def smooth(values: Floats, span: int) -> Floats:
    """Return an exponentially weighted mean, which is what the eye makes of a noisy loss."""
    return values if span <= 1 else pd.Series(values, dtype=float).ewm(span=span).mean().to_numpy()


def loss_curve(metrics: Metrics, view: View, most_points: int = MOST_POINTS) -> tuple[Curve, Curve]:
    """Return the raw and the smoothed training loss, thinned to ``most_points`` each, with a gap between stages."""
    return _curve(metrics, "loss", view, 1, most_points), _curve(metrics, "loss", view, view.smoothing, most_points)


def column_curve(metrics: Metrics, column: str, view: View, *, smoothed: bool = False) -> Curve:
    """Return a column of the steps as a curve, thinned, with a gap between stages."""
    return _curve(metrics, column, view, view.smoothing if smoothed else 1, MOST_POINTS)


def _curve(metrics: Metrics, column: str, view: View, span: int, most_points: int) -> Curve:
    lacks_times = view.axis == "time" and not np.isfinite(metrics.steps["time"]).all()
    stages = _thinned_stages(metrics, column, span, most_points, timed_alone=lacks_times)
    return _broken([(axes.of_steps(metrics, view, rows), line) for rows, line in stages])


# Sessions that look at one training share what is made of its columns, until rows are added. Neither the axis nor the
# scale is part of the key: which rows are drawn does not depend on them.
@lru_cache(maxsize=32)
def _thinned_stages(
    metrics: Metrics, column: str, span: int, most_points: int, *, timed_alone: bool
) -> tuple[tuple[NDArray[np.intp], Floats], ...]:
    """Return the rows of each stage that are drawn and their smoothed values, without those that are not finite."""
    finite = np.isfinite(metrics.steps[column])
    if timed_alone:
        finite &= np.isfinite(metrics.steps["time"])
    rows = np.flatnonzero(finite)
    values, stages = metrics.steps[column][rows].astype(float), metrics.steps["stage_index"][rows]
    parts = []
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(stages)) + 1):
        line = smooth(values[part], span)
        shown = thinned(line, max(4, most_points * len(part) // max(1, len(rows))))
        parts.append((rows[part][shown], line[shown]))
    return tuple(parts)


def _of_validation(metrics: Metrics, key: str, view: View) -> Curve:
    """Return a figure on validation images as a curve, with a gap between stages."""
    rows = [row for row in metrics.of_kind(*VALIDATED) if row.get(key) is not None]
    # Runs of before have an accuracy of findings: most are absent, so it is high for any network.
    rows = [row for row in rows if key != "val_accuracy" or row.get("val_auc") is None]
    x, values = axes.of_rows(rows, metrics, view), np.array([row[key] for row in rows], dtype=float)
    stages = np.array([row.get("stage_index", 0) for row in rows], dtype=int)
    finite = np.isfinite(x)
    x, values, stages = x[finite], values[finite], stages[finite]
    parts = []
    for part in np.split(np.arange(len(values)), np.flatnonzero(np.diff(stages)) + 1):
        shown = part[thinned(values[part], max(4, MOST_POINTS * len(part) // max(1, len(values))))]
        parts.append((x[shown], values[shown]))
    return _broken(parts)


def _broken(parts: Sequence[Curve]) -> Curve:
    """Join curves to one whose line is broken between them."""
    joined = [part for part in parts if len(part[0])]
    gap = np.array([np.nan])
    xs = [piece for x, _ in joined for piece in (gap, x)][1:]
    ys = [piece for _, y in joined for piece in (gap, y)][1:]
    return (np.concatenate(xs), np.concatenate(ys)) if joined else (np.empty(0), np.empty(0))


def band(curves: Sequence[Curve]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return a grid over where all curves are, and there the mean, the lowest and the highest of them."""
    whole = [(x[np.isfinite(x)], y[np.isfinite(x)]) for x, y in curves]
    whole = [(x, y) for x, y in whole if len(x)]
    if not whole:
        return (np.empty(0),) * 4
    first, last = max(x[0] for x, _ in whole), min(x[-1] for x, _ in whole)
    known = np.unique(np.concatenate([x for x, _ in whole]))
    inside = known[(known >= first) & (known <= last)]
    grid = inside if len(inside) <= _GRID else np.linspace(first, last, _GRID)
    values = np.array([np.interp(grid, x, y) for x, y in whole])
    return grid, values.mean(0), values.min(0), values.max(0)


def _add_band(figure: go.Figure, curves: Sequence[Curve], name: str, colour: str, dash: str = "solid") -> None:
    grid, mean, low, high = band(curves)
    if not len(grid):
        return
    add_band(figure, grid.tolist(), low.tolist(), high.tolist(), colour, f"{name}, range")
    _add(figure, (grid, mean), f"{name}, mean of {len(curves)}", colour, dash)


def _add(
    figure: go.Figure,
    curve: Curve,
    name: str = "",
    colour: str = GREY,
    dash: str = "solid",
    *,
    marks: bool = False,
    width: int = 2,
    **options: object,
) -> None:
    # Few points carry marks; of many these would be one thick line.
    mode = "lines+markers" if marks and len(curve[0]) <= 200 else "lines"
    line = {"color": colour, "width": width, "dash": dash}
    # A mark at step 0 stands on the axis: whole, not cut in half.
    figure.add_scatter(x=curve[0], y=curve[1], name=name, mode=mode, line=line, cliponaxis=False, **options)


def _figure(title: str, y: str, view: View, n_runs: int, n_lines: int, **y_axis: object) -> go.Figure:
    """Return a figure for ``n_lines`` lines of each run, which has none yet, as high as their names need.

    Those of one run stand beside the title, where they are seen first; those of several are longer than the room there.
    """
    below = {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.22, "yanchor": "top"}
    figure = empty_figure(
        title,
        view.title,
        y,
        height=_HEIGHT + _NAME_HEIGHT * max(0, n_runs * n_lines - _NAMES_WITHIN),
        y_axis=y_axis,
        fixed=True,
        **({"legend": below} if n_runs > 1 else {}),
        uirevision=f"{view.axis} {view.log} {view.unit_s}",  # another axis: the zoom means nothing
    )
    return figure.update_xaxes(rangemode="nonnegative")  # one point alone would begin at step -1


def _scale(view: View) -> dict[str, object]:
    return {"type": "log"} if view.log else {}


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _before(name: str, runs: Mapping[str, Metrics]) -> str:
    return f"{name} · " if len(runs) > 1 else ""


def _mark_stages(figure: go.Figure, runs: Mapping[str, Metrics], view: View) -> None:
    """Draw where the stages of a single training begin; those of several would only lie on each other."""
    # Each stage has a row `start`, which carries the last step of the stage before: there the new one begins.
    metrics = next(iter(runs.values()))
    first_rows = {row.get("stage_index", 0): row for row in reversed(metrics.of_kind(*VALIDATED))}
    if len(runs) > 1 or len(first_rows) < 2:
        return
    rows = [first_rows[index] for index in sorted(first_rows)]
    for row, x in zip(rows, axes.of_rows(rows, metrics, view), strict=True):
        figure.add_vline(
            x=x,
            line={"color": GREY, "width": 1, "dash": "dot"},
            annotation={"text": row["stage"], "font": {"size": 12, "color": GREY}},
            annotation_position="bottom right",
        )
