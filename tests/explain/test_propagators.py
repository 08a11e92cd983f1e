"""New rules, composites and propagators work by being registered, and every composite runs where it says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toys import Model, pictures, shaken_densenet
from typer.testing import CliRunner
from zennit.core import BasicHook

from cxr.cli import app
from cxr.errors import ExplainError
from cxr.explain import COMPOSITES, Composite, explain, legend
from cxr.explain.composites import Number, summary
from cxr.explain.heatmap import Method, heatmaps_of
from cxr.explain.lrp.collectors import ShareCollector
from cxr.explain.lrp.division import exact_division, inverse
from cxr.explain.lrp.feature_maps import Unit
from cxr.explain.lrp.input_rules import Flat
from cxr.explain.lrp.layouts import SignedSums
from cxr.explain.lrp.propagator import PROPAGATORS, Propagated, Propagator, RegisteredPropagator, as_numpy
from cxr.explain.lrp.rules import Rule

QUICK = {"integrated-gradients": {"steps": 2}, "smoothgrad": {"samples": 2}, "occlusion": {"stride": 32}}


def sequential(channels=1, classes=3):
    torch.manual_seed(channels)
    body = [nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)).eval()


NETWORKS = {
    "densenet": lambda channels=1, classes=3: shaken_densenet(in_chans=channels, num_classes=classes),
    "sequential": sequential,
}


# A rule of one's own


@dataclass(frozen=True)
class ByMagnitude(Rule):
    """Relevance in proportion to the size of contributions, whatever their sign; biases absorb their share."""

    layout = SignedSums(keep=True)

    def unit(self, z, bias, per_relevance=False):
        n = len(bias)
        output = torch.relu(z[..., :n])
        share = (torch.ones_like(output) if per_relevance else output) * inverse(z[..., n : 2 * n] - z[..., 2 * n :])
        return Unit(output, torch.cat([share, -share], dim=-1), torch.cat([bias.abs(), 0 * bias]).double())

    def collector(self, shape, parts, signed):
        return ShareCollector(self, shape, parts, signed=True)

    def denominator(self, activation, parts, consumer):
        return consumer.scale.abs() * (parts.plus - parts.minus)[..., : consumer.channels] + consumer.shift.abs()

    def page_weights(self, consumer):
        return consumer.scale.abs(), -consumer.scale.abs()

    def hook(self):
        return BasicHook(
            input_modifiers=[lambda values: values],
            param_modifiers=[lambda values, name: values.abs()],
            output_modifiers=[lambda values: values],
            gradient_mapper=lambda above, outputs: [above / exact_division(outputs[0])],
            reducer=lambda inputs, gradients: inputs[0] * gradients[0],
        )


MAGNITUDE = Composite(
    "LRP: magnitude",
    "Convolutions share relevance by the size of contributions, whatever their sign.",
    options={"epsilon": Number(1e-6, "Added to the classifier's denominators.")},
    rules={"Classifier": "epsilon rule, epsilon {epsilon:g}", "Convolutions": "in proportion to |c|"},
    convolution=lambda keep, settings: ByMagnitude(),
    first=lambda settings: Flat(),
)


@pytest.fixture
def magnitude(monkeypatch):
    monkeypatch.setitem(COMPOSITES, "magnitude", MAGNITUDE)
    return "magnitude"


@pytest.mark.parametrize(("channels", "names"), [(1, ("sick", "well")), (3, ("a", "b", "c", "d"))])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_rule_of_one_class_and_one_registration_is_explained_with(magnitude, network, channels, names):
    model = Model(NETWORKS[network](channels, len(names)).double(), names)
    model.preprocess = lambda images: torch.as_tensor(images).double()
    images = pictures(2, channels=channels)
    result = explain(model, images, [[names[0], names[1]], [names[1], names[0]]], magnitude)
    assert result.relevance.shape == (2, 2, channels, 64, 64)
    assert np.abs(result.relevance).max() > 0
    assert np.allclose(result.residual, 0, atol=1e-12)
    (maps,) = heatmaps_of(Method.of(magnitude, options={"epsilon": 0.5}).explain(model, images[:1], [names[0]]))
    assert "epsilon rule, epsilon 0.5" in "\n".join(legend.lines(maps[0]))
    assert summary(magnitude)["runs_on"] == [known.title for known in PROPAGATORS.values()]


def folded(conv, norm):
    """A convolution with the batch norm that reads it."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    one = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding).double()
    one.weight.data = conv.weight.data * scale[:, None, None, None].data
    one.bias.data = (norm.bias - norm.running_mean * scale).data
    return one


