"""Feature maps that many consumers read: what a forward sweep leaves behind, and the messages of a backward sweep.

A convolution W produces F = W a, and consumer k computes y = relu(S_k F + t_k). In the equivalent network of affine
layers and ReLUs it reads a copy of the convolution of its own, with weight S_k W and bias t_k. No copy is made here: a
rule's contributions are proportional to W+ and W- (or W) whatever S_k is, so all that consumers send is added up in two
**pages**, what goes to W+ and what goes to W-, and one transposed convolution carries both down.

A convolution with a single consumer, folded into it, is a *unit*. Shapes: activations and relevance are (images,
targets or 1, pixels, channels).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cxr.explain.lrp.division import total


@dataclass(frozen=True, eq=False)
class Consumer:
    """A batch norm that reads the first ``len(scale)`` channels of a dense block, in the dtype of the sweep.

    ``negative`` and ``zero`` are the channels whose scale is below, or exactly, zero; ``rest`` is their union.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    negative: torch.Tensor
    zero: torch.Tensor
    rest: torch.Tensor
    _signs: dict[tuple[float, float], Signs] = field(default_factory=dict)

    @classmethod
    def of(cls, scale: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype) -> Consumer:
        """Cast a float64 scale and shift and note the signs."""
        negative, zero, rest = (mask.nonzero()[:, 0] for mask in (scale < 0, scale == 0, scale <= 0))
        return cls(scale.to(dtype), shift.to(dtype), negative, zero, rest)

    @property
    def channels(self) -> int:
        """How many channels it reads."""
        return len(self.scale)

    @property
    def positive(self) -> bool:
        """Whether every scale is above zero."""
        return not len(self.rest)

    def signs(self, alpha: float, beta: float) -> Signs:
        """Return what the signs of the scale mean to the alpha-beta rule, worked out once."""
        if (alpha, beta) not in self._signs:
            self._signs[alpha, beta] = Signs.of(self, alpha, beta)
        return self._signs[alpha, beta]


@dataclass(frozen=True)
class Signs:
    """Per channel of a consumer: what W+ and W- get of its relevance, and its bias over its scale on either side."""

    up: torch.Tensor
    down: torch.Tensor
    bias_up: torch.Tensor
    bias_down: torch.Tensor

    @classmethod
    def of(cls, consumer: Consumer, alpha: float, beta: float) -> Signs:
        """Work them out: where a scale is below zero, W- raises the output and W+ lowers it."""
        scale, shift = consumer.scale, consumer.shift
        rising, falling = (scale > 0).to(scale.dtype), (scale < 0).to(scale.dtype)
        over = torch.where(scale == 0, 0, 1 / scale)
        helped, hindered = shift.clamp(min=0) * over, shift.clamp(max=0) * over
        return cls(
            alpha * rising - beta * falling,
            alpha * falling - beta * rising,
            helped * rising + hindered * falling,
            hindered * rising + helped * falling,
        )


@dataclass
class Parts:
    """What a convolution gave for one feature map: its value and the sums of its positive and negative contributions.

    ``plus`` and ``minus`` are None where the rule needs none; ``minus`` covers the channels ``minus_of`` alone.
    """

    value: torch.Tensor
    plus: torch.Tensor | None = None
    minus: torch.Tensor | None = None
    minus_of: torch.Tensor | None = None


@dataclass
class Released:
    """Messages to W+ (or W) and W- of a feature map's convolution, and what was absorbed and lost: (n, t) or 0."""

    plus: torch.Tensor
    minus: torch.Tensor | None
    absorbed: torch.Tensor | float = 0.0
    lost: torch.Tensor | float = 0.0

    def rows(self) -> torch.Tensor:
        """Return both messages side by side, as the transposed convolution takes them."""
        return self.plus if self.minus is None else torch.cat([self.plus, self.minus], dim=-1)


class Unit:
    """A convolution with one consumer, folded: what its forward pass leaves behind for relevance.

    Attributes
    ----------
    output
        relu(z), (n, 1, p, c); empty after :meth:`released_output`.
    quotient
        relu(z) over each denominator, to be multiplied with what comes from above; (n, 1, p, c or 2c).
    toll
        Share of each message that biases absorb: channels of the quotient, or None.
    hole
        Output that no denominator carries (share lost), (n, 1, p, c), or None.
    detour
        What biases absorb of each unit before its message is made, (n, 1, p, c), or None.
    inputs
        The unit's inputs where nobody else keeps them, or None.
    """

    def __init__(
        self,
        output: torch.Tensor,
        quotient: torch.Tensor,
        toll: torch.Tensor | None = None,
        hole: torch.Tensor | None = None,
        detour: torch.Tensor | None = None,
    ) -> None:
        self.output, self.quotient, self.toll, self.hole, self.detour = output, quotient, toll, hole, detour
        self.inputs: torch.Tensor | None = None

    def released_output(self) -> torch.Tensor:
        """Return the output and let go of it: relevance needs the quotient alone."""
        output, self.output = self.output, self.output.new_empty(0)
        return output

    def message(self, above: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float, torch.Tensor | float]:
        """Turn G (relevance of the output is output x G) into messages; return them, what is absorbed and lost."""
        repeats = self.quotient.shape[-1] // above.shape[-1]
        sent = (above if repeats == 1 else above.repeat(1, 1, 1, repeats)) * self.quotient
        absorbed: torch.Tensor | float = 0.0
        if self.toll is not None:
            absorbed = (sent.sum(dim=2, dtype=torch.float64) * self.toll).sum(dim=-1)
        if self.detour is not None:
            absorbed = absorbed + total(above * self.detour)
        return sent, absorbed, 0.0 if self.hole is None else total(above * self.hole)
