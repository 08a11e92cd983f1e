"""How well one property tells a class from the rest: cross-validated areas under the ROC curve, and a test.

The score of an X-ray is the share of the class among the X-rays of other patients that have the same value of the
property. Pairs are compared within a fold alone: scores of two folds come from two sets of X-rays, whose shares of the
class differ the other way round (Forman and Scholz 2010, *SIGKDD Explorations* 12). For its interval a patient is left
out of what is measured and of what the scores are learned from: with scores that stay as they are, the intervals of
properties without association hold 0.5 in 82 to 93 of 100 cases alone (``benchmarks/data_audit.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from cxr.data.audit.contingency import cramers_v, information, permutation_test
from cxr.evaluation.intervals import (
    effective_patients,
    mean_of_patients,
    numbered,
    patients_of_pairs,
    share_intervals,
)
from cxr.evaluation.metrics import estimate, patients_of
from cxr.experiments.data_audit.classes import Classes
from cxr.experiments.vocabulary.count import one_per_patient
from cxr.formatting import Estimate

FEWEST_PATIENTS = 5
"""Of a class and of the rest, for an area under the curve."""

_FOLDS = 5
_PRIOR = 2.0  # X-rays of the class's usual share that each value of a property has beside its own


@dataclass(frozen=True)
class Association:
    """How a property goes with the class.

    Attributes
    ----------
    by_class
        By class the area under the ROC curve; all None where there are too few patients.
    mean
        The mean of these.
    v, bits, chance, p
        Of one X-ray of each patient: Cramer's V, mutual information, what it would be on average if labels were
        permuted, and the p value of that. Of several findings those of the one with the smallest p, which is then
        multiplied by their number. None where it cannot be said.
    """

    by_class: dict[str, Estimate]
    mean: Estimate
    v: float | None
    bits: float | None
    chance: float | None
    p: float | None


class Units:
    """The X-rays that have a value of a property, their classes and patients; several properties may share one.

    Parameters
    ----------
    images
        (N,) rows of image_id and patient_id.
    classes
        Of the same rows.
    """

    def __init__(self, images: pd.DataFrame, classes: Classes, seed: int = 0) -> None:
        self.classes, self.seed = classes, seed
        self.groups = numbered(patients_of(images))
        facts = images[["image_id", "patient_id"]].reset_index(drop=True)
        self.drawn = one_per_patient(facts.assign(label=np.where(classes.known, "known", "")), seed)

    @property
    def n_drawn(self) -> int:
        """How many patients have an X-ray whose class is known."""
        return int(self.drawn.sum())

    @cached_property
    def sides(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each class, which X-rays (N,) have it and which have not."""
        return [(column == 1, column == 0) for column in self.classes.targets.T]

    @cached_property
    def n_patients(self) -> list[tuple[int, int]]:
        """For each class, how many patients have an X-ray with it, and how many one without it."""
        return [
            (len(np.unique(self.groups[with_it])), len(np.unique(self.groups[without])))
            for with_it, without in self.sides
        ]

    @cached_property
    def ranked(self) -> list[int]:
        """The classes that have enough patients for an area under the curve."""
        return [k for k, counts in enumerate(self.n_patients) if min(counts) >= FEWEST_PATIENTS]

    @cached_property
    def effective(self) -> list[float]:
        """For each class, for how many independent X-rays its own stand at the least."""
        return [patients_of_pairs(*(effective_patients(self.groups, side) for side in both)) for both in self.sides]

    @cached_property
    def folds(self) -> np.ndarray:
        """The fold (N,) of each X-ray: patients are dealt out, those of each class by turns."""
        rng = np.random.default_rng(self.seed)
        first = pd.Series(np.nan_to_num(self.classes.targets).argmax(1)).groupby(self.groups).first().to_numpy()
        order = rng.permutation(len(first))
        order = order[np.argsort(first[order], kind="stable")]
        fewest = min((min(self.n_patients[k]) for k in self.ranked), default=0)
        n_folds = int(np.clip(fewest // 2, 2, _FOLDS))
        fold = np.empty(len(first), np.int64)
        fold[order] = np.arange(len(first)) % n_folds
        return fold[self.groups]

    def too_few(self) -> str:
        """Return why no class can be compared, "" if one can."""
        if self.ranked:
            return ""
        fewest = [(min(counts), name) for name, counts in zip(self.classes.names, self.n_patients, strict=True)]
        n, name = max(fewest)
        return (
            f"too few patients: at most {n} ({name}) on one side; an area under the curve needs {FEWEST_PATIENTS} of "
            "a class and of the rest"
        )

    def association(self, codes: np.ndarray, n_tests: int) -> Association:
        """Return how a property goes with the class.

        Parameters
        ----------
        codes
            (N,) which value each X-ray has, from 0.
        n_tests
            How many properties are tested together.
        """
        by_class, mean = self._areas(codes)
        names = self.classes.names
        none = Estimate(value=None, low=None, high=None)
        listed = {name: by_class.get(k, none) for k, name in enumerate(names)}
        return Association(listed, mean, *self.test(codes, n_tests))

    # --- a table of one X-ray of each patient ---

    def test(self, codes: np.ndarray, n_tests: int) -> tuple[float | None, float | None, float | None, float | None]:
        """Return V, bits, chance and p of :class:`Association`; parameters as in :meth:`association`."""
        questions = self.classes.questions
        best: tuple[float, float, float, float | None] | None = None
        for question in questions:
            counted = self.drawn & (question >= 0)
            table = contingency(codes[counted], question[counted])
            tested = permutation_test(table, n_tests * len(questions), self.seed)
            if tested is not None and (best is None or tested[0] < best[0]):
                best = (tested[0], float(information(table)), tested[1], cramers_v(table))
        if best is None:
            return None, None, None, None
        p, bits, chance, v = best
        return v, bits, chance, min(1.0, p * len(questions))

    # --- areas under the curve ---

    def _areas(self, codes: np.ndarray) -> tuple[dict[int, Estimate], Estimate]:
        if not self.ranked:
            return {}, Estimate(value=None, low=None, high=None)
        n_values = int(codes.max()) + 1
        cells, shape = self.folds * n_values + codes, (int(self.folds.max()) + 1, n_values)
        areas = [fold_area(*self.sides[k], cells, shape) for k in self.ranked]

        def statistic(weights: np.ndarray) -> np.ndarray:
            columns = np.column_stack([area(weights) for area in areas])
            return np.column_stack([columns, columns.mean(1)])

        effective = [self.effective[k] for k in self.ranked]
        patients, parts = [*effective, mean_of_patients(effective)], {len(effective): range(len(effective))}
        limits = share_intervals(statistic, self.groups, patients, self.seed, means=parts)
        values = statistic(np.ones((1, len(codes))))[0]
        estimates = [estimate(value, interval) for value, interval in zip(values, limits, strict=True)]
        return dict(zip(self.ranked, estimates[:-1], strict=True)), estimates[-1]


def contingency(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the table of counts of two codes (N,), from 0."""
    if not len(rows):
        return np.zeros((0, 0), np.int64)
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def fold_area(
    with_it: np.ndarray, without: np.ndarray, cells: np.ndarray, shape: Sequence[int]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of weights (B, N) that gives areas (B,) under the ROC curve, over the pairs within folds.

    The weights count in what is measured and in the scores, which are learned from the other folds.

    Parameters
    ----------
    with_it, without
        (N,) which X-rays have the class and which have not.
    cells
        (N,) ``fold * n_values + value`` of each X-ray.
    shape
        Number of folds and of values.
    """
    n_cells = shape[0] * shape[1]
    sides = [_cell_counter(side, cells, n_cells) for side in (with_it, without)]

    def area(weights: np.ndarray) -> np.ndarray:
        positive, negative = ((side @ weights.T).T.reshape(-1, *shape) for side in sides)
        scores = _scores(positive, negative)
        above = 0.5 + 0.5 * np.sign(np.round(scores[..., :, None] - scores[..., None, :], 12))
        wins = (positive[..., :, None] * negative[..., None, :] * above).sum((1, 2, 3))
        pairs = (positive.sum(2) * negative.sum(2)).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(pairs > 0, wins / pairs, np.nan)

    return area


def _scores(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Return the score of each value in each fold from the other folds, for weighted counts (B, folds, values)."""
    others = [side.sum(1, keepdims=True) - side for side in (positive, negative)]
    totals = [other.sum(2, keepdims=True) for other in others]
    usual = totals[0] / np.maximum(totals[0] + totals[1], 1e-12)
    return np.asarray((others[0] + _PRIOR * usual) / (others[0] + others[1] + _PRIOR))


def _cell_counter(side: np.ndarray, cells: np.ndarray, n_cells: int) -> csr_array:
    """Return (n_cells, N): 1 where an X-ray of this side is in a cell."""
    rows = np.flatnonzero(side)
    return csr_array((np.ones(len(rows)), (cells[rows], rows)), shape=(n_cells, len(side)))
