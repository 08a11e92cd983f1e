"""How much the presence of something on an X-ray tells of its class: odds ratio, mutual information, chance.

Everything is counted in units that may be taken as independent (patients, not images): ``present`` of ``totals`` units
of each class carry the thing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.stats import norm

LEVEL = 0.95
N_PERMUTATIONS = 10_000  # the smallest p that can come out is 1 / (N_PERMUTATIONS + 1)


def odds_ratio(with_in: int, n_in: int, with_out: int, n_out: int, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the odds ratio of carrying a token, one class against the rest, with its interval.

    0.5 is added to every cell (Haldane 1956, Anscombe 1956), so that a token which only one class has gets a finite
    ratio; the interval is Woolf's (1955) on the logarithm, with the same cells.

    >>> tuple(round(v, 2) for v in odds_ratio(9, 12, 0, 28))
    (154.71, 7.35, 3255.44)
    """
    cells = np.array([with_in, n_in - with_in, with_out, n_out - with_out], float) + 0.5
    log = np.log(cells[0] * cells[3] / (cells[1] * cells[2]))
    half = norm.ppf(0.5 + level / 2) * np.sqrt((1 / cells).sum())
    return float(np.exp(log)), float(np.exp(log - half)), float(np.exp(log + half))


def mutual_information(present: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return the plug-in mutual information of presence and class in bits.

    Parameters
    ----------
    present
        (..., K) units of each class that carry the token.
    totals
        (K,) units of each class.
    """
    totals = np.asarray(totals, float)
    n = totals.sum()
    told = np.zeros(np.shape(present)[:-1])
    for cells in (np.asarray(present, float), totals - present):
        expected = cells.sum(-1, keepdims=True) * totals / n
        with np.errstate(divide="ignore", invalid="ignore"):
            told += np.where(cells > 0, cells * np.log2(cells / expected), 0.0).sum(-1) / n
    return told


@lru_cache(maxsize=256)
def by_chance(carriers: int, totals: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return sorted mutual information (:data:`N_PERMUTATIONS`,) in bits when classes are dealt out at random.

    Permuting the labels while ``carriers`` units keep the token is drawing those units without replacement, so the
    counts by class are multivariate hypergeometric.
    """
    drawn = np.random.default_rng([seed, carriers]).multivariate_hypergeometric(totals, carriers, size=N_PERMUTATIONS)
    return np.sort(mutual_information(drawn, np.array(totals)))


def permutation_p(bits: float, chance: np.ndarray) -> float:
    """Return the share of permutations that tell at least ``bits`` (the data themselves counted among them)."""
    # A little slack: equal tables added up in another order must count as equal.
    as_much = len(chance) - np.searchsorted(chance, bits - 1e-12)
    return float((1 + as_much) / (1 + len(chance)))


def entropy(totals: np.ndarray) -> float:
    """Return the entropy of the class in bits: the most that a token could tell."""
    shares = np.asarray(totals, float)[np.asarray(totals) > 0] / np.sum(totals)
    return float(-(shares * np.log2(shares)).sum())
