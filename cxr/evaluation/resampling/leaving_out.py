"""Statistics without the images of each part, and by how much that changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

_CHUNK = 4_000_000  # weights at once, to bound the memory


@runtime_checkable
class LeavesOut(Protocol):
    """Statistics that know a faster way to their values without a part of the images than weights of 0."""

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return (B, S) for weights (B, N)."""

    def without(self, part: np.ndarray, n_parts: int) -> np.ndarray:
        """Return (P, S): the statistics without the images of each part; ``part`` (N,) is that of each image."""


def values_without(statistic: Callable[[np.ndarray], np.ndarray], part: np.ndarray, n_parts: int) -> np.ndarray:
    """Return (P, S): statistics without the images of each part, of which ``part`` (N,) is the number."""
    if isinstance(statistic, LeavesOut):
        return statistic.without(part, n_parts)
    return np.concatenate([statistic(weights) for weights in _leaving_out(part, n_parts)])


def _leaving_out(patient: np.ndarray, parts: int) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // len(patient))
    for start in range(0, parts, step):
        yield (patient[None] != np.arange(start, min(start + step, parts))[:, None]).astype(np.float64)


def changes(value: np.ndarray, without: np.ndarray, stabilised: Sequence[int] = ()) -> np.ndarray:
    """Return (P, S) by how much statistics (S,) are others without each part, ``without`` (P, S).

    Those of the columns ``stabilised`` lie in [0, 1] and are measured on the scale on which the variance of a share
    does not depend on the share, the arcsine of its root, in units of the share at ``value``: where a figure near 1
    owes what it lacks to few parts, these count for more than on its own scale. A statistic that is not linear in the
    images is better jackknifed on such a scale (Miller 1974, *Biometrika* 61; Cressie 1981, *J. R. Stat. Soc. B* 43).
    """
    differences = np.asarray(without - value)
    columns = list(stabilised)
    share = value[columns]
    angles = [np.arcsin(np.sqrt(np.clip(each, 0, 1))) for each in (without[:, columns], share)]
    differences[:, columns] = 2 * np.sqrt(np.clip(share * (1 - share), 0, None)) * (angles[0] - angles[1])
    return differences
