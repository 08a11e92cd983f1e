"""The numbers of a timm DenseNet as relevance propagation reads them: convolutions, and batch norms as scale and shift.

A DenseNet's batch norm comes before its ReLU and after a concatenation, so one feature map F is read by many
*consumers*, each ``relu(S F + t)`` with its own scale and shift. :class:`DenseNetWeights` names every consumer and
every convolution in float64; nothing in here knows a rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from timm.layers import BatchNormAct2d
from timm.models.densenet import DenseNet
from torch import nn

from cxr.errors import ExplainError


def is_densenet(network: nn.Module) -> TypeGuard[DenseNet]:
    """Return whether ``network`` is a timm DenseNet."""
    return isinstance(network, DenseNet)


@dataclass(frozen=True)
class Affine:
    """A batch norm in evaluation mode, y = scale x + shift; float64 (channels,) each."""

    scale: torch.Tensor
    shift: torch.Tensor


@dataclass(frozen=True)
class StemConvolution:
    """A convolution of the stem with the batch norm that alone reads it. ``weight`` is (out, in, k, k), not folded."""

    name: str
    weight: torch.Tensor
    norm: Affine
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class DenseLayerWeights:
    """norm1, conv1 (1 x 1), norm2, conv2 (3 x 3) of one dense layer; weights not folded."""

    name: str
    norm1: Affine
    conv1: torch.Tensor
    norm2: Affine
    conv2: torch.Tensor


@dataclass(frozen=True)
class BlockWeights:
    """A dense block, the batch norm that reads all of it (a transition's or norm5) and the transition's convolution.

    ``transition`` is (out, in, 1, 1), None after the last block.
    """

    name: str
    layers: tuple[DenseLayerWeights, ...]
    out_name: str
    out: Affine
    transition: torch.Tensor | None


@dataclass(frozen=True)
class MaxPool:
    """Arguments of the stem's max pooling."""

    kernel_size: Any
    stride: Any
    padding: Any


@dataclass(frozen=True)
class DenseNetWeights:
    """Every number of a DenseNet, float64, on the network's device. ``classifier`` is (classes, features)."""

    stem: tuple[StemConvolution, ...]
    pool: MaxPool
    blocks: tuple[BlockWeights, ...]
    classifier: torch.Tensor
    bias: torch.Tensor


def read_densenet(network: nn.Module) -> DenseNetWeights:
    """Read a timm DenseNet; the network is not changed and nothing of it is shared.

    Raises
    ------
    ExplainError
        An activation other than ReLU, blurred pooling, a global pooling other than the mean, no classifier, or batch
        norms without running statistics: relevance is not defined there.
    """
    net: Any = network
    _check(net)
    blocks = [name for name, _ in net.features.named_children() if name.startswith("denseblock")]
    return DenseNetWeights(
        stem=_stem(net.features),
        pool=_pool(net.features.pool0),
        blocks=tuple(_block(net.features, i, name, i == len(blocks) - 1) for i, name in enumerate(blocks)),
        classifier=_numbers(net.classifier.weight),
        bias=_numbers(net.classifier.bias) if net.classifier.bias is not None else _zeros(net.classifier.weight),
    )


def _check(network: Any) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            _check_norm(module)
        if isinstance(module, nn.Conv2d) and not _is_plain(module):
            raise ExplainError(f"a DenseNet with {module} cannot be explained. Accepted: convolutions without bias")
    if network.global_pool.pool_type not in ("avg", "fast", "fastavg"):
        raise ExplainError(f"global pooling {network.global_pool.pool_type!r} cannot be explained. Accepted: avg")
    if not isinstance(network.classifier, nn.Linear):
        raise ExplainError("a DenseNet without a classifier has no logits to explain. Accepted: num_classes from 1")
    if not isinstance(network.features.norm5, BatchNormAct2d):
        kind = type(network.features.norm5).__name__
        raise ExplainError(f"a DenseNet with {kind} cannot be explained. Accepted: batch norms")


def _is_plain(conv: nn.Conv2d) -> bool:
    return conv.groups == 1 and conv.dilation == (1, 1) and conv.bias is None


def _check_norm(norm: nn.BatchNorm2d) -> None:
    if isinstance(norm, BatchNormAct2d) and not isinstance(norm.act, nn.ReLU):
        kind = type(norm.act).__name__
        raise ExplainError(f"no rule is defined for the activation {kind}. Accepted: ReLU")
    if norm.running_mean is None or norm.running_var is None:
        raise ExplainError(
            "a batch norm without running statistics cannot be explained: its output depends on the batch"
        )


def _stem(features: Any) -> tuple[StemConvolution, ...]:
    layers = []
    for i in range(3):
        conv, norm = getattr(features, f"conv{i}", None), getattr(features, f"norm{i}", None)
        if conv is not None:
            name = f"features.conv{i}"
            layers.append(StemConvolution(name, _numbers(conv.weight), _affine(norm), conv.stride, conv.padding))
    return tuple(layers)


def _pool(pool: nn.Module) -> MaxPool:
    if not isinstance(pool, nn.MaxPool2d) or pool.ceil_mode or pool.dilation != 1:
        raise ExplainError(f"a stem pooled by {type(pool).__name__} cannot be explained. Accepted: MaxPool2d")
    return MaxPool(pool.kernel_size, pool.stride, pool.padding)


def _block(features: Any, index: int, name: str, last: bool) -> BlockWeights:
    layers = tuple(
        DenseLayerWeights(
            f"features.{name}.{child}",
            _affine(layer.norm1),
            _numbers(layer.conv1.weight),
            _affine(layer.norm2),
            _numbers(layer.conv2.weight),
        )
        for child, layer in features.get_submodule(name).named_children()
    )
    if last:
        return BlockWeights(f"features.{name}", layers, "features.norm5", _affine(features.norm5), None)
    transition = features.get_submodule(f"transition{index + 1}")
    pool = transition.pool
    if not isinstance(pool, nn.AvgPool2d) or (pool.kernel_size, pool.stride, pool.padding) != (2, 2, 0):
        raise ExplainError(f"a transition pooled by {pool} cannot be explained. Accepted: AvgPool2d of 2 x 2")
    out_name = f"features.transition{index + 1}.conv"
    return BlockWeights(
        f"features.{name}", layers, out_name, _affine(transition.norm), _numbers(transition.conv.weight)
    )


def _affine(norm: Any) -> Affine:
    scale = 1 / (_numbers(norm.running_var) + norm.eps).sqrt()
    if norm.weight is not None:
        scale = scale * _numbers(norm.weight)
    shift = -_numbers(norm.running_mean) * scale
    return Affine(scale, shift if norm.bias is None else shift + _numbers(norm.bias))


def _numbers(tensor: torch.Tensor) -> torch.Tensor:
    # A copy also of what is float64 already: a later training step must not reach into kept weights.
    return tensor.detach().to(torch.float64, copy=True)


def _zeros(weight: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
