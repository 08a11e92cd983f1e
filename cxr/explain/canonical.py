"""A DenseNet rewritten for layer-wise relevance propagation: same logits, every step a module that can take a rule.

timm hides the ReLU inside ``BatchNormAct2d`` and its pooling in helpers, and puts a batch norm after a convolution, an
average pool after a transition's convolution. On a **copy** of the network

- a batch norm that alone reads a convolution is folded into it (weights ``S W``, bias ``t``; folded in float64), so the
  sign of its scale is in the weights: the stem, and ``conv1`` with ``norm2`` of every dense layer;
- any other ``BatchNormAct2d`` becomes ``BatchNorm2d`` followed by ``ReLU``;
- a transition's 2 x 2 average pool moves before its 1 x 1 convolution: the two commute, and the pool then sees only
  values >= 0, on which sharing relevance in proportion is what the merged convolution does;
- global pooling becomes ``AdaptiveAvgPool2d`` and ``Flatten``.

What stays approximate: a batch norm that reads a concatenation has one scale per *consumer*, and the convolutions
before it see all consumers at once (:func:`negative_scale_share` says how many scales are negative).
"""

from __future__ import annotations

import copy
import itertools
import threading
import weakref
import zlib
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from timm.layers import BatchNormAct2d
from timm.models.densenet import DenseLayer, DenseNet, DenseTransition
from torch import nn

from cxr.errors import ExplainError


def is_densenet(network: nn.Module) -> TypeGuard[DenseNet]:
    """Return whether ``network`` is a timm DenseNet."""
    return isinstance(network, DenseNet)


def is_plain_chain(network: nn.Module) -> bool:
    """Return whether ``network`` is a chain of layers without branches, which rules can be put on as it is."""
    if isinstance(network, nn.Sequential):
        return all(is_plain_chain(child) for child in network)
    return isinstance(network, _CHAIN_LAYERS)


_CHAIN_LAYERS = (
    nn.Conv2d,
    nn.Linear,
    nn.ReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Dropout,
    nn.Identity,
)


def canonical_copy(network: nn.Module) -> nn.Module:
    """Return a frozen copy of ``network`` in evaluation mode with the same logits, rewritten if it is a DenseNet.

    The given network is only read. Logits agree to float rounding (about 1e-6 of their size in float32).

    Raises
    ------
    ExplainError
        A DenseNet with another activation than ReLU, blurred pooling, or a global pooling other than the mean.
    """
    twin = copy.deepcopy(network)
    for module in twin.modules():
        _forget_hooks(module)
    if is_densenet(twin):
        _rewrite(twin)
    return twin.eval().requires_grad_(False)


def _forget_hooks(module: nn.Module) -> None:
    # A copy carries the hooks of its original (profilers, loggers): they have no business in an explanation.
    for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks):
        hooks.clear()


def _rewrite(network: Any) -> None:
    for module in network.modules():
        if isinstance(module, BatchNormAct2d):
            _check_activation(module)
    _fold_chain(network.features)
    for module in list(network.modules()):
        if isinstance(module, DenseLayer):
            module.grad_checkpointing = False
            _fold_chain(module, ("conv1", "norm2"))
        elif isinstance(module, DenseTransition):
            _pool_first(module)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, BatchNormAct2d):
                setattr(module, name, nn.Sequential(_plain_norm(child), _activation(child)))
    network.global_pool = _global_pool(network)


def _check_activation(norm: BatchNormAct2d) -> None:
    if not isinstance(norm.act, nn.ReLU | nn.Identity):
        raise ExplainError(
            f"relevance is not defined here for the activation {type(norm.act).__name__}. Accepted: ReLU"
        )
    if norm.running_mean is None or norm.running_var is None:
        raise ExplainError("batch norm without running statistics cannot be explained: its output depends on the batch")


