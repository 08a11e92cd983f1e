"""Losses of a stage, as sums that are divided by what all images of a step weigh.

A step's images may be computed in parts, one after another or on several devices. Each part gives its sum; the divisor
comes from the targets of the whole step, so the parts' gradients add up to those of the step computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from cxr.training.recipe import Stage

MOST_POSITIVE_WEIGHT = 30.0  # of a finding so rare that its balanced weight would drown the others


@dataclass(frozen=True)
class Loss:
    """A loss for logits (N, K).

    Attributes
    ----------
    summed
        Takes logits and targets, returns the sum over the images.
    weight_of
        Takes targets as an array, returns what their sum is divided by to make it a mean.
    """

    summed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    weight_of: Callable[[np.ndarray], float]

    def mean(self, logits: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
        """Return the mean over all images."""
        return self.summed(logits, torch.from_numpy(targets).to(logits.device)) / self.weight_of(targets)


def make_loss(stage: Stage, classes: Sequence[str], targets: np.ndarray, device: torch.device) -> Loss:
    """Return the loss of a stage.

    Single-label: targets (N,) class indices; cross entropy, or focal loss (Lin et al. 2017) ``(1 - p)^gamma`` times it.
    Multi-label: targets (N, K) of 0 and 1, NaN where unknown, which counts nowhere; binary cross entropy or its focal
    form, a mean over the entries that are known. ``class_weights`` weigh classes (or positives against negatives):
    ``balanced`` by how rare they are among ``targets``.
    """
    gamma = stage.focal_gamma if stage.loss == "focal" else 0.0
    weights = _weights(stage, classes, targets)
    if stage.task == "multi-label":
        return _multi_label(weights, gamma, device)
    return _single_label(np.ones(len(classes), np.float32) if weights is None else weights, gamma, stage, device)


def _single_label(weights: np.ndarray, gamma: float, stage: Stage, device: torch.device) -> Loss:
    weight = torch.from_numpy(weights).to(device)

    def summed(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not gamma:
            smoothing = stage.label_smoothing
            return F.cross_entropy(logits, targets, weight=weight, label_smoothing=smoothing, reduction="sum")
        log_p = F.log_softmax(logits, dim=1).gather(1, targets[:, None])[:, 0]
        return -(weight[targets] * (1 - log_p.exp()) ** gamma * log_p).sum()

    return Loss(summed, lambda targets: float(weights[targets].sum(dtype=np.float64)))


def _multi_label(weights: np.ndarray | None, gamma: float, device: torch.device) -> Loss:
    weight = None if weights is None else torch.from_numpy(weights).to(device)

    def summed(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        known = ~targets.isnan()
        truth = torch.where(known, targets, 0.0)
        losses = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight, reduction="none")
        if gamma:
            p = torch.sigmoid(logits)
            losses = losses * (truth * (1 - p) + (1 - truth) * p) ** gamma
        return (losses * known).sum()

    return Loss(summed, lambda targets: float(max(1, np.isfinite(targets).sum())))


def _weights(stage: Stage, classes: Sequence[str], targets: np.ndarray) -> np.ndarray | None:
    """Return (K,) float32 weights, None for none."""
    chosen = stage.class_weights
    if isinstance(chosen, Mapping):
        return np.array([chosen.get(name, 1.0) for name in classes], np.float32)
    if chosen == "none":
        return None
    return positive_weights(targets) if stage.task == "multi-label" else class_weights(targets, len(classes))


def class_weights(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (K,) float32 weights n / (K n_c), with mean 1 over the images."""
    counts = np.bincount(targets, minlength=n_classes)
    return (len(targets) / (n_classes * np.maximum(counts, 1))).astype(np.float32)


def positive_weights(targets: np.ndarray) -> np.ndarray:
    """Return (K,) float32 weights of positives, negatives / positives among the known, from 1 / 30 to 30."""
    positives, negatives = (targets == 1).sum(0), (targets == 0).sum(0)
    weights = negatives / np.maximum(positives, 1)
    return np.clip(weights, 1 / MOST_POSITIVE_WEIGHT, MOST_POSITIVE_WEIGHT).astype(np.float32)
