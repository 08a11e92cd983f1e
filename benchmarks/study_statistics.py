"""How often a study speaks of a difference where there is none, and how often it sees one that there is.

    python benchmarks/study_statistics.py [--studies 500] [--out benchmarks/results/study_statistics.md]

Learning curves are simulated and compared by ``cxr.experiments.study.comparison.compare`` as users' are. "Before" is
the version whose sentences and colours went by the t interval of each comparison alone.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr.experiments.study import Plan, parse_plan
from cxr.experiments.study.comparison import Report, compare
from cxr.experiments.study.curves import LearningCurve
from cxr.experiments.study.statistics import Difference
from cxr.experiments.study.verdicts import Verdict
from cxr.formatting import Estimate

EPOCHS, BEGINNING = 12, 5
N_TEST = 270
SD = 0.02  # of a recipe's scores over seeds, in accuracy


@dataclass(frozen=True)
class Setting:
    """What is simulated: recipes by how much they vary, seeds, validation images, and the first recipe's advantage."""

    recipes: int
    seeds: int
    n_val: int = 270
    spread: tuple[float, ...] = ()  # of recipes, in SD; others 1
    early: float = 0.0  # advantage of the last recipe over the first epochs, in SD, falling to 0 at the end
    missing: float = 0.0  # share of trainings that failed

    def plan(self) -> Plan:
        return parse_plan(
            {
                "recipes": [f"r{k}" for k in range(self.recipes)],
                "seeds": self.seeds,
                "first_epochs": BEGINNING,
                "accuracy": 0.7,
            }
        )


def study(setting: Setting, rng: np.random.Generator) -> list[LearningCurve]:
    """Return the learning curves of a study: effects of a seed on all recipes and on each, and noise per epoch."""
    epochs = np.arange(EPOCHS + 1)
    base = 0.8 - 0.4 * np.exp(-epochs / 4)
    shared = SD * rng.standard_normal(setting.seeds)
    found = []
    for k in range(setting.recipes):
        sd = SD * (setting.spread[k] if k < len(setting.spread) else 1.0)
        advantage = setting.early * SD * np.clip(1.5 - epochs / 6, 0, 1) * (k == setting.recipes - 1)
        for seed in range(setting.seeds):
            own = sd * rng.standard_normal()
            early, noise = sd * rng.standard_normal() * np.exp(-epochs / 4), sd * rng.standard_normal(EPOCHS + 1)
            height = base + shared[seed] + own + early + noise + advantage
            if rng.random() < setting.missing:
                found.append(LearningCurve(f"r{k}", seed, EPOCHS, "failed"))
                continue
            curve = dict(zip(epochs.tolist(), scores(height, setting.n_val), strict=True))
            score = scores(np.array([height[-1] + sd * rng.standard_normal()]), N_TEST)[0]
            test: dict[str, Estimate] = {"accuracy": {"value": score, "low": None, "high": None}}
            found.append(LearningCurve(f"r{k}", seed, EPOCHS, curves={"val_accuracy": curve}, test=test))
    return found


def scores(height: np.ndarray, n: int) -> list[float]:
    """Return accuracies on ``n`` images: whole numbers of them."""
    return [float(k) / n for k in np.clip(np.round(height * n), 0, n)]


# --- what is said --------------------------------------------------------------------------------------------------


def alone(difference: Difference) -> bool:
    """Whether the interval of the comparison alone excludes 0, as the version before had it."""
    low, high = difference.mean.low, difference.mean.high
    return low is not None and high is not None and not low <= 0 <= high


def told(verdict: Verdict) -> bool:
    """Whether a sentence tells an advantage or harm."""
    return verdict.early.shown or (verdict.gap.shown and (verdict.gap.mean.value or 0) > 0)


def told_before(verdict: Verdict) -> bool:
    return alone(verdict.early) or (alone(verdict.gap) and (verdict.gap.mean.value or 0) > 0)


def differences(report: Report) -> list[Difference]:
    return [difference for measure in report.measures for difference in measure.differences.values()]


