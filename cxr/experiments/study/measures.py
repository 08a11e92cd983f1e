"""What a study compares: one number per training, its mean per recipe, and the differences of pairs of recipes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cxr.experiments.study.curves import Curve, LearningCurve
from cxr.experiments.study.plan import Plan
from cxr.experiments.study.statistics import Difference, Mean, area, first_reached, mean_over_seeds, paired

METRIC_TITLES = {
    "val_accuracy": "validation accuracy",
    "val_macro_f1": "validation macro F1",
    "val_auc": "validation AUC",
    "val_loss": "validation loss",
}
TEST_TITLES = {"accuracy": "test accuracy", "macro_f1": "test macro F1", "auc": "test AUC"}

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
class Compared:
    """What is compared: members that have begun, up to which epoch, and by how many measures at once."""

    plan: Plan
    learning_curves: Sequence[LearningCurve]
    horizon: int
    start: bool
    n_measures: int

    @property
    def n_comparisons(self) -> int:
        """How many comparisons intervals must hold for at once."""
        return max(1, self.n_measures * len(self.plan.pairs))

    @property
    def largest(self) -> float | None:
        """The largest difference of the metric that there can be."""
        return None if self.plan.lower_is_better else 1.0

    def curve(self, learning_curve: LearningCurve) -> Curve:
        """Return a training's curve of the metric."""
        return learning_curve.curves[self.plan.metric]

    def gaps(self) -> list[int]:
        """Return the lengths of the beginning that leave an end to compare with."""
        return [k for k in self.plan.first_epochs if k < self.horizon]


def compared(plan: Plan, learning_curves: Sequence[LearningCurve], planned: Plan) -> Compared:
    """Return what can be compared of the members' curves; intervals allow for as many measures as were planned."""
    begun = [learning_curve for learning_curve in learning_curves if learning_curve.curves.get(plan.metric)]
    start = bool(begun) and all(0 in learning_curve.curves[plan.metric] for learning_curve in begun)
    horizon = min(learning_curve.epochs for learning_curve in learning_curves)
    return Compared(plan, begun, horizon, start, _n_measures(plan, planned, horizon, start))


def measures_of(data: Compared) -> list[Measure]:
    """Return every measure of a study: beginnings, before the first step, levels, the best, and the test scores."""
    return [
        *(_area(data, k) for k in data.plan.first_epochs),
        *([_before(data)] if data.start else []),
        *(_reach(data, level) for level in data.plan.accuracy),
        _best(data),
        *(_test(data, key) for key in _test_keys(data.plan)),
    ]


def _n_measures(plan: Plan, planned: Plan, horizon: int, start: bool) -> int:
    """Return how many measures intervals must hold for at once, the gaps between beginning and end among them."""
    beginnings = max(len(plan.first_epochs), len(planned.first_epochs))
    gaps = max(sum(k < horizon for k in p.first_epochs) for p in (plan, planned))
    levels = max(len(plan.accuracy), len(planned.accuracy))
    return beginnings + gaps + levels + start + 1 + len(_test_keys(plan))


def _measure(
    data: Compared,
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
    limits = (0.0, math.inf if largest is None else largest)  # no measure is negative
    means = {label: mean_over_seeds(list(by_seed.values()), limits=limits) for label, by_seed in values.items()}
    differences = {(a, b): paired(values[a], values[b], data.n_comparisons, largest) for a, b in plan.pairs}
    return Measure(key, title, lower, values, means, differences, not_reached or {})


def by_recipe(begun: Sequence[LearningCurve], value: Any) -> dict[str, dict[int, float]]:
    """Return {recipe: {seed: value(learning_curve)}}, without those for which it is None."""
    values: dict[str, dict[int, float]] = {}
    for learning_curve in begun:
        number = value(learning_curve)
        if number is not None:
            values.setdefault(learning_curve.recipe, {})[learning_curve.seed] = float(number)
    return values


def _area(data: Compared, k: int) -> Measure:
    plan = data.plan
    values = by_recipe(
        data.learning_curves, lambda learning_curve: area(data.curve(learning_curve), k, start=data.start)
    )
    title = f"mean {METRIC_TITLES[plan.metric]} over the first {epochs_text(k)}"
    return _measure(data, f"area_{k}", title, values, largest=data.largest)


def _before(data: Compared) -> Measure:
    """Return the metric before the first step: what a network brings along, kept neurons above all."""
    values = by_recipe(data.learning_curves, lambda learning_curve: data.curve(learning_curve)[0])
    title = f"{METRIC_TITLES[data.plan.metric]} before the first step"
    return _measure(data, "start", title, values, largest=data.largest)


def _reach(data: Compared, level: float) -> Measure:
    plan, horizon = data.plan, data.horizon
    not_reached = dict.fromkeys(plan.labels, 0)

    def epochs(learning_curve: LearningCurve) -> float | None:
        curve = data.curve(learning_curve)
        reached = first_reached(curve, level, horizon, lower=plan.lower_is_better)
        if reached is not None:
            return reached
        if not learning_curve.finished and horizon not in curve:
            return None  # it may still come
        not_reached[learning_curve.recipe] += 1
        return horizon + 1

    values = by_recipe(data.learning_curves, epochs)
    title = f"epochs to {METRIC_TITLES[plan.metric]} {level:g}"
    return _measure(data, f"reach_{level:g}", title, values, lower=True, largest=horizon + 1.0, not_reached=not_reached)


def _best(data: Compared) -> Measure:
    plan = data.plan
    choose = min if plan.lower_is_better else max
    values = by_recipe(
        data.learning_curves,
        lambda learning_curve: choose(data.curve(learning_curve).values()) if learning_curve.finished else None,
    )
    return _measure(data, "best", f"best {METRIC_TITLES[plan.metric]}", values, largest=data.largest)


def _test_keys(plan: Plan) -> list[str]:
    """Return the scores on the test split that are compared: accuracy, and what goes with the study's metric."""
    keys = dict.fromkeys(["accuracy", plan.metric.removeprefix("val_")])
    return [key for key in keys if key in TEST_TITLES]


def _test(data: Compared, key: str) -> Measure:
    values = by_recipe(data.learning_curves, lambda curve: curve.test[key]["value"] if key in curve.test else None)
    return _measure(data, f"test_{key}", TEST_TITLES[key], values, lower=False, largest=1.0)


def mean_curves(data: Compared) -> dict[str, dict[int, Mean]]:
    """Return the mean over seeds by recipe and epoch."""
    curves: dict[str, dict[int, Mean]] = {}
    for label in data.plan.labels:
        own = [data.curve(learning_curve) for learning_curve in data.learning_curves if learning_curve.recipe == label]
        epochs = sorted({epoch for curve in own for epoch in curve})
        curves[label] = {e: mean_over_seeds([curve[e] for curve in own if e in curve]) for e in epochs}
    return curves


def signed(difference: Difference, in_epochs: bool = False) -> str:
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


def epochs_text(k: int) -> str:
    """Return ``epoch`` or ``3 epochs``, after "the first"."""
    return "epoch" if k == 1 else f"{k} epochs"


def seeds_text(n: int) -> str:
    """Return ``1 seed`` or ``3 seeds``."""
    return f"{n} seed{'' if n == 1 else 's'}"
