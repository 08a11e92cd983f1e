"""How clusters differ: how far apart they lie, and which regions one uses more than the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr.evaluation.intervals import Groups, mean_intervals, ratio_intervals
from cxr.evaluation.metrics import estimate
from cxr.formatting import Estimate

PERMUTATIONS = 1999


def separateness(embedding: np.ndarray, labels: np.ndarray, groups: Groups) -> list[Estimate]:
    """Return for each cluster how far it lies from the others, in standard deviations within clusters.

    Along Fisher's direction, that which separates the two best: the root of what Fisher's linear discriminant
    maximises, as Anders et al. 2022 (*Information Fusion* 77) rank clusters.
    """
    limits = ratio_intervals(lambda weights: _distances(embedding, labels, weights), groups)
    values = _distances(embedding, labels, np.ones((1, len(labels))))[0]
    return [estimate(float(value), own) for value, own in zip(values, limits, strict=True)]


def _distances(embedding: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (B, k) distances for weights (B, N) of the points."""
    columns = []
    for cluster in range(int(labels.max()) + 1):
        inside = labels == cluster
        scatter, means = 0.0, []
        for part in (inside, ~inside):
            w, x = weights[:, part], embedding[part]
            total = np.maximum(w.sum(1), 1e-12)
            mean = w @ x / total[:, None]
            centred = x[None] - mean[:, None]
            scatter = scatter + np.einsum("bn,bni,bnj->bij", w, centred, centred)
            means.append(mean)
        covariance = scatter / np.maximum(weights.sum(1) - 2, 1)[:, None, None]
        ridge = 1e-6 * np.trace(covariance, axis1=1, axis2=2)[:, None, None] * np.eye(embedding.shape[1])
        apart = means[0] - means[1]
        solved = np.linalg.solve(covariance + ridge + 1e-15 * np.eye(embedding.shape[1]), apart[..., None])[..., 0]
        columns.append(np.sqrt(np.maximum((apart * solved).sum(1), 0)))
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class RegionGain:
    """What a cluster makes of a region.

    Attributes
    ----------
    share
        Of its maps' positive relevance, the mean.
    gain
        That share over the region's share of the area; None where the region has none.
    relative
        The gain over that of the other clusters.
    t
        How far the share is above that of the others, in standard errors, over one X-ray of each patient.
    """

    share: Estimate
    gain: Estimate
    relative: Estimate
    t: float


def region_gains(
    shares: np.ndarray, areas: np.ndarray, inside: np.ndarray, patients: Sequence[str], independent: np.ndarray
) -> list[RegionGain]:
    """Return what a cluster makes of each of R regions.

    Parameters
    ----------
    shares, areas
        (M, R) of relevance and of the picture.
    inside
        (M,) whether a map is in the cluster.
    patients
        (M,) of the maps.
    independent
        (M,) the one X-ray of each patient that tests count.
    """
    own = np.asarray(patients, dtype=object)[inside]
    share_limits = mean_intervals(shares[inside], own, bounded=True)

    def gain(weights: np.ndarray) -> np.ndarray:
        return _ratio(weights @ shares[inside], weights @ areas[inside])

    def relative(weights: np.ndarray) -> np.ndarray:
        w, o = weights * inside, weights * ~inside
        return _ratio(_ratio(w @ shares, w @ areas), _ratio(o @ shares, o @ areas))

    gain_limits, relative_limits = ratio_intervals(gain, own), ratio_intervals(relative, patients)
    ones = np.ones((1, len(inside)))
    gains, relatives = gain(ones[:, : inside.sum()])[0], relative(ones)[0]
    ts = t_values(shares[independent], inside[independent][None])[0]
    return [
        RegionGain(
            estimate(float(shares[inside, r].mean()), share_limits[r]),
            estimate(float(gains[r]), gain_limits[r]),
            estimate(float(relatives[r]), relative_limits[r]),
            float(ts[r]),
        )
        for r in range(shares.shape[1])
    ]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def t_values(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return (B, R) differences of the means of values (M, R) inside and outside (B, M), in standard errors.

    The deviation is that of all values together, which is the same for every permutation. -inf where one side is empty.
    """
    n, all_n = inside.sum(1, keepdims=True).astype(float), inside.shape[1]
    deviation = values.std(0)
    total = values.sum(0)
    own = inside.astype(np.float64) @ values
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = own / n - (total - own) / (all_n - n)
        t = apart / (deviation * np.sqrt(1 / n + 1 / (all_n - n)))
    return np.where(np.isfinite(t), t, -np.inf)


def largest_by_chance(
    values: np.ndarray, labels: np.ndarray, seed: int, permutations: int = PERMUTATIONS
) -> np.ndarray:
    """Return (permutations,) the largest t of all clusters and columns when labels (M,) are permuted (Westfall, Young).

    Parameters
    ----------
    values
        (M, R) of independent X-rays.
    """
    if not len(labels):
        return np.full(permutations, -np.inf)
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(labels, (permutations, 1)), axis=1)
    return np.max([t_values(values, shuffled == c).max(1) for c in range(int(labels.max()) + 1)], axis=0)


def corrected_p(t: float, largest: np.ndarray) -> float:
    """Return the p value of a t against the largest ones by chance: corrected for all of them together."""
    return float((1 + (largest >= t - 1e-12).sum()) / (1 + len(largest)))
