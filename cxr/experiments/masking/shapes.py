"""The shapes of a text experiment's numbers, as ``results.json`` holds them.

``ByBoxes`` has one entry for each kind of boxes that is masked: ``tokens``, ``random`` and ``other``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict, cast

from cxr.evaluation.results import SeenRecord, Summary
from cxr.formatting import Estimate

if TYPE_CHECKING:
    from cxr.runs import Run

ByBoxes = dict[str, Estimate]
ByClass = dict[str, Estimate]
Match = dict[str, dict[str, float]]
"""How well controls match the tokens: ``change`` and ``inside``, each by boxes
(:meth:`cxr.experiments.masking.predictions.ConditionPredictions.match`)."""
ShownCondition = Literal["before", "after", "control"]
"""What results hold a summary of: nothing masked, the tokens, random boxes (the first draw)."""


class Comparison(Estimate):
    """A difference that may have been tested: ``p``, and ``p_holm`` where it was corrected for several questions.

    Of accuracy also how many predictions ``became_wrong`` and ``became_right``.
    """

    p: NotRequired[float | None]
    p_holm: NotRequired[float | None]
    became_wrong: NotRequired[int]
    became_right: NotRequired[int]


class FindingEffect(TypedDict):
    """What a mask mode does to one finding (see :mod:`cxr.experiments.masking.effects_by_finding`)."""

    changed: ByBoxes
    moved: ByBoxes
    moved_beyond_random: Comparison
    moved_beyond_other: Comparison


ClassFlip = TypedDict("ClassFlip", {"from": str, "to": str, "tokens": float, "random": float, "other": float})
"""How many predictions change from one class to another, by boxes."""


class FindingFlip(TypedDict):
    """How many images gain (``to`` "present") or lose (``to`` "absent") a finding, by boxes."""

    finding: str
    to: str
    tokens: float
    random: float
    other: float


class LabelledEffect(TypedDict):
    """What needs labels, of a network of classes: after minus before."""

    accuracy: dict[str, Comparison]
    macro_f1: ByBoxes
    auc: ByBoxes
    recall: dict[str, ByClass]


class FindingsEffect(TypedDict):
    """What concerns single findings, of a network of several."""

    findings: dict[str, FindingEffect]
    flips: list[FindingFlip]
    auc: ByBoxes
    auc_by_finding: dict[str, ByClass]


class Effect(TypedDict):
    """What a mask mode does (see :func:`cxr.experiments.masking.effects.effects`).

    Below ``probability`` stands what needs labels, one part for classes and one for findings.
    """

    changed: ByBoxes
    beyond_random: Comparison
    beyond_other: Comparison
    moved: ByBoxes
    moved_beyond_random: Comparison
    moved_beyond_other: Comparison
    logit: dict[str, ByClass]
    probability: dict[str, ByClass]
    auc: NotRequired[ByBoxes]
    match: NotRequired[Match]
    flips: NotRequired[list[ClassFlip] | list[FindingFlip]]
    accuracy: NotRequired[dict[str, Comparison]]
    macro_f1: NotRequired[ByBoxes]
    recall: NotRequired[dict[str, ByClass]]
    findings: NotRequired[dict[str, FindingEffect]]
    auc_by_finding: NotRequired[dict[str, ByClass]]


class LeftInRow(TypedDict):
    """What one kind of token or one word does by itself (see :func:`cxr.experiments.masking.results.left_in`).

    ``shrunken`` is not there in rows of an older version.
    """

    group: str
    token: str
    n_images: int
    n_tokens: int
    changed: Estimate
    moved: Estimate
    probability: ByClass
    towards: str | None
    shrunken: NotRequired[Estimate | None]


class GroupRow(TypedDict):
    """The effect within a class, finding or source (see :func:`cxr.experiments.masking.results.by_group`)."""

    by: str
    group: str
    n_images: int
    n_with_text: int
    changed: ByBoxes
    moved: ByBoxes
    beyond_random: Comparison


class ChangedClassRow(TypedDict):
    """An image whose prediction masking changes."""

    image_id: str
    label: str
    predicted_before: str
    predicted_after: str
    predicted_control: str
    n_boxes: int


class ChangedFindingsRow(TypedDict):
    """An image on which masking makes findings appear or disappear."""

    image_id: str
    findings: str
    n_boxes: int
    appears: list[str]
    disappears: list[str]


class RelevanceRow(TypedDict):
    """Area and relevance inside tokens and random boxes of one image, as shares."""

    image_id: str
    tokens_area: float
    tokens_positive: float
    tokens_absolute: float
    random_area: float
    random_positive: float
    random_absolute: float


class InsideMeasure(TypedDict):
    """Relevance inside boxes: its share, and that share divided by the area's."""

    share: Estimate
    gain: Estimate


class RelevanceInside(TypedDict):
    """Mean share of the area inside boxes, and positive and absolute relevance there."""

    area: float
    positive: InsideMeasure
    absolute: InsideMeasure


class Relevance(TypedDict):
    """Relevance inside tokens (see :func:`cxr.experiments.masking.relevance.relevance_in_tokens`).

    ``tokens`` and ``random`` are there only where something was measured.
    """

    n: int
    of: int
    composite: str
    note: str | None
    images: list[RelevanceRow]
    n_patients: NotRequired[int]
    tokens: NotRequired[RelevanceInside]
    random: NotRequired[RelevanceInside]


class LeftOutImage(TypedDict):
    """An X-ray that could not be used, and why."""

    image_id: str
    reason: str


class Numbers(TypedDict):
    """Numbers of an experiment without its heatmaps (see :func:`cxr.experiments.masking.results.results_of`).

    ``thresholds`` are those of findings. Older files lack ``task`` and numbers of patients.
    """

    task: NotRequired[str]
    classes: list[str]
    n_images: int
    n_patients: NotRequired[int]
    n_with_text: int
    n_patients_with_text: NotRequired[int]
    n_reviewed: int
    n_tokens: int
    tokens_by_kind: dict[str, int]
    masked_share_mean: float
    n_changed: int
    n_changed_control: int
    modes: dict[str, Effect]
    left_in: list[LeftInRow]
    groups: list[GroupRow]
    changed: list[ChangedClassRow] | list[ChangedFindingsRow]
    thresholds: NotRequired[dict[str, float]]
    before: Summary
    after: Summary
    control: Summary


class MaskingNumbers(Numbers):
    """Numbers of an experiment and of its heatmaps, which older files may lack."""

    relevance: NotRequired[Relevance]


class Selection(TypedDict):
    """Which part of the split an experiment is of: ``n`` ``picked`` X-rays or the ``first``, of ``of``."""

    how: Literal["picked", "first"]
    n: int
    of: int


class Settings(TypedDict):
    """How an experiment was done, and which X-rays could not be read; ``mode`` is the first of ``mask_modes``.

    ``selection`` is there only where the experiment is of a part of its split.
    """

    model: str
    split: str
    mode: str
    mask_modes: list[str]
    margin: float
    draws: int
    seed: int
    left_out: NotRequired[list[LeftOutImage]]
    selection: NotRequired[Selection]


class MaskingResults(Settings, MaskingNumbers):
    """The whole of ``results.json``; ``finding`` says in sentences what the numbers show."""

    finding: str
    seen: NotRequired[SeenRecord]
    provenance: NotRequired[dict[str, str]]


def masking_results(run: Run) -> MaskingResults | None:
    """Return the results of an experiment; None as long as there are none, or of a version without controls."""
    results = run.results()
    return cast("MaskingResults", results) if results is not None and "modes" in results else None
