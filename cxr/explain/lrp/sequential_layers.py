"""A network as a chain of layers: which layers it has, in the order in which they work, and why it is refused.

Chains of layers (``nn.Sequential``), timm's VGG and timm's plain ResNet are read; a residual block is two chains and a
sum.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import ClassifierHead, DropBlock2d, DropPath, SelectAdaptivePool2d
from timm.layers.adaptive_avgmax_pool import FastAdaptiveAvgPool
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.vgg import VGG, ConvMlp
from torch import nn

AFFINE = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
LAYERS = (*AFFINE, *NORMS, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ReLU, nn.MaxPool2d, nn.Flatten)
SILENT = (nn.Identity, nn.Dropout, nn.Dropout2d, DropPath, DropBlock2d)


class StretchingAvgPool(nn.Module):
    """What timm's VGG does before its dense layers: maps of fewer than ``least`` pixels a side are stretched to it."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of at least ``least`` in height and width."""
        height, width = values.shape[-2:]
        if min(height, width) >= self.least:
            return values
        return F.adaptive_avg_pool2d(values, (max(self.least, height), max(self.least, width)))


AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, StretchingAvgPool)


@dataclass(frozen=True)
class ResidualSum:
    """The layers of a residual block's branch and shortcut."""

    branch: list[Layer]
    shortcut: list[Layer]


Layer = nn.Module | ResidualSum


class NotSupportedError(Exception):
    """Why a network is refused, as the middle of a sentence."""


def layers_of(network: nn.Module) -> tuple[list[Layer], list[Layer]]:
    """Return the layers up to the classifier and those of the classifier, whose dense layers take the epsilon rule."""
    kind: type = type(network)
    if kind is nn.Sequential:
        return _split(_flattened(network))
    if kind is VGG:
        return _flattened(network.features), _all_layers(network, ("pre_logits", "head"))
    if kind is ResNet:
        body = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")
        return _all_layers(network, body), _all_layers(network, ("global_pool", "fc"))
    raise NotSupportedError(_unknown_layers(network))


def _split(layers: list[Layer]) -> tuple[list[Layer], list[Layer]]:
    """Cut a chain before its first dense layer; if it has none, before its last convolution."""
    dense = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    cut = next(iter([*dense[:1], *convolutions[-1:]]), len(layers))
    return layers[:cut], layers[cut:]


def _all_layers(parent: nn.Module, names: Iterable[str]) -> list[Layer]:
    return [layer for name in names for layer in _flattened(getattr(parent, name))]


def _flattened(module: Any) -> list[Layer]:
    """Return a module's layers in the order in which they work, without those that do nothing in evaluation mode."""
    kind = type(module)
    if module is None or kind in SILENT:
        return []
    if kind in _OPENED:
        return _OPENED[kind](module)
    if kind in LAYERS:
        return [module]
    raise NotSupportedError(_undefined([kind.__name__]))


def _sequential(chain: nn.Sequential) -> list[Layer]:
    return [layer for child in chain for layer in _flattened(child)]


def _residual(block: Any, branch: tuple[str, ...], activation: str) -> list[Layer]:
    return [
        ResidualSum(_all_layers(block, branch), _flattened(block.downsample)),
        *_flattened(getattr(block, activation)),
    ]


def _hidden_dense(mlp: Any) -> list[Layer]:
    return [StretchingAvgPool(mlp.input_kernel_size), *_all_layers(mlp, ("fc1", "act1", "drop", "fc2", "act2"))]


def _global_pool(pool: Any) -> list[Layer]:
    if type(pool.pool) not in (nn.AdaptiveAvgPool2d, FastAdaptiveAvgPool):
        raise NotSupportedError(f"its global pooling is {pool.pool_type!r}, where the rules are defined for 'avg'")
    flattens = isinstance(pool.flatten, nn.Flatten) or getattr(pool.pool, "flatten", False)
    return [nn.AdaptiveAvgPool2d(1), *([nn.Flatten(1)] if flattens else [])]


_BASIC = ("conv1", "bn1", "drop_block", "act1", "aa", "conv2", "bn2", "se", "drop_path")
_NARROW = ("conv1", "bn1", "act1", "conv2", "bn2", "drop_block", "act2", "aa", "conv3", "bn3", "se", "drop_path")

_OPENED: dict[type, Callable[[Any], list[Layer]]] = {
    nn.Sequential: _sequential,
    BasicBlock: partial(_residual, branch=_BASIC, activation="act2"),
    Bottleneck: partial(_residual, branch=_NARROW, activation="act3"),
    ConvMlp: _hidden_dense,
    ClassifierHead: partial(_all_layers, names=("global_pool", "drop", "fc", "flatten")),
    SelectAdaptivePool2d: _global_pool,
}


def _unknown_layers(network: nn.Module) -> str:
    """Say which layers of an unknown network have no rule."""
    leaves = [type(module) for module in network.modules() if not list(module.children())]
    supported = {*LAYERS, *SILENT, FastAdaptiveAvgPool}
    names = list(OrderedDict.fromkeys(kind.__name__ for kind in leaves if kind not in supported))
    return _undefined(names) if names else "how its layers are connected is not known"


def _undefined(names: list[str]) -> str:
    shown = [*names[:3], "others"] if len(names) > 3 else names
    listed = " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
    return f"it has {listed}, for which these rules are not defined"


def check(features: list[Layer], classifier: list[Layer]) -> None:
    """Refuse layers in an order for which the rules are not defined."""
    if not any(isinstance(layer, AFFINE) for layer in classifier):
        raise NotSupportedError("it has no last dense layer, so no logits")
    _check_order([*features, *classifier], rectified=False)


def _check_order(layers: list[Layer], rectified: bool) -> None:
    before: Layer | None = None
    for layer in layers:
        if isinstance(layer, NORMS):
            _check_norm(layer, before)
        elif isinstance(layer, AVERAGES) and not rectified:
            raise NotSupportedError("it averages values that have not passed a ReLU")
        elif isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
            raise NotSupportedError(f"it pads by {layer.padding_mode!r}, where the rules are defined for 'zeros'")
        elif isinstance(layer, ResidualSum):
            _check_order(layer.branch, rectified)
            _check_order(layer.shortcut, rectified)
        rectified = isinstance(layer, nn.ReLU) or (rectified and not isinstance(layer, (*AFFINE, *NORMS, ResidualSum)))
        before = layer


def _check_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, before: Layer | None) -> None:
    if not isinstance(before, AFFINE):
        raise NotSupportedError("it has a batch norm that does not directly follow a convolution or dense layer")
    if norm.running_mean is None or norm.running_var is None:
        raise NotSupportedError("it has a batch norm without running statistics, whose output depends on the batch")