COLUMNS = [
    "a sentence tells, before",
    "a sentence tells",
    "an interval is shown, before",
    "an interval is shown",
    "claim met, before",
    "claim met",
    "an interval without width, before",
    "now",
]


def shares(setting: Setting, n: int, seed: int) -> list[float]:
    """Return the shares of studies in the order of :data:`COLUMNS`."""
    rng, plan = np.random.default_rng([seed, setting.recipes, setting.seeds]), setting.plan()
    counts = np.zeros(len(COLUMNS))
    for _ in range(n):
        report = compare(plan, study(setting, rng))
        every = differences(report)
        counts += [
            any(map(told_before, report.verdicts)),
            any(map(told, report.verdicts)),
            any(map(alone, every)),
            any(d.shown for d in every),
            any(
                alone(v.early) and alone(v.gap) and (v.early.mean.value or 0) > 0 < (v.gap.mean.value or 0)
                for v in report.verdicts
            ),
            any(v.supports for v in report.verdicts),
            any(d.mean.constant for d in every),
            any(d.together is not None and d.together[0] == d.together[1] for d in every),
        ]
    return list(counts / n)


NOTHING: Sequence[tuple[str, Setting]] = (
    ("", Setting(2, 2)),
    ("", Setting(2, 3)),
    ("40 validation images", Setting(2, 3, n_val=40)),
    ("", Setting(2, 5)),
    ("", Setting(3, 5)),
    ("", Setting(5, 2)),
    ("", Setting(5, 3)),
    ("40 validation images", Setting(5, 3, n_val=40)),
    ("", Setting(5, 5)),
    ("", Setting(5, 10)),
    ("one recipe varies 3 times as much", Setting(5, 5, spread=(1, 1, 1, 1, 3))),
    ("one recipe varies 3 times as much", Setting(3, 3, spread=(1, 1, 3))),
    ("two recipes vary a third as much", Setting(5, 5, spread=(1 / 3, 1 / 3, 1, 1, 1))),
    ("a fifth of the trainings failed", Setting(5, 5, missing=0.2)),
)
SOMETHING: Sequence[tuple[str, Setting]] = tuple(
    (f"{early:g} SD", Setting(recipes, seeds, early=early))
    for recipes, seeds in ((2, 3), (2, 5), (2, 10), (5, 5), (5, 10))
    for early in (1.0, 2.0, 4.0)
)


def table(settings: Sequence[tuple[str, Setting]], columns: Sequence[int], n: int, seed: int, note: str) -> str:
    rows = [["recipes", "seeds", note, *(COLUMNS[k] for k in columns)]]
    rows += [["---"] * len(rows[0])]
    for words, setting in settings:
        found = shares(setting, n, seed)
        rows.append([str(setting.recipes), str(setting.seeds), words, *(f"{100 * found[k]:.1f} %" for k in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page(n: int) -> str:
    return f"""\
# What studies say where recipes do not differ, and where they do

Command: `python benchmarks/study_statistics.py --studies {n}`; {platform.machine()}, fixed seeds, {n} studies per row.
Simulated are learning curves of {EPOCHS} epochs (accuracy on 270 validation images unless said, seeds that move all
recipes, what each training has of its own, and noise per epoch), which `cxr.experiments.study.comparison.compare`
compares as users' do: beginning of {BEGINNING} epochs, one level, all pairs. *Before* is the version whose sentences
and colours went by the t interval of each comparison alone.

## No recipe differs

Shares of studies in which at least one sentence tells an advantage or harm, at least one interval is drawn as shown,
and at least one interval had no width.

{table(NOTHING, (0, 1, 2, 3, 6, 7), n, 1, "what is special")}

## One recipe is better in the beginning

It is better than all others over the first epochs by so many standard deviations of a training's own part of the
score over seeds ({SD:g} of accuracy; a mean over the first epochs varies by about 1.1 of it), and alike at the end.
"Claim met" is "mainly in the beginning": both an advantage there and a smaller one at the end. The version before saw
more because it also saw what is not there.

{table(SOMETHING, (0, 1, 2, 3, 4, 5), n, 2, "advantage")}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "study_statistics.md")
    arguments = parser.parse_args()
    arguments.out.write_text(page(arguments.studies), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
