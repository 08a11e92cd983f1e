"""LRP of a timm DenseNet written out in float64, one image at a time: slow, and meant to be read.

The network is rewritten as a list of steps whose affine layers are followed by a ReLU each (:func:`untangled`): every
reader of a feature map gets its own copy of the convolution that makes the map, with the reader's batch norm in its
weights. A rule then sees one affine layer as the contributions c[j, i, l] = w[j, i] a[i, l] of what a window l reads,
and says which share of the output's relevance each of them gets. Nothing is skipped, merged or reused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.densenet import DenseNet
from torch import Tensor, nn

Given = tuple[Tensor, float, float]
"""Relevance that a step gives to its input (the shape of the input), and how much of it was absorbed and lost."""


# --------------------------------------------------------------------------------------------------------------------
# Rules: contributions c (J, I, L) and bias b (J,) of an affine layer, relevance R (J, L) of its outputs
# -> messages (J, I, L), the part absorbed (J, L), the part lost (J, L).
# --------------------------------------------------------------------------------------------------------------------

Rule = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole; zero where the whole is exactly zero."""
    return torch.where(whole == 0, 0.0, part / torch.where(whole == 0, 1.0, whole))


def lost_at_zero(whole: Tensor, relevance: Tensor) -> Tensor:
    return torch.where(whole == 0, relevance, 0.0)


