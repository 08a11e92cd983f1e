from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn
from toys import CLASSES, Model, hooks_of, on_threads, pictures, shaken_densenet

from cxr.errors import ExplainError
from cxr.explain import COMPOSITES, explain
from cxr.explain.lrp.rules import AlphaBeta
from cxr.models import build


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def untouched(network, before):
    after = network.state_dict()
    return list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


FEW = {"integrated-gradients": {"steps": 3}, "smoothgrad": {"samples": 3}, "occlusion": {"stride": 32}}
"""Options that make slow methods quick: what is tested here does not hang on them."""


@pytest.mark.parametrize("composite", COMPOSITES)
def test_explaining_leaves_logits_parameters_hooks_and_mode_as_they_were(composite):
    model = build("densenet-small", CLASSES, size=64).train()
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    before = state(model)
    result = explain(model, images, "normal", composite, **FEW.get(composite, {}))
    assert untouched(model, before)
    assert hooks_of(model) == []
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert result.relevance.shape == (3, 1, 64, 64)
    assert result.relevance.dtype == np.float32
    assert np.isfinite(result.relevance).all()
    model.eval()
    with torch.no_grad():
        first = model(images)
        explain(model, images, "covid19", composite, **FEW.get(composite, {}))
        logits = model(images)
    assert torch.equal(first, logits)
    assert np.allclose(result.logits, logits.numpy(), atol=1e-5)


def test_a_failure_inside_leaves_no_trace(monkeypatch):
    class Failing(AlphaBeta):
        def collector(self, *arguments):
            raise RuntimeError("this rule fails")

    failing = replace(COMPOSITES["epsilon-plus-flat"], convolution=lambda keep, options: Failing())
    monkeypatch.setitem(COMPOSITES, "failing", failing)
    model = Model(shaken_densenet())
    images = pictures()
    before, maps = state(model.network), explain(model, images, "normal").relevance
    with pytest.raises(RuntimeError, match="this rule fails"):
        explain(model, images, "normal", "failing")
    assert untouched(model.network, before)
    assert hooks_of(model.network) == []
    assert np.array_equal(explain(model, images, "normal").relevance, maps)


def test_threads_on_one_model_get_the_maps_of_one_after_the_other():
    torch.set_num_threads(1)
    model, images = Model(shaken_densenet()), pictures(4)
    jobs = [(i, name) for i in range(4) for name in ("epsilon-plus-flat", "epsilon-alpha2-beta1-flat", "epsilon")]
    alone = {job: explain(model, images[[job[0]]], "covid19", job[1]).relevance for job in jobs}
    together = on_threads(lambda job: explain(model, images[[job[0]]], "covid19", job[1]).relevance, jobs)
    assert all(np.array_equal(together[job], alone[job]) for job in jobs)


def test_epsilon_near_zero_on_a_network_without_biases_is_gradient_times_input_and_nothing_is_absorbed():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, bias=False), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3, bias=False)).double()
    lrp = explain(Model(network), pictures(size=20), "normal", "epsilon", epsilon=0.0)
    gradient = explain(Model(network), pictures(size=20), "normal", "gradient-x-input")
    assert lrp.relevance.dtype == np.float64
    assert np.allclose(lrp.relevance, gradient.relevance, rtol=1e-10, atol=1e-14)
    assert np.allclose(lrp.absorbed, 0, atol=1e-12)


