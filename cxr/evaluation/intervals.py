"""Intervals over patients.

Images of a patient resemble each other, so the unit of every interval is the patient. The variance of a figure comes
from leaving out one patient at a time (the jackknife; Miller 1974, *Biometrika* 61), that of an average precision on
the scale of the arcsine of its root. A variance has its own uncertainty: where few patients carry all of it, it is
drawn towards that of images which resemble each other completely, and where nothing differs it is that. A mean over
classes is as uncertain of its variance as its classes are of theirs. A share's interval is then Wilson's, for the
number of independent images that has this variance (Korn and Graubard 1998, *Survey Methodology* 24, with Wilson's
interval), with Student's quantile for as many patients as there are. Near 0 and 1 figures are skewed: one that is too
good comes with a variance that is too small. Both uncertainties then lengthen the far end alone, the near one only by
the odds of the figure (Johnson 1978, *Journal of the American Statistical Association* 73). No interval here has a
width of zero.

An image without a patient counts as a patient of its own (:func:`cxr.evaluation.metrics.patients_of`): then no figure
knows of images that belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit  # the same functions in scipy.stats take a second to load

from cxr.evaluation.resampling.leaving_out import changes, values_without

LEVEL = 0.95
N_FLIPS = 10_000
"""Random flips of signs for a p value. Up to 13 patients all combinations are taken."""
FEWEST_PATIENTS = 6
"""With fewer, no flip of signs gives p < 0.05, so that differences have no 95 % interval."""

_CHUNK = 4_000_000  # signs at once, to bound the memory
_MOST_LEFT_OUT = 250  # times that something is left out; more patients than that are left out in groups
_ALL_FLIPS = 13
_DOUBT = 0.75  # by how much an error that rests on one patient alone is larger; see ``benchmarks/intervals.py``
_ROUNDING = 1e-24  # a share's variance below is that of rounding errors

Groups = Sequence[object] | np.ndarray
Limits = tuple[float, float]


def wilson(k: float, n: float, level: float = LEVEL, quantile: float | None = None) -> Limits | None:
    """Return Wilson's score interval of the proportion ``k`` of ``n`` (no continuity correction), None for n = 0.

    Wilson 1927. Unlike the normal approximation it says something at 0 and 100 %: 0 errors in 20 are 83 % or more.
    It is about independent trials; images of patients are not, see :func:`share_intervals`. Both numbers need not be
    whole: an effective number of trials will do. ``quantile`` stands for the normal distribution's at ``level``.
    """
    if n <= 0:
        return None
    z = float(ndtri(0.5 + level / 2)) if quantile is None else quantile
    share = k / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(max(share * (1 - share), 0) / n + z * z / (4 * n * n))
    low = 0.0 if k <= 0 else float(centre - half)
    high = 1.0 if k >= n else float(centre + half)
    return low, high


def numbered(groups: Groups) -> np.ndarray:
    """Return the patients (N,) as numbers from 0."""
    return np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1]


def effective_patients(groups: Groups, chosen: np.ndarray | None = None) -> float:
    """Return for how many independent images the ``chosen`` (N,) ones stand if those of a patient are all alike.

    Kish 1965: the square of the number of images over the sum of the squares by patient. 0 without an image. Numbers
    of :func:`numbered` are taken as they are, which is quicker.
    """
    weights = None if chosen is None else np.asarray(chosen, np.float64)
    numbers = groups if isinstance(groups, np.ndarray) and groups.dtype.kind == "i" else numbered(groups)
    images = np.bincount(numbers, weights) if len(groups) else np.zeros(1)
    squares = float((images**2).sum())
    return float(images.sum()) ** 2 / squares if squares else 0.0


def patients_of_pairs(first: float, second: float) -> float:
    """Return the effective number of patients of a figure over pairs of both kinds: their harmonic mean."""
    return 2 * first * second / (first + second) if first > 0 and second > 0 else 0.0


def mean_of_patients(numbers: Sequence[float]) -> float:
    """Return the effective number of patients of a mean of several shares, of which each has its own."""
    counts = np.array([n for n in numbers if n > 0], np.float64)
    return float(len(counts) ** 2 / (1 / counts).sum()) if len(counts) else 0.0


@dataclass(frozen=True)
class Jackknife:
    """Statistics with what leaving out patients says of them, (S,) each.

    Attributes
    ----------
    value, variance
        NaN where a statistic, or it without some patient, is not defined.
    carriers
        How many patients carry the variance: 1 if one alone does, as many as there are if all do alike.
    freedom
        Degrees of freedom: how often something was left out, less 1.
    """

    value: np.ndarray
    variance: np.ndarray
    carriers: np.ndarray
    freedom: int

    def quantile(self, level: float = LEVEL) -> float:
        """Return Student's quantile."""
        return _quantile(0.5 + level / 2, self.freedom)

    def with_means(self, parts: Mapping[int, Sequence[int]], patients: Sequence[float]) -> Jackknife:
        """Return this with each mean as uncertain of its variance as its ``parts`` are of theirs.

        How uncertain is 1 / carriers: of a mean the mean over its parts, weighted as their variances add up at the most
        (1 / ``patients``). Parts with many carriers say little about one with few. Where nothing differs in a part, one
        patient counts as its carrier: the next one that differs would carry it alone.
        """
        carriers = self.carriers.copy()
        for mean, of in parts.items():
            weights = 1 / np.array([patients[part] for part in of])
            carriers[mean] = weights.sum() / (weights / np.nan_to_num(self.carriers[list(of)], nan=1.0)).sum()
        return replace(self, carriers=carriers)


