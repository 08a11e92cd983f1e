"""Relevance propagation through networks that are chains of layers, timm's VGG and timm's ResNet among them.

Such a network is rewritten, on a private copy, as a chain of convolutions, dense layers, ReLUs and pools, in which a
residual block is two chains and a sum: the logits stay the same, and every step is a module that takes one of zennit's
rules. Batch norms directly follow a convolution or dense layer here and are folded into it (in float64).

- residual sum: in proportion to the two values that are added, zennit's rule for ResNets. They may differ in sign, so
  the branch that works against the sum gets relevance of the other sign, and the gamma rule also meets outputs below 0,
  where it raises what lowers them
- average pools: in proportion to their values, which have always passed a ReLU
- ReLU: unchanged; max pool: the winner takes all
- dense layers, VGG's two hidden ones (convolutions in timm) among them: the epsilon rule
- first convolution and other convolutions: as the composite says
- rules for the network as it stands keep batch norms where they are, R_in = S x / y R, and the biases of convolutions

A denominator of exactly zero passes nothing on; nothing is added to small ones. Networks of any other make are refused:
:meth:`SequentialPropagator.why_not` says for what reason.
"""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from zennit.core import Composite, Hook
from zennit.layer import Sum
from zennit.rules import Epsilon, Norm, Pass

from cxr.errors import ExplainError
from cxr.explain.lrp.division import exact_division
from cxr.explain.lrp.propagator import LayerRules, Propagated, Propagator, as_numpy
from cxr.explain.lrp.sequential_layers import (
    AFFINE,
    AVERAGES,
    NORMS,
    Layer,
    NotSupportedError,
    ResidualSum,
    check,
    layers_of,
)

_CLASSIFIER = "classifier"
_RESIDUAL_NOTE = (
    "Residual sums share relevance in proportion to two signed values, as zennit does: where a branch opposes the "
    "sum, relevance changes its sign and can grow."
)

# A batch norm that stands alone is a diagonal layer; its own rule, S x / (S x + t) R, is the epsilon rule on it.
_OTHER_RULES: tuple[tuple[tuple[type, ...], Hook], ...] = (
    ((nn.ReLU,), Pass()),
    ((*AVERAGES, Sum), Norm(stabilizer=exact_division)),
    (NORMS, Epsilon(epsilon=exact_division)),
)


class SequentialPropagator(Propagator[nn.Sequential]):
    """Relevance through chains of layers by zennit's rules, whose hooks stand on a chain made for that."""

    changes_prepared = True

    def supports(self, network: nn.Module) -> bool:
        """Return whether ``network`` is a chain of layers, timm's VGG or timm's plain ResNet."""
        return not self.why_not(network)

    def why_not(self, network: nn.Module) -> str:
        """Return which layer, or which order of layers, has no rule."""
        try:
            check(*layers_of(network))
        except NotSupportedError as reason:
            return str(reason)
        return ""

    def key(self, rules: LayerRules, dtype: torch.dtype) -> str:
        """Rules differ in whether batch norms are folded."""
        return "folded" if rules.convolution.folds else "as it stands"

    def prepare(self, frozen: nn.Module, rules: LayerRules, dtype: torch.dtype) -> nn.Sequential:
        """Rewrite the network as a chain ``features``, ``classifier``."""
        return _chain(frozen, rules.convolution.folds)

    def propagate(
        self, prepared: nn.Sequential, inputs: torch.Tensor, columns: np.ndarray, rules: LayerRules, dtype: torch.dtype
    ) -> Propagated:
        """Propagate by autograd, under hooks that are gone afterwards; all layers share one line of the ledger."""
        hooks = Composite(_rule_map(prepared, inputs, rules))
        try:
            hooks.register(prepared)
            maps, scores = _relevance(prepared, inputs, torch.as_tensor(columns, device=inputs.device))
        finally:
            hooks.remove()
        relevance, logits = as_numpy(maps), as_numpy(scores)
        explained = np.take_along_axis(logits, columns, axis=1)
        absorbed = (explained - relevance.sum(axis=(2, 3, 4), dtype=np.float64))[..., None]
        residual = any(isinstance(module, Residual) for module in prepared.modules())
        notes = (_RESIDUAL_NOTE,) if residual else ()
        return Propagated(relevance, logits, ("all layers",), absorbed, 0 * absorbed, notes)


def _relevance(chain: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = inputs.detach().clone().requires_grad_()
    logits = chain(leaf)
    if logits.ndim != 2:
        raise ExplainError(f"the network returns the shape {tuple(logits.shape)}. Accepted: logits (images, classes)")
    maps = []
    for column in targets.T[:, :, None]:
        start = torch.zeros_like(logits).scatter(1, column, logits.detach().gather(1, column))
        maps.append(torch.autograd.grad(logits, leaf, start, retain_graph=True)[0])
    return torch.stack(maps, dim=1), logits.detach()


def _rule_map(
    chain: nn.Sequential, inputs: torch.Tensor, rules: LayerRules
) -> Callable[[dict[str, Any], str, nn.Module], Hook | None]:
    """Return zennit's (context, name, module) -> rule of a module of the chain."""
    affine = [module for module in chain.modules() if isinstance(module, AFFINE)]
    before = itertools.takewhile(lambda layer: not isinstance(layer, AFFINE), itertools.chain(*chain))
    first = rules.first.hook(inputs, nn.Sequential(*before))
    hidden, dense = rules.convolution.hook(), rules.classifier.hook()

    def rule_of(_context: dict[str, Any], name: str, module: nn.Module) -> Hook | None:
        if isinstance(module, AFFINE):
            if module is affine[0] and len(affine) > 1:
                return first
            return dense if name.startswith(_CLASSIFIER) else hidden
        return next((rule for kinds, rule in _OTHER_RULES if isinstance(module, kinds)), None)

    return rule_of


class Residual(nn.Module):
    """Two chains that read the same values and whose outputs are added, in zennit's ``Sum``."""

    def __init__(self, branch: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.branch, self.shortcut, self.add = branch, shortcut, Sum(dim=-1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return branch + shortcut."""
        added: torch.Tensor = self.add(torch.stack([self.shortcut(values), self.branch(values)], dim=-1))
        return added


def _chain(network: nn.Module, fold: bool) -> nn.Sequential:
    """Return the chain ``features``, ``classifier``; layers are new and share the network's tensors where they can."""
    features, classifier = layers_of(network)
    parts: dict[str, nn.Module] = {"features": _built(features, fold), _CLASSIFIER: _built(classifier, fold)}
    return nn.Sequential(OrderedDict(parts)).eval().requires_grad_(False)


def _built(layers: Sequence[Layer], fold: bool) -> nn.Sequential:
    built: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, ResidualSum):
            built.append(Residual(_built(layer.branch, fold), _built(layer.shortcut, fold)))
        elif fold and isinstance(layer, NORMS):
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
