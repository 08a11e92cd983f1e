"""Maps of chains, VGG and ResNet against explicit float64 sums over all contributions, layer by layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import reference as ref
import timm
import torch
import torch.nn.functional as F
from timm.layers import BlurPool2d, EcaModule
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.vgg import VGG
from torch import nn
from toys import hooks_of, on_threads, shaken_densenet
from zennit.core import Hook

from cxr.errors import ExplainError
from cxr.explain import explain
from cxr.explain.composites import LRP, names_of
from cxr.explain.explainer import propagator_of
from cxr.explain.frozen import forget, prepared
from cxr.explain.lrp import sequential
from cxr.explain.lrp.division import exact_division
from cxr.explain.lrp.sequential import SequentialPropagator

OPTIONS = names_of(LRP)


def relevance(network, images, columns, composite="epsilon-plus-flat", bias=None, options=None):
    """Maps (N, T, C, H, W) and logits (N, K) as tensors."""
    result = explain(network, images, columns, composite, bias=bias, batch=len(images), **(options or {}))
    return torch.from_numpy(result.relevance), torch.from_numpy(result.logits)


def why_not(network):
    return SequentialPropagator().why_not(network)


def verified(network):
    return SequentialPropagator().supports(network)


# Networks


def shaken(network):
    """Batch norms far from the identity, with scales of both signs, some exactly zero."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.normal_(0.7, 0.5)
            module.weight.data[0] = 0.0
            module.bias.data.normal_(0, 0.2)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.data.normal_(0, 0.2)
    return network.double().eval()


def resnet(block=BasicBlock, channels=(8, 6, 8, 10), in_chans=1, **arguments):
    torch.manual_seed(1)
    return shaken(ResNet(block, (1, 1, 1, 1), num_classes=3, in_chans=in_chans, channels=channels, **arguments))


def vgg(norm_layer=None, **arguments):
    torch.manual_seed(2)
    settings = {"num_classes": 3, "in_chans": 2, "mlp_ratio": 0.005, "norm_layer": norm_layer}
    return shaken(VGG([6, "M", 8, "M"], **(settings | arguments)))


def chain(bias=True):
    torch.manual_seed(3)
    first = [nn.Conv2d(1, 6, 5, stride=2, padding=2, bias=bias), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    then = [nn.Conv2d(6, 8, 3, padding=1, bias=bias), nn.ReLU(), nn.AvgPool2d(2), nn.Dropout(0.5)]
    last = [nn.Conv2d(8, 9, 3, bias=bias), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(nn.Sequential(*first), *then, *last, nn.Linear(9, 3, bias=bias))
    return shaken(network)


def normed_chain():
    torch.manual_seed(4)
    layers = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3)]
    return shaken(nn.Sequential(*layers, *head))


def dense_chain():
    torch.manual_seed(6)
    return shaken(nn.Sequential(nn.Flatten(), nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 3)))


def convolutional_chain():
    torch.manual_seed(7)
    return shaken(nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 4), nn.Flatten()))


NETWORKS = {
    "chain": (chain, (1, 32, 37)),
    "chain with batch norms": (normed_chain, (1, 14, 15)),
    "dense layers alone": (dense_chain, (1, 5, 6)),
    "fully convolutional": (convolutional_chain, (1, 6, 6)),
    "VGG": (vgg, (2, 30, 33)),
    "VGG with batch norms": (lambda: vgg(nn.BatchNorm2d), (2, 30, 33)),
    "VGG on a small image": (vgg, (2, 20, 36)),
    "ResNet of basic blocks": (resnet, (1, 40, 45)),
    "ResNet of bottlenecks": (lambda: resnet(Bottleneck, (4, 4, 5, 6), in_chans=3), (3, 40, 33)),
    "ResNet-D": (lambda: resnet(Bottleneck, (4, 4, 5, 6), stem_width=8, stem_type="deep", avg_down=True), (1, 40, 45)),
    "ResNeXt": (lambda: resnet(Bottleneck, (4, 4, 8, 8), cardinality=2, base_width=32), (1, 40, 40)),
    "ResNet that drops paths": (lambda: resnet(drop_path_rate=0.5, drop_rate=0.5, drop_block_rate=0.1), (1, 40, 40)),
    "ResNet pooled by strides": (lambda: resnet(replace_stem_pool=True), (1, 64, 64)),
    "ResNet pooled by means": (lambda: resnet(aa_layer=nn.AvgPool2d), (1, 64, 64)),
}


