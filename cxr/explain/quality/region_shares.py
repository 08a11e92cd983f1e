"""How much of a map's relevance regions of the picture hold: shares, and shares over areas, over patients.

A share is put over the region's share of the area, the **gain**: 1 is what a map without any preference has. Shares and
areas are means over X-rays before they are divided, so that X-rays with little of a region do not dominate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cxr.evaluation.intervals import Groups, effective_patients, ratio_intervals, share_intervals
from cxr.evaluation.metrics import estimate
from cxr.explain.quality.localisation import relevance_mass
from cxr.explain.render import relevance_2d
from cxr.formatting import Estimate

MEASURES = ("positive", "absolute")
"""Of which relevance shares are measured."""


def region_shares(relevance: np.ndarray, masks: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return by name the shares of positive and of absolute relevance inside each mask, 0 for an empty one.

    Parameters
    ----------
    relevance
        (H, W) or (C, H, W), signed and finite.
    masks
        bool (H, W). Shares of disjoint masks that cover the picture add up to 1.

    Returns
    -------
    NaN where the map holds none of that relevance.
    """
    flat = relevance_2d(relevance)
    return {name: (_share(flat, mask), _share(np.abs(flat), mask)) for name, mask in masks.items()}


def _share(flat: np.ndarray, mask: np.ndarray) -> float:
    if mask.any():
        return relevance_mass(flat, mask)
    return 0.0 if (flat > 0).any() else float("nan")


def mean_shares(shares: np.ndarray, groups: Groups, seed: int = 0) -> list[Estimate]:
    """Return the means of columns (N, S) of shares, with intervals over patients (N,)."""
    values = np.asarray(shares, np.float64)

    def means(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ values / weights.sum(1, keepdims=True))

    limits = share_intervals(means, groups, [effective_patients(groups)] * values.shape[1], seed)
    return _estimates(means(np.ones((1, len(values)))), limits)


def mean_gains(areas: np.ndarray, shares: np.ndarray, groups: Groups, seed: int = 0) -> list[Estimate]:
    """Return mean share over mean area for columns (N, S) of shares, with intervals over patients (N,).

    ``areas`` (N,) are shares of the pixels, above 0.
    """
    values, area = np.asarray(shares, np.float64), np.asarray(areas, np.float64)[:, None]

    def gains(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ values / (weights @ area))

    return _estimates(gains(np.ones((1, len(values)))), ratio_intervals(gains, groups, seed))


def _estimates(values: np.ndarray, limits: list[tuple[float, float] | None]) -> list[Estimate]:
    return [estimate(value, own) for value, own in zip(values[0], limits, strict=True)]


def share_ratio(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], groups: Groups, seed: int = 0
) -> Estimate:
    """Return the gain of one region over that of another, each as (shares, areas) (N,), 0 where there is none."""

    def ratio(weights: np.ndarray) -> np.ndarray:
        own, other = ((weights @ shares) / (weights @ areas) for shares, areas in (first, second))
        return np.asarray(own / other)[:, None]

    with np.errstate(divide="ignore", invalid="ignore"):
        return _estimates(ratio(np.ones((1, len(groups)))), ratio_intervals(ratio, groups, seed))[0]
