"""The results of a study: mean curves, the beginning of the training, epochs to a level, and all paired differences.

Only the last stage is compared, the task that all recipes share. Pairs are formed by seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxr.evaluation.provenance import date_in_words, provenance_of, written_in_words
from cxr.experiments.study.caveats import notes_of
from cxr.experiments.study.curves import LearningCurve, learning_curves
from cxr.experiments.study.measures import Measure, compared, mean_curves, measures_of, seeds_text, signed
from cxr.experiments.study.members import plan_of
from cxr.experiments.study.plan import Plan
from cxr.experiments.study.settings import StudyParams
from cxr.experiments.study.statistics import LEVEL, Mean
from cxr.experiments.study.verdicts import Verdict, verdicts_of
from cxr.formatting import xrays
from cxr.runs import Run


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
    learning_curves: Sequence[LearningCurve]
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

    def to_dict(self) -> Mapping[str, object]:
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


def report(study: Run, *, first_epochs: Sequence[int] = (), accuracy: Sequence[float] = ()) -> Report:
    """Return the report of a study as it stands; other lengths of the beginning and other levels may be asked for."""
    planned = plan_of(study)
    changes = {
        "first_epochs": list(first_epochs) or planned.first_epochs,
        "accuracy": list(accuracy) or planned.accuracy,
    }
    comparison = compare(planned.model_copy(update=changes), learning_curves(study), planned)
    return dataclasses.replace(comparison, basis=basis_of(study))


def basis_of(study: Run) -> str:
    """Return when a study was begun and with what, on which data, and when its report is written."""
    provenance, data_name = provenance_of(study), StudyParams.of(study.params).data_name
    manifest = provenance["manifest_hash"][:12] or "not recorded"
    return (
        f"Study begun {date_in_words(provenance['date'])} with cxr {provenance['cxr'] or '(version not recorded)'}. "
        f"Data: {data_name or provenance.get('data')} (manifest hash {manifest}). {written_in_words()}"
    )


def compare(plan: Plan, curves: Sequence[LearningCurve], planned: Plan | None = None) -> Report:
    """Compare the learning curves of a plan's members; members that have not come far enough are left out and counted.

    Parameters
    ----------
    planned
        The study's own plan, where ``plan`` asks for other lengths of the beginning or levels: intervals allow for as
        many as were planned at least, and the report says that the others were chosen later.
    """
    curves = sorted(curves, key=lambda learning_curve: (learning_curve.seed, plan.labels.index(learning_curve.recipe)))
    data = compared(plan, curves, planned or plan)
    measures = measures_of(data)
    of = _xrays_of(data.learning_curves)
    verdicts = [verdict for k in data.gaps() for verdict in verdicts_of(data, k, min(k, data.horizon - k))]
    verdicts = [dataclasses.replace(v, sentence=v.sentence + of["val"] * (v.early.mean.n > 1)) for v in verdicts]
    by_measure = {
        m.key: [_sentence(m, pair) + of[_split_of(m)] * bool(m.differences[pair].mean.n) for pair in plan.pairs]
        for m in measures
    }
    sentences = [sentence for of_measure in by_measure.values() for sentence in of_measure]
    sentences += [verdict.sentence for verdict in verdicts]
    notes = notes_of(data, curves, planned or plan)
    return Report(
        plan,
        curves,
        data.horizon,
        data.start,
        data.n_comparisons,
        mean_curves(data),
        measures,
        verdicts,
        sentences,
        notes,
        by_measure=by_measure,
    )


def _split_of(measure: Measure) -> str:
    return "test" if measure.key.startswith("test_") else "val"


def _xrays_of(begun: Sequence[LearningCurve]) -> dict[str, str]:
    """Return by split which X-rays its scores are of, as the end of a sentence; "" where no training is finished."""
    return {split: _ending(split, {c.rests_on[split] for c in begun if split in c.rests_on}) for split in _SPLITS}


def _ending(split: str, numbers: set[tuple[int, int]]) -> str:
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f" ({_SPLITS[split]}: {xrays(*next(iter(numbers)))})"
    (few, _), (many, _) = min(numbers), max(numbers)
    return f" ({_SPLITS[split]}: {few:,} to {many:,} X-rays, not the same in all trainings)"


_SPLITS = {"val": "validation", "test": "test"}


def _sentence(measure: Measure, pair: tuple[str, str]) -> str:
    difference, (a, b) = measure.differences[pair], pair
    n = difference.mean.n
    if not n:
        return f"{a} against {b}: {measure.title} cannot be compared yet, no seed has both"
    sentence = f"{a} against {b}: {measure.title} {signed(difference, measure.in_epochs)} over {seeds_text(n)}"
    never = [(label, measure.not_reached.get(label, 0)) for label in pair]
    if any(count for _, count in never):
        parts = [f"{label} in {count} of {measure.means[label].n}" for label, count in never if count]
        sentence += f" (not reached by {', '.join(parts)} seeds)"
    return sentence


def _plain(measure: Measure) -> Mapping[str, object]:
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
