"""What a study found: mean curves, the beginning of the training, epochs to a level, and all paired differences.

Only the last stage is compared, the task that all recipes share. Pairs are formed by seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cxr.evaluation.provenance import date_in_words, provenance_of, written_in_words
from cxr.evaluation.words import xrays
from cxr.runs import Run
from cxr.study.curves import Course, Curve, courses
from cxr.study.members import plan_of
from cxr.study.plan import Plan
from cxr.study.statistics import (
    LEVEL,
    Difference,
    Mean,
    area,
    first_reached,
    holm,
    late,
    mean_over_seeds,
    paired,
    smallest_p,
)

METRIC_TITLES = {
    "val_accuracy": "validation accuracy",
    "val_macro_f1": "validation macro F1",
    "val_auc": "validation AUC",
    "val_loss": "validation loss",
}
TEST_TITLES = {"accuracy": "test accuracy", "macro_f1": "test macro F1", "auc": "test AUC"}
NO_DIFFERENCE = "no difference in the beginning is shown with these seeds"

Values = Mapping[str, Mapping[int, float]]  # recipe: seed: value


@dataclass(frozen=True)
class Measure:
    """One number per member, its mean per recipe, and the paired differences between recipes.

    Attributes
    ----------
    differences
        Of all pairs (recipe, the one it is compared with), in the plan's order; Holm's correction is over them.
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
    whether both the advantage in the beginning and its being larger there than at the end are shown.
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
    """Everything that the page, the command and the files show of a study."""

    plan: Plan
    courses: Sequence[Course]
    horizon: int
    start: bool
    curves: Mapping[str, Mapping[int, Mean]]
    measures: Sequence[Measure]
    verdicts: Sequence[Verdict]
    sentences: Sequence[str]
    notes: Sequence[str]
    basis: str = ""

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


def report(study: Run, *, first_epochs: Sequence[int] = (), accuracy: Sequence[float] = ()) -> Report:
    """Return the report of a study as it stands; other lengths of the beginning and other levels may be asked for."""
    plan = plan_of(study)
    changes: dict[str, Any] = {"first_epochs": list(first_epochs) or plan.first_epochs}
    found = compare(plan.model_copy(update=changes | {"accuracy": list(accuracy) or plan.accuracy}), courses(study))
    return dataclasses.replace(found, basis=basis_of(study))


def basis_of(study: Run) -> str:
    """Return when a study was begun and with what, on which data, and when its report is written."""
    told, params = provenance_of(study), study.spec["params"]
    manifest = told["manifest_hash"][:12] or "not recorded"
    return (
        f"Study begun {date_in_words(told['date'])} with cxr {told['cxr'] or '(version not recorded)'}. "
        f"Data: {params.get('data_name') or told.get('data')} (manifest hash {manifest}). {written_in_words()}"
    )


def compare(plan: Plan, found: Sequence[Course]) -> Report:
    """Compare the courses of a plan's members; members that have not come far enough are left out and counted."""
    found = sorted(found, key=lambda course: (course.seed, plan.labels.index(course.recipe)))
    begun = [course for course in found if course.curves.get(plan.metric)]
    start = bool(begun) and all(0 in course.curves[plan.metric] for course in begun)
    horizon = min(course.epochs for course in found)
    measures = [
        *(_area(plan, begun, k, start) for k in plan.first_epochs),
        *([_before(plan, begun)] if start else []),
        *(_reach(plan, begun, level, horizon) for level in plan.accuracy),
        _best(plan, begun),
        *_tests(plan, begun),
    ]
    verdicts = [
        _verdict(plan, begun, pair, k, min(k, horizon - k), start)
        for k in plan.first_epochs
        if k < horizon
        for pair in plan.pairs
    ]
    of = _xrays_of(begun)
    sentences = [
        _sentence(plan, m, pair) + of[_split_of(m)] * bool(m.differences[pair].mean.n)
        for m in measures
        for pair in plan.pairs
    ]
    verdicts = [dataclasses.replace(v, sentence=v.sentence + of["val"] * (v.early.mean.n > 1)) for v in verdicts]
    sentences += [verdict.sentence for verdict in verdicts]
    notes = _notes(plan, found, begun, horizon, start)
    return Report(plan, found, horizon, start, _mean_curves(plan, begun), measures, verdicts, sentences, notes)


