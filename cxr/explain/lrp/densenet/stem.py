"""The stem of a DenseNet: its first convolution, further ones of deep stems, and max pooling, up and down.

Pictures are (n, c, h, w) or (n, t, c, h, w); rows are (n, t, pixels, c), as in :mod:`cxr.explain.lrp.convolution`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cxr.explain.lrp.convolution import StemKernels, as_rows, convolved
from cxr.explain.lrp.densenet.folded_weights import Kernels
from cxr.explain.lrp.feature_maps import Unit
from cxr.explain.lrp.ledger import Ledger
from cxr.explain.lrp.propagator import LayerRules
from cxr.explain.lrp.rules import Rule


@dataclass
class StemTrace:
    """What the stem's forward sweep leaves behind.

    ``units`` belong to the convolutions after the first (deep stems), ``size`` is their height and width, ``winners``
    (n, c, h, w) the places that max pooling took.
    """

    inputs: torch.Tensor
    units: list[Unit]
    size: torch.Size
    winners: torch.Tensor


def stem_forward(kernels: Kernels, rule: Rule, inputs: torch.Tensor) -> tuple[StemTrace, torch.Tensor]:
    """Run the stem on the network's input (n, c, h, w); return its trace and the pooled picture."""
    units, last = _rectified(kernels, rule, inputs)
    pool = kernels.pool
    pooled, winners = F.max_pool2d(last, pool.kernel_size, pool.stride, pool.padding, return_indices=True)
    return StemTrace(inputs, units, last.shape[2:], winners), pooled


def _rectified(kernels: Kernels, rule: Rule, inputs: torch.Tensor) -> tuple[list[Unit], torch.Tensor]:
    """Return the units of a deep stem's further convolutions, and the rectified output of its last."""
    first, *further = kernels.stem
    x = inputs.contiguous(memory_format=torch.channels_last)
    x = F.conv2d(x, first.weight, first.shift, first.stride, first.padding).relu_()
    units = []
    for stem in further:
        n, _, height, width = x.shape
        assert stem.conv is not None
        z = convolved(as_rows(x, 1), stem.conv.forward, height)
        unit = rule.unit(z, stem.shift, per_relevance=True)
        unit.inputs = as_rows(x, 1)
        units.append(unit)
        x = unit.released_output().view(n, height, width, -1).permute(0, 3, 1, 2)
    return units, x


def stem_backward(
    kernels: Kernels, trace: StemTrace, relevance: torch.Tensor, rules: LayerRules, ledger: Ledger
) -> torch.Tensor:
    """Through max pooling (the winner takes all) and the stem's convolutions; relevance (n, t, c, h, w) float32/64."""
    wide = torch.promote_types(relevance.dtype, torch.float32)
    stem, relevance = kernels.stem[0], relevance.to(wide)
    if not rules.first.reads_channels and not trace.units and rules.convolution.folds:
        picture = _unpooled_max(trace, relevance, summed=True).unsqueeze(2)
    else:
        rows = _unpooled_max(trace, relevance, summed=False)
        for further, unit in zip(reversed(kernels.stem[1:]), reversed(trace.units), strict=True):
            rows = _further_stem(kernels, further, unit, rows, trace.size, ledger).to(wide)
        picture = rules.convolution.before_first_layer(stem, trace.inputs, _pictures(rows, trace.size), ledger)
    shared = rules.first.share(stem, trace.inputs, picture)
    ledger.book(stem.name, ledger.absorbed[0], shared.absorbed, shared.lost)
    return shared.relevance


def _unpooled_max(trace: StemTrace, relevance: torch.Tensor, summed: bool) -> torch.Tensor:
    """Bring (n, t, p, c) to the winners' places: (n, t, P, c), or (n, t, h, w) summed over channels."""
    n, t, p, c = relevance.shape
    height, width = trace.size
    winners = trace.winners.permute(0, 2, 3, 1).reshape(n, 1, p, c)
    if summed:
        places = winners.reshape(n, 1, p * c).expand(n, t, -1)
        flat = relevance.new_zeros((n, t, height * width)).scatter_add_(2, places, relevance.reshape(n, t, p * c))
        return flat.view(n, t, height, width)
    whole = relevance.new_zeros((n, t, height * width, c))
    return whole.scatter_add_(2, winners.expand(n, t, p, c), relevance)


def _further_stem(
    kernels: Kernels, stem: StemKernels, unit: Unit, relevance: torch.Tensor, size: torch.Size, ledger: Ledger
) -> torch.Tensor:
    assert stem.conv is not None
    assert unit.inputs is not None
    message, absorbed, lost = unit.message(relevance.to(kernels.dtype))
    ledger.book(stem.name, ledger.absorbed[0], absorbed, lost)
    below = convolved(message, stem.conv.backward, size[0])
    return below * unit.inputs


def _pictures(rows: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """(n, t, p, c) to (n, t, c, h, w)."""
    n, t, _, c = rows.shape
    return rows.permute(0, 1, 3, 2).reshape(n, t, c, *size)
