"""What a study found: mean curves, the beginning of the training, epochs to a level, and all paired differences.

Only the last stage is compared, the task that all recipes share. Pairs are formed by seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cxr.evaluation.provenance import date_in_words, provenance_of, written_in_words
from cxr.experiments.study.curves import Course, Curve, courses
from cxr.experiments.study.members import plan_of
from cxr.experiments.study.plan import Plan
from cxr.experiments.study.statistics import (
    LEVEL,
    Difference,
    Mean,
    area,
    first_reached,
    half_width,
    late,
    mean_over_seeds,
    paired,
    smallest_p,
)
from cxr.formatting import xrays
from cxr.runs import Run

METRIC_TITLES = {
    "val_accuracy": "validation accuracy",
    "val_macro_f1": "validation macro F1",
    "val_auc": "validation AUC",
    "val_loss": "validation loss",
}
TEST_TITLES = {"accuracy": "test accuracy", "macro_f1": "test macro F1", "auc": "test AUC"}
NO_DIFFERENCE = "no difference in the beginning is shown with these seeds"
TOO_FEW = "too few seeds to tell, since they all differ by the same amount"

Values = Mapping[str, Mapping[int, float]]  # recipe: seed: value


@dataclass(frozen=True)
class Measure:
    """One number per member, its mean per recipe, and the paired differences between recipes.

    Attributes
    ----------
    differences
        Of all pairs (recipe, the one it is compared with), in the plan's order.
    not_reached
        For epochs to a level: members per recipe that did not reach it and count as the horizon + 1.
    """

    key: str
    title: str
    lower_is_better: bool
    values: Values
    means: Mapping[str, Mean]
    differences: Mapping[tuple[str, str], Difference]
    not_reached: Mapping[str, int] = field(default_factory=dict)

    @property
    def in_epochs(self) -> bool:
        """Whether the unit is epochs."""
        return self.key.startswith("reach_")


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


@dataclass(frozen=True)
class Report:
    """Everything that the page, the command and the files show of a study.

    Attributes
    ----------
    n_comparisons
        How many comparisons the intervals allow for: all pairs by all measures, and by the gaps between the beginning
        and the end.
    by_measure
        The sentences of each measure, by its key; ``sentences`` are all of them and the verdicts'.
    """

    plan: Plan
    courses: Sequence[Course]
    horizon: int
    start: bool
    n_comparisons: int
    curves: Mapping[str, Mapping[int, Mean]]
    measures: Sequence[Measure]
    verdicts: Sequence[Verdict]
    sentences: Sequence[str]
    notes: Sequence[str]
    basis: str = ""
    by_measure: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for results.json."""
        return {
            "name": self.plan.name,
            "metric": self.plan.metric,
            "level": LEVEL,
            "recipes": self.plan.labels,
            "seeds": self.plan.seeds,
            "horizon": self.horizon,
            "first_epoch": 0 if self.start else 1,
            "comparisons": self.n_comparisons,
            "curves": {
                label: [{"epoch": epoch, **dataclasses.asdict(mean)} for epoch, mean in curve.items()]
                for label, curve in self.curves.items()
            },
            "measures": [_plain(measure) for measure in self.measures],
            "verdicts": [dataclasses.asdict(verdict) for verdict in self.verdicts],
            "sentences": list(self.sentences),
            "notes": list(self.notes),
            "basis": self.basis,
        }


@dataclass(frozen=True)
class _Data:
    """What is compared: members that have begun, up to which epoch, and by how many measures at once."""

    plan: Plan
    courses: Sequence[Course]
    horizon: int
    start: bool
    n_measures: int

    @property
    def n_comparisons(self) -> int:
        return max(1, self.n_measures * len(self.plan.pairs))

    @property
    def largest(self) -> float | None:
        """The largest difference of the metric that there can be."""
        return None if self.plan.lower_is_better else 1.0

    def curve(self, course: Course) -> Curve:
        """Return the course's curve of the metric."""
        return course.curves[self.plan.metric]

    def gaps(self) -> list[int]:
        """Return the lengths of the beginning that leave an end to compare with."""
        return [k for k in self.plan.first_epochs if k < self.horizon]


def report(study: Run, *, first_epochs: Sequence[int] = (), accuracy: Sequence[float] = ()) -> Report:
    """Return the report of a study as it stands; other lengths of the beginning and other levels may be asked for."""
    planned = plan_of(study)
    changes = {
        "first_epochs": list(first_epochs) or planned.first_epochs,
        "accuracy": list(accuracy) or planned.accuracy,
    }
    found = compare(planned.model_copy(update=changes), courses(study), planned)
    return dataclasses.replace(found, basis=basis_of(study))