@cache
def _quantile(probability: float, freedom: int) -> float:
    return float(stdtrit(freedom, probability))


def jackknife(
    statistic: Callable[[np.ndarray], np.ndarray], groups: Groups, seed: int = 0, stabilised: Sequence[int] = ()
) -> Jackknife | None:
    """Return statistics and their variances over patients, None with fewer than two patients.

    Parameters
    ----------
    statistic
        Takes weights (B, N), returns (B, S): S statistics for each row of weights, NaN where one is not defined.
    groups
        (N,) the patient of each image.
    seed
        Of the groups in which patients are left out where there are more than 250.
    stabilised
        Statistics whose changes are measured on a scale that stabilises their variance
        (:func:`cxr.evaluation.resampling.leaving_out.changes`).
    """
    patient = numbered(groups) if len(groups) else np.zeros(0, np.int64)
    n_patients = int(patient.max(initial=-1)) + 1
    if n_patients < 2:
        return None
    parts = min(n_patients, _MOST_LEFT_OUT)
    if parts < n_patients:
        patient = np.random.default_rng(seed).permutation(np.arange(n_patients) % parts)[patient]
    value = statistic(np.ones((1, len(patient))))[0]
    squares = changes(value, values_without(statistic, patient, parts), stabilised) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        carriers = squares.sum(0) ** 2 / (squares**2).sum(0)
    return Jackknife(value, (parts - 1) / parts * squares.sum(0), carriers, parts - 1)


def share_intervals(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: Groups,
    patients: Sequence[float],
    seed: int = 0,
    level: float = LEVEL,
    means: Mapping[int, Sequence[int]] | None = None,
    stabilised: Sequence[int] = (),
) -> list[Limits | None]:
    """Return intervals of statistics that lie in [0, 1]: shares, F1, AUC, means of them.

    Parameters
    ----------
    statistic, groups, seed, stabilised
        As :func:`jackknife`.
    patients
        (S,) for how many independent images those of each statistic stand at the least
        (:func:`effective_patients`).
    means
        Which statistics are means of which others, whose numbers of patients are above 0
        (:meth:`Jackknife.with_means`).

    Returns
    -------
    One (low, high) for each statistic, in [0, 1]; None where it is not defined, or with fewer than two patients.
    """
    estimate = jackknife(statistic, groups, seed, stabilised)
    if estimate is None:
        return [None] * len(patients)
    estimate = estimate.with_means(means or {}, patients)
    return [share_interval(estimate, k, n, level) for k, n in enumerate(patients)]


def share_interval(estimate: Jackknife, k: int, patients: float, level: float = LEVEL) -> Limits | None:
    """Return the interval of the statistic ``k``; see :func:`share_intervals`."""
    value = float(estimate.value[k])
    if not np.isfinite(value) or patients <= 0:
        return None
    variance, carriers = float(estimate.variance[k]), float(estimate.carriers[k])
    spread, student = value * (1 - value), estimate.quantile(level)
    if not (spread > 0 and _ROUNDING < variance < np.inf):  # nothing differs, or one patient alone has the class
        return wilson(value * patients, patients, quantile=student)
    own, normal = spread / variance, float(ndtri(0.5 + level / 2))

    def limits(odds: float) -> Limits:
        uncertain = min(1.0, odds)  # 1 at the end away from the nearest of 0 and 1
        trust = carriers / (carriers + uncertain)  # one half where one patient carries the variance
        n = own**trust * min(own, patients) ** (1 - trust)
        return wilson(value * n, n, quantile=normal + uncertain * (student - normal)) or (0.0, 1.0)

    return limits(value / (1 - value))[0], limits((1 - value) / value)[1]