def epsilon_rule(epsilon: float) -> Rule:
    def rule(c: Tensor, b: Tensor, R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = c.sum(1) + b[:, None]
        added = epsilon * z.sign()
        whole = z + added
        return share(c, whole[:, None]) * R[:, None], share(b[:, None] + added, whole) * R, lost_at_zero(whole, R)

    return rule


def alpha_beta_rule(alpha: float, beta: float, bias: str) -> Rule:
    def rule(c: Tensor, b: Tensor, R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b = torch.zeros_like(b) if bias == "ignore" else b
        speaking_for, speaking_against = c.clamp(min=0), c.clamp(max=0)
        b_for, b_against = b.clamp(min=0)[:, None], b.clamp(max=0)[:, None]
        z_for, z_against = speaking_for.sum(1) + b_for, speaking_against.sum(1) + b_against
        message = alpha * share(speaking_for, z_for[:, None]) - beta * share(speaking_against, z_against[:, None])
        absorbed = alpha * share(b_for, z_for) * R - beta * share(b_against, z_against) * R
        lost = alpha * lost_at_zero(z_for, R) - beta * lost_at_zero(z_against, R)
        return message * R[:, None], absorbed, lost

    return rule


def gamma_rule(gamma: float) -> Rule:
    """For layers that a ReLU follows: relevance sits only where z > 0."""

    def rule(c: Tensor, b: Tensor, R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raised, b_raised = c + gamma * c.clamp(min=0), (b + gamma * b.clamp(min=0))[:, None]
        whole = raised.sum(1) + b_raised
        return share(raised, whole[:, None]) * R[:, None], share(b_raised, whole) * R, lost_at_zero(whole, R)

    return rule


# --------------------------------------------------------------------------------------------------------------------
# Steps: values are (C, H, W), relevance has the shape of the value.
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step of a network. ``parents`` are numbers of earlier steps; step 0 is the image."""

    parents: tuple[int, ...]
    name: str

    def value(self, *inputs: Any) -> Tensor:
        raise NotImplementedError

    def give(self, R: Tensor, *inputs: Any) -> list[Given]:
        """What the parents get of R. Here: an elementwise step hands relevance down as it is."""
        return [(R, 0.0, 0.0)]


class Image(Step):
    """Step 0."""


class ReLU(Step):
    def value(self, x: Tensor) -> Tensor:
        return x.clamp(min=0)


class Concatenation(Step):
    def value(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs)

    def give(self, R: Tensor, *inputs: Tensor) -> list[Given]:
        return [(part, 0.0, 0.0) for part in R.split([len(a) for a in inputs])]


class MaxPool(Step):
    """3 x 3, stride 2, padding 1: the winner takes all, the first in row-major order if several are equal."""

    def value(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x[None], 3, stride=2, padding=1)[0]

    def give(self, R: Tensor, x: Tensor) -> list[Given]:
        padded = F.pad(x, (1, 1, 1, 1), value=-torch.inf)
        seen = windows(padded, (3, 3), 2, 0).unflatten(0, (len(x), 9))
        highest, winner = seen[:, 0], torch.zeros(len(x), seen.shape[2], dtype=torch.long)
        for position in range(1, 9):
            higher = seen[:, position] > highest
            winner = torch.where(higher, position, winner)
            highest = torch.where(higher, seen[:, position], highest)
        message = torch.zeros_like(seen).scatter(1, winner[:, None], R.flatten(1)[:, None])
        return [(from_windows(message.flatten(0, 1), padded.shape, (3, 3), 2, 0)[:, 1:-1, 1:-1], 0.0, 0.0)]


@dataclass(frozen=True)
class AveragePool(Step):
    """Windows of ``size``, side by side; None: the whole map. Relevance in proportion to the (signed) values."""

    size: tuple[int, int] | None = None

    def value(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x[None], self.size or x.shape[-2:])[0]

    def give(self, R: Tensor, x: Tensor) -> list[Given]:
        size = self.size or tuple(x.shape[-2:])
        seen = F.unfold(x[None], size, stride=size)[0].unflatten(0, (len(x), -1))
        whole = seen.sum(1)
        message = share(seen, whole[:, None]) * R.flatten(1)[:, None]
        back = F.fold(message.flatten(0, 1)[None], x.shape[-2:], size, stride=size)[0]
        return [(back, 0.0, float(lost_at_zero(whole, R.flatten(1)).sum()))]


@dataclass(frozen=True)
class BatchNorm(Step):
    """y = S x + t where it stands, with iNNvestigate's rule R_in = x (y - beta) / ((x - mean) y) R = S x / y R."""

    S: Tensor = field(default_factory=lambda: torch.empty(0))
    t: Tensor = field(default_factory=lambda: torch.empty(0))

    def value(self, x: Tensor) -> Tensor:
        return self.S[:, None, None] * x + self.t[:, None, None]

    def give(self, R: Tensor, x: Tensor) -> list[Given]:
        S, t, y = self.S[:, None, None], self.t[:, None, None], self.value(x)
        return [(share(S * x, y) * R, float((share(t, y) * R).sum()), float(lost_at_zero(y, R).sum()))]


@dataclass(frozen=True)
class Affine(Step):
    """A convolution, weight (J, I, kh, kw) and bias (J,). The rule is set by ``role``.

    role: "stem" (reads the image), "convolution", "diagonal" (1 x 1, a diagonal matrix: S p + t of the pooled stem) or
    "classifier" (1 x 1, on a map of one pixel).
    """

    role: str = "convolution"
    weight: Tensor = field(default_factory=lambda: torch.empty(0))
    bias: Tensor = field(default_factory=lambda: torch.empty(0))
    stride: int = 1
    padding: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.weight.shape[-2], self.weight.shape[-1]

    def value(self, x: Tensor) -> Tensor:
        return F.conv2d(x[None], self.weight, self.bias, self.stride, self.padding)[0]

    def windows(self, x: Tensor) -> Tensor:
        """(I, L): what every window l reads; 0 outside the map."""
        return windows(x, self.size, self.stride, self.padding)

    def contributions(self, x: Tensor) -> Tensor:
        """(J, I, L): weight times what it meets."""
        return self.weight.flatten(1)[:, :, None] * self.windows(x)[None]

    def give_by(self, rule: Rule, R: Tensor, x: Tensor) -> list[Given]:
        message, absorbed, lost = rule(self.contributions(x), self.bias, R.flatten(1))
        return [(self.back(message, x), float(absorbed.sum()), float(lost.sum()))]

    def give_flat(self, R: Tensor, x: Tensor) -> list[Given]:
        inside = self.windows(torch.ones_like(x))[None].expand(len(self.weight), -1, -1)
        message = inside / inside.sum(1, keepdim=True) * R.flatten(1)[:, None]
        return [(self.back(message, x), 0.0, 0.0)]

    def give_box(self, R: Tensor, x: Tensor, low: Tensor, high: Tensor) -> list[Given]:
        w = self.weight.flatten(1)[:, :, None]
        seen, lowest, highest = (
            self.windows(image)[None]
            for image in (x, low[:, None, None].expand_as(x), high[:, None, None].expand_as(x))
        )
        c = seen * w - lowest * w.clamp(min=0) - highest * w.clamp(max=0)
        whole, R = c.sum(1), R.flatten(1)
        return [(self.back(share(c, whole[:, None]) * R[:, None], x), 0.0, float(lost_at_zero(whole, R).sum()))]

    def back(self, message: Tensor, x: Tensor) -> Tensor:
        """Add up what every input gets from all outputs and windows. (J, I, L) -> the shape of x."""
        return from_windows(message.sum(0), x.shape, self.size, self.stride, self.padding)


def windows(x: Tensor, size: tuple[int, int], stride: int, padding: int) -> Tensor:
    """(C, H, W) -> (C kh kw, L): the values in each window, channel by channel, row by row; 0 outside."""
    return F.unfold(x[None], size, stride=stride, padding=padding)[0]


def from_windows(seen: Tensor, shape: torch.Size, size: tuple[int, int], stride: int, padding: int) -> Tensor:
    """Add the values of windows up where they were read; what lies outside is dropped."""
    return F.fold(seen[None], shape[-2:], size, stride=stride, padding=padding)[0]


# --------------------------------------------------------------------------------------------------------------------
# Networks: lists of steps.
# --------------------------------------------------------------------------------------------------------------------


class Steps(list[Step]):
    """A network as steps in the order of computation; each step's parents stand before it, the image first."""

    def __init__(self) -> None:
        super().__init__([Image((), "image")])

    def add(self, step: Step) -> int:
        self.append(step)
        return len(self) - 1

    @torch.no_grad()
    def values(self, image: Tensor) -> list[Tensor]:
        """Return every step's value, (C, H, W); those of the last are the logits, (K, 1, 1)."""
        values = [image]
        for step in self[1:]:
            values.append(step.value(*(values[parent] for parent in step.parents)))
        return values


def scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """S and t of a batch norm in evaluation mode, S x + t."""
    S = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return S, norm.bias.detach().double() - norm.running_mean.double() * S


def weight_of(conv: Any) -> Tensor:
    assert conv.bias is None
    assert conv.groups == 1
    assert conv.dilation == (1, 1)
    return conv.weight.detach().double()


@dataclass(frozen=True)
class Source:
    """How one feature map of a block is made: a convolution without bias of step ``parent``."""

    parent: int
    name: str
    weight: Tensor
    stride: int = 1
    padding: int = 0
    role: str = "convolution"


def untangled(network: DenseNet) -> Steps:
    """Return the equivalent network in which every affine layer but the classifier is followed by a ReLU."""
    steps = Steps()
    features: Any = network.features
    blocks = [name for name, _ in features.named_children() if name.startswith("denseblock")]
    pooled = steps.add(MaxPool((_stem(steps, features),), "pool0"))
    identity = torch.eye(features.denseblock1.denselayer1.conv1.in_channels, dtype=torch.float64)
    first = Source(pooled, "pool0", identity[:, :, None, None], role="diagonal")
    for number, name in enumerate(blocks, start=1):
        sources = _block(steps, features.get_submodule(name), name, first)
        if name == blocks[-1]:
            break
        transition: Any = features.get_submodule(f"transition{number}")
        read = _reader(steps, sources, transition.norm, f"transition{number}.norm")
        # The mean of a 2 x 2 window of W x: a 2 x 2 convolution of stride 2 with weight W / 4 at each of its places.
        weight = weight_of(transition.conv).expand(-1, -1, 2, 2) / 4
        first = Source(read, f"transition{number}.conv", weight, stride=2)
    read = _reader(steps, sources, features.norm5, "norm5")
    return _head(steps, network, read)


def _stem(steps: Steps, features: Any) -> int:
    """Add conv0 with norm0, ReLU, and of a deep stem conv1 with norm1, ReLU, conv2 with norm2, ReLU."""
    last = 0
    for number in (n for n in range(3) if hasattr(features, f"conv{n}")):
        conv, norm = getattr(features, f"conv{number}"), getattr(features, f"norm{number}")
        role = "stem" if number == 0 else "convolution"
        source = Source(last, f"conv{number}", weight_of(conv), conv.stride[0], conv.padding[0], role)
        last = _reader(steps, [source], norm, f"norm{number}")
    return last


def _block(steps: Steps, block: Any, name: str, first: Source) -> list[Source]:
    """Add a dense block; return the sources of the concatenation that it ends in."""
    sources = [first]
    for layer_name, layer in block.named_children():
        path = f"{name}.{layer_name}"
        read = _reader(steps, sources, layer.norm1, f"{path}.norm1")
        bottleneck = _reader(steps, [Source(read, f"{path}.conv1", weight_of(layer.conv1))], layer.norm2, path)
        sources.append(Source(bottleneck, f"{path}.conv2", weight_of(layer.conv2), padding=1))
    return sources


def _reader(steps: Steps, sources: list[Source], norm: Any, name: str) -> int:
    """Add relu(S F + t) of the concatenation F of all sources: a copy of each source with its part of S and t."""
    assert isinstance(norm.act, nn.ReLU)
    S, t = scale_and_shift(norm)
    copies, start = [], 0
    for source in sources:
        part = slice(start, start + len(source.weight))
        start = part.stop
        copy = Affine(
            (source.parent,),
            f"{source.name} for {name}",
            role=source.role,
            weight=S[part, None, None, None] * source.weight,
            bias=t[part],
            stride=source.stride,
            padding=source.padding,
        )
        copies.append(steps.add(ReLU((steps.add(copy),), f"{copy.name}, relu")))
    assert start == len(S)
    return steps.add(Concatenation(tuple(copies), name))


def _head(steps: Steps, network: DenseNet, read: int) -> Steps:
    pooled = steps.add(AveragePool((read,), "global_pool"))
    weight, bias = network.classifier.weight.detach().double(), network.classifier.bias.detach().double()
    steps.add(Affine((pooled,), "classifier", role="classifier", weight=weight[:, :, None, None], bias=bias))
    return steps


def stock(network: DenseNet) -> Steps:
    """Return the network as it stands, batch norms and average pools as steps of their own."""
    steps = Steps()
    features: Any = network.features
    last = 0

    def convolve(parent: int, conv: Any, name: str, role: str = "convolution") -> int:
        bias = torch.zeros(len(conv.weight), dtype=torch.float64)
        return steps.add(Affine((parent,), name, role, weight_of(conv), bias, conv.stride[0], conv.padding[0]))

    def normalise(parent: int, norm: Any, name: str) -> int:
        return steps.add(ReLU((steps.add(BatchNorm((parent,), name, *scale_and_shift(norm))),), f"{name}, relu"))

    for name, module in features.named_children():
        if name.startswith("conv"):
            last = convolve(last, module, name, "stem" if name == "conv0" else "convolution")
        elif name.startswith("norm"):
            last = normalise(last, module, name)
        elif name == "pool0":
            last = steps.add(MaxPool((last,), name))
        elif name.startswith("denseblock"):
            maps = [last]
            for layer_name, layer in module.named_children():
                path = f"{name}.{layer_name}"
                read = normalise(steps.add(Concatenation(tuple(maps), path)), layer.norm1, f"{path}.norm1")
                bottleneck = normalise(convolve(read, layer.conv1, f"{path}.conv1"), layer.norm2, f"{path}.norm2")
                maps.append(convolve(bottleneck, layer.conv2, f"{path}.conv2"))
            last = steps.add(Concatenation(tuple(maps), name))
        else:
            assert name.startswith("transition")
            read = normalise(last, module.norm, f"{name}.norm")
            last = steps.add(AveragePool((convolve(read, module.conv, f"{name}.conv"),), f"{name}.pool", (2, 2)))
    return _head(steps, network, last)


# --------------------------------------------------------------------------------------------------------------------
# Composites.
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A composite with its options.

    low, high: of the z-box, per channel or one number; None: the image's own per channel.
    """

    composite: str
    bias: str = "ignore"
    epsilon: float = 1e-6
    gamma: float = 0.25
    stem_bn: str = "rule"
    low: Any = None
    high: Any = None


BIASES = ("ignore", "keep")
COMPOSITES = ("epsilon-plus-flat", "epsilon-alpha2-beta1-flat", "epsilon", "epsilon-gamma-box", "innvestigate-a-flat")


def way(composite: str, bias: str | None = None, **options: Any) -> Way:
    """Return a composite with its own defaults where nothing is given."""
    defaults = Way(composite, bias or "ignore", stem_bn="pass" if composite == "epsilon-alpha2-beta1-flat" else "rule")
    return replace(defaults, **options)


def steps_for(network: DenseNet, way: Way) -> Steps:
    return stock(network) if way.composite == "innvestigate-a-flat" else untangled(network)


def give(step: Step, way: Way, R: Tensor, *inputs: Tensor) -> list[Given]:
    """What a step's parents get of its relevance R."""
    if not isinstance(step, Affine):
        return step.give(R, *inputs)
    (x,) = inputs
    if step.role == "classifier":
        return step.give_by(epsilon_rule(way.epsilon), R, x)
    if step.role == "diagonal" and way.stem_bn == "pass":
        return [(R, 0.0, 0.0)]
    if step.role == "stem" and way.composite.endswith("-flat"):
        return step.give_flat(R, x)
    if step.role == "stem" and way.composite.endswith("-box"):
        return step.give_box(R, x, _bound(way.low, x.amin((1, 2))), _bound(way.high, x.amax((1, 2))))
    rules = {
        "epsilon-plus-flat": alpha_beta_rule(1, 0, way.bias),
        "epsilon-alpha2-beta1-flat": alpha_beta_rule(2, 1, way.bias),
        "epsilon": epsilon_rule(way.epsilon),
        "epsilon-gamma-box": gamma_rule(way.gamma),
        "innvestigate-a-flat": alpha_beta_rule(1, 0, "ignore"),
    }
    return step.give_by(rules[way.composite], R, x)


def _bound(given: Any, own: Tensor) -> Tensor:
    """(C,) from one number, one per channel or None."""
    return own if given is None else torch.as_tensor(given, dtype=torch.float64).expand_as(own)


@dataclass(frozen=True)
class Reference:
    """Relevance of one logit of one image, with where the rest went, all float64.

    Attributes
    ----------
    relevance
        (C, H, W).
    logit, absorbed, lost
        Numbers; ``logit - relevance.sum() - absorbed - lost`` is 0 up to rounding.
    ledger
        Absorbed and lost by the name of the step, where they are not zero.
    flow
        The largest sum of absolute relevance of any step: what rounding has to be compared with.
    """

    relevance: np.ndarray
    logit: float
    absorbed: float
    lost: float
    ledger: dict[str, tuple[float, float]]
    flow: float

    @property
    def residual(self) -> float:
        return self.logit - float(self.relevance.sum()) - self.absorbed - self.lost


def propagate(steps: Steps, way: Way, values: list[Tensor], target: int) -> Reference:
    """Send the target's logit back through all steps, from the last to the image."""
    held = [torch.zeros_like(value) for value in values]
    logit = values[-1][target, 0, 0]
    held[-1][target] = logit
    ledger, flow = {}, 0.0
    for number in range(len(steps) - 1, 0, -1):
        step, R = steps[number], held[number]
        flow = max(flow, float(R.abs().sum()))
        given = give(step, way, R, *(values[parent] for parent in step.parents))
        for parent, (relevance, absorbed, lost) in zip(step.parents, given, strict=True):
            held[parent] += relevance
            if absorbed or lost:
                ledger[step.name] = (absorbed, lost)
    absorbed, lost = (sum(entry[k] for entry in ledger.values()) for k in (0, 1))
    return Reference(held[0].numpy(), float(logit), absorbed, lost, ledger, flow)


@torch.no_grad()
def lrp(
    network: DenseNet, image: Any, target: int, composite: str, bias: str | None = None, **options: Any
) -> Reference:
    """Explain one logit of one image, (C, H, W) as the network takes it.

    ``options``: epsilon, gamma, low, high, stem_bn.
    """
    chosen = way(composite, bias, **options)
    steps = steps_for(network, chosen)
    return propagate(steps, chosen, steps.values(torch.as_tensor(image).double()), target)


# --------------------------------------------------------------------------------------------------------------------
# Small networks to compare on.
# --------------------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "one layer, 1 channel": ({"growth_rate": 4, "block_config": (1,), "bn_size": 1, "in_chans": 1}, (33, 37)),
    "2-2, 3 channels": ({"growth_rate": 6, "block_config": (2, 2), "bn_size": 2, "in_chans": 3}, (45, 40)),
    "3-1-2": ({"growth_rate": 5, "block_config": (3, 1, 2), "bn_size": 3, "in_chans": 1}, (40, 53)),
    "2-2-2-2": ({"growth_rate": 4, "block_config": (2, 2, 2, 2), "bn_size": 4, "in_chans": 3}, (45, 40)),
    "wide": ({"growth_rate": 12, "block_config": (1, 2), "bn_size": 1, "in_chans": 1}, (37, 33)),
    "deep stem": (
        {"growth_rate": 4, "block_config": (2, 1), "bn_size": 2, "in_chans": 1, "stem_type": "deep"},
        (33, 37),
    ),
    "tiered stem": (
        {"growth_rate": 8, "block_config": (1, 1, 1), "bn_size": 1, "in_chans": 3, "stem_type": "deep_tiered"},
        (39, 36),
    ),
}
"""Arguments of timm's DenseNet and the size of its images (H, W), some of them odd, by name."""


def random_network(seed: int = 0, num_classes: int = 3, **arguments: Any) -> DenseNet:
    """A float32 DenseNet with batch norms far from the identity: scales of both signs, a tenth of them exactly zero."""
    torch.manual_seed(seed)
    network = DenseNet(num_classes=num_classes, **arguments)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.get_buffer("running_mean").normal_(0, 0.3)
            module.get_buffer("running_var").uniform_(0.5, 2.0)
            module.weight.data.normal_(0.6, 0.7)
            module.weight.data[torch.rand(len(module.weight)) < 0.1] = 0.0
            module.bias.data.normal_(0, 0.2)
    network.classifier.bias.data.normal_(0, 0.3)
    return network.eval()


def layout_network(name: str, seed: int = 0) -> DenseNet:
    return random_network(seed, **LAYOUTS[name][0])


def layout_images(name: str, n: int = 2, seed: int = 0) -> np.ndarray:
    """Random images (n, C, H, W) float32 for a network of :data:`LAYOUTS`."""
    arguments, size = LAYOUTS[name]
    return np.random.default_rng(seed).normal(size=(n, arguments["in_chans"], *size)).astype(np.float32)


WAYS: list[tuple[str, str, dict[str, Any]]] = [
    *((name, bias, {"stem_bn": stem_bn}) for name in COMPOSITES[:2] for bias in BIASES for stem_bn in ("rule", "pass")),
    *(("epsilon", bias, {}) for bias in BIASES),
    ("epsilon", "keep", {"epsilon": 0.1}),
    *(("epsilon-gamma-box", bias, {}) for bias in BIASES),
    ("epsilon-gamma-box", "keep", {"gamma": 1.5, "low": -4.0, "high": 5.0}),
    *(("innvestigate-a-flat", bias, {}) for bias in BIASES),
]
"""Composites with biases and options: every one that a composite has, at least once."""


def way_name(way: tuple[str, str, dict[str, Any]]) -> str:
    composite, bias, options = way
    return ", ".join([composite, bias, *(f"{key} {value}" for key, value in options.items())])
