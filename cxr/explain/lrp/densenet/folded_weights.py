"""A DenseNet's weights as the sweeps read them: folded, split by sign, stacked, cast.

All is folded in float64 and cast once; :class:`Kernels` is made once per network, layout and dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cxr.explain.lrp.convolution import Convolution, Convolve, StemKernels
from cxr.explain.lrp.densenet.densenet_weights import (
    Affine,
    BlockWeights,
    DenseLayerWeights,
    DenseNetWeights,
    StemConvolution,
)
from cxr.explain.lrp.feature_maps import Consumer
from cxr.explain.lrp.layouts import Layout, Stack


def _convolution(stack: Stack, dtype: torch.dtype) -> Convolution:
    """Cast stacked rows, and turn those of the backward sweep into a transposed convolution."""
    k = stack.forward.shape[-1]
    padding = k // 2
    turned = stack.backward.transpose(0, 1).flip(2, 3)
    bias = None if stack.bias is None else stack.bias.to(dtype)
    return Convolution(
        Convolve(_cast(stack.forward, dtype), bias, padding),
        Convolve(_cast(turned, dtype), None, k - 1 - padding),
        stack.outputs,
        stack.minus_of,
    )


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


class Kernels:
    """A DenseNet's weights, folded, stacked and cast for one layout and dtype. Read-only after it was made."""

    def __init__(self, weights: DenseNetWeights, layout: Layout, dtype: torch.dtype) -> None:
        self.layout, self.dtype, self.pool = layout, dtype, weights.pool
        self.stem = tuple(self._stem(conv, i == 0) for i, conv in enumerate(weights.stem))
        negative = [_negative(block) for block in weights.blocks]
        self.blocks = tuple(
            self._block(block, signs, negative[i + 1] if i + 1 < len(negative) else None)
            for i, (block, signs) in enumerate(zip(weights.blocks, negative, strict=True))
        )
        self.classifier, self.bias = weights.classifier.to(dtype), weights.bias.to(dtype)

    def _stem(self, stem: StemConvolution, first: bool) -> StemKernels:
        scaled = stem.weight * stem.norm.scale[:, None, None, None]
        conv = None if first else self._unit(stem.weight, stem.norm)
        weight, shift = _cast(scaled, self.dtype), stem.norm.shift.to(self.dtype)
        return StemKernels(stem.name, weight, shift, conv, stem.stride, stem.padding)

    def _unit(self, weight: torch.Tensor, norm: Affine) -> Convolution:
        return _convolution(self.layout.unit(weight, norm.scale, norm.shift), self.dtype)

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
        channels = slice(at, at + len(layer.conv2))
        return LayerKernels(
            layer.name,
            self._consumer(layer.norm1),
            self._unit(layer.conv1, layer.norm2),
            layer.norm2.shift.to(self.dtype),
            self._source(layer.conv2, negative[channels]),
            channels,
        )

    def _source(self, weight: torch.Tensor, negative: torch.Tensor) -> Convolution:
        return _convolution(self.layout.source(weight, negative), self.dtype)

    def _consumer(self, norm: Affine) -> Consumer:
        return Consumer.of(norm.scale, norm.shift, self.dtype)


def _negative(block: BlockWeights) -> torch.Tensor:
    """Return which channels of a block have a consumer whose scale is below zero."""
    negative = block.out.scale < 0
    for layer in block.layers:
        negative[: len(layer.norm1.scale)] |= layer.norm1.scale < 0
    return negative
