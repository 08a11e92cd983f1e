"""Which of the compared runs are trainings of one recipe that differ in their seeds alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cxr.evaluation.comparison.pairing import names_of
from cxr.runs import Run


def seed_notes(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for each recipe that several of the runs have trained on the same data with other seeds."""
    by_recipe: dict[str, dict[str, str]] = {}
    for name, run in zip(names_of(runs), runs, strict=True):
        recipe = run.spec["params"].get("recipe")
        if isinstance(recipe, dict) and "seed" in recipe:
            others = {name: value for name, value in recipe.items() if name not in ("seed", "name", "description")}
            key = json.dumps([run.spec.get("manifest_hash"), others], sort_keys=True, default=str)
            by_recipe.setdefault(key, {})[name] = str(recipe["seed"])
    notes = []
    for seeds in by_recipe.values():
        if len(set(seeds.values())) > 1:
            named = ", ".join(f"{name} (seed {seed})" for name, seed in seeds.items())
            notes.append(
                f"Trainings of one recipe with several seeds: {named}. They are not pooled here: each is compared by "
                "itself. To compare recipes over seeds, name the recipes in a study (`cxr study show claim`): it "
                "trains all of them with the same seeds and compares their means."
            )
    return notes