def _fold_chain(parent: nn.Module, names: tuple[str, ...] | None = None) -> None:
    """Fold each batch norm of ``parent`` that directly follows a convolution, in the order of ``names``."""
    ordered = names or tuple(name for name, _ in parent.named_children())
    for before, after in itertools.pairwise(ordered):
        conv, norm = getattr(parent, before), getattr(parent, after)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
            setattr(parent, before, _folded(conv, norm))
            setattr(parent, after, _activation(norm))


def _scale_and_shift(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return S and t (float64) of a batch norm in evaluation mode: y = S x + t."""
    scale = 1 / (norm.running_var.double() + norm.eps).sqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _folded(conv: nn.Conv2d, norm: BatchNormAct2d) -> nn.Conv2d:
    scale, shift = _scale_and_shift(norm)
    bias = shift if conv.bias is None else shift + scale * conv.bias.double()
    folded = copy.deepcopy(conv)
    dtype = conv.weight.dtype
    folded.weight = nn.Parameter((conv.weight.double() * scale[:, None, None, None]).to(dtype), requires_grad=False)
    folded.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return folded


def _activation(norm: BatchNormAct2d) -> nn.Module:
    return nn.Identity() if isinstance(norm.act, nn.Identity) else nn.ReLU()


def _plain_norm(norm: BatchNormAct2d) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(norm.num_features, eps=norm.eps, affine=norm.affine)
    plain.load_state_dict(norm.state_dict())
    return plain.to(norm.running_mean).eval().requires_grad_(False)


def _pool_first(transition: Any) -> None:
    if not isinstance(transition.pool, nn.AvgPool2d):
        raise ExplainError(f"a transition's pooling {type(transition.pool).__name__} is unknown. Accepted: AvgPool2d")
    pool, conv = transition.pool, transition.conv
    del transition.pool, transition.conv
    transition.add_module("pool", pool)
    transition.add_module("conv", conv)


def _global_pool(network: Any) -> nn.Module:
    kind = network.global_pool.pool_type
    if kind not in ("avg", "fast", "fastavg"):
        raise ExplainError(f"global pooling {kind!r} cannot be explained. Accepted: avg")
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def negative_scale_share(canonical: nn.Module) -> float:
    """Return the share (0..1) of scales below zero in the batch norms that were not folded; 0 without any."""
    norms = [m for m in canonical.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return 0.0
    scales = torch.cat([_scale_and_shift(norm)[0] for norm in norms])
    return float((scales < 0).double().mean())


def fingerprint(network: nn.Module) -> int:
    """Return a checksum of every parameter and buffer, their names, types and shapes.

    Version counters miss writes through ``.data``; reading 30 MB costs little beside one explanation.
    """
    value = zlib.crc32(repr([(type(m).__name__, getattr(m, "eps", None)) for m in network.modules()]).encode())
    for name, tensor in network.state_dict().items():
        value = zlib.crc32(f"{name}{tensor.dtype}{tuple(tensor.shape)}{tensor.device}".encode(), value)
        value = zlib.crc32(tensor.detach().contiguous().view(-1).view(torch.uint8).cpu().numpy(), value)
    return value


@dataclass
class Canonical:
    """A canonical copy with the lock under which alone rules may be put on it."""

    network: nn.Module
    fingerprint: int
    lock: threading.RLock = field(default_factory=threading.RLock)


_copies: weakref.WeakKeyDictionary[nn.Module, Canonical] = weakref.WeakKeyDictionary()
_copies_lock = threading.Lock()


def canonical_of(network: nn.Module) -> Canonical:
    """Return the kept canonical copy of ``network``, made anew when any of its numbers changed."""
    with _copies_lock:
        print_now = fingerprint(network)
        kept = _copies.get(network)
        if kept is None or kept.fingerprint != print_now:
            kept = Canonical(canonical_copy(network), print_now)
            _copies[network] = kept
        return kept


def forget(network: nn.Module) -> None:
    """Drop the kept copy of ``network``: after a failure inside it, the next explanation starts from a clean one."""
    with _copies_lock:
        _copies.pop(network, None)