def test_epsilon_near_zero_on_a_densenet_is_gradient_times_input():
    network = shaken_densenet().double()
    lrp = explain(Model(network), pictures(), "pneumonia", "epsilon", epsilon=0.0)
    gradient = explain(Model(network), pictures(), "pneumonia", "gradient-x-input")
    assert np.allclose(lrp.relevance, gradient.relevance, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-alpha2-beta1-flat"])
def test_without_biases_in_force_and_every_scale_above_zero_all_of_the_logit_lies_on_pixels(composite):
    network = shaken_densenet(lowest=0.2).double()
    network.classifier.bias.data.zero_()
    result = explain(Model(network), pictures(3), "normal", composite, epsilon=0.0, stem_bn="pass")
    assert np.abs(result.absorbed).max() == 0
    if composite == "epsilon-plus-flat":  # beta's part is lost wherever nothing speaks against
        assert np.abs(result.lost).max() < 1e-3 * np.abs(result.target_logits).max()
    assert np.allclose(result.relevance.sum(axis=(1, 2, 3)) + result.lost, result.target_logits, rtol=1e-12)


def two_layer_reference(network, image):
    """z+ through one dense layer's convolutions written out on the folded weights, for scales above zero."""
    relu, pool = torch.relu, network.features.pool0
    f, layer = network.features, network.features.denseblock1.denselayer1

    def fold(norm):
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        return scale.view(1, -1, 1, 1), (norm.bias - norm.running_mean * scale).view(1, -1, 1, 1)

    (s0, t0), (s1, t1), (s2, t2), (s5, t5) = (fold(n) for n in (f.norm0, layer.norm1, layer.norm2, f.norm5))
    image = image.detach()
    stem = relu(f.conv0(image) * s0 + t0).requires_grad_()
    pooled = pool(stem)
    a1 = relu(pooled * s1 + t1).detach().requires_grad_()
    w1 = (layer.conv1.weight * s2.view(-1, 1, 1, 1)).detach()
    a2 = relu(nn.functional.conv2d(a1, w1) + t2).detach().requires_grad_()
    new = layer.conv2(a2)
    last = relu(torch.cat([pooled, new], 1) * s5 + t5).detach()
    logit = network.classifier(last.mean((2, 3)))[:, 1]
    share = network.classifier.weight[1].view(1, -1, 1, 1) * last / last[0, 0].numel()
    r_last = share / logit * logit  # the start is the logit itself, the denominator holds the bias
    c = pooled.shape[1]

    def back(inputs, weight, relevance, **how):
        z = nn.functional.conv2d(inputs, weight.clamp(min=0), **how)
        ratio = torch.where(z > 0, relevance / z, 0.0)
        return inputs.detach() * torch.autograd.grad(z, inputs, ratio.detach())[0]

    r_a2 = back(a2, layer.conv2.weight.detach(), r_last[:, c:], padding=1)
    r_pooled = r_last[:, :c] + back(a1, w1, r_a2)
    r_stem = torch.autograd.grad(pooled, stem, r_pooled.detach())[0].sum(1, keepdim=True)
    ones = torch.ones(1, 1, 7, 7, dtype=image.dtype)
    cells = nn.functional.conv2d(torch.ones_like(image), ones, stride=2, padding=3)
    return torch.nn.grad.conv2d_input(image.shape, ones, r_stem / cells, stride=2, padding=3)


def test_with_scales_above_zero_the_default_equals_relevance_written_out_by_hand():
    network = shaken_densenet(lowest=0.2, block_config=(1,), growth_rate=4).double()
    image = torch.from_numpy(pictures(n=1, size=40)).double()
    result = explain(Model(network), image.numpy(), "normal", "epsilon-plus-flat", epsilon=0.0, stem_bn="pass")
    expected = two_layer_reference(network, image).detach().numpy()
    assert np.allclose(result.relevance, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_targets_per_image_and_lists_of_targets_have_their_axes():
    model, images = Model(shaken_densenet()), pictures(2)
    one = explain(model, images, ["normal", "covid19"])
    lists = explain(model, images, [["normal", "covid19"], ["covid19", "pneumonia"]])
    assert one.relevance.shape == (2, 1, 64, 64)
    assert lists.relevance.shape == (2, 2, 1, 64, 64)
    assert lists.absorbed.shape == lists.target_logits.shape == (2, 2)
    assert np.array_equal(lists.relevance[0, 0], one.relevance[0])
    assert np.array_equal(lists.relevance[1, 0], one.relevance[1])
    assert np.array_equal(lists.target_logits[1], one.logits[1, [0, 2]])
    assert lists.targets == (("normal", "covid19"), ("covid19", "pneumonia"))


def test_a_large_set_is_worked_on_in_batches_with_the_same_maps():
    model, images = Model(shaken_densenet()), pictures(5)
    whole, parts = explain(model, images, "normal", batch=5), explain(model, images, "normal", batch=2)
    assert np.allclose(whole.relevance, parts.relevance, atol=1e-6 * np.abs(whole.relevance).max())


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (1, "target 1 is not a class name. Available: covid19, normal, pneumonia"),
        ([0, 1], "target 0 is not a class name"),
        ([np.int64(1), np.int64(0)], "is not a class name"),
        ("flu", "unknown target 'flu'. Available: covid19"),
        (["normal"], "1 targets for 2 images"),
        ([["normal"], ["normal", "covid19"]], "2 targets for 2 images"),
    ],
)
def test_targets_that_are_no_class_names_or_do_not_fit_are_refused(targets, named):
    with pytest.raises(ExplainError, match=named):
        explain(Model(shaken_densenet()), pictures(2), targets)


