"""The figures of a study: mean curves of its recipes, and the differences of each measure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cxr.experiments.study.comparison import Report
from cxr.experiments.study.measures import METRIC_TITLES, Measure
from cxr.experiments.study.statistics import Difference, Mean
from cxr.reports.figures import COLOURS, GREY, INK, Drawing, Series, legend_above, legend_height, padded, unit_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_MARKERS = 40  # points of a curve; more of them hide the line
_ROW, _LINE, _LETTERS = 26, 15, 42
_THICK, _THIN = 3, 0.9  # points


def all_figures(report: Report, caption: str = "") -> dict[str, Drawing]:
    """Return every figure of a study by its name in files: ``curves``, and one for each measure by its key."""
    return {"curves": curves(report, caption)} | {
        file_name(measure): forest(measure, caption) for measure in report.measures
    }


def file_name(measure: Measure) -> str:
    """Return a measure's key as it stands in a file's name."""
    return measure.key.replace(".", "-")


def curves(report: Report, caption: str = "") -> Drawing:
    """Return the mean curves with bands (t interval of the mean over seeds) over the epochs of the last stage."""
    metric = METRIC_TITLES[report.plan.metric]
    shown = {label: curve for label, curve in report.curves.items() if curve}

    def paint(axes: Axes) -> None:
        series = {label: _paint_curve(axes, curve, Series(k)) for k, (label, curve) in enumerate(shown.items())}
        values = [v for curve in shown.values() for mean in curve.values() for v in _ends(mean)] or [0.0, 1.0]
        if report.plan.metric != "val_loss":
            values = [min(1.0, max(0.0, value)) for value in values]
        epochs = [epoch for curve in shown.values() for epoch in curve] or [0, 1]
        axes.set_xlim(min(epochs), max(max(epochs), min(epochs) + 1))
        axes.set_ylim(padded(values, 0.04))
        unit_ticks(axes.xaxis)
        axes.grid(True)
        axes.set_xlabel("epoch of the last stage")
        axes.set_title(metric, loc="left")
        legend_above(axes, series)

    return Drawing(f"Mean {metric} by recipe", paint, height=360 + legend_height(list(shown)), caption=caption)


def _paint_curve(axes: Axes, curve: Mapping[int, Mean], series: Series) -> Any:
    """Draw one recipe's curve with its band and return the line."""
    banded = [(e, m.low, m.high) for e, m in curve.items() if m.low is not None and m.high is not None]
    if banded:
        epochs, low, high = zip(*banded, strict=True)
        axes.fill_between(epochs, low, high, color=series.colour, alpha=0.16, linewidth=0)
    points = [(e, m.value) for e, m in curve.items() if m.value is not None]
    (artist,) = axes.plot(
        [epoch for epoch, _ in points],
        [value for _, value in points],
        color=series.colour,
        linestyle=series.line,
        linewidth=1.7,
        marker=series.marker if len(points) <= _MOST_MARKERS else None,
        markersize=4,
        clip_on=False,
    )
    return artist


def forest(measure: Measure, caption: str = "") -> Drawing:
    """Return the paired differences of a measure: a point per pair with both its intervals, and a line at 0.

    The thin interval holds for all comparisons of the study at once; what it shows to differ from 0 is in colour.
    """
    rows = [
        (textwrap.fill(f"{a} − {b}", _LETTERS), difference)
        for (a, b), difference in measure.differences.items()
        if difference.mean.n
    ]
    lines = max((name.count("\n") for name, _ in rows), default=0)

    def paint(axes: Axes) -> None:
        for row, (_, difference) in enumerate(rows):
            _paint_difference(axes, row, difference)
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        ends = [v for _, d in rows for v in (*_ends(d.mean), *(d.together or ()))]
        axes.set_xlim(padded([*ends, 0.0], 0.06, least=1e-6))
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x")
        axes.set_xlabel(measure.title, loc="right")

    height = 76 + (_ROW + _LINE * lines) * max(1, len(rows))
    return Drawing(f"Differences between recipes: {measure.title}", paint, height=height, caption=caption)


def _paint_difference(axes: Axes, row: int, difference: Difference) -> None:
    mean, colour = difference.mean, COLOURS[0] if difference.shown else GREY
    alone = None if mean.low is None or mean.high is None else (mean.low, mean.high)
    for limits, thickness in ((difference.together, _THIN), (alone, _THICK)):
        if limits is not None:
            axes.hlines(row, *limits, color=colour, linewidth=thickness, zorder=2)
    axes.plot([mean.value or 0], [row], "o", color=colour, markersize=7, zorder=3)


def _ends(mean: Mean) -> list[float]:
    return [v for v in (mean.value, mean.low, mean.high) if v is not None]
