"""Relevance propagation through networks that are not DenseNets: chains of layers, timm's VGG and timm's ResNet.

Such a network is rewritten, on a private copy, as a chain of convolutions, dense layers, ReLUs and pools, in which a
residual block is two chains and a sum: the logits stay the same, and every step is a module that takes one of zennit's
rules. Batch norms directly follow a convolution or dense layer here and are folded into it (in float64).

- residual sum: in proportion to the two values that are added, zennit's rule for ResNets. They may differ in sign, so
  the way that works against the sum gets relevance of the other sign, and the gamma rule also meets outputs below 0,
  where it raises what lowers them
- average pools: in proportion to their values, which have always passed a ReLU
- ReLU: unchanged; max pool: the winner takes all
- dense layers, VGG's two hidden ones (convolutions in timm) among them: the epsilon rule
- first convolution and other convolutions: as the composite says
- ``innvestigate-a-flat`` keeps batch norms where they stand, R_in = S x / y R, and the biases of convolutions

A denominator of exactly zero passes nothing on; nothing is added to small ones. Networks of any other make are refused:
:func:`why_not` says for what reason.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.layers import ClassifierHead, DropBlock2d, DropPath, SelectAdaptivePool2d
from timm.layers.adaptive_avgmax_pool import FastAdaptiveAvgPool
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.vgg import VGG, ConvMlp
from torch import nn
from zennit.core import Composite, Hook
from zennit.layer import Sum
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, Pass, ZBox, ZPlus

from cxr.errors import ExplainError, unknown
from cxr.explain.frozen import borrowed
from cxr.explain.gradients import OPTIONS as ALTERNATIVES
from cxr.explain.gradients import as_picture

_EPSILON = {"epsilon": 1e-6}

OPTIONS: dict[str, dict[str, Any]] = {
    "epsilon-plus-flat": _EPSILON,
    "epsilon-alpha2-beta1-flat": _EPSILON,
    "epsilon": _EPSILON,
    "epsilon-gamma-box": _EPSILON | {"gamma": 0.25, "low": None, "high": None},
    "innvestigate-a-flat": _EPSILON,
}
"""Composites by name, with their options' defaults."""

BIASES = ("ignore", "keep")

