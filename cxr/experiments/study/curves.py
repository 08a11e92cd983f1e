"""What a study's members told of their last stage: one curve per member, and what it scored in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cxr.evaluation.results import Summary
from cxr.experiments.study.members import Member, members
from cxr.experiments.study.plan import METRICS
from cxr.experiments.study.settings import StudyParams
from cxr.formatting import Estimate
from cxr.runs import Run
from cxr.runs.metrics.metrics_file import MetricsRow
from cxr.training.recipe import Recipe
from cxr.training.results import TrainingResults, training_results

if TYPE_CHECKING:
    import pandas as pd

Curve = dict[int, float]  # epoch of the last stage, 1 the first and 0 before the first step: value
TEST = "test"


@dataclass(frozen=True)
class LearningCurve:
    """The way of one member through its last stage.

    Attributes
    ----------
    epochs
        That the last stage is to have.
    curves
        By metric, such as ``val_accuracy``.
    test
        Of the test split, by score (``accuracy``, ``macro_f1``, ``auc``): ``{value, low, high}``, the interval over
        the test images or their patients. Empty before the end.
    rests_on
        By ``val`` and ``test``, how many X-rays and patients the scores are of. Empty before the end.
    weights
        Checksum (sha256) of the trained network's file; "" before the end, and where an older version did not note it.
    """

    recipe: str
    seed: int
    epochs: int
    state: str = "finished"
    run: str | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    test: Mapping[str, Estimate] = field(default_factory=dict)
    rests_on: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    weights: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state == "finished"


def learning_curves(study: Run) -> list[LearningCurve]:
    """Return the learning curve of every member that was planned, in the order of their start."""
    recipes = StudyParams.of(study.params).recipes
    return [learning_curve(member, recipes[member.recipe]) for member in members(study)]


def learning_curve(member: Member, recipe: Recipe) -> LearningCurve:
    """Return the learning curve of a member; one that has not been started has no curves."""
    planned = LearningCurve(member.recipe, member.seed, recipe.stages[-1].epochs, member.state)
    if member.run is None:
        return planned
    rows = member.run.metrics()[0]
    results = training_results(member.run)
    test = results.get("splits", {}).get(TEST)
    return LearningCurve(
        member.recipe,
        member.seed,
        planned.epochs,
        member.state,
        member.run.id,
        curves_of(rows, len(recipe.stages) - 1),
        _estimates(test) if test else {},
        _rests_on(results),
        str((results.get("provenance") or {}).get("weights_sha256") or ""),
    )


def _estimates(test: Summary) -> dict[str, Estimate]:
    estimates = {"accuracy": test.get("accuracy"), "macro_f1": test.get("macro_f1"), "auc": test.get("auc")}
    return {key: value for key, value in estimates.items() if isinstance(value, Mapping)}


def _rests_on(results: TrainingResults) -> dict[str, tuple[int, int]]:
    stages = results.get("stages")
    validation = stages[-1].get("validation") if stages else None
    summaries = {"val": validation, TEST: results.get("splits", {}).get(TEST)}
    return {
        split: (int(summary["n"]), int(summary["n_patients"]))
        for split, summary in summaries.items()
        if summary and "n_patients" in summary
    }


def curves_of(rows: Sequence[MetricsRow], stage_index: int) -> dict[str, Curve]:
    """Return the curves of one stage in rows of metrics: those of kind ``epoch``, and ``start`` as epoch 0."""
    curves: dict[str, Curve] = {name: {} for name in METRICS}
    for row in rows:
        if row.get("kind") not in ("start", "epoch") or row.get("stage_index") != stage_index:
            continue
        epoch = 0 if row["kind"] == "start" else int(row["epoch"])
        for name, curve in curves.items():
            if isinstance(row.get(name), int | float):
                curve[epoch] = float(row[name])
    return curves


def to_table(curves: Sequence[LearningCurve]) -> pd.DataFrame:
    """Return a long table: recipe, seed, run, epoch and one column per metric."""
    import pandas as pd

    rows = [
        {"recipe": c.recipe, "seed": c.seed, "run": c.run, "epoch": epoch}
        | {name: curve.get(epoch) for name, curve in c.curves.items()}
        for c in curves
        for epoch in sorted({epoch for curve in c.curves.values() for epoch in curve})
    ]
    table = pd.DataFrame(rows, columns=["recipe", "seed", "run", "epoch", *METRICS])
    return table.dropna(axis="columns", how="all") if rows else table
