"""Stages of a recipe on a data set in numbers, and what of a recipe differs from a preset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxr.data import Manifest
from cxr.formatting import duration
from cxr.json_types import JsonObject
from cxr.training.data.stage_rows import choose
from cxr.training.planning.trial import Trial
from cxr.training.recipe import Recipe

_FORWARD_SHARE = 1 / 3
"""Of the time of a training step, what a forward pass takes: a backward pass costs about two of them."""
_MOST_CHANGES = 12


@dataclass(frozen=True)
class StagePlan:
    """One stage of a recipe on a data set.

    Attributes
    ----------
    name, task, classes
        As the recipe and the data set have them.
    epochs, steps
        Epochs, and steps of the optimiser over all epochs, if the stage does not stop early.
    train_images, val_images
        X-rays per epoch.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    epochs: int
    steps: int
    train_images: int
    val_images: int

    def seconds(self, trial: Trial) -> float:
        """Return how long the stage takes by a trial, without reading files and without stopping early."""
        images = self.train_images + _FORWARD_SHARE * self.val_images
        return self.epochs * images * trial.seconds_per_image


def plan_stages(recipe: Recipe, manifest: Manifest) -> list[StagePlan]:
    """Return the stages of ``recipe`` on ``manifest``.

    Raises
    ------
    ManifestError, RecipeError
        If the data set cannot be trained on by this recipe.
    """
    plans = []
    for stage, rows in zip(recipe.stages, choose(recipe, manifest), strict=True):
        per_epoch = -(-len(rows.train) // stage.batch)
        sizes = (len(rows.train), len(rows.val))
        plans.append(StagePlan(stage.name, stage.task, rows.classes, stage.epochs, stage.epochs * per_epoch, *sizes))
    return plans


def in_words(plans: Sequence[StagePlan], trial: Trial | None = None) -> str:
    """Return in a sentence for each stage what it will do, and with a trial how long all take at most."""
    lines = []
    for number, plan in enumerate(plans, 1):
        name = f"Stage {number}, {plan.name}: " if len(plans) > 1 else ""
        times = "once" if plan.epochs == 1 else f"{plan.epochs} times"
        lines.append(
            f"{name}{len(plan.classes)} {'findings' if plan.task == 'multi-label' else 'classes'}, "
            f"{plan.train_images:,} X-rays seen {times} in {plan.steps:,} steps, validated on {plan.val_images:,}."
        )
    if trial is not None:
        total = sum(plan.seconds(trial) for plan in plans)
        lines.append(
            f"About {duration(total)} on {trial.device} at {1 / trial.seconds_per_image:.3g} images/s, and "
            f"{trial.peak_bytes / 2**30:.1f} GiB of memory, by a trial of one step. Not counted: decoding the files "
            "(once for each data set and size), other work on the machine, and stopping early."
        )
    return " ".join(lines)


def changes_from(recipe: Recipe, base: Recipe) -> list[str]:
    """Return what differs from ``base``, such as ``size: 128 -> 64``; the first dozen and how many more."""
    without = {"name", "description"}
    changed = _changed(recipe.model_dump(mode="json", exclude=without), base.model_dump(mode="json", exclude=without))
    more = len(changed) - _MOST_CHANGES
    return changed if more <= 0 else [*changed[:_MOST_CHANGES], f"{more} more"]


def _changed(new: object, old: object, key: str = "") -> list[str]:
    if isinstance(new, dict) and isinstance(old, dict):
        return [
            line
            for name in dict.fromkeys([*old, *new])
            for line in _changed(new.get(name), old.get(name), f"{key}.{name}" if key else str(name))
        ]
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        pairs = enumerate(zip(new, old, strict=True))
        return [line for number, pair in pairs for line in _changed(*pair, f"{key}.{number}")]
    return [] if new == old else [f"{key}: {_short(old)} -> {_short(new)}"]


def _short(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value)} of them"
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def values_of(plan: StagePlan) -> JsonObject:
    """Return a stage's plan as plain values."""
    return {**vars(plan), "classes": list(plan.classes)}
