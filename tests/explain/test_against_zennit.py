"""zennit's own rules on the explicitly untangled network say what the reference and ``cxr.explain`` say."""

from functools import cache

import numpy as np
import pytest
import torch
from reference import (
    WAYS,
    Affine,
    AveragePool,
    BatchNorm,
    Concatenation,
    MaxPool,
    ReLU,
    Way,
    layout_images,
    layout_network,
    lrp,
    steps_for,
    way,
    way_name,
)
from torch import nn
from zennit.core import Composite
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, Pass, ZBox, ZPlus

from cxr.explain import explain

EVERY_WAY = pytest.mark.parametrize("chosen", WAYS, ids=way_name)
SOME_LAYOUTS = pytest.mark.parametrize("layout", ["one layer, 1 channel", "2-2, 3 channels", "3-1-2", "deep stem"])
TARGET = 1


class Modules(nn.Module):
    """Steps of the reference as torch modules."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(module_of(step) for step in steps)

    def forward(self, images):
        values = [images]
        for step, layer in list(zip(self.steps, self.layers, strict=True))[1:]:
            inputs = [values[parent] for parent in step.parents]
            values.append(torch.cat(inputs, dim=1) if isinstance(step, Concatenation) else layer(*inputs))
        return values[-1].flatten(1)


def module_of(step):
    if isinstance(step, Affine):
        outputs, inputs = step.weight.shape[:2]
        convolution = nn.Conv2d(inputs, outputs, step.size, step.stride, step.padding).double()
        convolution.weight.data, convolution.bias.data = step.weight.clone(), step.bias.clone()
        return convolution
    if isinstance(step, BatchNorm):
        norm = nn.BatchNorm2d(len(step.S), eps=0.0).double().eval()
        norm.weight.data, norm.bias.data = step.S.clone(), step.t.clone()
        return norm
    if isinstance(step, AveragePool):
        return nn.AvgPool2d(step.size) if step.size else nn.AdaptiveAvgPool2d(1)
    if isinstance(step, MaxPool):
        return nn.MaxPool2d(3, stride=2, padding=1)
    return nn.ReLU() if isinstance(step, ReLU) else nn.Identity()


def exact(z):
    """Denominators as they are, infinity for zero: nothing passes there, and nothing is added to small ones."""
    return torch.where(z == 0, torch.inf, z)


def epsilon(amount):
    return Epsilon(epsilon=lambda z: exact(z + amount * z.sign()))


def rule_for(step, chosen: Way, image):
    """zennit's rule of a step; None leaves its gradient, which max pools and concatenations need."""
    if isinstance(step, ReLU):
        return Pass()
    if isinstance(step, AveragePool):
        return Norm(stabilizer=exact)
    if isinstance(step, BatchNorm):
        return epsilon(0.0)  # R_in = S x / y R
    if not isinstance(step, Affine):
        return None
    if step.role == "classifier":
        return epsilon(chosen.epsilon)
    if step.role == "stem" and chosen.composite.endswith("-flat"):
        return Flat(stabilizer=exact)
    if step.role == "stem" and chosen.composite.endswith("-box"):
        return ZBox(bound(chosen.low, image, torch.amin), bound(chosen.high, image, torch.amax), stabilizer=exact)
    if step.role == "diagonal" and chosen.stem_bn == "pass":
        return Pass()
    zeroed = {"zero_params": ["bias"]} if chosen.bias == "ignore" else {}
    return {
        "epsilon-plus-flat": ZPlus(stabilizer=exact, **zeroed),
        "epsilon-alpha2-beta1-flat": AlphaBeta(alpha=2.0, beta=1.0, stabilizer=exact, **zeroed),
        "epsilon": epsilon(chosen.epsilon),
        "epsilon-gamma-box": Gamma(gamma=chosen.gamma, stabilizer=exact),
        "innvestigate-a-flat": ZPlus(stabilizer=exact),
    }[chosen.composite]


def bound(given, image, own):
    if given is None:
        return own(image, dim=(1, 2), keepdim=True)[None]
    return torch.full((1, len(image), 1, 1), given, dtype=torch.float64)


@cache
def zennits_map(layout, number):
    """Relevance (C, H, W), float64, of the first image for the way of this number."""
    composite, bias, options = WAYS[number]
    chosen = way(composite, bias, **options)
    network = Modules(steps_for(layout_network(layout), chosen))
    image = torch.from_numpy(layout_images(layout)[0]).double()
    rules = {
        id(module): rule_for(step, chosen, image) for step, module in zip(network.steps, network.layers, strict=True)
    }
    with Composite(module_map=lambda _context, _name, module: rules.get(id(module))).context(network) as ruled:
        inputs = image[None].clone().requires_grad_()
        logits = ruled(inputs)
        start = torch.zeros_like(logits)
        start[0, TARGET] = logits[0, TARGET].detach()
        (relevance,) = torch.autograd.grad(logits, inputs, start)
    return relevance[0].numpy()


def difference(relevance, expected):
    assert np.abs(expected).max() > 0
    return np.abs(relevance - expected).max() / np.abs(expected).max()


@SOME_LAYOUTS
@EVERY_WAY
def test_zennit_and_the_reference_agree(layout, chosen):
    composite, bias, options = chosen
    result = lrp(layout_network(layout), layout_images(layout)[0], TARGET, composite, bias, **options)
    assert difference(zennits_map(layout, WAYS.index(chosen)), result.relevance) <= 1e-12


@SOME_LAYOUTS
@EVERY_WAY
def test_zennit_and_explain_agree(layout, chosen):
    composite, bias, options = chosen
    network = layout_network(layout).double()
    images = torch.from_numpy(layout_images(layout)[:1]).double()
    result = explain(network, images, TARGET, composite, bias=bias, **options)
    assert difference(result.relevance[0], zennits_map(layout, WAYS.index(chosen))) <= 1e-12