def case(name, n=2):
    make, shape = NETWORKS[name]
    images = np.random.default_rng(5).normal(size=(n, *shape))
    return make(), torch.from_numpy(images)


def columns_for(n, *columns):
    return np.tile(columns or (1,), (n, 1))


def largest(maps):
    return float(maps.abs().max())


# The chain is the network


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_networks_and_epsilon_zero_is_gradient_times_input(name):
    network, images = case(name)
    assert why_not(network) == ""
    maps, logits = relevance(network, images, columns_for(2, 0, 2), "epsilon", options={"epsilon": 0.0})
    leaf = images.clone().requires_grad_()
    expected = network(leaf)
    assert torch.allclose(logits, expected, rtol=1e-11, atol=1e-12)
    for t, column in enumerate((0, 2)):
        (slope,) = torch.autograd.grad(expected[:, column].sum(), leaf, retain_graph=True)
        assert torch.allclose(maps[:, t], slope * images, rtol=1e-10, atol=1e-10 * largest(slope * images))


@pytest.mark.parametrize("name", ["chain", "VGG with batch norms", "ResNet of basic blocks"])
@pytest.mark.parametrize("composite", OPTIONS)
def test_float32_agrees_with_float64(name, composite):
    network, images = case(name)
    options = {"low": -6.0, "high": 6.0} if composite == "epsilon-gamma-box" else {}
    exact, _ = relevance(network, images, columns_for(2), composite, options=options)
    single, logits = relevance(network.float(), images.float(), columns_for(2), composite, options=options)
    assert single.dtype == logits.dtype == torch.float32
    cosine = F.cosine_similarity(single.double().flatten(), exact.flatten(), dim=0)
    assert cosine > 0.99999


# Against explicit sums


@dataclass(frozen=True)
class Addition(ref.Step):
    """The sum of two values; relevance in proportion to them."""

    def value(self, *inputs: Any) -> torch.Tensor:
        return inputs[0] + inputs[1]

    def give(self, R: torch.Tensor, *inputs: Any) -> list[ref.Given]:
        whole = self.value(*inputs)
        return [(ref.share(part, whole) * R, 0.0, 0.0) for part in inputs]


