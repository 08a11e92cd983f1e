"""How the comparisons of a study are to be read: what intervals cover, what they do not, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from cxr import formatting
from cxr.experiments.study.curves import LearningCurve
from cxr.experiments.study.measures import Compared, epochs_text, seeds_text
from cxr.experiments.study.plan import Plan
from cxr.experiments.study.statistics import LEVEL, half_width, smallest_p


def notes_of(data: Compared, learning_curves: Sequence[LearningCurve], planned: Plan) -> list[str]:
    """Return the notes, a sentence or a few each.

    Parameters
    ----------
    learning_curves
        Of all members, also those that have not begun.
    planned
        The study's own plan, beside which other beginnings or levels were chosen later.
    """
    plan, n, horizon = data.plan, len(data.plan.seeds), data.horizon
    level = formatting.share(LEVEL)
    notes = [
        f"Differences are paired by seed. Intervals in sentences and in colour hold for all {_comparisons(data)} "
        f"together: in {level} of studies all of them contain the true difference. {_reach_of_intervals(data)}",
        f"Tables also list each comparison alone: Student's t interval at {level} over {seeds_text(n)}, and p from "
        f"all 2^{n} flips of signs. One in twenty such intervals excludes 0 even if there is no difference.",
        f"With {seeds_text(n)} the smallest p there can be is {smallest_p(n):.3g}"
        + (", so no p can fall below 0.05: read the intervals." if smallest_p(n) >= 0.05 else "."),
        "Where all seeds have the same value, or differ by the same amount, there is no interval: few seeds and few "
        "validation images give equal scores by chance.",
        "Seeds are not patients. Intervals over seeds say how much training varies on these X-rays. How much other "
        "patients would change the figures is in each training's own interval on the test split.",
        f"The beginning is epoch {0 if data.start else 1} to k of the last stage, averaged by trapezoids"
        + (" (epoch 0 is before the first step, where the effect of kept neurons shows)." if data.start else "."),
        f"Epochs to a level are counted up to epoch {horizon}, the shortest last stage; a training that has not "
        f"reached it by then counts as {horizon + 1}. Means are therefore restricted means, and differences tend to be "
        "too small.",
    ]
    if plan.lower_is_better:
        notes.append(
            "For the loss, lower is better. Recipes with different loss functions or class weights cannot be compared "
            "by it."
        )
    if not data.learning_curves:
        notes.append(f"No member has a row with {plan.metric} yet.")
    later = [f"the first {epochs_text(k)}" for k in plan.first_epochs if k not in planned.first_epochs]
    later += [f"the level {level:g}" for level in plan.accuracy if level not in planned.accuracy]
    if later:
        notes.append(
            f"Not planned but chosen later: {', '.join(later)}. Intervals do not account for choosing among several: "
            "treat a difference that shows only there as a question for a new study."
        )
    missing = [curve for curve in learning_curves if not curve.finished]
    if missing:
        parts = ", ".join(f"{curve.recipe} seed {curve.seed} ({curve.state})" for curve in missing)
        notes.append(
            f"{len(missing)} of {len(learning_curves)} trainings are not finished: {parts}. Intervals are right for "
            "one look at the end, not for the best of many looks on the way."
        )
    return notes


def _comparisons(data: Compared) -> str:
    pairs = len(data.plan.pairs)
    return f"{pairs * data.n_measures} comparisons ({pairs} pair{'s' * (pairs != 1)} by {data.n_measures} measures)"


def _reach_of_intervals(data: Compared) -> str:
    """Return how wide intervals are with complete data, in standard errors."""
    recipes, seeds = len(data.plan.labels), len(data.plan.seeds)
    if recipes < 2 or seeds < 2:
        return "They need two recipes and two seeds at least."
    together, alone = half_width(seeds, data.n_comparisons), half_width(seeds)
    return (
        f"They are Student's t with Bonferroni's correction and reach {together:.1f} standard errors to each side, "
        f"those of one comparison alone {alone:.1f}: fewer recipes and more seeds make them shorter."
    )