def basis_of(study: Run) -> str:
    """Return when a study was begun and with what, on which data, and when its report is written."""
    told, params = provenance_of(study), study.spec["params"]
    manifest = told["manifest_hash"][:12] or "not recorded"
    return (
        f"Study begun {date_in_words(told['date'])} with cxr {told['cxr'] or '(version not recorded)'}. "
        f"Data: {params.get('data_name') or told.get('data')} (manifest hash {manifest}). {written_in_words()}"
    )


def compare(plan: Plan, found: Sequence[Course], planned: Plan | None = None) -> Report:
    """Compare the courses of a plan's members; members that have not come far enough are left out and counted.

    Parameters
    ----------
    planned
        The study's own plan, where ``plan`` asks for other lengths of the beginning or levels: intervals allow for as
        many as were planned at least, and the report says that the others were chosen later.
    """
    found = sorted(found, key=lambda course: (course.seed, plan.labels.index(course.recipe)))
    begun = [course for course in found if course.curves.get(plan.metric)]
    start = bool(begun) and all(0 in course.curves[plan.metric] for course in begun)
    horizon = min(course.epochs for course in found)
    data = _Data(plan, begun, horizon, start, _n_measures(plan, planned or plan, horizon, start))
    measures = [
        *(_area(data, k) for k in plan.first_epochs),
        *([_before(data)] if start else []),
        *(_reach(data, level) for level in plan.accuracy),
        _best(data),
        *(_test(data, key) for key in _test_keys(plan)),
    ]
    of = _xrays_of(begun)
    verdicts = [verdict for k in data.gaps() for verdict in _verdicts(data, k, min(k, horizon - k))]
    verdicts = [dataclasses.replace(v, sentence=v.sentence + of["val"] * (v.early.mean.n > 1)) for v in verdicts]
    by_measure = {
        m.key: [_sentence(m, pair) + of[_split_of(m)] * bool(m.differences[pair].mean.n) for pair in plan.pairs]
        for m in measures
    }
    sentences = [sentence for of_measure in by_measure.values() for sentence in of_measure]
    sentences += [verdict.sentence for verdict in verdicts]
    notes = _notes(data, found, planned or plan)
    curves = _mean_curves(data)
    return Report(
        plan,
        found,
        horizon,
        start,
        data.n_comparisons,
        curves,
        measures,
        verdicts,
        sentences,
        notes,
        by_measure=by_measure,
    )


def _n_measures(plan: Plan, planned: Plan, horizon: int, start: bool) -> int:
    """Return how many measures intervals must hold for at once, the gaps between beginning and end among them."""
    beginnings = max(len(plan.first_epochs), len(planned.first_epochs))
    gaps = max(sum(k < horizon for k in p.first_epochs) for p in (plan, planned))
    levels = max(len(plan.accuracy), len(planned.accuracy))
    return beginnings + gaps + levels + start + 1 + len(_test_keys(plan))


# measures


def _measure(
    data: _Data,
    key: str,
    title: str,
    values: Values,
    *,
    lower: bool | None = None,
    largest: float | None = None,
    not_reached: Mapping[str, int] | None = None,
) -> Measure:
    plan = data.plan
    lower = plan.lower_is_better if lower is None else lower
    values = {label: values.get(label, {}) for label in plan.labels}
    means = {label: mean_over_seeds(list(by_seed.values())) for label, by_seed in values.items()}
    differences = {(a, b): paired(values[a], values[b], data.n_comparisons, largest) for a, b in plan.pairs}
    return Measure(key, title, lower, values, means, differences, not_reached or {})


def _by_recipe(begun: Sequence[Course], value: Any) -> dict[str, dict[int, float]]:
    """Return {recipe: {seed: value(course)}}, without those for which it is None."""
    values: dict[str, dict[int, float]] = {}
    for course in begun:
        found = value(course)
        if found is not None:
            values.setdefault(course.recipe, {})[course.seed] = float(found)
    return values


def _area(data: _Data, k: int) -> Measure:
    plan = data.plan
    values = _by_recipe(data.courses, lambda course: area(data.curve(course), k, start=data.start))
    title = f"mean {METRIC_TITLES[plan.metric]} over the first {_epochs(k)}"
    return _measure(data, f"area_{k}", title, values, largest=data.largest)


def _before(data: _Data) -> Measure:
    """Return the metric before the first step: what a network brings along, kept neurons above all."""
    values = _by_recipe(data.courses, lambda course: data.curve(course)[0])
    title = f"{METRIC_TITLES[data.plan.metric]} before the first step"
    return _measure(data, "start", title, values, largest=data.largest)