def test_both_propagators_do_the_same_by_a_new_rule(magnitude):
    """A DenseNet whose only dense layer gives nothing is a chain: stem, batch norm, classifier."""
    network = shaken_densenet(block_config=(1,)).double()
    f = network.features
    f.denseblock1.denselayer1.conv2.weight.data.zero_()
    n, n_all = f.conv0.out_channels, f.norm5.num_features
    identity = nn.Conv2d(n, n_all, 1, bias=False).double()
    identity.weight.data = torch.eye(n_all, n).double()[:, :, None, None]
    layers = [folded(f.conv0, f.norm0), nn.ReLU(), nn.MaxPool2d(3, 2, 1), folded(identity, f.norm5), nn.ReLU()]
    chain = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.classifier).eval()
    images = torch.from_numpy(pictures(2)).double()
    one, other = (explain(each, images, [[0, 2], [1, 0]], magnitude) for each in (network, chain))
    assert np.allclose(one.logits, other.logits, rtol=1e-12)
    assert np.allclose(one.relevance, other.relevance, rtol=1e-9, atol=1e-12 * np.abs(one.relevance).max())
    assert np.allclose(one.absorbed + one.lost, other.absorbed, rtol=1e-9, atol=1e-12)


# A propagator of one's own


class TwoViews(nn.Module):
    """The mean of two dense layers' outputs: no chain of layers, and no DenseNet."""

    def __init__(self, channels, classes):
        super().__init__()
        self.left, self.right = nn.Linear(channels * 64, classes), nn.Linear(channels * 64, classes)

    def forward(self, values):
        flat = values.flatten(1)
        return (self.left(flat) + self.right(flat)) / 2


class TwoViewsPropagator(Propagator):
    """Each dense layer by the epsilon rule; both add up."""

    def supports(self, network):
        return isinstance(network, TwoViews)

    def prepare(self, frozen, rules, dtype):
        weight = (frozen.left.weight + frozen.right.weight).to(dtype) / 2
        return weight, (frozen.left.bias + frozen.right.bias).to(dtype) / 2

    def propagate(self, prepared, inputs, columns, rules, dtype):
        weight, bias = prepared
        flat, epsilon = inputs.flatten(1), rules.classifier.epsilon
        logits = flat @ weight.T + bias
        chosen = torch.as_tensor(columns)
        explained = logits.gather(1, chosen)
        share = explained / (explained + epsilon * explained.sign())
        maps = flat[:, None] * weight[chosen] * share[..., None]
        lost = np.zeros((*columns.shape, 1))
        absorbed = as_numpy(explained - maps.sum(-1)).astype(float)[..., None]
        relevance = as_numpy(maps.unflatten(-1, inputs.shape[1:]))
        return Propagated(relevance, as_numpy(logits), ("views",), absorbed, lost, ("Two views.",))


@pytest.fixture
def two_views(monkeypatch):
    monkeypatch.setitem(PROPAGATORS, "two-views", RegisteredPropagator("networks of two views", TwoViewsPropagator))


@pytest.mark.parametrize(("channels", "names"), [(1, ("sick", "well")), (3, ("a", "b", "c"))])
def test_an_architecture_is_explained_by_a_propagator_of_one_class_and_one_registration(two_views, channels, names):
    torch.manual_seed(0)
    model = Model(TwoViews(channels, len(names)).eval(), names)
    images = pictures(3, 8, channels)
    result = explain(model, images, [[names[1], names[0]]] * 3, batch=2)
    assert result.relevance.shape == (3, 2, channels, 8, 8)
    assert np.allclose(result.residual, 0, atol=1e-6)
    assert result.notes == ("Two views.",)
    assert result.layers == ("views",)
    exact = explain(model, images, [[names[1], names[0]]] * 3, "epsilon", epsilon=0)
    slopes = explain(model, images, [[names[1], names[0]]] * 3, "gradient-x-input")
    assert np.allclose(exact.relevance, slopes.relevance, rtol=1e-4, atol=1e-6)
    assert "networks of two views" in summary("epsilon")["runs_on"]


