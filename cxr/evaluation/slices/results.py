"""What is known of slices, as ``cxr slices --json`` prints it."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from cxr.formatting import Estimate


class Difference(Estimate):
    """A slice's figure less that of the rest; ``p_holm`` is ``p`` corrected for all that was compared."""

    p: float | None
    p_holm: float | None


class ClassFigure(Estimate):
    """Recall of a class in a slice, or the AUC of a finding, and of how many X-rays of the class it is.

    ``too_small`` says why there is no figure, "" where there is one.
    """

    n: int
    n_patients: int
    too_small: str


class Slice(TypedDict):
    """One part of the X-rays, compared with the rest.

    Attributes
    ----------
    where
        ``{column: group}``; None for X-rays without a value. Two columns for a pair.
    n, n_patients, rest_n, rest_patients
        X-rays and patients of the slice and of the rest. A patient may have X-rays in both.
    figure, rest
        Accuracy, or the mean AUC over ``findings``.
    findings
        The findings over which AUCs are averaged on both sides; none for classes that exclude each other.
    only_class
        The class of all X-rays of the slice, "" where there are several.
    too_small
        Why it is not compared, "" where it is.
    """

    where: dict[str, str | None]
    n: int
    n_patients: int
    rest_n: int
    rest_patients: int
    figure: Estimate
    rest: Estimate
    difference: Difference
    findings: list[str]
    per_class: dict[str, ClassFigure]
    only_class: str
    too_small: str
    sentence: str


class Column(TypedDict):
    """How a column is divided: X-rays by group, without a value, and the edges of bands of numbers."""

    groups: dict[str, int]
    missing: int
    edges: list[float]


class SliceResults(TypedDict):
    """All slices of an evaluation.

    Attributes
    ----------
    figure
        ``accuracy`` or ``mean AUC``.
    overall
        The figure of all X-rays.
    skipped
        ``{column: why it is not divided}``.
    slices
        Of each column, in the order of the columns.
    pairs
        Slices of two columns that do worse than the rest, the lowest figure first.
    pairs_compared, pairs_too_small
        How many there were to choose from, and how many more hold too few patients.
    tests
        For how many comparisons p values are corrected, those of pairs among them: a slice and its rest count once.
        Older results lack it.
    conclusions
        What stands out, in sentences.
    notes
        What was left out, and what is not known.
    """

    task: str
    classes: list[str]
    splits: list[str]
    n: int
    n_patients: int
    figure: str
    overall: Estimate
    columns: dict[str, Column]
    skipped: dict[str, str]
    slices: list[Slice]
    pairs: list[Slice]
    pairs_compared: int
    pairs_too_small: int
    tests: NotRequired[int]
    conclusions: list[str]
    notes: list[str]
