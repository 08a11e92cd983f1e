"""The largest of many noisy means is too large; drawn towards the common mean by its noise, it is not.

Empirical Bayes as for meta-analyses, on logarithms, since sizes vary by factors: true means vary around a common one
(variance after DerSimonian and Laird 1986), measured ones around the true.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from cxr.evaluation.intervals import LEVEL, numbered
from cxr.formatting import Estimate

FEWEST_PATIENTS = 5
"""Of fewer no variance is worth the name; such means are left out."""
_PRIOR_FREEDOM = 4  # how many patients the variance that all words have in common counts for, beside a word's own
_SMALLEST = 1e-4  # of probability: added, so that a word that moves nothing has a logarithm
_TINY = 1e-12


def shrunken_means(
    columns: Sequence[np.ndarray], patients: Sequence[Sequence[str]], level: float = LEVEL
) -> list[Estimate | None]:
    """Return the mean of each column drawn towards all, as ``{value, low, high}``; None where patients are too few.

    Parameters
    ----------
    columns
        Of each group (a word) the values (n,) of its images, 0 or above.
    patients
        Of each group the patients (n,).
    """
    measured = [_by_patient(values, of) for values, of in zip(columns, patients, strict=True)]
    used = [k for k, numbers in enumerate(measured) if len(numbers) >= FEWEST_PATIENTS]
    shrunken: list[Estimate | None] = [None] * len(columns)
    if not used:
        return shrunken
    n = np.array([len(measured[k]) for k in used])
    means = np.array([measured[k].mean() for k in used]) + _SMALLEST
    freedom = n - 1
    relative = np.array([measured[k].var(ddof=1) for k in used]) / means**2
    common = float((freedom * relative).sum() / freedom.sum())
    errors = (_PRIOR_FREEDOM * common + freedom * relative) / (_PRIOR_FREEDOM + freedom) / n + _TINY
    logs = np.log(means) + errors / 2  # the logarithm of a mean is too small by this, on average
    between = _between(logs, errors)
    weights = 1 / (between + errors)
    centre = float((weights * logs).sum() / weights.sum())
    shrinkage = between / (between + errors)
    values = centre + shrinkage * (logs - centre)
    widths = np.sqrt(shrinkage * errors + (1 - shrinkage) ** 2 / weights.sum())
    widths *= stdtrit(_PRIOR_FREEDOM + freedom, 0.5 + level / 2)
    for place, k in enumerate(used):
        ends = values[place] + widths[place] * np.array([0.0, -1.0, 1.0])
        value, low, high = np.maximum(np.exp(ends) - _SMALLEST, 0).tolist()
        shrunken[k] = {"value": value, "low": low, "high": high}
    return shrunken


def _by_patient(values: np.ndarray, patients: Sequence[str]) -> np.ndarray:
    """Return the mean of each patient."""
    place = numbered(patients)
    return np.bincount(place, weights=np.asarray(values, np.float64)) / np.bincount(place)


def _between(means: np.ndarray, errors: np.ndarray) -> float:
    """Return the variance of the true means, 0 where the measured ones vary no more than by chance."""
    weights = 1 / errors
    centre = (weights * means).sum() / weights.sum()
    spread = (weights * (means - centre) ** 2).sum()
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    return float(max(0.0, (spread - (len(means) - 1)) / scale)) if scale > 0 else 0.0