def test_unknown_composites_options_models_and_empty_batches_are_refused_by_name():
    model, images = Model(shaken_densenet()), pictures(1)
    with pytest.raises(ExplainError, match=r"unknown composite 'epsilon_plus'. Available: epsilon-plus-flat, "):
        explain(model, images, "normal", "epsilon_plus")
    with pytest.raises(ExplainError, match=r"'gamma'. Available: epsilon"):
        explain(model, images, "normal", gamma=1.0)
    with pytest.raises(ExplainError, match="cannot explain a str: it lacks preprocess, network, classes"):
        explain("densenet121", images, "normal")
    with pytest.raises(ExplainError, match=r"unknown bias 'drop'. Available: ignore, keep"):
        explain(model, images, "normal", bias="drop")
    with pytest.raises(ExplainError, match=r"unknown precision 'float16'. Available: bfloat16"):
        explain(model, images, "normal", precision="float16")
    with pytest.raises(ExplainError, match="'bfloat16' is for LRP on DenseNets only"):
        explain(model, images, "normal", "gradient", precision="bfloat16")
    with pytest.raises(ExplainError, match=r"epsilon -1.0 is out of range"):
        explain(model, images, "normal", epsilon=-1.0)
    with pytest.raises(ExplainError, match=r"low 1.0 lies above high 0.0"):
        explain(model, images, "normal", "epsilon-gamma-box", low=1.0, high=0.0)
    with pytest.raises(ExplainError, match="no images"):
        explain(model, images[:0], "normal")


def test_networks_that_a_composite_was_not_verified_for_are_refused_and_their_gradients_are_not():
    convnext = build("convnext_atto", CLASSES, size=64)
    images = np.zeros((1, 64, 64), np.uint8)
    with pytest.raises(ExplainError, match=r"not verified for ConvNeXt: .*LayerNorm.* Available: gradient, "):
        explain(convnext, images, "normal")
    assert explain(convnext, images, "normal", "gradient").relevance.shape == (1, 1, 64, 64)


def test_a_resnet_is_explained_through_its_chain():
    model = build("resnet18", CLASSES, size=64).double()
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    lrp = explain(model, images, "normal", "epsilon", epsilon=0.0)
    gradient = explain(model, images, "normal", "gradient-x-input")
    assert np.allclose(lrp.relevance, gradient.relevance, rtol=1e-8, atol=1e-10 * np.abs(gradient.relevance).max())
    assert lrp.layers == ("all layers",)
    assert lrp.notes[0].startswith("Residual sums share relevance")
    assert np.allclose(lrp.residual, 0, atol=1e-12)


def test_a_bare_densenet_takes_its_own_input_and_columns_for_targets():
    network, images = shaken_densenet(), pictures(2)
    bare = explain(network, images, [2, 0])
    named = explain(Model(network), images, ["pneumonia", "covid19"])
    assert bare.classes == ("0", "1", "2")
    assert bare.targets == (("2",), ("0",))
    assert np.array_equal(bare.relevance, named.relevance)
    assert np.array_equal(explain(network, torch.from_numpy(images), torch.tensor([2, 0])).relevance, bare.relevance)
    with pytest.raises(ExplainError, match=r"unknown target '3'. Available: 0, 1, 2"):
        explain(network, images, 3)
    with pytest.raises(ExplainError, match=r"uint8 of the shape \(1, 64, 64\). Accepted for a bare network: float"):
        explain(network, np.zeros((1, 64, 64), np.uint8), 0)


BARE = {
    "densenet": lambda: shaken_densenet(in_chans=3),
    "chain": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 62 * 62, 3)),
    "resnet": lambda: timm.create_model("resnet18", num_classes=3, in_chans=3),
}


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "gradient", "occlusion"])
@pytest.mark.parametrize("name", BARE)
def test_images_that_a_bare_network_cannot_take_are_refused_in_one_line(name, composite):
    network = BARE[name]().eval()
    too_small = {"chain": 61, "densenet": 2, "resnet": 0}[name]
    for shape, words in (
        ((1, 1, 64, 64), r"images have 1 channel, the network takes 3. Accepted: \(N, 3, H, W\)"),
        ((2, 4, 64, 64), r"images have 4 channels, the network takes 3. Accepted: \(N, 3, H, W\)"),
        ((1, 3, too_small, too_small), rf"does not take images of the shape \(1, 3, {too_small}, {too_small}\) \(.+\)"),
    ):
        with pytest.raises(ExplainError, match=words) as refused:
            explain(network, np.zeros(shape, np.float32), 0, composite)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("images", "targets", "named"),
    [
        (None, 0, "images are a NoneType. Accepted: an array"),
        ("x-ray.png", 0, "images are a str. Accepted: an array"),
        ([np.zeros((1, 64, 64)), np.zeros((1, 32, 32))], 0, "images have 2 different shapes"),
        (pictures(1), None, "target None is not a class name. Available: 0, 1, 2"),
        (pictures(1), 1.5, "target 1.5 is not a class name"),
        (pictures(1), -1, "unknown target '-1'. Available: 0, 1, 2"),
    ],
)
def test_what_is_no_image_and_no_target_is_refused_in_one_line(images, targets, named):
    with pytest.raises(ExplainError, match=named):
        explain(shaken_densenet(), images, targets)


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "gradient"])
@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d")])
def test_names_that_are_not_as_many_as_the_logits_are_refused(composite, names):
    with pytest.raises(ExplainError, match=rf"{len(names)} classes \(a, b.*\) for 3 logits"):
        explain(Model(shaken_densenet(), names), pictures(1), names[-1], composite)
    with pytest.raises(ExplainError, match="batch '2' is not allowed"):
        explain(Model(shaken_densenet()), pictures(1), "normal", composite, batch="2")


