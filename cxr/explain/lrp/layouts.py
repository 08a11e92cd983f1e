"""Which weights the sweeps through a DenseNet read beside those of the network: what a rule divides by.

Weights are folded and stacked once per network, layout and dtype, and rules of one layout share them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Stack:
    """Rows of weights (rows, in, k, k) in float64.

    Attributes
    ----------
    forward
        The convolution itself first, then the sums that the rule needs.
    backward
        What carries messages down: one row for each channel of a message.
    outputs
        Channels of the convolution itself.
    bias
        One for each forward row, None without any.
    minus_of
        Channels that the negative sums cover; None: all.
    """

    forward: torch.Tensor
    backward: torch.Tensor
    outputs: int
    bias: torch.Tensor | None = None
    minus_of: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        forward: Sequence[torch.Tensor],
        backward: Sequence[torch.Tensor],
        bias: Sequence[torch.Tensor] = (),
        minus_of: torch.Tensor | None = None,
    ) -> Stack:
        """Join parts; the first of ``forward`` is the convolution itself."""
        joined = torch.cat(list(bias)) if bias else None
        return cls(torch.cat(list(forward)), torch.cat(list(backward)), len(forward[0]), joined, minus_of)


class Layout(ABC):
    """Which rows of weights a rule needs. Equal layouts (``==``, and equal ``repr``) give equal stacks."""

    @abstractmethod
    def unit(self, weight: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Stack:
        """Stack the rows of a convolution that one batch norm alone reads, y = scale (W x) + shift."""

    @abstractmethod
    def source(self, weight: torch.Tensor, negative: torch.Tensor) -> Stack:
        """Stack the rows of a convolution that many batch norms read.

        ``negative`` (out,) bool: channels with a reader whose scale is below zero.
        """

    def block_sums(self, signed: bool) -> tuple[bool, bool]:
        """Return whether positive and negative sums of a whole block must lie in one buffer beside its values.

        ``signed``: whether any scale of the block is below zero.
        """
        return False, False


@dataclass(frozen=True)
class PositiveSums(Layout):
    """W and W+, for sources also W- of channels with a negative reader. ``keep``: biases count among the sums."""

    keep: bool = False

    def unit(self, weight: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Stack:
        """Stack S W and (S W)+."""
        folded, plus, _ = _split(weight * _per_output(scale))
        return Stack.of([folded, plus], [plus], _biases(shift, self.keep)[:2])

    def source(self, weight: torch.Tensor, negative: torch.Tensor) -> Stack:
        """Stack W, W+ and W- of the channels that need it."""
        weight, plus, minus = _split(weight)
        channels = negative.nonzero()[:, 0]
        minus = minus[channels]
        return Stack.of([weight, plus, minus], [plus, minus], minus_of=channels)

    def block_sums(self, signed: bool) -> tuple[bool, bool]:
        """Biases in the denominators: each reader divides by sums of its own."""
        return self.keep, self.keep and signed


@dataclass(frozen=True)
class SignedSums(Layout):
    """W, W+ and W-. ``keep``: biases count among the sums."""

    keep: bool = False

    def unit(self, weight: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Stack:
        """Stack S W, (S W)+ and (S W)-."""
        folded, plus, minus = _split(weight * _per_output(scale))
        return Stack.of([folded, plus, minus], [plus, minus], _biases(shift, self.keep))

    def source(self, weight: torch.Tensor, negative: torch.Tensor) -> Stack:
        """Stack W, W+ and W-."""
        weight, plus, minus = _split(weight)
        return Stack.of([weight, plus, minus], [plus, minus])

    def block_sums(self, signed: bool) -> tuple[bool, bool]:
        """Both, where each reader divides by sums of its own."""
        return self.keep, self.keep


@dataclass(frozen=True)
class WeightsAlone(Layout):
    """W alone: rules that divide by the output itself."""

    def unit(self, weight: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Stack:
        """Stack S W."""
        folded = weight * _per_output(scale)
        return Stack.of([folded], [folded], [shift])

    def source(self, weight: torch.Tensor, negative: torch.Tensor) -> Stack:
        """Stack W."""
        return Stack.of([weight], [weight])


@dataclass(frozen=True)
class UnfoldedSums(Layout):
    """The network as it stands: W+ of the convolution without its batch norm, whose output S W x comes first."""

    def unit(self, weight: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Stack:
        """Stack S W and W+."""
        plus = weight.clamp(min=0)
        return Stack.of([weight * _per_output(scale), plus], [plus])

    def source(self, weight: torch.Tensor, negative: torch.Tensor) -> Stack:
        """Stack W and W+."""
        plus = weight.clamp(min=0)
        return Stack.of([weight, plus], [plus])


def _per_output(scale: torch.Tensor) -> torch.Tensor:
    return scale[:, None, None, None]


def _split(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return weight, weight.clamp(min=0), weight.clamp(max=0)


def _biases(shift: torch.Tensor, keep: bool) -> list[torch.Tensor]:
    """Return the bias of z, and of the positive and negative sums."""
    return [shift, shift.clamp(min=0), shift.clamp(max=0)] if keep else [shift, *[torch.zeros_like(shift)] * 2]
