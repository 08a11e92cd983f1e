"""A linear discriminant whose labels can be permuted a thousand times for the price of some matrix products.

Descriptors are standardised and whitened by their covariance in the training folds, drawn towards a multiple of the
identity (Ledoit and Wolf 2004, *Journal of Multivariate Analysis* 88). None of this knows the labels, so it is done
once. The covariance within classes is that of all X-rays less that of the class means, which has few dimensions. An
X-ray belongs to the class whose mean is nearest by it: linear discriminant analysis with equal prior probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

N_FOLDS = 5
LEAST_SHRINKAGE = 0.5
"""Chosen once, on real and synthetic X-rays: between 0.3 and 0.6 it makes little difference."""
_BLOCK = 250  # permutations at once
_ENOUGH_ABOVE = 25  # permuted scores as high as the observed one after which no more are drawn
_MOST_BETWEEN = 0.95  # of the variance in any direction that the class means may make up
_STEADY = 1e-6  # a descriptor that varies less than this is left out


@dataclass(frozen=True)
class Folds:
    """Whitened descriptors of X-rays for each fold.

    Attributes
    ----------
    fold
        (N,) the fold in which each X-ray is tested.
    whitened
        For each fold (N, P) float32, whitened by the X-rays of the other folds.
    shrinkage
        For each fold, how far the covariance was drawn towards a multiple of the identity, 0 to 1.
    """

    fold: np.ndarray
    whitened: tuple[np.ndarray, ...]
    shrinkage: tuple[float, ...]

    @classmethod
    def of(cls, descriptors: np.ndarray, fold: np.ndarray, weights: np.ndarray) -> Folds:
        """Whiten descriptors (N, P) for each fold; ``weights`` (P,) multiply them once they are standardised."""
        n = int(fold.max()) + 1
        whitened, shrinkage = zip(*(_whitened(descriptors, fold != k, weights) for k in range(n)), strict=True)
        return cls(fold, whitened, shrinkage)

    def scores(self, codes: np.ndarray, n_classes: int, used: np.ndarray) -> np.ndarray:
        """Return scores (B, N, K) of the classes, each X-ray's from the X-rays of the other folds.

        Parameters
        ----------
        codes
            (B, N) classes from 0; B labellings of the same X-rays.
        used
            (N,) the X-rays that are learned from and tested; the others' scores are 0.
        """
        scores = np.zeros((*codes.shape, n_classes), np.float32)
        for k, points in enumerate(self.whitened):
            train, test = (self.fold != k) & used, (self.fold == k) & used
            learned = points[train]
            centre = learned.mean(0)
            labels = codes[:, train]
            counts = np.stack([(labels == c).sum(1) for c in range(n_classes)], axis=1)
            sums = np.stack([(labels == c).astype(np.float32) @ learned for c in range(n_classes)], axis=1)
            means = sums / np.maximum(counts, 1)[..., None] - centre * (counts > 0)[..., None]
            projected = (points[test] - centre) @ means.transpose(0, 2, 1)
            scores[:, test] = _discriminant(projected, means, counts, self.shrinkage[k])
        return scores


def _discriminant(projected: np.ndarray, means: np.ndarray, counts: np.ndarray, shrinkage: float) -> np.ndarray:
    """Return scores (B, M, K): of the squared distance to each mean, within classes, what the means do not share.

    The shrunk covariance of all X-rays is the identity here. Within classes it is that less the part of the means, so
    that its inverse takes one of K x K (Woodbury).

    Parameters
    ----------
    projected
        (B, M, K) products of the tested X-rays with the means.
    means, counts
        (B, K, P) and (B, K) of the classes.
    shrinkage
        Of the covariance.
    """
    gram = (means @ means.transpose(0, 2, 1)).astype(np.float64)
    root = np.sqrt((1 - shrinkage) * counts / counts.sum(1, keepdims=True))
    between, axes = np.linalg.eigh(root[:, :, None] * gram * root[:, None, :])
    # One X-ray of each patient may have more of its variance between classes than all X-rays have.
    stretch = 1 / (1 - np.clip(between, 0.0, _MOST_BETWEEN))
    inner = root[:, :, None] * ((axes * stretch[:, None, :]) @ axes.transpose(0, 2, 1)) * root[:, None, :]
    within = np.eye(counts.shape[1]) + inner @ gram
    lengths = np.einsum("bkl,blk->bk", gram, within)
    return np.asarray(projected @ within.astype(np.float32) - lengths[:, None].astype(np.float32) / 2)


def _whitened(descriptors: np.ndarray, train: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    centre, spread = descriptors[train].mean(0), descriptors[train].std(0)
    varies = spread > _STEADY
    if not varies.any():
        return np.zeros((len(descriptors), 1), np.float32), 1.0
    points = (descriptors[:, varies] - centre[varies]) / spread[varies] * weights[varies]
    points = points.astype(np.float32)
    n, n_descriptors = int(train.sum()), points.shape[1]
    if n < n_descriptors / 2:
        return _whitened_in_span(points, train)
    covariance = points[train].T @ points[train] / n
    scale = float(np.trace(covariance)) / n_descriptors
    shrinkage = _shrinkage(points[train], float((covariance.astype(np.float64) ** 2).sum()), scale)
    covariance *= 1 - shrinkage
    covariance[np.diag_indices_from(covariance)] += shrinkage * scale
    factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    return np.ascontiguousarray(solve_triangular(factor, points.T, lower=True, check_finite=False).T), shrinkage


def _whitened_in_span(points: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float]:
    """Do the same where X-rays are few: in the space that they span, outside of which no class mean lies."""
    own = points[train]
    n, n_descriptors = own.shape
    gram = (own @ own.T).astype(np.float64) / n
    scale = float(np.trace(gram)) / n_descriptors
    shrinkage = _shrinkage(own, float((gram**2).sum()), scale)
    variances, axes = np.linalg.eigh(gram)
    there = variances > _STEADY * variances[-1]
    variances, axes = variances[there], axes[:, there]
    widths = np.sqrt(n * variances * ((1 - shrinkage) * variances + shrinkage * scale))
    return points @ (own.T @ (axes / widths).astype(np.float32)), shrinkage


def _shrinkage(points: np.ndarray, squares: float, scale: float) -> float:
    """Return how far the covariance of centred points (N, P) is drawn towards ``scale`` times the identity.

    ``squares`` is the sum of its squared entries.
    """
    n, n_descriptors = points.shape
    distance = squares - n_descriptors * scale**2
    lengths = (points.astype(np.float64) ** 2).sum(1)
    noise = (float((lengths**2).sum()) / n - squares) / n
    return max(LEAST_SHRINKAGE, min(noise / distance, 1.0)) if distance > 0 else 1.0


def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the mean (B,) over classes of the share of X-rays that are recognised, for (B, N) classes from 0."""
    recalls = []
    for c in range(n_classes):
        own = truth == c
        recalls.append((own & (predicted == c)).sum(1) / np.maximum(own.sum(1), 1))
    return np.asarray(np.mean(recalls, axis=0))


