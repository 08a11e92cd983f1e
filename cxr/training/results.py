"""The shapes of a training's results, as ``results.json``, the files of its stages and a network's card hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from cxr.evaluation.results import EvaluationResults, Summary

if TYPE_CHECKING:
    from cxr.runs import Run
    from cxr.training.data.masked_text import TextSummary


class StageOutcome(TypedDict):
    """What a stage was, and what its best network achieved on its validation images.

    ``kept_neurons`` are ``{new class: old class}``, ``best`` holds the epoch (from 1) and the value of the stage's
    monitor by its name. ``text`` and ``left_out`` are there only where text was masked, or labels were left out.
    """

    name: str
    task: str
    classes: list[str]
    manifest_hash: str
    n_train: int
    n_val: int
    text: NotRequired[TextSummary]
    left_out: NotRequired[dict[str, dict[str, int]]]
    epochs: int
    kept_neurons: dict[str, str]
    best: dict[str, float | None]
    validation: Summary


class TrainingResults(EvaluationResults, total=False):
    """Results of a training: the evaluation of its network, and how it came about.

    ``kept_neurons`` are those of each stage, ``best`` is that of the last one with its name as ``stage``.
    ``arithmetic`` says what decides the last bits of the weights: ``device`` (``cpu`` or ``cuda``), ``threads`` of a
    process, and ``instructions`` of the processor.
    """

    text: TextSummary
    best: dict[str, str | float | None]
    kept_neurons: dict[str, dict[str, str]] | None
    seconds: float
    arithmetic: dict[str, str | int]
    stages: list[StageOutcome]


def training_results(run: Run) -> TrainingResults:
    """Return the results of a training; empty without any."""
    return cast("TrainingResults", run.results() or {})