@dataclass(frozen=True)
class Halving(ref.Step):
    """Max pooling, 2 x 2 with stride 2; an odd last row or column is dropped."""

    def value(self, *inputs: Any) -> torch.Tensor:
        return self._windows(inputs[0]).amax(-1)

    def give(self, R: torch.Tensor, *inputs: Any) -> list[ref.Given]:
        windows = self._windows(inputs[0])
        first = F.one_hot(windows.argmax(-1), 4) * R[..., None]
        back = torch.zeros_like(inputs[0])
        for place in range(4):
            rows, columns = 2 * R.shape[1], 2 * R.shape[2]
            back[:, place // 2 : rows : 2, place % 2 : columns : 2] = first[..., place]
        return [(back, 0.0, 0.0)]

    @staticmethod
    def _windows(x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
        return torch.stack([x[:, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)], dim=-1)


class Written(ref.Steps):
    """Steps of a network, written layer by layer; ``fold`` puts batch norms into the convolutions before them."""

    def __init__(self, fold: bool) -> None:
        super().__init__()
        self.fold = fold

    def convolve(self, parent: int, conv: Any, norm: Any = None, role: str = "convolution") -> int:
        weight = conv.weight.detach().double()
        weight = weight[:, :, None, None] if weight.ndim == 2 else weight
        bias = torch.zeros(len(weight), dtype=torch.float64) if conv.bias is None else conv.bias.detach().double()
        stride, padding = getattr(conv, "stride", (1,))[0], getattr(conv, "padding", (0,))[0]
        if norm is None:
            return self.add(ref.Affine((parent,), role, role, weight, bias, stride, padding))
        S, t = ref.scale_and_shift(norm)
        if self.fold:
            weight, bias = S[:, None, None, None] * weight, S * bias + t
            return self.add(ref.Affine((parent,), role, role, weight, bias, stride, padding))
        affine = self.add(ref.Affine((parent,), role, role, weight, bias, stride, padding))
        return self.add(ref.BatchNorm((affine,), "norm", S, t))

    def rectify(self, parent: int) -> int:
        return self.add(ref.ReLU((parent,), "relu"))

    def block(self, parent: int, block: Any) -> int:
        last = parent
        for number in (1, 2, 3):
            if not hasattr(block, f"conv{number}"):
                break
            last = self.rectify(last) if number > 1 else last
            last = self.convolve(last, getattr(block, f"conv{number}"), getattr(block, f"bn{number}"))
        shortcut = self.convolve(parent, *block.downsample) if block.downsample is not None else parent
        return self.rectify(self.add(Addition((last, shortcut), "sum")))


def written_resnet(network, fold=True):
    steps = Written(fold)
    last = steps.rectify(steps.convolve(0, network.conv1, network.bn1, role="stem"))
    last = steps.add(ref.MaxPool((last,), "maxpool"))
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            last = steps.block(last, block)
    steps.convolve(steps.add(ref.AveragePool((last,), "global_pool")), network.fc, role="classifier")
    return steps


def written_vgg(network, fold=True):
    steps = Written(fold)
    layers = [layer for layer in network.features if not isinstance(layer, nn.ReLU)]
    last = 0
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            last = steps.add(Halving((last,), "pool"))
        elif isinstance(layer, nn.Conv2d):
            norm = layers[i + 1] if isinstance(layers[i + 1], nn.BatchNorm2d) else None
            last = steps.rectify(steps.convolve(last, layer, norm, "stem" if last == 0 else "convolution"))
    for dense in (network.pre_logits.fc1, network.pre_logits.fc2):
        last = steps.rectify(steps.convolve(last, dense, role="classifier"))
    steps.convolve(steps.add(ref.AveragePool((last,), "global_pool")), network.head.fc, role="classifier")
    return steps


WRITTEN = {
    "VGG": written_vgg,
    "VGG with batch norms": written_vgg,
    "ResNet of basic blocks": written_resnet,
    "ResNet of bottlenecks": written_resnet,
}
WAYS = [
    *((name, bias, {}) for name in ("epsilon-plus-flat", "epsilon-alpha2-beta1-flat") for bias in ("ignore", "keep")),
    ("epsilon-plus-flat", None, {"epsilon": 0.1}),
    ("epsilon", None, {"epsilon": 0.01}),
    ("epsilon-gamma-box", None, {}),
    ("epsilon-gamma-box", None, {"gamma": 1.5, "low": -5.0, "high": 6.0}),
]


def assert_agrees(network, images, steps, way, composite, bias, options):
    maps, logits = relevance(network, images, columns_for(len(images), 0, 2), composite, bias, options)
    for image, mine, own_logits in zip(images, maps, logits, strict=True):
        values = steps.values(image)
        assert torch.allclose(values[-1].flatten(), own_logits, rtol=1e-11, atol=1e-12)
        for target, heat in zip((0, 2), mine, strict=True):
            expected = ref.propagate(steps, way, values, target)
            assert np.abs(expected.relevance).max() > 0
            assert np.allclose(heat.numpy(), expected.relevance, rtol=1e-9, atol=1e-11 * expected.flow)


def gamma_rule_of_both_signs(gamma):
    """A residual block ends in convolutions that no ReLU follows: where z < 0, what lowers it is raised instead."""

    def raised(c, b, sign):
        return c + gamma * (c * sign).clamp(min=0) * sign, b + gamma * (b * sign).clamp(min=0) * sign

    def rule(c, b, R):
        z = c.sum(1) + b[:, None]
        message = torch.zeros_like(c)
        for sign in (1, -1):
            mine, bias = raised(c, b, sign)
            part = torch.where(z * sign > 0, R, 0.0)
            message += ref.share(mine, (mine.sum(1) + bias[:, None])[:, None]) * part[:, None]
        return message, torch.zeros_like(R), torch.zeros_like(R)

    return rule


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way)))
def test_maps_agree_with_sums_over_all_contributions(name, way, monkeypatch):
    monkeypatch.setattr(ref, "gamma_rule", gamma_rule_of_both_signs)
    composite, bias, options = way
    network, images = case(name)
    assert_agrees(network, images, WRITTEN[name](network), ref.way(composite, bias, **options), *way)