def _reach(data: _Data, level: float) -> Measure:
    plan, horizon = data.plan, data.horizon
    not_reached = dict.fromkeys(plan.labels, 0)

    def epochs(course: Course) -> float | None:
        curve = data.curve(course)
        reached = first_reached(curve, level, horizon, lower=plan.lower_is_better)
        if reached is not None:
            return reached
        if not course.finished and horizon not in curve:
            return None  # it may still come
        not_reached[course.recipe] += 1
        return horizon + 1

    values = _by_recipe(data.courses, epochs)
    title = f"epochs to {METRIC_TITLES[plan.metric]} {level:g}"
    return _measure(data, f"reach_{level:g}", title, values, lower=True, largest=horizon + 1.0, not_reached=not_reached)


def _best(data: _Data) -> Measure:
    plan = data.plan
    choose = min if plan.lower_is_better else max
    values = _by_recipe(data.courses, lambda course: choose(data.curve(course).values()) if course.finished else None)
    return _measure(data, "best", f"best {METRIC_TITLES[plan.metric]}", values, largest=data.largest)


def _test_keys(plan: Plan) -> list[str]:
    """Return the scores on the test split that are compared: accuracy, and what goes with the study's metric."""
    keys = dict.fromkeys(["accuracy", plan.metric.removeprefix("val_")])
    return [key for key in keys if key in TEST_TITLES]


def _test(data: _Data, key: str) -> Measure:
    values = _by_recipe(data.courses, lambda course: course.test.get(key, {}).get("value"))
    return _measure(data, f"test_{key}", TEST_TITLES[key], values, lower=False, largest=1.0)


def _mean_curves(data: _Data) -> dict[str, dict[int, Mean]]:
    curves: dict[str, dict[int, Mean]] = {}
    for label in data.plan.labels:
        own = [data.curve(course) for course in data.courses if course.recipe == label]
        epochs = sorted({epoch for curve in own for epoch in curve})
        curves[label] = {e: mean_over_seeds([curve[e] for curve in own if e in curve]) for e in epochs}
    return curves


# the claim