def difference_intervals(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: Groups,
    patients: Sequence[float],
    seed: int = 0,
    level: float = LEVEL,
) -> list[Limits | None]:
    """Return intervals of statistics in [-1, 1] that are differences of two shares of the same images.

    Student's interval with the jackknife's variance, wider where few patients carry it; of a share of 0 among
    ``patients`` to both sides where none makes a difference. Parameters and None as in :func:`share_intervals`.
    """
    tests = difference_tests(statistic, groups, patients, seed, level)
    return [None if test.low is None or test.high is None else (test.low, test.high) for test in tests]


def difference_tests(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: Groups,
    patients: Sequence[float],
    seed: int = 0,
    level: float = LEVEL,
) -> list[Paired]:
    """Return what :func:`difference_intervals` does, with a two-sided p that is below 1 - ``level`` where 0 is outside.

    Where there is no interval, p is 1; where a statistic is not defined, its value is NaN.
    """
    estimate = jackknife(statistic, groups, seed)
    if estimate is None:
        values = statistic(np.ones((1, len(groups))))[0] if len(groups) else np.full(len(patients), np.nan)
        return [Paired(float(value), None, None, 1.0) for value in values]
    quantile, tests = estimate.quantile(level), []
    for value, variance, carriers, n in zip(
        estimate.value, estimate.variance, estimate.carriers, patients, strict=True
    ):
        if not np.isfinite(value):
            tests.append(Paired(float("nan"), None, None, 1.0))
            continue
        half = (wilson(0, n, quantile=quantile) or (0.0, 1.0))[1]
        # The quantile where 0 is an end of the interval: half = quantile² / (n + quantile²) solved for it.
        reached = float(np.sqrt(n * abs(value) / (1 - abs(value)))) if abs(value) < 1 else float("inf")
        if variance > 0 and np.isfinite(variance):
            error = np.sqrt(variance) * (1 + _DOUBT / carriers)
            half, reached = quantile * error, abs(value) / error
        p = min(1.0, 2 * float(stdtr(estimate.freedom, -reached)))
        tests.append(Paired(float(value), max(-1.0, float(value - half)), min(1.0, float(value + half)), p))
    return tests


def ratio_intervals(
    statistic: Callable[[np.ndarray], np.ndarray], groups: Groups, seed: int = 0, level: float = LEVEL
) -> list[Limits | None]:
    """Return intervals of positive statistics without an upper end, such as ratios of means.

    They are Student's of the logarithm. The degrees of freedom are those of the patients that carry the variance. None
    where a statistic is not positive, or nothing differs. Parameters as in :func:`share_intervals`.
    """
    estimate = jackknife(statistic, groups, seed)
    if estimate is None:
        return [None] * statistic(np.ones((1, len(groups)))).shape[1]
    limits: list[Limits | None] = []
    for value, variance, carriers in zip(estimate.value, estimate.variance, estimate.carriers, strict=True):
        if not (value > 0 and variance > 0 and np.isfinite(variance)):
            limits.append(None)
            continue
        freedom = min(estimate.freedom, max(1.5, carriers - 1))
        with np.errstate(over="ignore"):
            factor = float(np.exp(stdtrit(freedom, 0.5 + level / 2) * np.sqrt(variance) / value))
        limits.append((float(value / factor), float(value * factor)))
    return limits


def mean_intervals(
    columns: np.ndarray, groups: Groups, seed: int = 0, level: float = LEVEL, bounded: bool = False
) -> list[Limits | None]:
    """Return intervals of the means of columns (N, S): Student's over patients, or with ``bounded`` those of shares."""
    values = np.asarray(columns, np.float64).reshape(len(groups), -1)

    def means(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ values / weights.sum(1, keepdims=True))

    if bounded:
        return share_intervals(means, groups, [effective_patients(groups)] * values.shape[1], seed, level)
    estimate = jackknife(means, groups, seed)
    if estimate is None:
        return [None] * values.shape[1]
    doubt = 1 + _DOUBT / np.nan_to_num(estimate.carriers, nan=1.0)
    half = estimate.quantile(level) * np.sqrt(estimate.variance) * doubt
    pairs = zip(estimate.value, half, strict=True)
    return [(float(v - h), float(v + h)) if h > 0 else None for v, h in pairs]  # None: what else there is, is not known


