"""Rules of the very first convolution, which reads pixels: below zero, bounded, or not to be told apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from cxr.errors import ExplainError
from cxr.explain.lrp.convolution import StemKernels
from cxr.explain.lrp.division import TINY, exact_division, inverse, stabilised

if TYPE_CHECKING:
    from zennit.core import Hook

Possible = Callable[[float], torch.Tensor | None]
"""Returns the network's input for a pixel value (0 black, 1 white), per channel; None where nobody knows it."""


@dataclass
class Shared:
    """Relevance of the input, (n, t, c, h, w), and what was absorbed and lost: (n, t) or 0."""

    relevance: torch.Tensor
    absorbed: torch.Tensor | float = 0.0
    lost: torch.Tensor | float = 0.0


class InputRule(ABC):
    """How the first convolution shares relevance over pixels.

    Attributes
    ----------
    reads_channels
        Whether it matters which output channel relevance comes from; else channels are added up before.
    """

    reads_channels: bool = True

    def for_inputs(self, inputs: torch.Tensor, possible: Possible) -> tuple[InputRule, tuple[str, ...]]:
        """Return the rule for these inputs (n, c, h, w), and notes for a reader of the maps.

        Raises
        ------
        ExplainError
            Where a value of the rule does not fit the inputs.
        """
        return self, ()

    @abstractmethod
    def share(self, layer: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor) -> Shared:
        """Share relevance (n, t, out or 1, h', w') of the convolution's outputs over ``inputs`` (n, c, h, w)."""

    @abstractmethod
    def hook(self, inputs: torch.Tensor, before: nn.Module) -> Hook:
        """Return zennit's hook that does the same in a sequential network.

        ``before`` are the layers (pools, flattening) that lead from ``inputs`` to what the first affine layer reads.
        """


@dataclass(frozen=True)
class Flat(InputRule):
    """Relevance of each output is shared evenly over its inputs inside the image, all channels alike."""

    reads_channels = False

    def share(self, layer: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor) -> Shared:
        """Share relevance summed over the output's channels."""
        relevance = relevance.sum(dim=2)
        channels, height, width = inputs.shape[1:]
        ones = relevance.new_ones((1, 1, *layer.weight.shape[2:]))
        inside = F.conv2d(relevance.new_ones((1, 1, height, width)), ones, None, layer.stride, layer.padding)
        spread = _spread(layer, (relevance / (inside * channels)).unsqueeze(2), ones, inputs)
        return Shared(spread.expand(-1, -1, channels, -1, -1))

    def hook(self, inputs: torch.Tensor, before: nn.Module) -> Hook:
        """Return zennit's Flat."""
        from zennit import rules as zennit

        return zennit.Flat(stabilizer=exact_division)


@dataclass(frozen=True)
class FirstEpsilon(InputRule):
    """The epsilon rule, bias kept: x w / (z + epsilon sgn z)."""

    epsilon: float = 1e-6

    def share(self, layer: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor) -> Shared:
        """Share relevance in proportion to contributions."""
        weight, shift, x = (v.to(relevance.dtype) for v in (layer.weight, layer.shift, inputs))
        z = F.conv2d(x, weight, shift, layer.stride, layer.padding).unsqueeze(1)
        message = relevance * inverse(z + self.epsilon * z.sign())
        bias = shift[:, None, None] + self.epsilon * z.sign()
        lost = torch.where(z == 0, relevance, 0)
        return Shared(x.unsqueeze(1) * _spread(layer, message, weight, inputs), _sum(message * bias), _sum(lost))

    def hook(self, inputs: torch.Tensor, before: nn.Module) -> Hook:
        """Return zennit's Epsilon."""
        from zennit import rules as zennit

        return zennit.Epsilon(epsilon=stabilised(self.epsilon))