@pytest.mark.parametrize("name", ["VGG with batch norms", "ResNet of basic blocks", "ResNet of bottlenecks"])
def test_innvestigates_rules_agree_with_sums_over_all_contributions_of_the_stock_network(name):
    network, images = case(name)
    # Its convolutions are z+ with biases, its batch norms stand where they are and have their own rule.
    way = ref.way("epsilon-plus-flat", "keep")
    assert_agrees(network, images, WRITTEN[name](network, fold=False), way, "innvestigate-a-flat", None, {})


def test_bounds_may_be_given_for_each_channel():
    network, images = case("VGG")
    way = ref.way("epsilon-gamma-box", low=[-5.0, -6.0], high=[5.0, 7.0])
    options = {"low": (-5.0, -6.0), "high": torch.tensor([5.0, 7.0]).view(1, 2, 1, 1)}
    assert_agrees(network, images, written_vgg(network), way, "epsilon-gamma-box", None, options)


def test_bounds_reach_a_dense_first_layer_through_the_layers_before_it():
    network, images = case("dense layers alone")
    maps, logits = relevance(network, images, columns_for(2), "epsilon-gamma-box", options={"low": -5, "high": 5})
    w1, w2 = network[1].weight, network[3].weight[1]
    for image, heat, logit in zip(images.flatten(1), maps[:, 0].flatten(1), logits[:, 1], strict=True):
        hidden = F.relu(w1 @ image + network[1].bias)
        above = hidden * w2 / (logit + 1e-6 * logit.sign()) * logit
        c = w1 * image + 5 * w1.clamp(min=0) - 5 * w1.clamp(max=0)
        assert torch.allclose(heat, (c / c.sum(1, keepdim=True) * above[:, None]).sum(0), rtol=1e-9, atol=1e-12)


# Sums, zeros, several targets


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon", "epsilon-gamma-box"])
def test_without_biases_relevance_adds_up_to_the_logit(composite):
    network, images = chain(bias=False), case("chain")[1]
    maps, logits = relevance(network, images, columns_for(2, 0, 1, 2), composite, options={"epsilon": 0.0})
    assert torch.allclose(maps.sum((2, 3, 4)), logits, rtol=1e-9)


@pytest.mark.parametrize("composite", OPTIONS)
@pytest.mark.parametrize("name", ["chain", "VGG with batch norms", "ResNet of basic blocks"])
def test_black_pictures_and_networks_of_zeros_give_finite_maps(name, composite):
    network, images = case(name)
    maps, _ = relevance(network, torch.zeros_like(images), columns_for(2), composite)
    assert torch.isfinite(maps).all()
    for parameter in network.parameters():
        parameter.data.zero_()
    maps, _ = relevance(network, images, columns_for(2), composite)
    assert torch.equal(maps, torch.zeros_like(maps))