def test_a_model_whose_preprocessing_does_not_fit_its_network_is_refused():
    with pytest.raises(ExplainError, match="images have 1 channel, the network takes 3"):
        explain(Model(shaken_densenet(in_chans=3)), pictures(1), "normal")


def test_methods_for_comparison_have_no_ledger_and_say_what_adds_up():
    result = explain(Model(shaken_densenet()), pictures(1), "normal", "gradient")
    assert np.isnan(result.absorbed).all()
    assert np.isnan(result.lost).all()
    assert result.notes == ("The values of a map add up to nothing: a sensitivity.",)


def test_a_logit_that_is_no_number_is_refused_by_its_class():
    network = shaken_densenet()
    network.classifier.bias.data[1] = float("inf")
    with pytest.raises(ExplainError, match="the logit of normal of image 0 is inf: it cannot be explained"):
        explain(Model(network), pictures(1), "normal")
    assert np.isfinite(explain(Model(network), pictures(1), "covid19").relevance).all()


def test_bfloat16_maps_agree_with_those_of_float32():
    model = build("densenet-small", CLASSES, size=64)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    rough, fine = (explain(model, images, "normal", precision=name, trial=False) for name in ("bfloat16", None))
    a, b = rough.relevance.reshape(2, -1), fine.relevance.reshape(2, -1)
    assert ((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))).min() > 0.999
    assert rough.precision == "bfloat16"
    assert not np.array_equal(a, b)
    assert "bfloat16" in rough.notes[0]


@pytest.mark.parametrize("extreme", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("composite", COMPOSITES)
def test_constant_pictures_give_finite_maps(extreme, composite):
    images = np.full((1, 1, 33, 47), extreme, np.float32)
    result = explain(Model(shaken_densenet()), images, "normal", composite, **FEW.get(composite, {}))
    assert np.isfinite(result.relevance).all()


def test_relevance_for_a_planted_mark_lies_in_the_mark():
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.2, (96, 1, 48, 48)).astype(np.float32)
    labels = np.arange(96) % 2
    images[labels == 1, :, 6:14, 30:38] += 3.0
    torch.manual_seed(0)
    network = shaken_densenet(lowest=0.5, num_classes=2, block_config=(2, 2)).train()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(25):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
        optimiser.step()
    model = Model(network.eval(), ("clean", "marked"))
    result = explain(model, images[labels == 1][:8], "marked")
    assert (result.logits.argmax(1) == 1).mean() > 0.9
    positive = result.relevance.clip(min=0).sum(1)
    inside = positive[:, 4:16, 28:40].sum((1, 2)) / positive.sum((1, 2))
    area = 12 * 12 / 48**2
    assert np.median(inside) > 0.5
    assert np.median(inside) > 5 * area


@pytest.mark.parametrize(
    "name",
    [
        "densenet121",
        "densenet169",
        pytest.param("densenet161", marks=pytest.mark.slow),
        pytest.param("densenet201", marks=pytest.mark.slow),
        pytest.param("densenet264d", marks=pytest.mark.slow),
    ],
)
def test_every_densenet_of_timm_is_explained_in_float32_as_in_float64(name):
    network = timm.create_model(name, num_classes=2).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(-0.1, 1.5)
            module.bias.data.normal_(0, 0.1)
    images = torch.from_numpy(pictures(1, size=40, channels=3))
    rough = explain(network, images, [[0, 1]])
    with torch.no_grad():
        assert np.allclose(rough.logits, network(images).numpy(), atol=1e-5 * max(1, np.abs(rough.logits).max()))
    fine = explain(network.double(), images.double(), [[0, 1]])
    a, b = rough.relevance.reshape(2, -1), fine.relevance.reshape(2, -1)
    assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()
    assert np.abs(fine.residual).max() < 1e-12