_AFFINE = (nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LAYERS = (*_AFFINE, *_NORMS, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ReLU, nn.MaxPool2d, nn.Flatten)
_SILENT = (nn.Identity, nn.Dropout, nn.Dropout2d, DropPath, DropBlock2d)


def verified(network: nn.Module) -> bool:
    """Return whether the rules are right for ``network``: a chain of layers, timm's VGG or timm's plain ResNet."""
    return not why_not(network)


def why_not(network: nn.Module) -> str:
    """Return one line on why ``network`` is refused, with what is available; empty if it is not refused."""
    try:
        _checked(*_parts(network))
    except _Unfit as reason:
        return (
            f"relevance propagation is not verified for {type(network).__name__}: {reason}. "
            f"Available: {', '.join(ALTERNATIVES)}"
        )
    return ""


def caveat(network: nn.Module) -> str:
    """Return what a reader of the map must know of this architecture, empty if nothing."""
    if not any(isinstance(module, BasicBlock | Bottleneck) for module in network.modules()):
        return ""
    return (
        "Residual sums share relevance in proportion to two signed values, as zennit does: where a branch opposes the "
        "sum, relevance changes its sign and can grow."
    )


def relevance(
    network: nn.Module,
    inputs: torch.Tensor,
    columns: np.ndarray,
    composite: str = "epsilon-plus-flat",
    bias: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Propagate the explained logits of ``network`` back to its inputs.

    Parameters
    ----------
    network
        As :func:`verified`; it is only read. Its type and device must be those of ``inputs``.
    inputs
        The network's own (normalised) input, float (N, C, H, W). All N go through at once.
    columns
        The explained logits of every image, int (N, T).
    composite
        A name in :data:`OPTIONS`.
    bias
        "ignore" (None means it) or "keep" biases in the alpha-beta rules (z+ is one); no other rule has the choice.
    options
        ``epsilon``, ``gamma``, and ``low`` and ``high``, the smallest and largest possible inputs: a number, one per
        channel, or what broadcasts to ``inputs``; None takes each image's own, channel by channel. ``stem_bn`` means
        nothing here, where no batch norm stands alone.

    Returns
    -------
    relevance, logits
        (N, T, C, H, W) and (N, K), detached, of the type and on the device of ``inputs``. The sum of a map is the
        logit but for what biases and epsilon absorbed and what zero denominators lost.

    Raises
    ------
    ExplainError
        A network that is not verified; an unknown composite, bias or option; an option out of range.
    """
    refusal = why_not(network)
    if refusal:
        raise ExplainError(refusal)
    settings = _settings(composite, bias, dict(options or {}))
    build, key = (_stock_chain, "stock chain") if composite == "innvestigate-a-flat" else (_folded_chain, "chain")
    with borrowed(network, build, key) as chain:
        rules = Composite(_rule_map(chain, inputs, composite, bias == "keep", settings))
        try:
            rules.register(chain)
            return _propagated(chain, inputs, torch.as_tensor(np.asarray(columns), device=inputs.device))
        finally:
            rules.remove()


def _propagated(chain: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = inputs.detach().clone().requires_grad_()
    logits = chain(leaf)
    if logits.ndim != 2:
        raise ExplainError(f"the network returns the shape {tuple(logits.shape)}. Accepted: logits (images, classes)")
    maps = []
    for column in targets.T[:, :, None]:
        start = torch.zeros_like(logits).scatter(1, column, logits.detach().gather(1, column))
        maps.append(torch.autograd.grad(logits, leaf, start, retain_graph=True)[0])
    return torch.stack(maps, dim=1), logits.detach()


# Chains --------------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """Two chains that read the same values and whose outputs are added, in zennit's ``Sum``."""

    def __init__(self, branch: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.branch, self.shortcut, self.add = branch, shortcut, Sum(dim=-1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return branch + shortcut."""
        added: torch.Tensor = self.add(torch.stack([self.shortcut(values), self.branch(values)], dim=-1))
        return added


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


_AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, StretchingAvgPool)
_CLASSIFIER = "classifier"


def _folded_chain(network: nn.Module) -> nn.Sequential:
    return _chain(network, fold=True)


def _stock_chain(network: nn.Module) -> nn.Sequential:
    return _chain(network, fold=False)


def _chain(network: nn.Module, fold: bool) -> nn.Sequential:
    """Return the chain ``features``, ``classifier``; layers are new and share the network's tensors where they can."""
    features, classifier = _parts(network)
    parts: dict[str, nn.Module] = {"features": _built(features, fold), _CLASSIFIER: _built(classifier, fold)}
    return nn.Sequential(OrderedDict(parts)).eval().requires_grad_(False)


def _built(layers: Sequence[Layer], fold: bool) -> nn.Sequential:
    built: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, _Sum):
            built.append(Residual(_built(layer.branch, fold), _built(layer.shortcut, fold)))
        elif fold and isinstance(layer, _NORMS):
            built[-1] = _folded(built[-1], layer)
        elif isinstance(layer, nn.ReLU):
            built.append(nn.ReLU())
        else:
            built.append(_sharing(layer))
    return nn.Sequential(*built)


def _sharing(layer: nn.Module) -> nn.Module:
    """Return a copy of a layer with the same tensors."""
    return copy.deepcopy(layer, {id(tensor): tensor for tensor in itertools.chain(layer.parameters(), layer.buffers())})


def _folded(layer: Any, norm: Any) -> nn.Module:
    """Return ``layer`` with the batch norm that follows it: weights S W, bias S b + t."""
    scale = 1 / (norm.running_var.double() + norm.eps).sqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if layer.bias is not None:
        shift = shift + scale * layer.bias.double()
    folded = _sharing(layer)
    weight = layer.weight.double() * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    folded.weight = nn.Parameter(weight.to(layer.weight.dtype), requires_grad=False)
    folded.bias = nn.Parameter(shift.to(layer.weight.dtype), requires_grad=False)
    return folded


# Rules ---------------------------------------------------------------------------------------------------------------


def exact_division(z: torch.Tensor) -> torch.Tensor:
    """Return denominators as they are, infinity for those that are zero, so that nothing passes there.

    Below 1e8 times the smallest normal number of its type (1e-30 in float32) a quotient could overflow: that is zero.
    """
    return torch.where(z.abs() > 1e8 * torch.finfo(z.dtype).tiny, z, torch.inf)


def _stabilised(epsilon: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return z -> z + epsilon sgn(z), infinity at zero."""
    return lambda z: exact_division(z + epsilon * z.sign())


def _rule_map(
    chain: nn.Sequential, inputs: torch.Tensor, composite: str, keep: bool, settings: dict[str, Any]
) -> Callable[[dict[str, Any], str, nn.Module], Hook | None]:
    """Return zennit's (context, name, module) -> rule of a module of the chain."""
    dense = Epsilon(epsilon=_stabilised(settings["epsilon"]))
    first, hidden = _convolution_rules(chain, inputs, composite, keep, settings)
    affine = [module for module in chain.modules() if isinstance(module, _AFFINE)]

    def rule_of(_context: dict[str, Any], name: str, module: nn.Module) -> Hook | None:
        if isinstance(module, _AFFINE):
            if module is affine[0] and len(affine) > 1:
                return first
            return dense if name.startswith(_CLASSIFIER) else hidden
        return next((rule for kinds, rule in _OTHER_RULES if isinstance(module, kinds)), None)

    return rule_of


def _convolution_rules(
    chain: nn.Sequential, inputs: torch.Tensor, composite: str, keep: bool, settings: dict[str, Any]
) -> tuple[Hook, Hook]:
    """Return the rules of the first and of the other convolutions."""
    division: dict[str, Any] = {"stabilizer": exact_division}
    alpha_beta = division if keep else division | {"zero_params": ["bias"]}
    if composite == "epsilon":
        rule = Epsilon(epsilon=_stabilised(settings["epsilon"]))
        return rule, rule
    if composite == "epsilon-gamma-box":
        box = _box(chain, inputs, settings["low"], settings["high"])
        # zennit's rule is the definition's for z > 0 (the bias is raised as the weights are) and mirrors it for z < 0.
        return ZBox(*box, zero_params=["bias"], **division), Gamma(gamma=settings["gamma"], **division)
    if composite == "epsilon-alpha2-beta1-flat":
        return Flat(**division), AlphaBeta(alpha=2.0, beta=1.0, **alpha_beta)
    return Flat(**division), ZPlus(**(division if composite == "innvestigate-a-flat" else alpha_beta))


# A batch norm that stands alone is a diagonal layer; its own rule, S x / (S x + t) R, is the epsilon rule on it.
_OTHER_RULES: tuple[tuple[tuple[type, ...], Hook], ...] = (
    ((nn.ReLU,), Pass()),
    ((*_AVERAGES, Sum), Norm(stabilizer=exact_division)),
    (_NORMS, Epsilon(epsilon=exact_division)),
)


@torch.no_grad()
def _box(chain: nn.Sequential, inputs: torch.Tensor, low: Any, high: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bounds of what the first affine layer reads, of its input's shape."""
    lowest = inputs.amin(dim=(2, 3), keepdim=True).expand_as(inputs) if low is None else as_picture("low", low, inputs)
    highest = (
        inputs.amax(dim=(2, 3), keepdim=True).expand_as(inputs) if high is None else as_picture("high", high, inputs)
    )
    if (lowest > highest).any():
        raise ExplainError(f"low {low!r} lies above high {high!r}. Accepted: the smallest and largest possible input")
    # What stands before the first affine layer (pools, flattening) never turns larger into smaller.
    before = list(itertools.takewhile(lambda layer: not isinstance(layer, _AFFINE), itertools.chain(*chain)))
    return nn.Sequential(*before)(lowest), nn.Sequential(*before)(highest)


def _settings(composite: str, bias: str | None, options: dict[str, Any]) -> dict[str, Any]:
    if composite not in OPTIONS:
        raise ExplainError(unknown("composite", composite, OPTIONS))
    if bias not in (None, *BIASES):
        raise ExplainError(unknown("bias", bias, BIASES))
    options.pop("stem_bn", None)
    for key, value in options.items():
        if key not in OPTIONS[composite]:
            raise ExplainError(unknown(f"option of composite {composite!r}:", key, OPTIONS[composite]))
        if key in ("epsilon", "gamma") and not (isinstance(value, int | float | np.number) and 0 <= value < math.inf):
            raise ExplainError(f"{key} {value!r} is out of range. Accepted: numbers from 0")
    return OPTIONS[composite] | options


# What a network is made of -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sum:
    """The layers of a residual block's two ways."""

    branch: list[Layer]
    shortcut: list[Layer]


Layer = nn.Module | _Sum


class _Unfit(Exception):
    """Why a network is refused, as the middle of a sentence."""


def _parts(network: nn.Module) -> tuple[list[Layer], list[Layer]]:
    """Return the layers up to the classifier and those of the classifier, whose dense layers take the epsilon rule."""
    kind: type = type(network)
    if kind is nn.Sequential:
        return _split(_layers(network))
    if kind is VGG:
        return _layers(network.features), _all_layers(network, ("pre_logits", "head"))
    if kind is ResNet:
        body = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")
        return _all_layers(network, body), _all_layers(network, ("global_pool", "fc"))
    raise _Unfit(_strangers(network))


def _split(layers: list[Layer]) -> tuple[list[Layer], list[Layer]]:
    """Cut a chain before its first dense layer; if it has none, before its last convolution."""
    dense = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    cut = next(iter([*dense[:1], *convolutions[-1:]]), len(layers))
    return layers[:cut], layers[cut:]


def _all_layers(parent: nn.Module, names: Iterable[str]) -> list[Layer]:
    return [layer for name in names for layer in _layers(getattr(parent, name))]


def _layers(module: Any) -> list[Layer]:
    """Return a module's layers in the order in which they work, without those that do nothing in evaluation mode."""
    kind = type(module)
    if module is None or kind in _SILENT:
        return []
    if kind in _OPENED:
        return _OPENED[kind](module)
    if kind in _LAYERS:
        return [module]
    raise _Unfit(_undefined([kind.__name__]))


def _sequential(chain: nn.Sequential) -> list[Layer]:
    return [layer for child in chain for layer in _layers(child)]


def _residual(block: Any, branch: tuple[str, ...], activation: str) -> list[Layer]:
    return [_Sum(_all_layers(block, branch), _layers(block.downsample)), *_layers(getattr(block, activation))]


def _hidden_dense(mlp: Any) -> list[Layer]:
    return [StretchingAvgPool(mlp.input_kernel_size), *_all_layers(mlp, ("fc1", "act1", "drop", "fc2", "act2"))]


def _global_pool(pool: Any) -> list[Layer]:
    if type(pool.pool) not in (nn.AdaptiveAvgPool2d, FastAdaptiveAvgPool):
        raise _Unfit(f"its global pooling is {pool.pool_type!r}, where the rules are defined for 'avg'")
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


def _strangers(network: nn.Module) -> str:
    """Say which layers of an unknown network have no rule."""
    leaves = [type(module) for module in network.modules() if not list(module.children())]
    known = {*_LAYERS, *_SILENT, FastAdaptiveAvgPool}
    names = list(OrderedDict.fromkeys(kind.__name__ for kind in leaves if kind not in known))
    return _undefined(names) if names else "how its layers are joined is not known here"


def _undefined(names: list[str]) -> str:
    shown = [*names[:3], "others"] if len(names) > 3 else names
    listed = " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
    return f"it has {listed}, for which these rules are not defined"


def _checked(features: list[Layer], classifier: list[Layer]) -> None:
    """Refuse layers in an order for which the rules are not defined."""
    if not any(isinstance(layer, _AFFINE) for layer in classifier):
        raise _Unfit("it has no last dense layer, so no logits")
    _check_order([*features, *classifier], rectified=False)


def _check_order(layers: list[Layer], rectified: bool) -> None:
    before: Layer | None = None
    for layer in layers:
        if isinstance(layer, _NORMS):
            _check_norm(layer, before)
        elif isinstance(layer, _AVERAGES) and not rectified:
            raise _Unfit("it averages values that have not passed a ReLU")
        elif isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
            raise _Unfit(f"it pads by {layer.padding_mode!r}, where the rules are defined for 'zeros'")
        elif isinstance(layer, _Sum):
            _check_order(layer.branch, rectified)
            _check_order(layer.shortcut, rectified)
        rectified = isinstance(layer, nn.ReLU) or (rectified and not isinstance(layer, (*_AFFINE, *_NORMS, _Sum)))
        before = layer


def _check_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, before: Layer | None) -> None:
    if not isinstance(before, _AFFINE):
        raise _Unfit("it has a batch norm that does not directly follow a convolution or dense layer")
    if norm.running_mean is None or norm.running_var is None:
        raise _Unfit("it has a batch norm without running statistics, whose output hangs on the batch")
