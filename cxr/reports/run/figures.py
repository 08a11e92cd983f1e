"""The figures of a run's report: curves of the training, confusion matrix, ROC and calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cxr.evaluation.curves import OneClass, reliability, roc
from cxr.evaluation.results import Summary
from cxr.reports.figures import GREY, INK, Drawing, Series, legend_above, legend_height, unit_ticks
from cxr.runs.metrics.metrics_file import MetricsRow
from cxr.runs.metrics.metrics_table import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORES = {
    "val_accuracy": "accuracy",
    "val_macro_f1": "macro F1",
    "val_auc": "AUC",
    "val_average_precision": "average precision",
}
_VALIDATED = ("start", "epoch")
_POINTS = 400  # of the training's loss: more would be a file of megabytes and look the same
_MOST_CLASSES = 20
_HEIGHT, _SQUARE = 290, 520


def training_curves(metrics: Metrics) -> list[Drawing]:
    """Return loss and validation scores over the steps of a training; what was not measured is left out."""
    rows = metrics.of_kind(*_VALIDATED)
    scores = {title: points for key, title in SCORES.items() if len((points := _points(rows, key))[0])}
    steps, loss = _averaged(metrics)
    losses = {"training": (steps, loss)} if len(steps) else {}
    validation = _points(rows, "val_loss")
    if len(validation[0]):
        losses["validation"] = validation
    parts = (("Loss of the training", "loss", losses), ("Scores on the validation X-rays", "score", scores))
    return [_lines(title, "step", y, series) for title, y, series in parts if series]


Points = tuple[np.ndarray, np.ndarray]


def _points(rows: Sequence[MetricsRow], key: str) -> Points:
    known = [(float(row["step"]), float(row[key])) for row in rows if row.get(key) is not None]
    table = np.asarray(known, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _averaged(metrics: Metrics) -> Points:
    """Return the loss of the steps, the mean of neighbours where there are more than a figure can show."""
    steps, loss = (np.asarray(metrics.steps[name], np.float64) for name in ("step", "loss"))
    blocks = np.array_split(np.arange(len(steps)), max(1, min(_POINTS, len(steps))))
    means = [(steps[block].mean(), loss[block].mean()) for block in blocks if len(block)]
    table = np.asarray(means, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _lines(title: str, x: str, y: str, series: Mapping[str, Points]) -> Drawing:
    def paint(axes: Axes) -> None:
        drawn = {}
        for k, (name, (places, values)) in enumerate(series.items()):
            style = Series(k)
            marker = style.marker if len(places) <= 60 else None
            (drawn[name],) = axes.plot(
                places, values, linestyle=style.line, color=style.colour, marker=marker, markersize=4, linewidth=1.4
            )
        axes.grid(True)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        unit_ticks(axes.xaxis)
        legend_above(axes, drawn)

    return Drawing(title, paint, _HEIGHT + legend_height(list(series)))


def confusion(summary: Summary) -> Drawing | None:
    """Return the confusion matrix, true classes by row; None of findings, and of more classes than can be read."""
    classes, matrix = summary["classes"], np.asarray(summary.get("confusion") or [], np.int64)
    if not matrix.size or len(classes) > _MOST_CLASSES:
        return None

    def paint(axes: Axes) -> None:
        shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
        for row, column in np.ndindex(*matrix.shape):
            ink = "white" if shares[row, column] > 0.55 else INK
            axes.text(column + 0.5, row + 0.5, f"{matrix[row, column]:,}", ha="center", va="center", color=ink)
        places = np.arange(len(classes)) + 0.5
        axes.set_xticks(places, classes)
        if max(map(len, classes)) * len(classes) > 60:
            axes.tick_params(axis="x", labelrotation=30)
        axes.set_yticks(places, classes)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")

    return Drawing("Confusion matrix: X-rays by true and predicted class", paint, 130 + 34 * len(classes), width=560)


def class_curves(by_class: Mapping[str, OneClass]) -> Iterator[Drawing]:
    """Yield ROC and calibration of the classes for which they are defined; nothing where there are none."""
    known = {name: one for name, one in by_class.items() if not one.undefined}
    if not known or len(known) > _MOST_CLASSES:
        return
    curves = {name: roc(one, band=False).thinned(300) for name, one in known.items()}
    points = {name: (curve.x, curve.y) for name, curve in curves.items()}
    yield _square("ROC curves: each class against the rest", points, ("1 − specificity", "sensitivity"), marks=False)
    bins = {name: reliability(one) for name, one in known.items()}
    points = {
        name: (np.array([b.probability for b in of]), np.array([b.share["value"] for b in of], np.float64))
        for name, of in bins.items()
    }
    axes = ("mean probability of a bin", "share with the class")
    yield _square("Calibration: what share of X-rays with a probability has the class", points, axes, marks=True)


def _square(title: str, series: Mapping[str, Points], names: tuple[str, str], *, marks: bool) -> Drawing:
    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        drawn = {}
        for k, (name, (x, y)) in enumerate(series.items()):
            style = Series(k)
            (drawn[name],) = axes.plot(
                x, y, linestyle=style.line, color=style.colour, marker=style.marker if marks else None, markersize=4
            )
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.set_aspect("equal")
        axes.grid(True)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        legend_above(axes, drawn)

    return Drawing(title, paint, 400 + legend_height(list(series)), width=_SQUARE)
