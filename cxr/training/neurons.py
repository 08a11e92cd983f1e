"""How far the output neurons have moved since their stage began, those that were kept and those that are new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import torch
from torch import nn


class NeuronChange(TypedDict):
    """How far a neuron with weights w and bias b has moved from w0 and b0, where its stage began.

    Attributes
    ----------
    kept_classes
        The class that it was in the stage before, None for a new one.
    change, cosine, bias
        ``|w - w0| / |w0|``, the cosine between w and w0, and b - b0.
    """

    kept: str | None
    change: float
    cosine: float
    bias: float


class Neurons:
    """The output neurons of a head and what they were at the beginning.

    Parameters
    ----------
    classes
        Names of the outputs, in their order.
    kept_classes
        ``{class: class of the stage before}`` of the neurons that were kept.
    """

    def __init__(self, head: nn.Linear, classes: Sequence[str], kept_classes: Mapping[str, str]) -> None:
        self._head, self._classes, self._kept = head, tuple(classes), dict(kept_classes)
        self._start = self._now()

    def changes(self) -> dict[str, NeuronChange]:
        """Return how far each class's neuron has moved."""
        now, start = self._now(), self._start
        moved = (now - start)[:, :-1].norm(dim=1) / start[:, :-1].norm(dim=1).clamp(min=1e-12)
        cosine = torch.cosine_similarity(now[:, :-1], start[:, :-1], dim=1)
        bias = (now - start)[:, -1]
        return {
            name: {
                "kept": self._kept.get(name),
                "change": round(moved[k].item(), 6),
                "cosine": round(cosine[k].item(), 6),
                "bias": round(bias[k].item(), 6),
            }
            for k, name in enumerate(self._classes)
        }

    def state(self) -> torch.Tensor:
        """Return the neurons at the beginning, for a checkpoint."""
        return self._start

    def restore(self, state: torch.Tensor) -> None:
        """Take over what :meth:`state` returned."""
        self._start = state

    def _now(self) -> torch.Tensor:
        """Return (K, F + 1) float64: weights and, last, the bias (0 where there is none)."""
        weight = self._head.weight.detach().cpu().double()
        bias = torch.zeros(len(weight)) if self._head.bias is None else self._head.bias.detach().cpu()
        return torch.cat([weight, bias.double()[:, None]], dim=1)
