"""Confusion matrices: X-rays, shares of a row, and patients."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cxr.evaluation.intervals import Groups, numbered
from cxr.evaluation.metrics import ratio

Unit = Literal["X-rays", "% of row", "patients"]
UNITS: tuple[Unit, ...] = ("X-rays", "% of row", "patients")


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, n: int, groups: Groups | None = None) -> np.ndarray:
    """Return (n, n), rows are the truth (N,), columns what was predicted (N,), both from 0 to n - 1.

    Parameters
    ----------
    groups
        (N,) the patients: each then counts once, its weight of 1 spread evenly over its X-rays, so that the cells
        sum to the number of patients. None for a matrix of X-rays.
    """
    weights = np.ones(len(truth)) if groups is None else patient_weights(groups)
    cells = np.bincount(np.asarray(truth, np.int64) * n + predicted, weights=weights, minlength=n * n)
    return cells.reshape(n, n)


def patient_weights(groups: Groups) -> np.ndarray:
    """Return a weight (N,) for each X-ray: 1 over the number of X-rays of its patient."""
    if not len(groups):
        return np.zeros(0)
    patient = numbered(groups)
    return np.asarray(1 / np.bincount(patient)[patient])


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Return each cell's share of its row, NaN in a row of nothing."""
    return ratio(matrix, matrix.sum(1, keepdims=True))


def texts_of(matrix: np.ndarray, unit: Unit) -> list[list[str]]:
    """Return what stands in each cell, such as ``1,200``, ``57 %`` or ``3.5``."""
    if unit == "% of row":
        return [["–" if np.isnan(share) else f"{100 * share:.0f} %" for share in row] for row in row_shares(matrix)]
    return [[f"{value:,.1f}".removesuffix(".0") for value in row] for row in matrix]
