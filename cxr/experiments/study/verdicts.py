"""What every pair of recipes says to the claim that an advantage shows mainly in the beginning of the training."""

from __future__ import annotations

from dataclasses import dataclass

from cxr.experiments.study.measures import Compared, by_recipe, epochs_text, seeds_text, signed
from cxr.experiments.study.plan import Plan
from cxr.experiments.study.statistics import Difference, area, late, paired

NO_DIFFERENCE = "no difference in the beginning is shown with these seeds"
TOO_FEW = "too few seeds to decide, since all differ by the same amount"


@dataclass(frozen=True)
class Verdict:
    """What a pair says to "mainly in the beginning of the training".

    ``early``, ``late`` and ``gap`` (early minus late, seed by seed) are differences of the metric; ``supports`` tells
    whether both the advantage in the beginning and its being larger there than at the end are shown, by intervals that
    hold for all comparisons of the study. Nothing is said by ``late`` alone, so it has no such interval.
    """

    recipe: str
    against: str
    k: int
    last: int
    early: Difference
    late: Difference
    gap: Difference
    supports: bool
    sentence: str


def verdicts_of(data: Compared, k: int, last: int) -> list[Verdict]:
    """Return what every pair says to a beginning of ``k`` epochs, held against the ``last`` ones."""
    plan = data.plan
    first = by_recipe(data.learning_curves, lambda c: area(data.curve(c), k, start=data.start) if c.finished else None)
    end = by_recipe(data.learning_curves, lambda c: late(data.curve(c), last) if c.finished else None)
    first, end = ({label: values.get(label, {}) for label in plan.labels} for values in (first, end))
    gaps = {
        label: {s: first[label][s] - end[label][s] for s in sorted(first[label].keys() & end[label].keys())}
        for label in plan.labels
    }
    end_gap = None if data.largest is None else 2 * data.largest
    return [
        _verdict(
            plan,
            (a, b),
            (k, last),
            early=paired(first[a], first[b], data.n_comparisons, data.largest),
            at_end=paired(end[a], end[b]),
            gap=paired(gaps[a], gaps[b], data.n_comparisons, end_gap),
        )
        for a, b in plan.pairs
    ]


def _verdict(
    plan: Plan,
    pair: tuple[str, str],
    epochs: tuple[int, int],
    *,
    early: Difference,
    at_end: Difference,
    gap: Difference,
) -> Verdict:
    k, last = epochs
    sign = -1 if plan.lower_is_better else 1
    n = early.mean.n
    if n < 2:
        finished = "no seed" if n == 0 else "1 seed"
        sentence = (
            f"{pair[0]} against {pair[1]}: {finished} finished with both, too few to compare the beginning with the end"
        )
    else:
        sentence = (
            f"{pair[0]} against {pair[1]}: {signed(early)} over the first {epochs_text(k)}, "
            f"{at_end.mean.value:+.3f} over the last {epochs_text(last)}, first minus last {signed(gap)}, "
            f"over {seeds_text(n)}: {_judged(early, gap, sign)}"
        )
    supports = n >= 2 and _favours(early, sign) and _favours(gap, sign)
    return Verdict(pair[0], pair[1], k, last, early, at_end, gap, supports, sentence)


def _favours(difference: Difference, sign: int) -> bool:
    return difference.shown and sign * (difference.mean.value or 0) > 0


def _judged(early: Difference, gap: Difference, sign: int) -> str:
    """Return in words what the two intervals say about "mainly in the beginning"."""
    if early.shown and not _favours(early, sign):
        return "it is worse in the beginning, against the claim"
    if early.shown:
        if _favours(gap, sign):
            return "the advantage is larger in the beginning than at the end, as the claim says"
        if gap.shown:
            return "there is an advantage in the beginning and a larger one at the end, against “mainly”"
        return "there is an advantage in the beginning; that it is larger than at the end is not shown"
    if _favours(gap, sign):
        return (
            "the comparison is better in the beginning than at the end, but an advantage in the beginning is not "
            "shown by itself"
        )
    return NO_DIFFERENCE if early.together else TOO_FEW