def _verdicts(data: _Data, k: int, last: int) -> list[Verdict]:
    """Return what every pair says to a beginning of ``k`` epochs, held against the ``last`` ones."""
    plan = data.plan
    first = _by_recipe(data.courses, lambda c: area(data.curve(c), k, start=data.start) if c.finished else None)
    end = _by_recipe(data.courses, lambda c: late(data.curve(c), last) if c.finished else None)
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
        sentence = f"{pair[0]} against {pair[1]}: {finished} finished with both, which cannot tell early from late"
    else:
        sentence = (
            f"{pair[0]} against {pair[1]}: {_signed(early)} over the first {_epochs(k)}, {at_end.mean.value:+.3f} "
            f"over the last {_epochs(last)}, first minus last {_signed(gap)}, over {_seeds(n)}: "
            f"{_judged(early, gap, sign)}"
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
        return "the comparison is better in the beginning than at the end, but no advantage there is shown by itself"
    return NO_DIFFERENCE if early.together else TOO_FEW


# words


def _split_of(measure: Measure) -> str:
    return "test" if measure.key.startswith("test_") else "val"


def _xrays_of(begun: Sequence[Course]) -> dict[str, str]:
    """Return by split which X-rays its scores are of, as the end of a sentence; "" where no training is finished."""
    return {split: _ending(split, {c.rests_on[split] for c in begun if split in c.rests_on}) for split in _SPLITS}


def _ending(split: str, numbers: set[tuple[int, int]]) -> str:
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f" ({_SPLITS[split]}: {xrays(*next(iter(numbers)))})"
    (few, _), (many, _) = min(numbers), max(numbers)
    return f" ({_SPLITS[split]}: {few} to {many} X-rays, not the same in all trainings)"


_SPLITS = {"val": "validation", "test": "test"}


def _sentence(measure: Measure, pair: tuple[str, str]) -> str:
    difference, (a, b) = measure.differences[pair], pair
    n = difference.mean.n
    if not n:
        return f"{a} against {b}: {measure.title} cannot be compared yet, no seed has both"
    said = f"{a} against {b}: {measure.title} {_signed(difference, measure.in_epochs)} over {_seeds(n)}"
    never = [(label, measure.not_reached.get(label, 0)) for label in pair]
    if any(count for _, count in never):
        parts = [f"{label} in {count} of {measure.means[label].n}" for label, count in never if count]
        said += f" (not reached by {', '.join(parts)} seeds)"
    return said


def _notes(data: _Data, found: Sequence[Course], planned: Plan) -> list[str]:
    plan, n, horizon = data.plan, len(data.plan.seeds), data.horizon
    notes = [
        f"Differences are paired by seed. Intervals in sentences, and what is shown in colour, hold for all "
        f"{_comparisons(data)} at once: in {LEVEL:.0%} of studies none of them misses. {_reach_of_intervals(data)}",
        f"Tables also list each comparison alone: Student's t interval at {LEVEL:.0%} over {_seeds(n)}, and p from all "
        f"2^{n} flips of signs. Of twenty such intervals one excludes 0 where there is no difference.",
        f"With {_seeds(n)} the smallest p there can be is {smallest_p(n):.3g}"
        + (", so no p can fall below 0.05: read the intervals." if smallest_p(n) >= 0.05 else "."),
        "Where all seeds have the same value, or differ by the same amount, there is no interval: few seeds and few "
        "validation images give equal scores by chance.",
        "Seeds are not patients. Intervals over seeds tell how much training varies on these X-rays; how much another "
        "set of patients would change is in each training's own interval on the test split.",
        f"The beginning is epoch {0 if data.start else 1} to k of the last stage, averaged by trapezoids"
        + (" (epoch 0 is before the first step, where kept neurons show)." if data.start else "."),
        f"Epochs to a level are counted up to epoch {horizon}, the shortest last stage; a member that has not reached "
        f"it by then counts as {horizon + 1}, so that means are restricted means, and differences rather too small.",
    ]
    if plan.lower_is_better:
        notes.append("For the loss lower is better; losses of recipes with other losses or weights are no comparison.")
    if not data.courses:
        notes.append(f"No member has a row with {plan.metric} yet.")
    later = [f"the first {_epochs(k)}" for k in plan.first_epochs if k not in planned.first_epochs]
    later += [f"the level {level:g}" for level in plan.accuracy if level not in planned.accuracy]
    if later:
        notes.append(
            f"Not planned but chosen later: {', '.join(later)}. Intervals do not allow for having looked at several: "
            "take a difference that shows only there as a question for a new study."
        )
    missing = [course for course in found if not course.finished]
    if missing:
        parts = ", ".join(f"{course.recipe} seed {course.seed} ({course.state})" for course in missing)
        notes.append(
            f"{len(missing)} of {len(found)} trainings are not finished: {parts}. Intervals are right for one look at "
            "the end, not for the best of many looks on the way."
        )
    return notes


def _comparisons(data: _Data) -> str:
    pairs = len(data.plan.pairs)
    return f"{pairs * data.n_measures} comparisons ({pairs} pair{'s' * (pairs != 1)} by {data.n_measures} measures)"


def _reach_of_intervals(data: _Data) -> str:
    """Return how wide intervals are with complete data, in standard errors."""
    recipes, seeds = len(data.plan.labels), len(data.plan.seeds)
    if recipes < 2 or seeds < 2:
        return "They need two recipes and two seeds at least."
    together, alone = half_width(seeds, data.n_comparisons), half_width(seeds)
    return (
        f"They are Student's t with Bonferroni's correction and reach {together:.1f} standard errors to each side, "
        f"those of one comparison alone {alone:.1f}: fewer recipes and more seeds make them shorter."
    )


def _signed(difference: Difference, in_epochs: bool = False) -> str:
    """Return ``+0.031 [+0.004, +0.058]``, the interval that holds for all comparisons at once."""
    form = "+.1f" if in_epochs else "+.3f"
    mean = difference.mean
    if mean.value is None:
        return "–"
    if difference.together is None:
        why = "one seed" if mean.n == 1 else "the same in each" if mean.constant else "too few seeds"
        return f"{mean.value:{form}} ({why}, no interval)"
    low, high = difference.together
    return f"{mean.value:{form}} [{low:{form}}, {high:{form}}]"


def _epochs(k: int) -> str:
    return "epoch" if k == 1 else f"{k} epochs"


def _seeds(n: int) -> str:
    return f"{n} seed{'' if n == 1 else 's'}"


def _plain(measure: Measure) -> dict[str, Any]:
    return {
        "key": measure.key,
        "title": measure.title,
        "lower_is_better": measure.lower_is_better,
        "values": {label: {str(s): v for s, v in by_seed.items()} for label, by_seed in measure.values.items()},
        "means": {label: dataclasses.asdict(mean) for label, mean in measure.means.items()},
        "not_reached": dict(measure.not_reached),
        "differences": [
            {"recipe": a, "against": b, **dataclasses.asdict(difference)}
            for (a, b), difference in measure.differences.items()
        ],
    }