# measures


def _measure(
    plan: Plan, key: str, title: str, values: Values, lower: bool, not_reached: Mapping[str, int] | None = None
) -> Measure:
    values = {label: values.get(label, {}) for label in plan.labels}
    means = {label: mean_over_seeds(list(by_seed.values())) for label, by_seed in values.items()}
    raw = {(a, b): paired(values[a], values[b]) for a, b in plan.pairs}
    corrected = holm([difference.p for difference in raw.values()])
    pairs = zip(raw.items(), corrected, strict=True)
    differences = {pair: dataclasses.replace(found, p_holm=p) for (pair, found), p in pairs}
    return Measure(key, title, lower, values, means, differences, not_reached or {})


def _by_recipe(begun: Sequence[Course], value: Any) -> dict[str, dict[int, float]]:
    """Return {recipe: {seed: value(course)}}, without those for which it is None."""
    values: dict[str, dict[int, float]] = {}
    for course in begun:
        found = value(course)
        if found is not None:
            values.setdefault(course.recipe, {})[course.seed] = float(found)
    return values


def _curve(plan: Plan, course: Course) -> Curve:
    return course.curves[plan.metric]


def _area(plan: Plan, begun: Sequence[Course], k: int, start: bool) -> Measure:
    values = _by_recipe(begun, lambda course: area(_curve(plan, course), k, start=start))
    title = f"mean {METRIC_TITLES[plan.metric]} over the first {_epochs(k)}"
    return _measure(plan, f"area_{k}", title, values, plan.lower_is_better)


def _before(plan: Plan, begun: Sequence[Course]) -> Measure:
    """Return the metric before the first step: what a network brings along, kept neurons above all."""
    values = _by_recipe(begun, lambda course: _curve(plan, course)[0])
    title = f"{METRIC_TITLES[plan.metric]} before the first step"
    return _measure(plan, "start", title, values, plan.lower_is_better)


def _reach(plan: Plan, begun: Sequence[Course], level: float, horizon: int) -> Measure:
    lower = plan.lower_is_better
    not_reached = dict.fromkeys(plan.labels, 0)

    def epochs(course: Course) -> float | None:
        curve = _curve(plan, course)
        reached = first_reached(curve, level, horizon, lower=lower)
        if reached is not None:
            return reached
        if not course.finished and horizon not in curve:
            return None  # it may still come
        not_reached[course.recipe] += 1
        return horizon + 1

    values = _by_recipe(begun, epochs)
    title = f"epochs to {METRIC_TITLES[plan.metric]} {level:g}"
    return _measure(plan, f"reach_{level:g}", title, values, True, not_reached)


def _best(plan: Plan, begun: Sequence[Course]) -> Measure:
    choose = min if plan.lower_is_better else max
    values = _by_recipe(begun, lambda course: choose(_curve(plan, course).values()) if course.finished else None)
    return _measure(plan, "best", f"best {METRIC_TITLES[plan.metric]}", values, plan.lower_is_better)


def _tests(plan: Plan, begun: Sequence[Course]) -> list[Measure]:
    """Return the scores on the test split: accuracy, and what goes with the study's metric."""
    keys = dict.fromkeys(["accuracy", plan.metric.removeprefix("val_")])
    measures = []
    for key in (key for key in keys if key in TEST_TITLES):
        values = _by_recipe(begun, lambda course, key=key: course.test.get(key, {}).get("value"))
        measures.append(_measure(plan, f"test_{key}", TEST_TITLES[key], values, False))
    return measures


def _mean_curves(plan: Plan, begun: Sequence[Course]) -> dict[str, dict[int, Mean]]:
    curves: dict[str, dict[int, Mean]] = {}
    for label in plan.labels:
        own = [_curve(plan, course) for course in begun if course.recipe == label]
        epochs = sorted({epoch for curve in own for epoch in curve})
        curves[label] = {e: mean_over_seeds([curve[e] for curve in own if e in curve]) for e in epochs}
    return curves


