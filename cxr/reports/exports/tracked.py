"""What other programs are told of a run: settings, curves, figures, drawings and the network's file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr.networks import network_file
from cxr.reports.checklist.subject import Subject
from cxr.reports.figures import Drawing
from cxr.reports.run.contents import measured_split
from cxr.reports.run.figures import SCORES, training_curves
from cxr.reports.run.metrics import drawings
from cxr.reports.run.sections import flat
from cxr.runs import Run
from cxr.runs.metrics.metrics_table import Metrics, MetricsTable

_OF_A_STEP = {"loss": "loss/training", "lr": "learning_rate"}
_SUMMARY = ("accuracy", "macro_f1", "auc", "average_precision")
_BY_CLASS = ("recall", "precision", "f1", "auc", "average_precision", "sensitivity", "specificity")


@dataclass(frozen=True)
class Point:
    """A value of a curve: its name, the step of the training, the value, and when it was measured (Unix time)."""

    name: str
    step: int
    value: float
    time: float


@dataclass(frozen=True)
class Tracked:
    """What is told of a run.

    Attributes
    ----------
    settings
        Values of the recipe, or of the run's parameters, by name.
    points
        The curves of the training.
    figures
        What was measured at the end, ``test/accuracy`` and its interval's ends ``test/accuracy_low``, ``_high``.
    drawings
        Curves and matrices as pictures, by the names of their files.
    files
        Results, and the network with its card.
    """

    run: Run
    settings: Mapping[str, str]
    points: list[Point]
    figures: Mapping[str, float]
    drawings: Mapping[str, Drawing]
    files: list[Path]


def tracked(run: Run) -> Tracked:
    """Return what other programs are told of a finished training, evaluation or table of predictions.

    Raises
    ------
    RunError
        For a run of another kind, or without figures.
    """
    subject = Subject.of(run)
    metrics = MetricsTable(run.folder).refresh()
    drawn = [*training_curves(metrics), *drawings(subject, measured_split(subject, ""))]
    settings = run.spec["params"].get("recipe") or run.spec["params"]
    network = [network_file(run.id)] if run.kind == "train" else []
    files = [file for file in (run.folder.path / "results.json", *network) if file.is_file()]
    return Tracked(
        run=run,
        settings=dict(flat(settings)),
        points=list(_points(metrics)),
        figures=dict(_figures(subject)),
        drawings={plain_name(drawing.title): drawing for drawing in drawn},
        files=files,
    )


def plain_name(text: str) -> str:
    """Return a text as a name that every program takes: letters, digits, and ``_-./`` between them."""
    return re.sub(r"[^\w./-]+", "_", text).strip("_") or "_"


def _points(metrics: Metrics) -> Iterator[Point]:
    steps = metrics.steps
    for column, name in _OF_A_STEP.items():
        for step, value, time in zip(steps["step"], steps[column], steps["time"], strict=True):
            yield Point(name, int(step), float(value), float(time))
    for row in metrics.of_kind("start", "epoch"):
        for key in ("val_loss", *SCORES):
            if row.get(key) is not None:
                name = "loss/validation" if key == "val_loss" else f"validation/{key.removeprefix('val_')}"
                yield Point(name, int(row["step"]), float(row[key]), float(row["time"]))


def _figures(subject: Subject) -> Iterator[tuple[str, float]]:
    for split, summary in subject.results["splits"].items():
        overall: Mapping[str, object] = {**summary}
        yield from _estimates(split, overall, _SUMMARY)
        for name, scores in summary["per_class"].items():
            yield from _estimates(f"{split}/{name}", {**scores}, _BY_CLASS)


def _estimates(where: str, values: Mapping[str, object], keys: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for key in keys:
        estimate = values.get(key)
        if isinstance(estimate, dict):
            for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                if estimate.get(end) is not None:
                    yield plain_name(f"{where}/{key}{suffix}"), float(estimate[end])
