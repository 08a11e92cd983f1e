"""Which trainings of a study differ from each other in their seed alone."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.runs import Run


def siblings(chosen: Run, others: Sequence[Run]) -> list[Run]:
    """Return the chosen training and those of ``others`` of its study and recipe, by their seeds; itself if alone."""
    own = _place(chosen)
    same = [] if own is None else [run for run in others if run.id != chosen.id and _place(run) == own]
    return sorted([chosen, *same], key=lambda run: int(run.spec["params"]["recipe"].get("seed", 0)))


def _place(run: Run) -> tuple[str, str] | None:
    params = run.spec["params"]
    study, recipe = params.get("study"), params.get("study_recipe")
    return (str(study), str(recipe)) if study and recipe else None