def test_denominators_that_are_zero_pass_nothing_and_small_ones_all():
    z = torch.tensor([0.0, -0.0, 1e-25, -1e-25, 2.0])
    inverse = 1 / exact_division(z)
    assert inverse.tolist() == pytest.approx([0, 0, 1e25, -1e25, 0.5])
    assert 1 / exact_division(torch.tensor(1e-200, dtype=torch.float64)) == pytest.approx(1e200)


def test_targets_of_each_image_have_the_maps_they_have_alone():
    network, images = case("ResNet of basic blocks", n=3)
    columns = np.array([[0, 1], [2, 2], [1, 0]])
    maps, logits = relevance(network, images, columns)
    assert maps.shape == (3, 2, 1, 40, 45)
    assert logits.shape == (3, 3)
    for i in range(3):
        for t in range(2):
            alone, _ = relevance(network, images[i : i + 1], columns[i : i + 1, t : t + 1])
            assert torch.allclose(alone[0, 0], maps[i, t], rtol=1e-9, atol=1e-11 * largest(maps))


def test_biases_are_ignored_by_default_and_kept_on_demand():
    network, images = case("VGG")
    ignored, _ = relevance(network, images, columns_for(2), bias="ignore")
    kept, _ = relevance(network, images, columns_for(2), bias="keep")
    assert torch.equal(relevance(network, images, columns_for(2))[0], ignored)
    assert not torch.allclose(kept, ignored)
    for composite in ("epsilon", "epsilon-gamma-box", "innvestigate-a-flat"):
        both = [relevance(network, images, columns_for(2), composite, bias)[0] for bias in ("ignore", "keep")]
        assert torch.equal(*both)


# Nothing stays behind


@pytest.mark.parametrize("composite", OPTIONS)
def test_the_network_stays_as_it_was_and_the_chain_keeps_no_rule(composite):
    network, images = case("ResNet of basic blocks")
    network.train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    maps, _ = relevance(network, images, columns_for(2), composite)
    assert network.training
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert hooks_of(network) == []
    key = "sequential as it stands" if composite == "innvestigate-a-flat" else "sequential folded"
    assert hooks_of(prepared(network, lambda _twin: pytest.fail("the chain was not kept"), key)) == []
    assert not maps.requires_grad


class FailingRule(Hook):
    def backward(self, module, grad_input, grad_output):
        raise RuntimeError("this rule fails")


def test_after_a_failure_the_next_explanation_starts_from_a_clean_chain(monkeypatch):
    network, images = case("VGG")
    expected, _ = relevance(network, images, columns_for(2))
    with monkeypatch.context() as patch:
        patch.setattr(sequential, "_OTHER_RULES", (((nn.ReLU,), FailingRule()),))
        with pytest.raises(RuntimeError, match="this rule fails"):
            relevance(network, images, columns_for(2))
    assert hooks_of(network) == []
    assert torch.equal(relevance(network, images, columns_for(2))[0], expected)


def test_threads_on_one_network_get_the_maps_of_one_after_the_other():
    network, images = case("ResNet of basic blocks", n=4)
    jobs = [(i, composite) for composite in OPTIONS for i in range(4)]
    alone = {job: relevance(network, images[[job[0]]], columns_for(1), job[1])[0] for job in jobs}
    together = on_threads(lambda job: relevance(network, images[[job[0]]], columns_for(1), job[1])[0], jobs)
    assert all(torch.equal(together[job], alone[job]) for job in jobs)


def test_a_change_of_the_network_is_seen_by_the_next_explanation():
    network, images = case("VGG with batch norms")
    before, _ = relevance(network, images, columns_for(2), options={"epsilon": 0.0})
    network.features[1].weight.data *= 1.5
    after, logits = relevance(network, images, columns_for(2), options={"epsilon": 0.0})
    with torch.no_grad():
        assert torch.allclose(logits, network(images), rtol=1e-11, atol=1e-12)
    assert not torch.allclose(before, after)


def test_inference_mode_and_autocast_around_the_call_change_nothing():
    network, images = case("VGG")
    network, images = network.float(), images.float()
    expected, _ = relevance(network, images, columns_for(2))
    forget(network)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(relevance(network, images.clone(), columns_for(2))[0], expected)


