"""A DenseNet's weights as :mod:`cxr.explain.lrp.densenet` reads them: folded, split by sign, stacked, cast.

All is folded in float64 and cast once; :class:`Kernels` is made once per network, kind of rule and dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cxr.explain.lrp.densenet_weights import Affine, BlockWeights, DenseLayerWeights, DenseNetWeights, StemConvolution
from cxr.explain.lrp.rules import Consumer, Rule, Stock


@dataclass(frozen=True)
class Convolve:
    """A convolution of stride 1 with its weights (out, in, k, k), called on channels-last pictures."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    padding: int

    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        """Return (n, out, h', w') of (n, in, h, w)."""
        return F.conv2d(picture, self.weight, self.bias, padding=self.padding)


@dataclass(frozen=True)
class Convolution:
    """Stacked rows of weights for the forward sweep, and their transposed selection for the backward sweep."""

    forward: Convolve
    backward: Convolve
    outputs: int
    minus_of: torch.Tensor | None


def _stacked(
    weight: torch.Tensor,
    rule: Rule,
    dtype: torch.dtype,
    shift: torch.Tensor | None,
    minus_of: torch.Tensor | None,
    folded: torch.Tensor | None = None,
) -> Convolution:
    """Stack W (out, in, k, k) with what the rule needs of W+ and W-; ``minus_of`` None: W- of every channel.

    ``folded`` are the weights of the first rows where they differ from those that the rule splits.
    """
    plus, minus = weight.clamp(min=0), weight.clamp(max=0)
    minus = minus if minus_of is None else minus[minus_of]
    first = weight if folded is None else folded
    forward, backward = {
        "plus": ([first, plus, minus], [plus, minus]),
        "both": ([first, plus, minus], [plus, minus]),
        "plain": ([first], [first]),
        "stock": ([first, plus], [plus]),
    }[rule.rows]
    k = weight.shape[-1]
    padding = k // 2
    turned = torch.cat(backward).transpose(0, 1).flip(2, 3)
    bias = None if shift is None else _bias_rows(shift, rule, len(minus)).to(dtype)
    return Convolution(
        Convolve(_cast(torch.cat(forward), dtype), bias, padding),
        Convolve(_cast(turned, dtype), None, k - 1 - padding),
        len(weight),
        minus_of,
    )


def _bias_rows(shift: torch.Tensor, rule: Rule, n_minus: int) -> torch.Tensor:
    """Return the bias of every row of a unit: of z always, of the sums where the rule keeps biases."""
    rows = {"plus": 2, "both": 3, "plain": 1, "stock": 2}[rule.rows]
    kept = [shift, shift.clamp(min=0), shift.clamp(max=0)]
    parts = kept if rule.keep else [shift, torch.zeros_like(shift), torch.zeros_like(shift)]
    return torch.cat(parts[:rows]) if rows < 3 else torch.cat([*parts[:2], parts[2][:n_minus]])


def _cast(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return weight.to(dtype).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class LayerKernels:
    """One dense layer: its consumer of the block, conv1 folded with norm2, conv2, and where its output goes."""

    name: str
    consumer: Consumer
    conv1: Convolution
    bias1: torch.Tensor
    conv2: Convolution
    channels: slice


@dataclass(frozen=True)
class BlockKernels:
    """One dense block. ``source``: the channels it starts from; ``signed``: whether any scale is below zero."""

    name: str
    layers: tuple[LayerKernels, ...]
    out_name: str
    out: Consumer
    transition: Convolution | None
    source: slice
    channels: int
    signed: bool


@dataclass(frozen=True)
class StemKernels:
    """A convolution of the stem, its batch norm folded: ``weight`` S W, ``shift`` t; ``conv`` from the second on."""

    name: str
    weight: torch.Tensor
    shift: torch.Tensor
    conv: Convolution | None
    stride: tuple[int, int]
    padding: tuple[int, int]


class Kernels:
    """A DenseNet's weights, folded, split and cast for one rule and dtype. Read-only after it was made."""

    def __init__(self, weights: DenseNetWeights, rule: Rule, dtype: torch.dtype) -> None:
        self.rule, self.dtype, self.pool = rule, dtype, weights.pool
        self.stem = tuple(self._stem(conv, i == 0) for i, conv in enumerate(weights.stem))
        negative = [_negative(block) for block in weights.blocks]
        self.blocks = tuple(
            self._block(block, signs, negative[i + 1] if i + 1 < len(negative) else None)
            for i, (block, signs) in enumerate(zip(weights.blocks, negative, strict=True))
        )
        self.classifier, self.bias = weights.classifier.to(dtype), weights.bias.to(dtype)

    def _stem(self, stem: StemConvolution, first: bool) -> StemKernels:
        scaled = stem.weight * stem.norm.scale[:, None, None, None]
        conv = None if first else self._unit(stem.weight, scaled, stem.norm.shift)
        weight, shift = _cast(scaled, self.dtype), stem.norm.shift.to(self.dtype)
        return StemKernels(stem.name, weight, shift, conv, stem.stride, stem.padding)

    def _unit(self, stock: torch.Tensor, scaled: torch.Tensor, shift: torch.Tensor) -> Convolution:
        if isinstance(self.rule, Stock):
            return _stacked(stock, self.rule, self.dtype, None, None, folded=scaled)
        none = torch.empty(0, dtype=torch.long, device=stock.device) if self.rule.rows == "plus" else None
        return _stacked(scaled, self.rule, self.dtype, shift, none)

    def _block(self, block: BlockWeights, negative: torch.Tensor, following: torch.Tensor | None) -> BlockKernels:
        start = len(block.layers[0].norm1.scale) if block.layers else len(block.out.scale)
        layers, at = [], start
        for layer in block.layers:
            layers.append(self._layer(layer, negative, at))
            at += len(layer.conv2)
        transition = None
        if block.transition is not None and following is not None:
            transition = self._source(block.transition, following[: len(block.transition)])
        out = self._consumer(block.out)
        signed = bool(negative.any())
        return BlockKernels(block.name, tuple(layers), block.out_name, out, transition, slice(0, start), at, signed)

    def _layer(self, layer: DenseLayerWeights, negative: torch.Tensor, at: int) -> LayerKernels:
        scaled = layer.conv1 * layer.norm2.scale[:, None, None, None]
        channels = slice(at, at + len(layer.conv2))
        return LayerKernels(
            layer.name,
            self._consumer(layer.norm1),
            self._unit(layer.conv1, scaled, layer.norm2.shift),
            layer.norm2.shift.to(self.dtype),
            self._source(layer.conv2, negative[channels]),
            channels,
        )

    def _source(self, weight: torch.Tensor, negative: torch.Tensor) -> Convolution:
        minus_of = negative.nonzero()[:, 0] if self.rule.rows == "plus" else None
        return _stacked(weight, self.rule, self.dtype, None, minus_of)

    def _consumer(self, norm: Affine) -> Consumer:
        return Consumer.of(norm.scale, norm.shift, self.dtype)


def _negative(block: BlockWeights) -> torch.Tensor:
    """Return which channels of a block have a consumer whose scale is below zero."""
    negative = block.out.scale < 0
    for layer in block.layers:
        negative[: len(layer.norm1.scale)] |= layer.norm1.scale < 0
    return negative