# the claim


def _verdict(plan: Plan, begun: Sequence[Course], pair: tuple[str, str], k: int, last: int, start: bool) -> Verdict:
    first = _by_recipe(begun, lambda c: area(_curve(plan, c), k, start=start) if c.finished else None)
    end = _by_recipe(begun, lambda c: late(_curve(plan, c), last) if c.finished else None)
    gaps = {
        label: {s: first[label][s] - end[label][s] for s in first[label].keys() & end.get(label, {}).keys()}
        for label in first
    }
    early, at_end, gap = (paired(v.get(pair[0], {}), v.get(pair[1], {})) for v in (first, end, gaps))
    sign = -1 if plan.lower_is_better else 1
    said = _judged(early, gap, sign)
    n = early.mean.n
    if n < 2:
        sentence = f"{pair[0]} against {pair[1]}: {_seeds(n)} finished with both, which cannot tell early from late"
    else:
        sentence = (
            f"{pair[0]} against {pair[1]}: {_signed(early.mean)} over the first {_epochs(k)}, {_signed(at_end.mean)} "
            f"over the last {_epochs(last)}, first minus last {_signed(gap.mean)}, over {_seeds(n)}: {said}"
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
    return NO_DIFFERENCE


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


def _sentence(plan: Plan, measure: Measure, pair: tuple[str, str]) -> str:
    difference, (a, b) = measure.differences[pair], pair
    n = difference.mean.n
    if not n:
        return f"{a} against {b}: {measure.title} cannot be compared yet, no seed has both"
    said = f"{a} against {b}: {measure.title} {_signed(difference.mean, measure.in_epochs)} over {_seeds(n)}"
    never = [(label, measure.not_reached.get(label, 0)) for label in pair]
    if any(count for _, count in never):
        parts = [f"{label} in {count} of {measure.means[label].n}" for label, count in never if count]
        said += f" (not reached by {', '.join(parts)} seeds)"
    return said


def _notes(plan: Plan, found: Sequence[Course], begun: Sequence[Course], horizon: int, start: bool) -> list[str]:
    n = len(plan.seeds)
    notes = [
        f"Differences are paired by seed. Intervals are Student's t at {LEVEL:.0%} over {_seeds(n)}; p counts all "
        f"2^{n} flips of signs, and Holm's p corrects for the {len(plan.pairs)} pairs of a measure.",
        f"With {_seeds(n)} the smallest p there can be is {smallest_p(n):.3g}"
        + (", so no p can fall below 0.05: read the intervals." if smallest_p(n) >= 0.05 else "."),
        "Seeds are not patients. Intervals over seeds tell how much training varies on these X-rays; how much another "
        "set of patients would change is in each training's own interval on the test split.",
        f"The beginning is epoch {0 if start else 1} to k of the last stage, averaged by trapezoids"
        + (" (epoch 0 is before the first step, where kept neurons show)." if start else "."),
        f"Epochs to a level are counted up to epoch {horizon}, the shortest last stage; a member that has not reached "
        f"it by then counts as {horizon + 1}, so that means are restricted means, and differences rather too small.",
    ]
    if plan.lower_is_better:
        notes.append("For the loss lower is better; losses of recipes with other losses or weights are no comparison.")
    if not begun:
        notes.append(f"No member has a row with {plan.metric} yet.")
    missing = [course for course in found if not course.finished]
    if missing:
        parts = ", ".join(f"{course.recipe} seed {course.seed} ({course.state})" for course in missing)
        notes.append(f"{len(missing)} of {len(found)} trainings are not finished: {parts}.")
    return notes


def _signed(mean: Mean, in_epochs: bool = False) -> str:
    """Return ``+0.031 [+0.004, +0.058]``."""
    form = "+.1f" if in_epochs else "+.3f"
    if mean.value is None:
        return "–"
    if mean.low is None:
        return f"{mean.value:{form}} (one seed, no interval)"
    return f"{mean.value:{form}} [{mean.low:{form}}, {mean.high:{form}}]"


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
