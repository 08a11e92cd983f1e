"""How much the presence of something on an X-ray tells of its class: odds ratio, exact p, mutual information.

Everything is counted in units that may be taken as independent (patients, not images): ``present`` of ``totals`` units
of each class carry the thing. Given how many units carry it, their number within one class is hypergeometric if it has
nothing to do with the class, and Fisher's noncentral hypergeometric if it has; tests and intervals are exact for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

LEVEL = 0.95

Strata = tuple[tuple[int, int, int, int], ...]
"""Of each stratum: carriers and units of the class, carriers and units of all others."""


def exact_p(with_in: int, n_in: int, with_out: int, n_out: int) -> float:
    """Return the two-sided exact p of carrying a token, one class against the rest: twice the smaller tail, 1 at most.

    Of the two-sided versions of Fisher's exact test it is the one that agrees with :func:`odds_ratio`: p is below 0.05
    where the 95 % interval lies on one side of 1, and nowhere else. It has no floor.

    >>> exact_p(40, 50, 0, 100) < 1e-20
    True
    """
    return exact_p_of_strata(((with_in, n_in, with_out, n_out),))


def exact_p_of_strata(strata: Strata) -> float:
    """Return the two-sided exact p of carrying a token within each stratum, such as a source: twice the smaller tail.

    Given how many units of each stratum carry the token and are of the class, the number of carriers in the class is a
    sum of independent hypergeometric numbers (the exact version of the test of Cochran, Mantel and Haenszel). Strata
    where all units are of one class, or where all or none carry the token, say nothing and change nothing.
    """
    counts, weights = _weights_of_strata(strata)
    with_in = sum(stratum[0] for stratum in strata)
    tails = (_log_share(weights, counts >= with_in), _log_share(weights, counts <= with_in))
    return min(1.0, 2 * math.exp(min(tails)))


@lru_cache(maxsize=65536)
def odds_ratio(with_in: int, n_in: int, with_out: int, n_out: int, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the odds ratio of carrying a token, one class against the rest, with its exact interval.

    The ratio is the conditional maximum-likelihood estimate, the interval that of Cornfield (1956): all ratios whose
    tails both hold more than ``(1 - level) / 2``. Where a cell is empty it is one-sided: ratio and upper limit are
    infinite if every carrier that could be in the class is there, ratio and lower limit 0 if none is. Where nobody or
    everybody carries the token nothing can be told: (nan, 0, inf).

    >>> tuple(round(v, 2) for v in odds_ratio(9, 12, 2, 28))
    (33.06, 4.39, 459.58)
    >>> tuple(round(v, 2) for v in odds_ratio(9, 12, 0, 28))
    (inf, 10.43, inf)
    """
    return odds_ratio_of_strata(((with_in, n_in, with_out, n_out),), level)


@lru_cache(maxsize=65536)
def odds_ratio_of_strata(strata: Strata, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the odds ratio that strata have in common, with its exact interval, as :func:`odds_ratio` does of one.

    Where it differs between the strata, it is a mean of them.
    """
    counts, weights = _weights_of_strata(strata)
    with_in = sum(stratum[0] for stratum in strata)
    if len(counts) == 1:
        return math.nan, 0.0, math.inf
    tail = math.log((1 - level) / 2)

    def at_least(log_ratio: float) -> float:
        return _log_share(weights + counts * log_ratio, counts >= with_in) - tail

    def at_most(log_ratio: float) -> float:
        return tail - _log_share(weights + counts * log_ratio, counts <= with_in)

    def mean(log_ratio: float) -> float:
        return float(_shares(weights + counts * log_ratio) @ counts) - with_in

    lowest, highest = with_in == counts[0], with_in == counts[-1]
    value = 0.0 if lowest else math.inf if highest else math.exp(_root(mean))
    return value, 0.0 if lowest else math.exp(_root(at_least)), math.inf if highest else math.exp(_root(at_most))


def is_informative(stratum: tuple[int, int, int, int]) -> bool:
    """Return whether a stratum can say anything: both sides have units, and some of all units carry the token."""
    with_in, n_in, with_out, n_out = stratum
    return len(_weights(n_in, n_out, with_in + with_out)[0]) > 1


@lru_cache(maxsize=1024)
def _weights_of_strata(strata: Strata) -> tuple[np.ndarray, np.ndarray]:
    """Return what :func:`_weights` does for the sum over strata.

    Weights are summed as 80-bit numbers, whose range takes in every table that a data set can have.
    """
    counts, weights = np.zeros(1, int), np.zeros(1)
    for with_in, n_in, with_out, n_out in strata:
        own_counts, own = _weights(n_in, n_out, with_in + with_out)
        counts = np.arange(counts[0] + own_counts[0], counts[-1] + own_counts[-1] + 1)
        if len(weights) == 1 or len(own) == 1:
            weights = (weights[:, None] + own).ravel()
            continue
        largest = weights.max() + own.max()
        shares = (np.exp((w - w.max()).astype(np.longdouble)) for w in (weights, own))
        weights = np.asarray(np.log(np.convolve(*shares)) + largest, float)
    return counts, weights


@lru_cache(maxsize=1024)
def _weights(n_in: int, n_out: int, carriers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts (S,) of carriers that a class can have, and the logarithms (S,) of the ways to have them."""
    counts = np.arange(max(0, carriers - n_out), min(carriers, n_in) + 1)
    return counts, _log_choose(n_in, counts) + _log_choose(n_out, carriers - counts)


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _log_share(weights: np.ndarray, chosen: np.ndarray) -> float:
    return _log_sum(weights[chosen]) - _log_sum(weights)


def _log_sum(weights: np.ndarray) -> float:
    largest = float(weights.max())
    return largest + math.log(np.exp(weights - largest).sum())


def _shares(weights: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(weights - _log_sum(weights)))


def _root(rising: Callable[[float], float]) -> float:
    """Return where a rising function is 0; it is looked for in ever wider surroundings of 0."""
    from scipy.optimize import brentq  # 144 modules, which no page without a table of words needs

    reach = 1.0
    while rising(-reach) > 0 or rising(reach) < 0:
        reach *= 2
    return float(brentq(rising, -reach, reach, xtol=1e-9))


def mutual_information(present: np.ndarray, totals: np.ndarray) -> float:
    """Return the plug-in mutual information of presence and class in bits.

    Parameters
    ----------
    present
        (K,) units of each class that carry the token.
    totals
        (K,) units of each class.
    """
    present, totals = np.asarray(present), np.asarray(totals)
    carriers = int(present.sum())
    return float(sum(_information(x, n, carriers, int(totals.sum())) for x, n in zip(present, totals, strict=True)))


@lru_cache(maxsize=1024)
def expected_information(carriers: int, totals: tuple[int, ...]) -> float:
    """Return the mean of :func:`mutual_information` in bits when ``carriers`` units are drawn whatever their class."""
    n = sum(totals)
    mean = 0.0
    for of in totals:
        counts, weights = _weights(of, n - of, carriers)
        mean += float(_shares(weights) @ _information(counts, of, carriers, n))
    return mean


def _information(present: np.ndarray, of: int, carriers: int, n: int) -> np.ndarray:
    """Return what one class adds to the mutual information, in bits, for each number of its ``of`` units present."""
    total = np.zeros(np.shape(present))
    for cell, margin in ((np.asarray(present, float), carriers), (np.asarray(of - present, float), n - carriers)):
        with np.errstate(divide="ignore", invalid="ignore"):
            total += np.where(cell > 0, cell * np.log2(cell * n / (of * margin)), 0.0) / n
    return total
