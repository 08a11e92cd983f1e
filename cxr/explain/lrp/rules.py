"""The rules of relevance propagation, written for feature maps that many consumers read.

A convolution W produces F = W a, and consumer k computes y = relu(S_k F + t_k). In the equivalent network of affine
layers and ReLUs it reads a copy of the convolution of its own, with weight S_k W and bias t_k. No copy is made here: a
rule's contributions are proportional to W+ and W- (or W) whatever S_k is, so all that consumers send is added up in two
**pages**, what goes to W+ and what goes to W-, and one transposed convolution carries both down.

Each rule says

- which ``rows`` of weights the forward pass needs beside W;
- how a *unit* (a convolution with a single consumer, folded into it) turns the relevance above it into messages;
- how a :class:`Collector` gathers the relevance of many consumers and releases one message per feature map.

Shapes: activations and relevance are (images, targets or 1, pixels, channels). A denominator of exactly zero (below
``tiny``) passes nothing on; that relevance is booked as lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

TINY = {torch.float64: 1e-200, torch.float32: 1e-30, torch.bfloat16: 1e-30}
"""What counts as zero in a denominator. Sums of terms of one sign do not cancel: whatever is larger is exact."""


def inverse(values: torch.Tensor) -> torch.Tensor:
    """Return 1 / values, 0 where a value is zero (below :data:`TINY`)."""
    return torch.where(values.abs() > TINY[values.dtype], values, torch.inf).reciprocal_()


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum over pixels and channels, (n, t, p, c) to (n, t), in float64."""
    return values.sum(dim=(2, 3), dtype=torch.float64)


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
    _signs: dict[AlphaBeta, Signs] = field(default_factory=dict)

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

    def signs(self, rule: AlphaBeta) -> Signs:
        """Return what the signs of the scale mean to a rule, worked out once."""
        if rule not in self._signs:
            self._signs[rule] = Signs.of(self, rule)
        return self._signs[rule]


