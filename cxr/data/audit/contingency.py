"""How much a property of X-rays and their class have to do with each other, in a table of counts.

Tables have a row for each value of the property and a column for each class. Each unit that is counted is independent
of the others: one X-ray of each patient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_TABLES = 1999
_DOUBTLESS = 0.025  # a p above it is not made more precise


def without_empty(table: ArrayLike) -> NDArray[np.int64]:
    """Return a table of counts without the rows and columns that hold nothing."""
    counts = np.asarray(table, np.int64)
    return counts[counts.sum(1) > 0][:, counts.sum(0) > 0]


def cramers_v(table: ArrayLike) -> float | None:
    """Return Cramer's V of a table of counts, 0 to 1, corrected for its bias (Bergsma 2013, *J Korean Stat Soc* 42).

    None where the property or the class has one value alone.
    """
    counts = without_empty(table)
    n = int(counts.sum())
    rows, columns = counts.shape
    if min(rows, columns) < 2 or n < 2:
        return None
    expected = np.outer(counts.sum(1), counts.sum(0)) / n
    phi2 = float(((counts - expected) ** 2 / expected).sum()) / n
    phi2 = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1))
    return min(1.0, float(np.sqrt(phi2 / (smaller - 1)))) if smaller > 1 else None


def information(tables: ArrayLike) -> NDArray[np.float64]:
    """Return the plug-in mutual information in bits (...) of tables of counts (..., R, C)."""
    counts = np.asarray(tables, np.float64)
    n = counts.sum((-2, -1), keepdims=True)
    expected = counts.sum(-1, keepdims=True) * counts.sum(-2, keepdims=True) / np.maximum(n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(counts > 0, counts * np.log2(counts / expected), 0.0)
    return np.asarray(parts.sum((-2, -1)) / np.maximum(n[..., 0, 0], 1))


def permutation_test(table: ArrayLike, n_tests: int = 1, seed: int = 0) -> tuple[float, float] | None:
    """Return the p value of a table's mutual information when labels are permuted, and its mean in bits then.

    Permuting the labels of all units leaves both margins of the table as they are, so that tables are drawn at random
    with these margins. The mean is the bias of the plug-in mutual information.

    Parameters
    ----------
    n_tests
        How many p values are corrected together: so many tables are drawn that the smallest possible p is far below
        0.05 after a correction for all of them.

    Returns
    -------
    None where the property or the class has one value alone.
    """
    from scipy.stats import random_table  # takes a second to load

    counts = without_empty(table)
    if min(counts.shape) < 2:
        return None
    tables = random_table(counts.sum(1), counts.sum(0))
    rng = np.random.default_rng(seed)
    observed = float(information(counts)) - 1e-12
    drawn = information(tables.rvs(FEWEST_TABLES, random_state=rng))
    as_far, n = int((drawn >= observed).sum()), FEWEST_TABLES
    more = 200 * n_tests - n
    if more > 0 and (1 + as_far) / (1 + n) < _DOUBTLESS:
        as_far += int((information(tables.rvs(more, random_state=rng)) >= observed).sum())
        n += more
    return (1 + as_far) / (1 + n), float(drawn.mean())