# Refusals


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, values):
        return self.fc(values)


def no_statistics():
    norm = nn.BatchNorm2d(2, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(1, 2, 3), norm, nn.Flatten(), nn.Linear(8, 3))


UNFIT = {
    "SEModule": lambda: timm.create_model("seresnet50", num_classes=3),
    "EcaModule": lambda: resnet(block_args={"attn_layer": EcaModule}),
    "BlurPool2d": lambda: resnet(aa_layer=BlurPool2d),
    "SiLU": lambda: resnet(act_layer=nn.SiLU),
    "GroupNorm": lambda: ResNet(BasicBlock, (1, 1, 1, 1), norm_layer=lambda n, **_: nn.GroupNorm(2, n)),
    "its global pooling is 'max'": lambda: resnet(global_pool="max"),
    "no last dense layer": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),
    "for ConvNeXt: it has LayerNorm2d and GELU, for which": lambda: timm.create_model("convnext_atto"),
    "for EfficientNet: it has SiLU and Sigmoid": lambda: timm.create_model("efficientnet_b0"),
    "for Own: how its layers are connected": Own,
    "it has Softmax": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Softmax(1)),
    "it averages values": lambda: resnet(aa_layer=nn.AvgPool2d, replace_stem_pool=True),
    "averages values that have not passed a ReLU": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3)
    ),
    "does not directly follow": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)
    ),
    "without running statistics": no_statistics,
    "pads by 'reflect'": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(4, 3)
    ),
}


@pytest.mark.parametrize("named", UNFIT)
def test_networks_that_are_not_verified_are_refused_in_one_line_with_what_is_available(named):
    network = UNFIT[named]()
    assert not verified(network)
    with pytest.raises(ExplainError) as refusal:
        propagator_of(network)
    line = str(refusal.value)
    assert named in line
    assert line.startswith(f"relevance propagation is not verified for {type(network).__name__}: ")
    assert line.endswith(". Available: gradient, gradient-x-input, integrated-gradients, smoothgrad, occlusion")
    assert "\n" not in line


def test_a_densenet_is_no_chain_of_layers():
    assert why_not(shaken_densenet()) == "how its layers are connected is not known"


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "vgg11", "vgg16_bn"])
def test_the_plain_networks_of_timm_are_verified(name):
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=3)
    assert verified(network)


@pytest.mark.parametrize(
    ("composite", "bias", "options", "named"),
    [
        ("epsilon-plus", None, {}, "unknown composite 'epsilon-plus'. Available: epsilon-plus-flat"),
        ("epsilon", "drop", {}, "unknown bias 'drop'. Available: ignore, keep"),
        ("epsilon", None, {"gamma": 1.0}, "unknown option of composite 'epsilon': 'gamma'. Available: epsilon"),
        ("epsilon", None, {"epsilon": -1.0}, "epsilon -1.0 is out of range. Accepted: numbers from 0"),
        ("epsilon-gamma-box", None, {"gamma": float("inf")}, "gamma inf is out of range"),
        ("epsilon-gamma-box", None, {"low": 1.0, "high": 0.0}, "low 1.0 lies above high 0.0"),
        ("epsilon-gamma-box", None, {"low": (1.0, 2.0, 3.0)}, r"low \(1.0, 2.0, 3.0\) does not fit"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_refused_by_name(composite, bias, options, named):
    network, images = case("VGG")
    with pytest.raises(ExplainError, match=named):
        relevance(network, images, columns_for(2), composite, bias, options)


def test_the_option_for_the_stem_of_densenets_means_nothing_here():
    network, images = case("VGG")
    options = {"stem_bn": "pass", "epsilon": 1e-6}
    assert torch.equal(
        relevance(network, images, columns_for(2), options=options)[0], relevance(network, images, columns_for(2))[0]
    )
    assert options == {"stem_bn": "pass", "epsilon": 1e-6}
