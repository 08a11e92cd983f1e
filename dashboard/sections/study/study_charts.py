"""Charts of studies: mean curves with bands over seeds, and the differences between recipes as a forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from cxr.experiments.study.comparison import Report
from cxr.experiments.study.measures import METRIC_TITLES, Measure
from cxr.experiments.study.statistics import Difference, Mean
from cxr.reports.study import together

from widgets import charts

_ROW = 34
_MOST_MARKERS = 60


def mean_curves(report: Report, k: int, level: float) -> go.Figure:
    """Mean of the metric over seeds by epoch of the last stage, with its 95 % band and single seeds faintly behind.

    The first ``k`` epochs are shaded, ``level`` is a dashed line.
    """
    title = METRIC_TITLES[report.plan.metric]
    figure = charts.empty_figure(title[0].upper() + title[1:], "epoch of the last stage", "", height=370, fixed=True)
    last = max((learning_curve.epochs for learning_curve in report.learning_curves), default=1)
    figure.update_xaxes(dtick=max(1, last // 10))  # no ticks between epochs
    figure.add_vrect(x0=0 if report.start else 1, x1=k, fillcolor=charts.GREY, opacity=0.12, line_width=0)
    figure.add_hline(y=level, line={"color": charts.GREY, "width": 1, "dash": "dash"})
    for index, (label, curve) in enumerate(report.curves.items()):
        colour = charts.COLOURS[index % len(charts.COLOURS)]
        _seeds(figure, report, label, colour)
        _band(figure, curve, colour, bounded=not report.plan.lower_is_better)
        epochs = list(curve)
        spread = [_spread(curve[epoch]) for epoch in epochs]
        figure.add_scatter(
            x=epochs,
            y=[curve[epoch].value for epoch in epochs],
            name=label,
            mode="lines+markers" if len(epochs) <= _MOST_MARKERS else "lines",
            line={"color": colour, "width": 3},
            marker={"size": 6},
            customdata=spread,
            hovertemplate="%{y:.3f} %{customdata}",
        )
    return figure


def _seeds(figure: go.Figure, report: Report, label: str, colour: str) -> None:
    for learning_curve in report.learning_curves:
        curve = learning_curve.curves.get(report.plan.metric) if learning_curve.recipe == label else None
        if curve:
            epochs = sorted(curve)
            line = {"color": colour, "width": 1}
            values = [curve[epoch] for epoch in epochs]
            figure.add_scatter(x=epochs, y=values, line=line, opacity=0.3, showlegend=False, hoverinfo="skip")


def _band(figure: go.Figure, curve: Mapping[int, Mean], colour: str, *, bounded: bool) -> None:
    # Both ends are there where one is. No accuracy lies beyond 0 and 1, though an interval of few seeds may.
    known = [(epoch, mean.low, mean.high) for epoch, mean in curve.items() if None not in (mean.low, mean.high)]
    low, high = ([row[end] or 0.0 for row in known] for end in (1, 2))
    if bounded:
        low, high = [max(0.0, value) for value in low], [min(1.0, value) for value in high]
    if known:
        charts.add_band(figure, [epoch for epoch, *_ in known], low, high, colour)


def _spread(mean: Mean) -> str:
    if mean.constant:
        return f"(the same in all {mean.n} seeds)"
    if mean.low is None or mean.high is None:
        return f"({_seeds_of(mean)})"
    return f"[{mean.low:.3f}, {mean.high:.3f}], {_seeds_of(mean)}"


def _seeds_of(mean: Mean) -> str:
    return f"{mean.n} seed{'' if mean.n == 1 else 's'}"


def forest(measure: Measure) -> go.Figure:
    """The paired difference of every pair with its 95 % intervals, thick alone, thin for all comparisons at once.

    Those whose thin interval excludes 0 are in colour.
    """
    rows = [(f"{a} − {b}", d) for (a, b), d in measure.differences.items() if d.mean.n]
    figure = charts.empty_figure("Paired differences", measure.title, "", height=130 + _ROW * max(1, len(rows)))
    for name, difference in rows:
        mean = difference.mean
        colour = charts.COLOURS[0] if difference.shown else charts.GREY
        single = None if mean.low is None or mean.high is None else (mean.low, mean.high)
        for limits, thickness in ((difference.together, 1.5), (single, 5)):
            if limits is not None:
                line = {"color": colour, "width": thickness}
                figure.add_scatter(x=limits, y=[name] * 2, mode="lines", line=line, showlegend=False, hoverinfo="skip")
        figure.add_scatter(
            x=[mean.value],
            y=[name],
            mode="markers",
            marker={"color": colour, "size": 11},
            showlegend=False,
            hovertemplate=f"{together(difference)}, {_seeds_of(mean)}<extra>{name}</extra>",
        )
    figure.add_vline(x=0, line={"color": charts.GREY, "width": 1})
    figure.update_xaxes(range=_range(rows))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_layout(hovermode="closest", margin={"l": 10, "r": 10, "t": 50, "b": 46})
    return figure


def _range(rows: Sequence[tuple[str, Difference]]) -> tuple[float, float] | None:
    """Return the axis that holds all intervals and 0 with room at both ends, so that no line looks cut off."""
    means = [(d.mean.value, d.mean.low, d.mean.high) for _, d in rows]
    ends = [0.0, *(v for mean in means for v in mean if v is not None), *(v for _, d in rows for v in d.together or ())]
    room = 0.05 * (max(ends) - min(ends))
    return (min(ends) - room, max(ends) + room) if room else None
