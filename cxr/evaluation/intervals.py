"""Intervals: Wilson's for proportions, the bootstrap over patients for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.stats import norm

LEVEL = 0.95
_CHUNK = 4_000_000  # weights drawn at once, to bound the memory


def wilson(k: int, n: int, level: float = LEVEL) -> tuple[float, float] | None:
    """Return Wilson's score interval of the proportion ``k`` of ``n`` (no continuity correction), None for n = 0.

    Wilson 1927. Unlike the normal approximation it says something at 0 and 100 %: 0 errors in 20 are 83 % or more.
    """
    if n == 0:
        return None
    z = norm.ppf(0.5 + level / 2)
    share = k / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else float(centre - half)
    high = 1.0 if k == n else float(centre + half)
    return low, high


def patient_weights(groups: Sequence[object] | np.ndarray, n_bootstrap: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield chunks (b, N) of how often each of N images is drawn when whole patients are drawn with replacement.

    Parameters
    ----------
    groups
        (N,) the patient of each image.
    n_bootstrap
        Number of draws, over all chunks.
    """
    _, patient = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    n_patients = int(patient.max()) + 1
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(n_patients, len(patient)))
    for start in range(0, n_bootstrap, step):
        size = min(step, n_bootstrap - start)
        drawn = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=size)
        yield drawn[:, patient].astype(np.float64)


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: Sequence[object] | np.ndarray,
    n_bootstrap: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> list[tuple[float, float] | None]:
    """Return percentile intervals of several statistics from the bootstrap over patients.

    Images of a patient resemble each other, so patients are drawn, not images.

    Parameters
    ----------
    statistic
        Takes weights (B, N), returns (B, S): S statistics for each draw, NaN where one is not defined.
    groups
        (N,) the patient of each image.

    Returns
    -------
    One (low, high) for each statistic; None with fewer than two patients, or where fewer than half of the draws
    define it.
    """
    if len(set(map(str, groups))) < 2 or n_bootstrap < 1:
        n_statistics = statistic(np.ones((1, len(groups)))).shape[1]
        return [None] * n_statistics
    values = np.concatenate([statistic(weights) for weights in patient_weights(groups, n_bootstrap, seed)])
    return [_percentiles(column, level) for column in values.T]


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float] | None:
    defined = values[np.isfinite(values)]
    if len(defined) * 2 < len(values):
        return None
    low, high = np.quantile(defined, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
