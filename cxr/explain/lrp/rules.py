"""The rules of relevance propagation on convolutions.

A rule says how a layer shares the relevance of its outputs over its inputs. To add one, write a class with what the
propagators ask of it; :class:`Rule` has the list. What the sweeps through a DenseNet need of feature maps that many
batch norms read is explained in :mod:`cxr.explain.lrp.feature_maps`.

A denominator of exactly zero (below :data:`cxr.explain.lrp.division.TINY`) passes nothing on; that relevance is booked
as lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from cxr.errors import ExplainError
from cxr.explain.lrp.collectors import BiasCollector, Collector, ShareCollector, SignCollector
from cxr.explain.lrp.convolution import Convolution, StemKernels, as_rows, convolved, unpooled
from cxr.explain.lrp.division import TINY, exact_division, inverse, stabilised
from cxr.explain.lrp.feature_maps import Consumer, Parts, Released, Unit
from cxr.explain.lrp.layouts import Layout, PositiveSums, SignedSums, WeightsAlone
from cxr.explain.lrp.ledger import Ledger

if TYPE_CHECKING:
    from zennit.core import Hook


class Rule(ABC):
    """How convolutions share relevance over their inputs.

    DenseNets ask for :attr:`layout`, :meth:`unit` and :meth:`collector`; the other methods have defaults that are right
    where batch norms are folded into convolutions. Sequential networks ask for :meth:`hook` alone.

    Attributes
    ----------
    folds
        Whether a batch norm is one layer with the convolution that it reads or is read by. Rules for the network as it
        stands say no, and say what batch norms do.
    """

    folds: bool = True

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Which rows of weights the sweeps read beside those of the network."""

    @abstractmethod
    def unit(self, z: torch.Tensor, bias: torch.Tensor, per_relevance: bool = False) -> Unit:
        """Make a unit (a convolution with one reader, folded) of what the rows of the layout gave.

        Parameters
        ----------
        z
            (n, 1, p, rows): first W a without or with its bias, then the sums, as the layout stacks them.
        bias
            (out,): the folded bias.
        per_relevance
            Messages are made of the unit's relevance itself, inactive units included, instead of relevance over output.
        """

    @abstractmethod
    def collector(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> Collector:
        """Return an empty collector for a block.

        Parameters
        ----------
        shape
            (n, t, p, channels) of the block's relevance.
        parts
            Values of the block and, where the layout wants them, sums.
        signed
            Whether any scale of the block is below zero.
        """

    def hook(self) -> Hook:
        """Return zennit's hook that does the same on one convolution, for sequential networks.

        Raises
        ------
        ExplainError
            For rules that are not defined there.
        """
        raise ExplainError(f"the rule {type(self).__name__} is not defined for sequential networks: it has no hook")

    def through_stem_norms(
        self, collector: Collector, channels: slice, value: torch.Tensor
    ) -> tuple[torch.Tensor, Released]:
        """Carry relevance through batch norms that read the pooled stem directly: each is a diagonal layer.

        ``value`` (n, 1, p, c) is the pooled stem, never below zero. Returns its relevance and what was booked.
        """
        released = collector.release(channels, Parts(value, value))
        return released.plus * value, released

    def transition_forward(self, conv: Convolution, picture: torch.Tensor) -> Parts:
        """Run a transition's convolution and 2 x 2 average pool on the activation (n, c, h, w).

        Average pooling commutes with a 1 x 1 convolution: the pool goes first, a quarter of the work.
        """
        return conv.parts(as_rows(conv.forward(F.avg_pool2d(picture, 2)), 1))

    def transition_backward(
        self,
        conv: Convolution,
        collector: Collector,
        channels: slice,
        parts: Parts,
        pooled: tuple[int, int],
        size: tuple[int, int],
    ) -> tuple[torch.Tensor, Released]:
        """Carry what a block's source collected through the transition below it.

        ``parts`` is what :meth:`transition_forward` gave; ``pooled`` and ``size`` are heights and widths after and
        before pooling. Returns relevance over activation, (n, t, p, c), and what was booked.
        """
        released = collector.release(channels, parts)
        below = convolved(released.rows(), conv.backward, pooled[0])
        return unpooled(below / 4, pooled, size), released

    def before_first_layer(
        self, layer: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor, ledger: Ledger
    ) -> torch.Tensor:
        """Return the relevance (n, t, c, h, w) of the first convolution's own output: batch norms are folded in."""
        return relevance


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """The alpha-beta rule, alpha - beta = 1; z+ is (1, 0). ``keep``: biases stay in the denominators."""

    alpha: float = 1.0
    beta: float = 0.0
    keep: bool = False

    @property
    def layout(self) -> Layout:
        """W+, and W- for beta."""
        return SignedSums(self.keep) if self.beta else PositiveSums(self.keep)

    def unit(self, z: torch.Tensor, bias: torch.Tensor, per_relevance: bool = False) -> Unit:
        """Make a unit of z = [W a + b, plus, minus]; with ``keep`` plus and minus have their biases already."""
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
        """Return a collector that divides reader by reader only if biases stay in the denominators."""
        if self.keep:
            return BiasCollector(self.alpha, self.beta, shape, parts, signed)
        return SignCollector(self.alpha, self.beta, shape, parts.value, signed)

    def hook(self) -> Hook:
        """Return zennit's ZPlus, or AlphaBeta where beta is not 0."""
        from zennit import rules as zennit

        division: dict[str, Any] = {"stabilizer": exact_division} | ({} if self.keep else {"zero_params": ["bias"]})
        if self.beta:
            return zennit.AlphaBeta(alpha=self.alpha, beta=self.beta, **division)
        return zennit.ZPlus(**division)


@dataclass(frozen=True)
class Gamma(Rule):
    """The gamma rule on units that a ReLU follows, biases kept: (c + g c+) / (z + g (sum c+ + b+))."""

    gamma: float = 0.25

    @property
    def layout(self) -> Layout:
        """W+ and W-, biases among their sums."""
        return SignedSums(keep=True)

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
        """Return a collector with one denominator for each reader."""
        return ShareCollector(self, shape, parts, signed=True)

    def denominator(self, activation: torch.Tensor, parts: Parts, consumer: Consumer) -> torch.Tensor:
        """Return z + g (sum c+ + b+) of a reader: where its scale is below zero, W- makes positive contributions."""
        assert parts.plus is not None
        assert parts.minus is not None
        c, scale = consumer.channels, consumer.scale
        rising = torch.where(scale > 0, parts.plus[..., :c], parts.minus[..., :c])
        return activation + self.gamma * (scale * rising + consumer.shift.clamp(min=0))

    def page_weights(self, consumer: Consumer) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return S, raised by g on the side that makes positive contributions."""
        scale = consumer.scale
        return scale * (1 + self.gamma * (scale > 0)), scale * (1 + self.gamma * (scale < 0))

    def hook(self) -> Hook:
        """Return zennit's Gamma: it raises the bias as it does the weights, and mirrors the rule for z < 0."""
        from zennit import rules as zennit

        return zennit.Gamma(gamma=self.gamma, stabilizer=exact_division)


@dataclass(frozen=True)
class Epsilon(Rule):
    """The epsilon rule, biases kept: c / (z + epsilon sgn z). In a DenseNet's convolutions z is what a ReLU passes."""

    epsilon: float = 1e-6

    @property
    def layout(self) -> Layout:
        """W alone."""
        return WeightsAlone()

    def unit(self, z: torch.Tensor, bias: torch.Tensor, per_relevance: bool = False) -> Unit:
        """Make a unit of z = W a + b."""
        output = torch.relu(z)
        active = (output > 0).to(z.dtype)
        quotient = (active if per_relevance else output) * inverse(output + self.epsilon * active)
        return Unit(output, quotient, bias.double() + self.epsilon)

    def collector(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> Collector:
        """Return a collector with one denominator for each reader."""
        return ShareCollector(self, shape, parts, signed=False)

    def denominator(self, activation: torch.Tensor, parts: Parts, consumer: Consumer) -> torch.Tensor:
        """Return a reader's output, stabilised."""
        return activation + self.epsilon

    def page_weights(self, consumer: Consumer) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return S: W carries all of it."""
        return consumer.scale, None

    def hook(self) -> Hook:
        """Return zennit's Epsilon."""
        from zennit import rules as zennit

        return zennit.Epsilon(epsilon=stabilised(self.epsilon))