@dataclass(frozen=True)
class ZBox(InputRule):
    """The z-box rule: c = x w - low w+ - high w-, for inputs that lie between ``low`` and ``high``.

    Each is a number, one per channel, or what broadcasts to the inputs; None for the network's darkest and brightest
    possible input, or each image's own range where these are not known.
    """

    low: Any = None
    high: Any = None

    def for_inputs(self, inputs: torch.Tensor, possible: Possible) -> tuple[InputRule, tuple[str, ...]]:
        """Return the rule with bounds (1 or n, C or 1, 1 or H, 1 or W), and a note where they had to be guessed."""
        own = (inputs.amin(dim=(2, 3), keepdim=True), inputs.amax(dim=(2, 3), keepdim=True))
        bounds, guessed = [], False
        for key, given, value, fallback in (("low", self.low, 0.0, own[0]), ("high", self.high, 1.0, own[1])):
            bound = possible(value) if given is None else as_picture(key, given, inputs)
            guessed = guessed or bound is None
            bounds.append(fallback if bound is None else bound)
        if bool((bounds[0] > bounds[1]).any()):
            raise ExplainError(f"low {self.low!r} lies above high {self.high!r}. Accepted: low at or below high")
        note = "The first layer's box is each image's own range of values: what inputs are possible is not known."
        return ZBox(*bounds), (note,) if guessed else ()

    def share(self, layer: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor) -> Shared:
        """Share by (x - low) w+ + (x - high) w-: the same contributions, without cancellation."""
        weight, x, low, high = (v.to(relevance.dtype) for v in (layer.weight, inputs, self.low, self.high))
        plus, minus, above, below = weight.clamp(min=0), weight.clamp(max=0), x - low, x - high
        z = F.conv2d(above, plus, None, layer.stride, layer.padding)
        z = (z + F.conv2d(below, minus, None, layer.stride, layer.padding)).unsqueeze(1)
        message = relevance * inverse(z)
        lost = _sum(torch.where(z.abs() <= TINY[z.dtype], relevance, 0))
        up, down = _spread(layer, message, plus, inputs), _spread(layer, message, minus, inputs)
        return Shared(above.unsqueeze(1) * up + below.unsqueeze(1) * down, 0.0, lost)

    @torch.no_grad()
    def hook(self, inputs: torch.Tensor, before: nn.Module) -> Hook:
        """Return zennit's ZBox; what stands before the first affine layer never turns larger into smaller."""
        from zennit import rules as zennit

        bounds = (before(bound.expand_as(inputs)) for bound in (self.low, self.high))
        return zennit.ZBox(*bounds, zero_params=["bias"], stabilizer=exact_division)


def _spread(layer: StemKernels, message: torch.Tensor, weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Transposed first convolution of (n, t, c, h, w) messages to the input's size."""
    n, t = message.shape[:2]
    k = weight.shape[2:]
    output_padding = [
        inputs.shape[2 + i] - ((message.shape[3 + i] - 1) * layer.stride[i] - 2 * layer.padding[i] + k[i])
        for i in range(2)
    ]
    spread = F.conv_transpose2d(message.flatten(0, 1), weight, None, layer.stride, layer.padding, output_padding)
    return spread.view(n, t, *spread.shape[1:])


def _sum(picture: torch.Tensor) -> torch.Tensor:
    return picture.sum(dim=(2, 3, 4), dtype=torch.float64)


def as_picture(key: str, value: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Return a number, numbers per channel or a tensor as a view of the shape of ``inputs``; errors name it ``key``."""
    try:
        picture = torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device).detach()
        return (picture[:, None, None] if picture.ndim == 1 else picture).expand_as(inputs)
    except (TypeError, ValueError, RuntimeError):
        shown = f"of the shape {tuple(value.shape)}" if hasattr(value, "shape") else repr(value)
        raise ExplainError(
            f"{key} {shown} does not fit. Accepted: a number, one per channel, "
            f"or what broadcasts to {tuple(inputs.shape)}"
        ) from None
