"""Where a logit went: what each layer absorbed and lost on the way down."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


@dataclass
class Ledger:
    """What each layer absorbed and lost, in the order in which relevance passes: tensors (n, t)."""

    layers: list[str] = field(default_factory=list)
    absorbed: list[torch.Tensor] = field(default_factory=list)
    lost: list[torch.Tensor] = field(default_factory=list)

    def book(
        self, layer: str, like: torch.Tensor, absorbed: torch.Tensor | float = 0.0, lost: torch.Tensor | float = 0.0
    ) -> None:
        """Add a layer's entry; ``like`` (n, t) gives shape and device."""
        self.layers.append(layer)
        self.absorbed.append(torch.zeros_like(like) + absorbed)
        self.lost.append(torch.zeros_like(like) + lost)
