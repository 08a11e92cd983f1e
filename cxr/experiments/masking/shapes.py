"""The shapes of a text experiment's numbers, as ``results.json`` holds them.

``ByBoxes`` has one entry for each kind of boxes that is masked: ``tokens``, ``random`` and ``other``.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from cxr.evaluation.metrics import Interval

ByBoxes = dict[str, Interval]
ByClass = dict[str, Interval]


class FindingEffect(TypedDict):
    """What a mask mode does to one finding (see :mod:`cxr.experiments.masking.effects_by_finding`)."""

    changed: ByBoxes
    moved: ByBoxes
    moved_beyond_random: Interval
    moved_beyond_other: Interval


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

    accuracy: ByBoxes
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
    beyond_random: Interval
    beyond_other: Interval
    moved: ByBoxes
    moved_beyond_random: Interval
    moved_beyond_other: Interval
    logit: dict[str, ByClass]
    probability: dict[str, ByClass]
    auc: NotRequired[ByBoxes]
    match: NotRequired[dict[str, dict[str, float]]]
    flips: NotRequired[list[ClassFlip] | list[FindingFlip]]
    accuracy: NotRequired[ByBoxes]
    macro_f1: NotRequired[ByBoxes]
    recall: NotRequired[dict[str, ByClass]]
    findings: NotRequired[dict[str, FindingEffect]]
    auc_by_finding: NotRequired[dict[str, ByClass]]


class LeftInRow(TypedDict):
    """What one kind of token or one word does by itself (see :func:`cxr.experiments.masking.results.left_in`)."""

    group: str
    token: str
    n_images: int
    n_tokens: int
    changed: Interval
    moved: Interval
    probability: ByClass
    towards: str | None
    shrunken: dict[str, float] | None


class GroupRow(TypedDict):
    """The effect within a class, finding or source (see :func:`cxr.experiments.masking.results.by_group`)."""

    by: str
    group: str
    n_images: int
    n_with_text: int
    changed: ByBoxes
    moved: ByBoxes
    beyond_random: Interval


class RelevanceRow(TypedDict):
    """Area and relevance inside tokens and random boxes of one image, as shares."""

    image_id: str
    tokens_area: float
    tokens_positive: float
    tokens_absolute: float
    random_area: float
    random_positive: float
    random_absolute: float


class Relevance(TypedDict):
    """Relevance inside tokens (see :func:`cxr.experiments.masking.relevance.relevance_in_tokens`).

    ``tokens`` and ``random`` hold ``area``, and for ``positive`` and ``absolute`` relevance ``share`` and ``gain``.
    """

    n: int
    of: int
    composite: str
    note: str | None
    images: list[RelevanceRow]
    n_patients: NotRequired[int]
    tokens: NotRequired[dict[str, Any]]
    random: NotRequired[dict[str, Any]]
