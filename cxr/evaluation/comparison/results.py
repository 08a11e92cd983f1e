"""The shapes of a comparison's results, as ``cxr compare --json`` prints them."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from cxr.formatting import Estimate


class Compared(TypedDict):
    """A run, its figures on the shared X-rays, and how many of its own X-rays are left out, by reason.

    ``figures`` are by the name of the measure.
    """

    run: str
    name: str
    n: int
    left_out: dict[str, int]
    figures: dict[str, Estimate]


class Baseline(TypedDict):
    """The figures of a rule that looks at no X-ray; None for a measure that it does not have."""

    name: str
    figures: dict[str, float | None]


class Difference(TypedDict):
    """A measure of ``run`` minus that of ``against``; ``p`` is of this one alone, ``p_corrected`` of all together."""

    run: str
    against: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_corrected: float | None
    different: bool
    sentence: str


class Reference(TypedDict):
    """A published test: McNemar's or DeLong's, which treat X-rays as independent, or the paired bootstrap of patients.

    ``only_run`` and ``only_against`` are how many X-rays one of the two alone has right (McNemar). ``value``, ``low``
    and ``high`` are of the difference of AUC (DeLong) or of the measure (bootstrap).
    """

    test: str
    measure: str
    run: str
    against: str
    p: float | None
    only_run: NotRequired[int]
    only_against: NotRequired[int]
    value: NotRequired[float]
    low: NotRequired[float | None]
    high: NotRequired[float | None]


class ComparisonResults(TypedDict):
    """Everything that is said of a comparison of runs; ``paired_by`` is ``image_id`` or ``file``."""

    task: str
    classes: list[str]
    splits: dict[str, int]
    paired_by: str
    n: int
    n_patients: int
    level: float
    n_comparisons: int
    runs: list[Compared]
    baselines: list[Baseline]
    differences: list[Difference]
    references: list[Reference]
    notes: list[str]
