"""Composites: which rule goes to which layer, by the name that pages, the command line and run folders use.

The rules are zennit's, put on the canonical copy of :mod:`cxr.explain.canonical`. On a DenseNet the LRP composites
other than ``epsilon`` are an **approximation**: rules are applied layer by layer and relevance passes unchanged through
each batch norm that reads a concatenation, whatever the sign of its scale. With scales above zero this equals the
propagation through the equivalent network of convolutions and ReLUs without biases; where a scale is below zero,
relevance goes to the inputs that raised the feature instead of those that lowered it.
:attr:`Composite.exact` and the notes of an explanation say so.

A denominator of exactly zero (or below 1e-20) passes nothing on; nothing is added to small denominators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from zennit.composites import LayerMapComposite, SpecialFirstLayerMapComposite
from zennit.core import Composite as ZennitComposite
from zennit.rules import AlphaBeta, Epsilon, Flat, Norm, Pass, ZPlus
from zennit.types import Activation, AvgPool, BatchNorm, Convolution

_TINY = 1e-20
_ANY_LINEAR = (Convolution, nn.Linear)
_NO_BIAS = ["bias"]


@dataclass(frozen=True)
class Composite:
    """One way of explaining a logit.

    Attributes
    ----------
    title, description
        For people; the description names the rule of each kind of layer.
    factory
        Makes zennit's composite (options as keywords), or None where plain gradients are meant.
    exact
        Whether maps equal the method's definition on a DenseNet up to rounding.
    kind
        "lrp", "gradient" or "gradient-x-input".
    options
        Option names with their defaults.
    """

    title: str
    description: str
    factory: Callable[..., ZennitComposite] | None
    exact: bool
    kind: str = "lrp"
    options: tuple[tuple[str, float], ...] = ()


def exact_division(z: torch.Tensor) -> torch.Tensor:
    """Return denominators as they are, infinity for those that are zero, so that nothing passes there."""
    return torch.where(z.abs() > _TINY, z, torch.inf)


def _stabilised(epsilon: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return z -> z + epsilon sgn(z) of the epsilon rule, infinity at zero."""

    def denominator(z: torch.Tensor) -> torch.Tensor:
        return exact_division(z + epsilon * z.sign())

    return denominator


def _shared() -> list[tuple[tuple[type, ...], object]]:
    return [
        ((Activation, BatchNorm), Pass()),
        ((AvgPool,), Norm(stabilizer=exact_division)),
    ]


def _flat_below(convolution: object, epsilon: float) -> ZennitComposite:
    layers = [*_shared(), ((Convolution,), convolution), ((nn.Linear,), Epsilon(epsilon=_stabilised(epsilon)))]
    return SpecialFirstLayerMapComposite(layers, [(_ANY_LINEAR, Flat(stabilizer=exact_division))])


def epsilon_plus_flat(epsilon: float = 1e-6) -> ZennitComposite:
    """Return: dense layers epsilon, convolutions z+ without bias, first layer flat."""
    return _flat_below(ZPlus(stabilizer=exact_division, zero_params=_NO_BIAS), epsilon)


def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6) -> ZennitComposite:
    """Return: dense layers epsilon, convolutions alpha 2 beta 1 without bias, first layer flat."""
    rule = AlphaBeta(alpha=2.0, beta=1.0, stabilizer=exact_division, zero_params=_NO_BIAS)
    return _flat_below(rule, epsilon)


def epsilon_everywhere(epsilon: float = 1e-6) -> ZennitComposite:
    """Return: the epsilon rule on every affine layer, batch norms among them, biases kept."""
    rule = Epsilon(epsilon=_stabilised(epsilon))
    layers = [
        ((Activation,), Pass()),
        ((AvgPool,), Norm(stabilizer=exact_division)),
        ((BatchNorm, *_ANY_LINEAR), rule),
    ]
    return LayerMapComposite(layers)


_EPSILON = (("epsilon", 1e-6),)

COMPOSITES: dict[str, Composite] = {
    "epsilon-plus-flat": Composite(
        "LRP: epsilon, z+, flat",
        "Dense layers: epsilon rule. Convolutions: z+ (only what speaks for the class is followed), biases ignored. "
        "First convolution: flat. Max pooling: the winner takes all. Average pooling: in proportion.",
        epsilon_plus_flat,
        exact=False,
        options=_EPSILON,
    ),
    "epsilon-alpha2-beta1-flat": Composite(
        "LRP: epsilon, alpha 2 beta 1, flat",
        "As epsilon-plus-flat, but convolutions follow what speaks for the class twice and what speaks against it "
        "once with the opposite sign: sharper and more negative maps.",
        epsilon_alpha2_beta1_flat,
        exact=False,
        options=_EPSILON,
    ),
    "epsilon": Composite(
        "LRP: epsilon everywhere",
        "Every affine layer: epsilon rule, biases kept and absorbing their share. With epsilon near 0 this is "
        "gradient x input, and as noisy.",
        epsilon_everywhere,
        exact=True,
        options=_EPSILON,
    ),
    "gradient": Composite(
        "Gradient",
        "Derivative of the logit by each input value (of the normalised picture). A sensitivity, not a share of the "
        "logit: nothing adds up.",
        None,
        exact=True,
        kind="gradient",
    ),
    "gradient-x-input": Composite(
        "Gradient x input",
        "Derivative times the normalised input value.",
        None,
        exact=True,
        kind="gradient-x-input",
    ),
}
"""Ways of explaining by name; the first is the default."""

DEFAULT_COMPOSITE = next(iter(COMPOSITES))
