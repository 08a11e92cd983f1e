"""How the charts of trainings are to be drawn: the horizontal axis, smoothing, and a logarithmic scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cxr.runs.metrics.metrics_file import MetricsRow
from cxr.runs.metrics.metrics_table import Metrics

Axis = Literal["step", "epoch", "time"]
AXES: tuple[Axis, ...] = get_args(Axis)
Floats = NDArray[np.float64]
SMOOTHINGS = (1, 5, 15, 50, 150, 500, 1500, 5000)
"""Spans, in steps, of the exponentially weighted mean that is drawn over the raw curve; 1 is the raw curve alone."""
SMOOTHING = 15
_MINUTE, _HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class View:
    """How curves are drawn.

    Attributes
    ----------
    axis
        What runs from left to right: steps, epochs over all stages, or time since the training's first row.
    smoothing
        One of :data:`SMOOTHINGS`.
    log
        Whether losses and learning rates stand on a logarithmic scale.
    unit_s
        Of times, in seconds.
    """

    axis: Axis = "step"
    smoothing: int = SMOOTHING
    log: bool = False
    unit_s: float = _MINUTE

    @property
    def title(self) -> str:
        """The axis in words."""
        if self.axis != "time":
            return self.axis
        return {1.0: "seconds", _MINUTE: "minutes", _HOUR: "hours"}[self.unit_s] + " since the start"


def unit_for(metrics: Sequence[Metrics]) -> float:
    """Return the unit in which the longest of these trainings has a readable number: a second, minute or hour."""
    longest = max((_span(own) for own in metrics), default=0.0)
    return 1.0 if longest < 3 * _MINUTE else _MINUTE if longest < 3 * _HOUR else _HOUR


def of_steps(metrics: Metrics, view: View, rows: NDArray[np.intp] | slice = slice(None)) -> Floats:
    """Return where the steps of ``rows``, or all, lie on the axis; NaN where one has no time."""
    if view.axis == "time":
        return (metrics.steps["time"][rows] - _began(metrics)) / view.unit_s
    steps = metrics.steps["step"][rows].astype(float)
    return epochs_at(metrics)(steps) if view.axis == "epoch" else steps


def of_rows(rows: Sequence[MetricsRow], metrics: Metrics, view: View) -> Floats:
    """Return where rows other than those of steps lie on the axis."""
    if view.axis == "time":
        times = np.array([row.get("time") for row in rows], dtype=float)
        return (times - _began(metrics)) / view.unit_s
    steps = np.array([row["step"] for row in rows], dtype=float)
    return epochs_at(metrics)(steps) if view.axis == "epoch" else steps


def of_times(times: Floats, metrics: Metrics, view: View) -> Floats:
    """Return where moments (seconds since 1970) lie on the axis; NaN where there is no step to tell it by."""
    if view.axis == "time":
        return (times - (_began(metrics) if len(_times(metrics)) else times.min(initial=np.inf))) / view.unit_s
    known, steps = metrics.steps["time"], metrics.steps["step"].astype(float)
    finite = np.isfinite(known)
    if not finite.any():
        return np.full(len(times), np.nan)
    at = np.interp(times, known[finite], steps[finite], left=0.0)
    return epochs_at(metrics)(at) if view.axis == "epoch" else at


def epochs_at(metrics: Metrics) -> Callable[[Floats], Floats]:
    """Return what turns steps into epochs, counted over all stages: 2.5 is the middle of the third."""
    ends = [float(row["step"]) for row in metrics.of_kind("epoch")]
    known_steps, known_epochs = np.array([0.0, *ends]), np.arange(len(ends) + 1.0)
    per_epoch = _steps_per_epoch(metrics, ends)

    def epochs(steps: Floats) -> Floats:
        inside = np.interp(steps, known_steps, known_epochs)
        return inside + np.maximum(0.0, steps - known_steps[-1]) / per_epoch

    return epochs


def _steps_per_epoch(metrics: Metrics, ends: Sequence[float]) -> float:
    """Return the length of the epoch that is not over yet, as far as it is known."""
    stated = [row["steps_per_epoch"] for row in metrics.of_kind("start") if row.get("steps_per_epoch")]
    if stated:
        return float(stated[-1])
    if ends:  # of an earlier version: as long as the last one
        return max(1.0, ends[-1] - (ends[-2] if len(ends) > 1 else 0.0))
    steps = metrics.steps["step"]
    return float(steps[-1]) if len(steps) else 1.0


def _times(metrics: Metrics) -> Floats:
    others = [float(row["time"]) for row in metrics.others if row.get("time") is not None]
    steps = metrics.steps["time"]
    if len(steps) and not np.isfinite(steps[[0, -1]]).all():  # rows without a time: an earlier version's
        steps = steps[np.isfinite(steps)]
    edges = np.array([*steps[:1], *steps[-1:], *others[:1], *others[-1:]], dtype=float)
    return edges[np.isfinite(edges)]


def _began(metrics: Metrics) -> float:
    times = _times(metrics)
    return float(times.min()) if len(times) else 0.0


def _span(metrics: Metrics) -> float:
    times = _times(metrics)
    return float(times.max() - times.min()) if len(times) else 0.0
