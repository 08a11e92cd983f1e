"""A rule for the network as it stands, where batch norms are layers of their own (iNNvestigate's preset A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from cxr.explain.lrp.collectors import Collector, UnfoldedCollector
from cxr.explain.lrp.convolution import Convolution, StemKernels, as_rows, convolved, unpooled
from cxr.explain.lrp.division import TINY, exact_division, inverse
from cxr.explain.lrp.feature_maps import Consumer, Parts, Released, Unit
from cxr.explain.lrp.layouts import Layout, UnfoldedSums
from cxr.explain.lrp.ledger import Ledger
from cxr.explain.lrp.rules import Rule

if TYPE_CHECKING:
    from zennit.core import Hook


@dataclass(frozen=True)
class UnfoldedPlus(Rule):
    """z+ in convolutions, R_in = S x / y R in batch norms.

    Batch norms keep their biases, convolutions of a DenseNet have none. ``z`` of a unit is [S W a, W+ a] (W not
    folded). The first convolution's own rule must not read its weights, which are folded (flat).
    """

    folds = False

    @property
    def layout(self) -> Layout:
        """W+ of the convolution without its batch norm."""
        return UnfoldedSums()

    def unit(self, z: torch.Tensor, bias: torch.Tensor, per_relevance: bool = False) -> Unit:
        """Make a unit: batch norm takes its share first, then z+ on the convolution's own output."""
        nb = len(bias)
        scaled, plus = z[..., :nb], z[..., nb:]
        output = torch.relu(scaled + bias)
        active = inverse(output) if per_relevance else (output > 0).to(z.dtype)
        nothing = (plus <= TINY[plus.dtype]).to(z.dtype)
        return Unit(output, active * scaled * inverse(plus), None, active * nothing * scaled, active * bias)

    def collector(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> Collector:
        """Return a collector in which batch norms divide first, then the convolution below."""
        return UnfoldedCollector(self, shape, parts, signed=False)

    def denominator(self, activation: torch.Tensor, parts: Parts, consumer: Consumer) -> torch.Tensor:
        """Return the batch norm's output."""
        return activation

    def page_weights(self, consumer: Consumer) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return S."""
        return consumer.scale, None

    def hook(self) -> Hook:
        """Return zennit's ZPlus with biases."""
        from zennit import rules as zennit

        return zennit.ZPlus(stabilizer=exact_division)

    def through_stem_norms(
        self, collector: Collector, channels: slice, value: torch.Tensor
    ) -> tuple[torch.Tensor, Released]:
        """Carry relevance through batch norms that read the pooled stem: no convolution stands below them."""
        released = collector.release(channels, Parts(value))
        return released.plus, released

    def transition_forward(self, conv: Convolution, picture: torch.Tensor) -> Parts:
        """Run the convolution, then the pool, which shares in proportion to signed values: both sizes are needed.

        ``plus`` of what comes back holds all rows of the convolution at its own size.
        """
        z = conv.forward(picture)
        return Parts(as_rows(F.avg_pool2d(z[:, : conv.outputs], 2), 1), as_rows(z, 1))

    def transition_backward(
        self,
        conv: Convolution,
        collector: Collector,
        channels: slice,
        parts: Parts,
        pooled: tuple[int, int],
        size: tuple[int, int],
    ) -> tuple[torch.Tensor, Released]:
        """Share relevance over the pool in proportion to the convolution's signed values, then by z+."""
        assert parts.plus is not None
        released = collector.release(channels, Parts(parts.value))
        value, plus = parts.plus[..., : conv.outputs], parts.plus[..., conv.outputs :]
        per_value = released.plus * inverse(parts.value) / 4
        relevance = value * unpooled(per_value, pooled, size)
        nothing = plus <= TINY[plus.dtype]
        released.lost = torch.where(nothing, relevance, 0).sum(dim=(2, 3), dtype=torch.float64)
        return convolved(relevance * inverse(plus), conv.backward, size[0]), released

    def before_first_layer(
        self, layer: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor, ledger: Ledger
    ) -> torch.Tensor:
        """Carry relevance through the batch norm after the first convolution: R_in = S x / y R."""
        weight, shift, x = (v.to(relevance.dtype) for v in (layer.weight, layer.shift, inputs))
        scaled = F.conv2d(x, weight, None, layer.stride, layer.padding).unsqueeze(1)
        below = relevance * scaled * inverse((scaled + shift[:, None, None]).clamp(min=0))
        absorbed = (part.sum(dim=(2, 3, 4), dtype=torch.float64) for part in (relevance, below))
        ledger.book(layer.name.replace("conv", "norm"), ledger.absorbed[0], next(absorbed) - next(absorbed))
        return below
