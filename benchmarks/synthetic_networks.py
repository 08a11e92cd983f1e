"""What benchmarks on synthetic X-rays share: X-rays with text that tells or contradicts the class, and training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from cxr.data.images.resize import fit_square
from cxr.data.phantom import CLASSES, TOKEN_SETS, Phantom, make_phantom
from cxr.training.data.augment import Augment

SIDE = 128
HELD_OUT = 10_000_000
"""Seeds from here on are never trained on."""
OWN = {chosen.label: chosen.name for chosen in TOKEN_SETS}


def label_of(i: int) -> str:
    """The class of X-ray ``i``: all in turn."""
    return CLASSES[i % 3]


def written_on(i: int) -> str:
    """The class that the text of X-ray ``i`` speaks for if it is to contradict the lesion."""
    return CLASSES[(i % 3 + 1 + i // 3 % 2) % 3]


def xray(start: int, i: int, wrong_set: bool = False, **options: Any) -> Phantom:
    """X-ray ``i`` of those from seed ``start`` on; ``wrong_set`` writes another class's tokens."""
    return make_phantom(start + i, label_of(i), token_set=OWN[written_on(i)] if wrong_set else None, **options)


def pictures(start: int, n: int, wrong_set: bool = False, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """``n`` X-rays (n, 1, 128, 128) in [0, 1] and their classes (n,)."""
    stack = np.stack([fit_square(xray(start, i, wrong_set, **options).image, SIDE) for i in range(n)])
    return torch.from_numpy(stack).float()[:, None] / 255, torch.arange(n) % 3


def train(
    model: nn.Module,
    forward: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    epochs: int,
    seed: int,
) -> None:
    """Train the parameters of ``model`` in place; ``forward`` takes X-rays as :func:`pictures` returns them."""
    batch = 32
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    augment = Augment(rotate=4, translate=0.04, scale=0.05, brightness=0.08, contrast=0.15, noise=0.02)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for k in range(len(x) // batch):
            pick = order[k * batch : (k + 1) * batch]
            loss = F.cross_entropy(forward(augment(x[pick], generator)), y[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