def test_without_its_propagator_an_architecture_is_refused_by_name():
    with pytest.raises(ExplainError, match="not verified for TwoViews: how its layers are connected is not known"):
        explain(TwoViews(1, 2).eval(), torch.from_numpy(pictures(1, 8)), 0)


# Every composite on every propagator


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_every_composite_runs_on_every_network_that_has_a_propagator(composite, network, channels):
    assert list(PROPAGATORS) == list(NETWORKS)
    images = torch.from_numpy(pictures(1, channels=channels))
    result = explain(NETWORKS[network](channels), images, 1, composite, **QUICK.get(composite, {}))
    assert np.isfinite(result.relevance).all()
    assert np.isfinite(result.absorbed).all() == COMPOSITES[composite].is_lrp


def test_a_composite_is_refused_by_name_on_a_propagator_that_it_does_not_run_on(monkeypatch):
    monkeypatch.setitem(COMPOSITES, "dense-only", replace(COMPOSITES["epsilon"], propagators=("densenet",)))
    images = torch.from_numpy(pictures(1))
    assert np.isfinite(explain(shaken_densenet(), images, 1, "dense-only").relevance).all()
    with pytest.raises(
        ExplainError, match="composite 'dense-only' does not run on sequential networks, VGG and ResNet"
    ):
        explain(sequential(), images, 1, "dense-only")
    assert summary("dense-only")["runs_on"] == ["DenseNets"]


def test_a_rule_without_a_hook_is_refused_by_name_on_sequential_networks(monkeypatch):
    class NoHook(ByMagnitude):
        hook = Rule.hook

    monkeypatch.setitem(COMPOSITES, "no-hook", replace(MAGNITUDE, convolution=lambda keep, settings: NoHook()))
    with pytest.raises(ExplainError, match="the rule NoHook is not defined for sequential networks"):
        explain(sequential(), torch.from_numpy(pictures(1)), 1, "no-hook")


# Listing loads nothing heavy


def test_listing_composites_loads_neither_torch_nor_timm_nor_zennit():
    script = (
        "import sys, cxr.explain, cxr.explain.composites as composites\n"
        "assert [composites.summary(name) for name in cxr.explain.COMPOSITES]\n"
        "heavy = ('torch', 'timm', 'torchvision', 'zennit', 'sklearn', 'scipy', 'pandas')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What is shown of composites is made from their registrations


def test_the_table_in_the_docs_is_made_from_the_registrations():
    root = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location("composites_table", root / "docs" / "composites.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    page = made.PAGE.read_text(encoding="utf-8")
    assert page == made.with_table(page), "run python docs/composites.py"
    assert all(f"| `{name}` |" in page for name in COMPOSITES)


def test_the_command_lists_composites_and_describes_one(magnitude):
    listed = CliRunner().invoke(app, ["composites", "--json"])
    assert [row["name"] for row in json.loads(listed.stdout)] == list(COMPOSITES)
    one = CliRunner().invoke(app, ["composites", magnitude])
    assert one.exit_code == 0, one.output
    assert "numbers from 0" in one.stdout
    assert "Convolutions: in proportion to |c|" in one.stdout
    assert magnitude in CliRunner().invoke(app, ["composites"]).stdout
    with pytest.raises(ExplainError, match=r"unknown composite 'nope'\. Available: epsilon-plus-flat, ") as refused:
        CliRunner().invoke(app, ["composites", "nope"], catch_exceptions=False)
    assert refused.value.wrong_use


@pytest.mark.parametrize(
    ("composite", "option", "value", "accepted"),
    [
        ("epsilon-gamma-box", "gamma", -1, "gamma -1 is out of range. Accepted: numbers from 0"),
        ("epsilon", "epsilon", "much", "epsilon 'much' is out of range. Accepted: numbers from 0"),
        ("epsilon-plus-flat", "stem_bn", "skip", "unknown stem_bn 'skip'. Available: rule, pass"),
        ("occlusion", "patch", 0, r"patch 0 is out of range. Accepted: 1, 2, 3, \.\.\."),
        ("smoothgrad", "noise", -1, r"noise -1 is out of range. Accepted: numbers from 0 \(share of the picture"),
    ],
)
def test_options_are_checked_by_their_registration_before_anything_is_computed(composite, option, value, accepted):
    with pytest.raises(ExplainError, match=accepted):
        Method.of(composite, options={option: value})
    assert COMPOSITES[composite].options[option].accepted
