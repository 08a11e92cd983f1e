"""What turns a loss into new weights: losses, the parameters that move, optimisers, the learning rate by step."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cxr.models.backbone import XrayClassifier, head_of
from cxr.training.recipe import Optimiser, Schedule, Stage

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

MOST_POSITIVE_WEIGHT = 30.0  # of a finding so rare that its balanced weight would drown the others


def learning_rate(schedule: Schedule, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of a step (counted from 0 in its stage).

    A function of the step alone, so a resumed run needs no state for it.
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return base * (step + 1) / (math.floor(warmup) + 1)
    if schedule.name == "cosine":
        done = (step - warmup) / max(1.0, epochs * steps_per_epoch - warmup)
        return base * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    if schedule.name == "step":
        return base * schedule.gamma ** (step // (schedule.step_epochs * steps_per_epoch))
    return base


def make_optimiser(settings: Optimiser, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser; biases and the parameters of norms are not decayed."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name]
    return kind(groups, lr=settings.lr)


def choose_parameters(model: XrayClassifier, what: str) -> list[nn.Parameter]:
    """Let ``all`` parameters or those of the ``head`` move, hold the others, and return the moving ones."""
    _, head = head_of(model.network)
    for parameter in model.network.parameters():
        parameter.requires_grad_(what == "all")
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    return [parameter for parameter in model.network.parameters() if parameter.requires_grad]


def set_training_mode(model: XrayClassifier, what: str) -> None:
    """Set training mode; where only the head moves, the statistics of the norms below it hold still too."""
    model.train(what == "all")
    head_of(model.network)[1].train()


def make_loss(stage: Stage, targets: np.ndarray, n_classes: int, device: torch.device) -> Loss:
    """Return the loss of a stage for logits (N, K).

    Single-label: cross entropy, targets (N,) class indices. Multi-label: binary cross entropy, targets (N, K) of 0
    and 1. ``balanced`` weighs classes (or positives against negatives) by how rare they are among ``targets``.
    """
    balanced = stage.class_weights == "balanced"
    if stage.task == "multi-label":
        weight = torch.from_numpy(positive_weights(targets)).to(device) if balanced else None
        return lambda logits, y: F.binary_cross_entropy_with_logits(logits, y, pos_weight=weight)
    weight = torch.from_numpy(class_weights(targets, n_classes)).to(device) if balanced else None
    return lambda logits, y: F.cross_entropy(logits, y, weight=weight, label_smoothing=stage.label_smoothing)


def class_weights(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (K,) float32 weights n / (K n_c), with mean 1 over the images."""
    counts = np.bincount(targets, minlength=n_classes)
    return (len(targets) / (n_classes * np.maximum(counts, 1))).astype(np.float32)


def positive_weights(targets: np.ndarray) -> np.ndarray:
    """Return (K,) float32 weights of positives, negatives / positives, from 1 / 30 to 30."""
    positives = targets.sum(0)
    weights = (len(targets) - positives) / np.maximum(positives, 1)
    return np.clip(weights, 1 / MOST_POSITIVE_WEIGHT, MOST_POSITIVE_WEIGHT).astype(np.float32)