# --- paired differences --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paired:
    """The mean of paired differences with its interval and p; ``low`` and ``high`` are None with too few patients."""

    value: float
    low: float | None
    high: float | None
    p: float


def sign_flips(differences: np.ndarray, groups: Groups, seed: int = 0, level: float = LEVEL) -> Paired:
    """Return the mean of paired differences (N,) in [-1, 1], tested by flipping the signs of whole patients.

    ``p`` is two-sided, for differences centred on 0. The interval holds the means that the same test does not reject,
    so that it excludes 0 exactly where p < 1 - ``level``. With fewer than 6 patients no mean could be rejected at 95 %:
    there is no interval. Where no patient differs from another the interval is that of a share of none.
    Without an image the value is NaN and p is 1.
    """
    differences = np.asarray(differences, np.float64)
    if not len(differences):
        return Paired(float("nan"), None, None, 1.0)
    patient = numbered(groups)
    sums, images = np.bincount(patient, weights=differences), np.bincount(patient).astype(np.float64)
    value, n = float(differences.mean()), len(sums)
    test = _FlipTest(sums, images, seed)
    p = test.p(0.0)
    if 2 / 2**n >= 1 - level:
        return Paired(value, None, None, p)
    limits = _accepted(test, value, level)
    half = (wilson(0, effective_patients(groups), level) or (0.0, 1.0))[1]
    if np.allclose(sums, value * images):  # no patient differs from another
        limits = (value - half, value + half)
    return Paired(value, *_agreeing(limits, value, p < 1 - level), p)


class _FlipTest:
    """The test of a mean of differences, given their sums and their numbers (G,) by patient."""

    def __init__(self, sums: np.ndarray, images: np.ndarray, seed: int) -> None:
        self.total, self.n = sums.sum(), images.sum()
        self.every = len(sums) <= _ALL_FLIPS
        flipped = [signs @ np.column_stack([sums[part], images[part]]) for part, signs in _signs(len(sums), seed)]
        self.flipped_sums, self.flipped_images = np.sum(flipped, axis=0).T

    def p(self, mean: float) -> float:
        """Return the two-sided p of the differences being centred on ``mean``."""
        # A little slack: the same sum added up in another order must count as equal.
        least = abs(self.total - mean * self.n) - 1e-9
        as_far = np.count_nonzero(np.abs(self.flipped_sums - mean * self.flipped_images) >= least)
        n = len(self.flipped_sums)
        return float(as_far / n if self.every else (1 + as_far) / (1 + n))


def _signs(n: int, seed: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield signs (flips, patients) for slices of the patients."""
    if n <= _ALL_FLIPS:
        yield slice(n), (np.arange(2**n)[:, None] >> np.arange(n) & 1) * 2.0 - 1
        return
    rng, step = np.random.default_rng(seed), _CHUNK // N_FLIPS
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        yield part, rng.integers(0, 2, (N_FLIPS, part.stop - start), dtype=np.int8) * 2.0 - 1


def _accepted(test: _FlipTest, value: float, level: float) -> Limits:
    """Return the smallest and the largest mean that is not rejected, found by halving."""
    ends = []
    for end in (-1.0, 1.0):
        inside, outside = value, end
        if test.p(outside) >= 1 - level:
            ends.append(outside)
            continue
        for _ in range(40):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if test.p(middle) >= 1 - level else (inside, middle)
        ends.append(inside)
    return ends[0], ends[1]


def _agreeing(limits: Limits, value: float, rejected: bool) -> Limits:
    """Return limits in [-1, 1] that exclude 0 exactly where the test rejects it: halving may stop at a step of p."""
    low, high = max(-1.0, limits[0]), min(1.0, limits[1])
    if not rejected:
        return min(low, 0.0), max(high, 0.0)
    least = abs(value) * 1e-6
    return (max(low, least), high) if value > 0 else (low, min(high, -least))
