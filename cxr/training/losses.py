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

_IGNORED = -100  # torch's own: an image with this target counts nowhere


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
    ``balanced`` by how rare they are among ``targets``, where a class without a (known positive) image gets 0.
    Gradients are finite however certain a network is.
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
            # Smoothing would count an image of a class that weighs nothing.
            targets = torch.where(weight[targets] > 0, targets, _IGNORED)
            return F.cross_entropy(
                logits, targets, weight=weight.to(logits.dtype), label_smoothing=smoothing, reduction="sum"
            )
        log_p = F.log_softmax(logits, dim=1).gather(1, targets[:, None])[:, 0]
        return -(weight[targets] * torch.exp(gamma * _log_of_the_others(logits, targets)) * log_p).sum()

    # All weights are 0 where the images are of classes without a training image: their sum is 0 then, and so is a mean.
    return Loss(_in_float32(summed), lambda targets: float(weights[targets].sum(dtype=np.float64)) or 1.0)


def _multi_label(weights: np.ndarray | None, gamma: float, device: torch.device) -> Loss:
    weight = None if weights is None else torch.from_numpy(weights).to(device)

    def summed(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        is_known = ~targets.isnan()
        truth = torch.where(is_known, targets, 0.0)
        losses = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight, reduction="none")
        if gamma:
            losses = losses * torch.exp(gamma * F.logsigmoid(torch.where(truth > 0, -logits, logits)))
        return (losses * is_known).sum()

    return Loss(_in_float32(summed), lambda targets: float(max(1, np.isfinite(targets).sum())))


def _log_of_the_others(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return log(1 - p) of each image's class, (N,), from the logits of the other classes.

    ``(1 - p) ** gamma`` has an infinite slope at p = 1 for gamma below 1, where a certain network's p rounds to 1; its
    logarithm has a slope of at most 1 everywhere.
    """
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return torch.logsumexp(others, dim=1) - torch.logsumexp(logits, dim=1)


def _in_float32(
    summed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a loss that takes half precision logits as float32: sums over a batch overflow float16."""

    def wide(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            return summed(logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits, targets)

    return wide


def _weights(stage: Stage, classes: Sequence[str], targets: np.ndarray) -> np.ndarray | None:
    """Return (K,) float32 weights, None for none."""
    chosen = stage.class_weights
    if isinstance(chosen, Mapping):
        return np.array([chosen.get(name, 1.0) for name in classes], np.float32)
    if chosen == "none":
        return None
    return positive_weights(targets) if stage.task == "multi-label" else class_weights(targets, len(classes))


def class_weights(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (K,) float32 weights n / (K' n_c) of the K' classes that have images, with mean 1 over the images.

    A class without images has weight 0: its images, should there be some to validate on, count nowhere.
    """
    counts = np.bincount(targets, minlength=n_classes)
    n_present = np.count_nonzero(counts)
    return np.where(counts > 0, len(targets) / (n_present * np.maximum(counts, 1)), 0).astype(np.float32)


def positive_weights(targets: np.ndarray) -> np.ndarray:
    """Return (K,) float32 weights of positives, negatives / positives among the known, from 1 / 30 to 30.

    A finding without a known positive has weight 0: nothing is known of how its positives look.
    """
    positives, negatives = (targets == 1).sum(0), (targets == 0).sum(0)
    weights = np.clip(negatives / np.maximum(positives, 1), 1 / MOST_POSITIVE_WEIGHT, MOST_POSITIVE_WEIGHT)
    return np.where(positives > 0, weights, 0).astype(np.float32)
