"""Optimisers, and the learning rate by step."""

from __future__ import annotations

import math

import torch
from torch import nn

from cxr.training.recipe import Optimiser, Schedule


def learning_rate(schedule: Schedule, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of a step (counted from 0 in its stage).

    A function of the step alone, so a resumed run needs no state for it.
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return base * (step + 1) / (math.floor(warmup) + 1)
    if schedule.name == "cosine":
        share = (step - warmup) / max(1.0, epochs * steps_per_epoch - warmup)
        return base * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
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