@dataclass(frozen=True)
class Signs:
    """Per channel of a consumer: what W+ and W- get of its relevance, and its bias over its scale on either side."""

    up: torch.Tensor
    down: torch.Tensor
    bias_up: torch.Tensor
    bias_down: torch.Tensor

    @classmethod
    def of(cls, consumer: Consumer, rule: AlphaBeta) -> Signs:
        """Work them out: where a scale is below zero, W- raises the output and W+ lowers it."""
        scale, shift = consumer.scale, consumer.shift
        rising, falling = (scale > 0).to(scale.dtype), (scale < 0).to(scale.dtype)
        over = torch.where(scale == 0, 0, 1 / scale)
        helped, hindered = shift.clamp(min=0) * over, shift.clamp(max=0) * over
        return cls(
            rule.alpha * rising - rule.beta * falling,
            rule.alpha * falling - rule.beta * rising,
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


class Collector(ABC):
    """Relevance that the consumers of one dense block send to its feature maps.

    ``entered`` (n, t, channels) counts what came in per channel where a rule's bias takes a share of it.
    """

    def __init__(self, shape: tuple[int, ...], like: torch.Tensor) -> None:
        self.shape, self.like = shape, like
        self.entered = like.new_zeros((shape[0], shape[1], shape[3]), dtype=torch.float64)
        self.dropped = torch.zeros_like(self.entered)

    def zeros(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return an empty page of the block's size."""
        return self.like.new_zeros(self.shape, dtype=dtype)

    @abstractmethod
    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        """Take the relevance ``activation x above`` of one consumer. ``activation`` may be overwritten."""

    @abstractmethod
    def release(self, channels: slice, parts: Parts) -> Released:
        """Return the messages of the feature map in ``channels``."""

    def _booked(self, channels: slice) -> tuple[torch.Tensor, torch.Tensor]:
        return self.entered[..., channels].sum(-1), self.dropped[..., channels].sum(-1)


@dataclass(frozen=True)
class AlphaBeta:
    """The alpha-beta rule, alpha - beta = 1; z+ is (1, 0). ``keep``: biases stay in the denominators."""

    alpha: float = 1.0
    beta: float = 0.0
    keep: bool = False

    @property
    def rows(self) -> str:
        """Weights needed beside W: "plus" (W+, and W- where a consumer's scale is negative) or "both"."""
        return "both" if self.beta else "plus"

    def unit(self, z: torch.Tensor, bias: torch.Tensor, per_relevance: bool = False) -> Unit:
        """Make a unit of z = [W a + b, plus, minus]; with ``keep`` plus and minus have their biases already.

        ``per_relevance``: messages are made of the unit's relevance itself, inactive units included.
        """
        nb = len(bias)
        output = torch.relu(z[..., :nb])
        carried = torch.ones_like(output) if per_relevance else output
        sides = z[..., nb : (3 if self.beta else 2) * nb]
        hole = self._hole(carried, sides, nb)
        quotient = carried / sides if hole is None and not self.beta else self._quotient(carried, sides, nb)
        toll = torch.cat([bias.clamp(min=0), bias.clamp(max=0)])[: quotient.shape[-1]].double() if self.keep else None
        return Unit(output, quotient, toll, hole)

    def _quotient(self, output: torch.Tensor, sides: torch.Tensor, nb: int) -> torch.Tensor:
        inverses = inverse(sides)
        if not self.beta:
            return inverses.mul_(output)
        inverses[..., :nb].mul_(output * self.alpha)
        inverses[..., nb:].mul_(output * -self.beta)
        return inverses

    def _hole(self, output: torch.Tensor, sides: torch.Tensor, nb: int) -> torch.Tensor | None:
        tiny = TINY[sides.dtype]
        plus, minus = sides[..., :nb], sides[..., nb:]
        if bool(plus.amin() > tiny) and (not self.beta or bool(minus.amax() < -tiny)):
            return None
        weight = self.alpha * (plus <= tiny).to(output.dtype)
        if self.beta:
            weight = weight - self.beta * (minus >= -tiny).to(output.dtype)
        return weight * output

    def collector(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> Collector:
        """Return an empty collector for a block whose feature maps gave ``parts``; ``signed``: any scale below 0."""
        return _Keeping(self, shape, parts, signed) if self.keep else _Ignoring(self, shape, parts.value, signed)


class _Ignoring(Collector):
    """Alpha-beta without biases: S_k cancels but for its sign, so relevance is added up before any division."""

    def __init__(self, rule: AlphaBeta, shape: tuple[int, ...], like: torch.Tensor, signed: bool) -> None:
        super().__init__(shape, like)
        self.rule = rule
        # Dozens of consumers are added up: bfloat16 would lose the small ones.
        self.wide = torch.promote_types(like.dtype, torch.float32)
        self.up: torch.Tensor | None = None
        self.down = self.zeros(self.wide) if signed else None

    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        if not consumer.positive:
            self._set_apart(above, activation, consumer)
        if self.up is None:
            self.up = (above * activation).expand(self.shape).to(self.wide).contiguous()
        elif self.wide == above.dtype:
            self.up[..., : consumer.channels].addcmul_(above, activation)
        else:
            self.up[..., : consumer.channels] += above * activation

    def _set_apart(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        """Book channels with scales below or at zero, and clear them in ``activation``."""
        if len(consumer.negative):
            assert self.down is not None
            sent = above[..., consumer.negative] * activation[..., consumer.negative]
            self.down.index_add_(-1, consumer.negative, sent.to(self.wide).expand(*self.shape[:3], -1))
        if len(consumer.zero):
            sent = (above[..., consumer.zero] * activation[..., consumer.zero]).sum(dim=2, dtype=torch.float64)
            self.dropped.index_add_(-1, consumer.zero, sent.expand(*self.shape[:2], -1))
        activation.index_fill_(-1, consumer.rest, 0)

    def release(self, channels: slice, parts: Parts) -> Released:
        alpha, beta = self.rule.alpha, self.rule.beta
        assert self.up is not None
        up, down = self.up[..., channels], None if self.down is None else self.down[..., channels]
        plus, lost_up = _divided(_weighted(alpha, up, -beta, down), parts.plus)
        minus: torch.Tensor | None = None
        lost_down: torch.Tensor | float = 0.0
        against = _weighted(-beta, up, alpha, down) if beta else down
        if against is not None:
            minus, lost_down = _divided_at(against, parts)
        return Released(plus, minus, 0.0, lost_up + lost_down + self._booked(channels)[1])


def _weighted(first: float, up: torch.Tensor, second: float, down: torch.Tensor | None) -> torch.Tensor:
    mine = up if first == 1 else first * up
    return mine if down is None or not second else mine + second * down


def _divided(relevance: torch.Tensor, sums: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | float]:
    """Return relevance over contributions, and what is lost where there are none."""
    if sums is None:
        return torch.zeros_like(relevance), total(relevance)
    nothing = sums.abs() <= TINY[sums.dtype]
    if not bool(nothing.any()):
        return relevance / sums, 0.0
    return relevance * inverse(sums), total(torch.where(nothing, relevance, 0))


def _divided_at(relevance: torch.Tensor, parts: Parts) -> tuple[torch.Tensor | None, torch.Tensor | float]:
    """As :func:`_divided` for the negative side, which may cover some channels only."""
    if parts.minus is None:
        return None, total(relevance)
    if parts.minus_of is None:
        return _divided(relevance, parts.minus)
    # Channels without a negative consumer have nothing here: with beta = 0 no relevance was sent to them.
    return _divided(relevance[..., parts.minus_of], parts.minus)


class _Paged(Collector):
    """Collectors that divide before adding up, because a denominator holds the consumer's own bias."""

    def __init__(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> None:
        super().__init__(shape, parts.value)
        self.parts = parts
        self.up = self.zeros()
        self.down = self.zeros() if signed else None

    def release(self, channels: slice, parts: Parts) -> Released:
        up, down = self.up[..., channels], None if self.down is None else self.down[..., channels]
        left = total(up * (parts.value if parts.plus is None else parts.plus))
        minus = down if parts.minus is None or down is None or parts.minus_of is None else down[..., parts.minus_of]
        if minus is not None and parts.minus is not None:
            left = left + total(minus * parts.minus)
        entered, lost = self._booked(channels)
        return Released(up, None if parts.minus is None else minus, entered - left - lost, lost)


class _Keeping(_Paged):
    """Alpha-beta with biases: consumer k's denominators over S_k are z+ + b/S_k and z- + b/S_k."""

    def __init__(self, rule: AlphaBeta, shape: tuple[int, ...], parts: Parts, signed: bool) -> None:
        super().__init__(shape, parts, signed or bool(rule.beta))
        self.rule = rule

    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        sent = above * activation
        c = consumer.channels
        self.entered[..., :c] += sent.sum(dim=2, dtype=torch.float64)
        assert self.parts.plus is not None
        signs = consumer.signs(self.rule)
        self._page(self.up, sent, self.parts.plus, signs.up, signs.bias_up)
        if self.down is not None and (self.rule.beta or len(consumer.negative)):
            assert self.parts.minus is not None
            self._page(self.down, sent, self.parts.minus, signs.down, signs.bias_down)
        if self.rule.beta and len(consumer.zero):
            # Scale 0: alpha's part is the bias's, which is all there is; beta's denominator is zero.
            lost = sent[..., consumer.zero].sum(dim=2, dtype=torch.float64) * -self.rule.beta
            self.dropped.index_add_(-1, consumer.zero, lost.expand(*self.shape[:2], -1))

    def _page(
        self, page: torch.Tensor, sent: torch.Tensor, sums: torch.Tensor, factor: torch.Tensor, bias: torch.Tensor
    ) -> None:
        c = sent.shape[-1]
        denominator = sums[..., :c] + bias
        page[..., :c].addcmul_(sent * factor, inverse(denominator))
        if self.rule.beta:
            nothing = denominator.abs() <= TINY[denominator.dtype]
            self.dropped[..., :c] += torch.where(nothing, sent * factor, 0).sum(dim=2, dtype=torch.float64)


@dataclass(frozen=True)
class Gamma:
    """The gamma rule on units that a ReLU follows, biases kept: (c + g c+) / (z + g (sum c+ + b+))."""

    gamma: float = 0.25
    rows = "both"
    keep = True

    def unit(self, z: torch.Tensor, bias: torch.Tensor, per_relevance: bool = False) -> Unit:
        """Make a unit of z = [W a + b, W+ a + b+, W- a + b-]."""
        nb = len(bias)
        output = torch.relu(z[..., :nb])
        active = (output > 0).to(z.dtype)
        share = (active if per_relevance else output) * inverse(output + self.gamma * z[..., nb : 2 * nb] * active)
        quotient = torch.cat([(1 + self.gamma) * share, share], dim=-1)
        # Both messages name the same share: W (1 + g on W+), so biases are booked once, from the second.
        toll = torch.cat([torch.zeros_like(bias), bias + self.gamma * bias.clamp(min=0)]).double()
        return Unit(output, quotient, toll)

    def collector(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> Collector:
        """Return an empty collector."""
        return _Favouring(self.gamma, shape, parts)


class _Favouring(_Paged):
    def __init__(self, gamma: float, shape: tuple[int, ...], parts: Parts) -> None:
        super().__init__(shape, parts, signed=True)
        self.gamma = gamma

    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        c, scale, gamma = consumer.channels, consumer.scale, self.gamma
        sent = above * activation
        self.entered[..., :c] += sent.sum(dim=2, dtype=torch.float64)
        assert self.parts.plus is not None
        assert self.parts.minus is not None
        assert self.down is not None
        rising = torch.where(scale > 0, self.parts.plus[..., :c], self.parts.minus[..., :c])
        share = sent * inverse(activation + gamma * (scale * rising + consumer.shift.clamp(min=0)))
        self.up[..., :c].addcmul_(share, scale * (1 + gamma * (scale > 0)))
        self.down[..., :c].addcmul_(share, scale * (1 + gamma * (scale < 0)))


@dataclass(frozen=True)
class Epsilon:
    """The epsilon rule on units that a ReLU follows, biases kept: c / (z + epsilon)."""

    epsilon: float = 1e-6
    rows = "plain"
    keep = True

    def unit(self, z: torch.Tensor, bias: torch.Tensor, per_relevance: bool = False) -> Unit:
        """Make a unit of z = W a + b."""
        output = torch.relu(z)
        active = (output > 0).to(z.dtype)
        quotient = (active if per_relevance else output) * inverse(output + self.epsilon * active)
        return Unit(output, quotient, bias.double() + self.epsilon)

    def collector(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> Collector:
        """Return an empty collector."""
        return _Stabilised(self.epsilon, shape, parts)


class _Stabilised(_Paged):
    def __init__(self, epsilon: float, shape: tuple[int, ...], parts: Parts) -> None:
        super().__init__(shape, parts, signed=False)
        self.epsilon = epsilon

    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        c = consumer.channels
        sent = above * activation
        self.entered[..., :c] += sent.sum(dim=2, dtype=torch.float64)
        self.up[..., :c].addcmul_(sent * inverse(activation + self.epsilon), consumer.scale)


@dataclass(frozen=True)
class Stock:
    """iNNvestigate's rules on the network as it stands: z+ in convolutions, R_in = S x / y R in batch norms.

    Batch norms keep their biases, convolutions have none. ``z`` of a unit is [S W a, W+ a] (W not folded).
    """

    rows = "stock"
    keep = False

    def unit(self, z: torch.Tensor, bias: torch.Tensor, per_relevance: bool = False) -> Unit:
        """Make a unit: batch norm takes its share first, then z+ on the convolution's own output."""
        nb = len(bias)
        scaled, plus = z[..., :nb], z[..., nb:]
        output = torch.relu(scaled + bias)
        active = inverse(output) if per_relevance else (output > 0).to(z.dtype)
        nothing = (plus <= TINY[plus.dtype]).to(z.dtype)
        return Unit(output, active * scaled * inverse(plus), None, active * nothing * scaled, active * bias)

    def collector(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> Collector:
        """Return an empty collector."""
        return _Unfolded(shape, parts)


class _Unfolded(_Stabilised):
    def __init__(self, shape: tuple[int, ...], parts: Parts) -> None:
        super().__init__(0.0, shape, parts)

    def release(self, channels: slice, parts: Parts) -> Released:
        relevance = self.up[..., channels] * parts.value
        absorbed = self._booked(channels)[0] - total(relevance)
        if parts.plus is None:  # no convolution below: the batch norm's relevance is the feature map's
            return Released(relevance, None, absorbed)
        plus, lost = _divided(relevance, parts.plus)
        return Released(plus, None, absorbed, lost)


Rule = AlphaBeta | Gamma | Epsilon | Stock
