"""The shapes of an evaluation's results, as ``results.json`` and the card of a network hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict, cast

from cxr.evaluation.scores.results import FurtherScores
from cxr.formatting import Estimate

if TYPE_CHECKING:
    from cxr.runs import Run


class Outputs(Protocol):
    """What the outputs of a classifier mean: the card of a network has it, and a table of predictions."""

    @property
    def task(self) -> str:
        """``single-label`` or ``multi-label``."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the outputs, in their order."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """By class, the probability above which its publisher calls it present."""


class ClassScores(TypedDict):
    """The figures of one class of a summary, or of one finding.

    Classes that exclude each other have ``recall`` and ``support``, findings what stands below them.
    """

    auc: Estimate
    precision: Estimate
    f1: Estimate
    recall: NotRequired[Estimate]
    support: NotRequired[int]
    average_precision: NotRequired[Estimate]
    sensitivity: NotRequired[Estimate]
    specificity: NotRequired[Estimate]
    threshold: NotRequired[float]
    published: NotRequired[bool]
    known: NotRequired[int]
    positive: NotRequired[int]
    negative: NotRequired[int]
    confusion: NotRequired[list[list[int]]]


class Summary(TypedDict):
    """The metrics of a table of predictions, as files hold them.

    ``accuracy``, ``macro_f1`` and ``confusion`` are those of classes that exclude each other, ``average_precision``
    that of findings. ``absent`` and ``further`` stand in results of evaluations
    (:class:`cxr.evaluation.selection.Selection`, :func:`cxr.evaluation.scores.further.further_scores`).
    Older files lack ``task`` and ``n_patients``.
    """

    n: int
    auc: Estimate
    per_class: dict[str, ClassScores]
    classes: list[str]
    level: float
    task: NotRequired[str]
    n_patients: NotRequired[int]
    accuracy: NotRequired[Estimate]
    macro_f1: NotRequired[Estimate]
    confusion: NotRequired[list[list[int]]]
    average_precision: NotRequired[Estimate]
    absent: NotRequired[dict[str, int]]
    further: NotRequired[FurtherScores]


class Brief(TypedDict):
    """The overall figures of a summary."""

    n: int
    auc: Estimate
    task: NotRequired[str]
    n_patients: NotRequired[int]
    accuracy: NotRequired[Estimate]


class SeenSplit(TypedDict):
    """How many X-rays of a split a network has seen, whether they are left out, and if not why.

    ``near`` of those that were trained or chosen on are near-duplicates, not equal, ``confirmed`` of them on the X-ray
    of the training itself; ``patients`` counts other X-rays of patients that were seen. ``with_them`` and
    ``without_them`` are the figures that would be measured otherwise.
    """

    of: int
    trained: int
    chosen: int
    near: NotRequired[int]
    confirmed: NotRequired[int]
    patients: NotRequired[int]
    left_out: bool
    why: NotRequired[str]
    with_them: NotRequired[Brief]
    without_them: NotRequired[Brief]


class SeenImagesRow(TypedDict):
    """X-rays of one split that the same stages of a training have seen."""

    split: str
    use: str
    stages: list[str]
    ids: list[str]


class SeenRecord(TypedDict):
    """What a network has seen of the X-rays that results are of (see :func:`cxr.evaluation.seen.facts`)."""

    compared_with: int
    unknown: list[str]
    blank: int
    no_near: NotRequired[list[str]]
    no_patient: NotRequired[int]
    splits: dict[str, SeenSplit]
    images: list[SeenImagesRow]


class Measured(TypedDict):
    """Why these X-rays are measured, and how many of each split."""

    why: str
    splits: dict[str, int]


class LeftOut(TypedDict):
    """What is left out of a measure (see :meth:`cxr.evaluation.selection.Selection.to_dict`)."""

    n: int
    by_reason: dict[str, int]
    by_label: dict[str, int]
    by_split: dict[str, int]
    findings: dict[str, int]
    likely: dict[str, str]


class SelectionRecord(TypedDict):
    """What was measured, and what was left out."""

    measured: Measured
    left_out: LeftOut


class EvaluationResults(TypedDict, total=False):
    """Results of an evaluation; any key but ``splits`` may be absent from those of an older version."""

    task: str
    classes: list[str]
    splits: dict[str, Summary]
    unreadable: int
    measured: Measured
    left_out: LeftOut
    seen: SeenRecord
    seen_notes: list[str]
    notes: list[str]
    network: str
    provenance: dict[str, str]
    aliases: dict[str, str]


def evaluation_results(run: Run) -> EvaluationResults:
    """Return the results of an evaluation, or of a training, which has evaluated its network; empty without any."""
    return cast("EvaluationResults", run.results() or {})