def dealt(codes: np.ndarray, groups: np.ndarray, drawn: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold (N,) of each X-ray: patients are dealt out, those of each class by turns.

    Parameters
    ----------
    codes, groups
        (N,) class and patient of each X-ray.
    drawn
        (N,) one X-ray of each patient, whose class is the patient's.
    """
    rows = np.flatnonzero(drawn)
    order = np.random.default_rng(seed).permutation(rows)
    order = order[np.argsort(codes[order], kind="stable")]
    fold = np.zeros(int(groups.max()) + 1, np.int64)
    fold[groups[order]] = np.arange(len(order)) % N_FOLDS
    return np.asarray(fold[groups])


@dataclass(frozen=True)
class Permuted:
    """A permutation test: the mean score under permuted labels, p, and how many permutations were drawn."""

    chance: float
    p: float
    n: int


def permutation_test(
    folds: Folds,
    codes: np.ndarray,
    drawn: np.ndarray,
    most: int,
    seed: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Permuted | None:
    """Return how often permuted labels give a balanced accuracy as high as the labels do; None once ``stopped``.

    The labels are those of one X-ray of each patient, and are permuted within folds: folds that were dealt by class
    stay so, and under the null every arrangement is as likely as the one observed.

    Parameters
    ----------
    codes
        (N,) classes from 0.
    drawn
        (N,) one X-ray of each patient.
    most
        Permutations at most. No more are drawn once it is clear that p is large (Besag and Clifford 1991).
    """
    n_classes = int(codes.max()) + 1
    drawn_rows = np.flatnonzero(drawn)

    def measured(labellings: np.ndarray) -> np.ndarray:
        predicted = folds.scores(labellings, n_classes, drawn)[:, drawn_rows].argmax(2)
        return balanced_accuracy(labellings[:, drawn_rows], predicted, n_classes)

    observed = measured(codes[None])[0] - 1e-6
    above, sums, n = 0, 0.0, 0
    for labellings in _permutations(codes, folds.fold, drawn_rows, most, seed):
        if stopped():
            return None
        scores = measured(labellings)
        above += int((scores >= observed).sum())
        sums, n = sums + float(scores.sum()), n + len(scores)
        if above >= _ENOUGH_ABOVE:
            break
    return Permuted(sums / n, (1 + above) / (1 + n), n)


def _permutations(
    codes: np.ndarray, fold: np.ndarray, drawn_rows: np.ndarray, most: int, seed: int
) -> Iterator[np.ndarray]:
    rng = np.random.default_rng([seed, 1])
    for start in range(0, most, _BLOCK):
        labellings = np.repeat(codes[None], min(_BLOCK, most - start), axis=0)
        for k in range(int(fold.max()) + 1):
            rows = drawn_rows[fold[drawn_rows] == k]
            labellings[:, rows] = rng.permuted(labellings[:, rows], axis=1)
        yield labellings
