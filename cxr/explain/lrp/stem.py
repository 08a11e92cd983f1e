"""The stem of a DenseNet: its first convolution, further ones of deep stems, and max pooling, up and down.

Pictures are (n, c, h, w) or (n, t, c, h, w); rows are (n, t, pixels, c), as in :mod:`cxr.explain.lrp.densenet`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cxr.explain.lrp.folded_weights import Convolve, Kernels, StemKernels
from cxr.explain.lrp.ledger import Ledger
from cxr.explain.lrp.rules import TINY, Stock, Unit, inverse


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


def stem_forward(kernels: Kernels, inputs: torch.Tensor) -> tuple[StemTrace, torch.Tensor]:
    """Run the stem on the network's input (n, c, h, w); return its trace and the pooled picture."""
    units, last = _rectified(kernels, inputs)
    pool = kernels.pool
    pooled, winners = F.max_pool2d(last, pool.kernel_size, pool.stride, pool.padding, return_indices=True)
    return StemTrace(inputs, units, last.shape[2:], winners), pooled


def as_rows(picture: torch.Tensor, targets: int) -> torch.Tensor:
    """(n t, c, h, w) to (n, t, h w, c)."""
    n, c, h, w = picture.shape
    return picture.permute(0, 2, 3, 1).reshape(n // targets, targets, h * w, c)


def convolved(rows: torch.Tensor, convolve: Convolve, height: int) -> torch.Tensor:
    """Convolve (n, t, p, c) rows as pictures of ``height``; stride 1."""
    n, t, p, c = rows.shape
    rows = rows.to(convolve.weight.dtype)
    return as_rows(convolve(rows.reshape(n * t, height, p // height, c).permute(0, 3, 1, 2)), t)


def _rectified(kernels: Kernels, inputs: torch.Tensor) -> tuple[list[Unit], torch.Tensor]:
    """Return the units of a deep stem's further convolutions, and the rectified output of its last."""
    first, *further = kernels.stem
    x = inputs.contiguous(memory_format=torch.channels_last)
    x = F.conv2d(x, first.weight, first.shift, first.stride, first.padding).relu_()
    units = []
    for stem in further:
        n, _, height, width = x.shape
        assert stem.conv is not None
        z = convolved(as_rows(x, 1), stem.conv.forward, height)
        unit = kernels.rule.unit(z, stem.shift, per_relevance=True)
        unit.inputs = as_rows(x, 1)
        units.append(unit)
        x = unit.released_output().view(n, height, width, -1).permute(0, 3, 1, 2)
    return units, x


@dataclass(frozen=True)
class FirstLayer:
    """The rule of the very first convolution: "flat", "epsilon", or "box" with the input's bounds.

    ``low`` and ``high`` are (n or 1, channels, 1, 1), in values of the network's input.
    """

    kind: str = "flat"
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None
    epsilon: float = 1e-6


def stem_backward(
    kernels: Kernels, trace: StemTrace, relevance: torch.Tensor, first: FirstLayer, ledger: Ledger
) -> torch.Tensor:
    """Through max pooling (the winner takes all) and the stem's convolutions; relevance (n, t, c, h, w) float32/64."""
    wide = torch.promote_types(relevance.dtype, torch.float32)
    stem, relevance = kernels.stem[0], relevance.to(wide)
    if first.kind == "flat" and not trace.units and not isinstance(kernels.rule, Stock):
        return _flat(stem, trace.inputs, _unpooled_max(trace, relevance, summed=True), ledger)
    relevance = _unpooled_max(trace, relevance, summed=False)
    for further, unit in zip(reversed(kernels.stem[1:]), reversed(trace.units), strict=True):
        relevance = _further_stem(kernels, further, unit, relevance, trace.size, ledger).to(wide)
    picture = _pictures(relevance, trace.size)
    if first.kind == "box":
        return _box(stem, trace.inputs, picture, first, ledger)
    if first.kind == "epsilon":
        return _epsilon(stem, trace.inputs, picture, first.epsilon, ledger)
    if isinstance(kernels.rule, Stock):
        picture = _stock_norm(stem, trace.inputs, picture, ledger)
    return _flat(stem, trace.inputs, picture.sum(dim=2), ledger)


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


def _spread(stem: StemKernels, message: torch.Tensor, weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Transposed first convolution of (n, t, c, h, w) messages to the input's size."""
    n, t = message.shape[:2]
    k = weight.shape[2:]
    output_padding = [
        inputs.shape[2 + i] - ((message.shape[3 + i] - 1) * stem.stride[i] - 2 * stem.padding[i] + k[i])
        for i in range(2)
    ]
    spread = F.conv_transpose2d(message.flatten(0, 1), weight, None, stem.stride, stem.padding, output_padding)
    return spread.view(n, t, *spread.shape[1:])


def _flat(stem: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor, ledger: Ledger) -> torch.Tensor:
    """Share (n, t, h, w) evenly over the inputs of each unit that lie inside the image, all channels alike."""
    channels, height, width = inputs.shape[1:]
    ones = relevance.new_ones((1, 1, *stem.weight.shape[2:]))
    inside = F.conv2d(relevance.new_ones((1, 1, height, width)), ones, None, stem.stride, stem.padding)
    spread = _spread(stem, (relevance / (inside * channels)).unsqueeze(2), ones, inputs)
    ledger.book(stem.name, ledger.absorbed[0])
    return spread.expand(-1, -1, channels, -1, -1)


def _epsilon(
    stem: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor, epsilon: float, ledger: Ledger
) -> torch.Tensor:
    weight, shift, x = (v.to(relevance.dtype) for v in (stem.weight, stem.shift, inputs))
    z = F.conv2d(x, weight, shift, stem.stride, stem.padding).unsqueeze(1)
    message = relevance * inverse(z + epsilon * z.sign())
    bias = shift[:, None, None] + epsilon * z.sign()
    lost = torch.where(z == 0, relevance, 0)
    ledger.book(stem.name, ledger.absorbed[0], _sum(message * bias), _sum(lost))
    return x.unsqueeze(1) * _spread(stem, message, weight, inputs)


def _box(
    stem: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor, first: FirstLayer, ledger: Ledger
) -> torch.Tensor:
    """c = (x - low) w+ + (x - high) w-: the same as x w - low w+ - high w-, without cancellation."""
    assert first.low is not None
    assert first.high is not None
    weight, x, low, high = (v.to(relevance.dtype) for v in (stem.weight, inputs, first.low, first.high))
    plus, minus, above, below = weight.clamp(min=0), weight.clamp(max=0), x - low, x - high
    z = F.conv2d(above, plus, None, stem.stride, stem.padding)
    z = (z + F.conv2d(below, minus, None, stem.stride, stem.padding)).unsqueeze(1)
    message = relevance * inverse(z)
    ledger.book(stem.name, ledger.absorbed[0], 0.0, _sum(torch.where(z.abs() <= TINY[z.dtype], relevance, 0)))
    up, down = _spread(stem, message, plus, inputs), _spread(stem, message, minus, inputs)
    return above.unsqueeze(1) * up + below.unsqueeze(1) * down


def _stock_norm(stem: StemKernels, inputs: torch.Tensor, relevance: torch.Tensor, ledger: Ledger) -> torch.Tensor:
    """iNNvestigate's batch-norm rule on the stem: R_in = S x / y R."""
    weight, shift, x = (v.to(relevance.dtype) for v in (stem.weight, stem.shift, inputs))
    scaled = F.conv2d(x, weight, None, stem.stride, stem.padding).unsqueeze(1)
    below = relevance * scaled * inverse((scaled + shift[:, None, None]).clamp(min=0))
    ledger.book(stem.name.replace("conv", "norm"), ledger.absorbed[0], _sum(relevance) - _sum(below))
    return below


def _sum(picture: torch.Tensor) -> torch.Tensor:
    return picture.sum(dim=(2, 3, 4), dtype=torch.float64)
