"""``cxr.explain`` on DenseNets says what the slow reference says, for every composite, bias and option."""

import copy
import threading
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import (
    BIASES,
    COMPOSITES,
    LAYOUTS,
    WAYS,
    layout_images,
    layout_network,
    lrp,
    random_network,
    untangled,
    way_name,
)
from torch import nn

from cxr.errors import ExplainError
from cxr.explain import explain
from cxr.models import build

EVERY_WAY = pytest.mark.parametrize("chosen", WAYS, ids=way_name)
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS)
TARGETS = [[0, 2], [1, 0]]
"""Two targets for each of two images."""


@cache
def expected(layout, number):
    """References (N = 2, T = 2) of a layout for the way of this number."""
    composite, bias, options = WAYS[number]
    network, images = layout_network(layout), layout_images(layout)
    return [
        [lrp(network, image, target, composite, bias, **options) for target in targets]
        for image, targets in zip(images, TARGETS, strict=True)
    ]


def explained(layout, chosen, dtype, **more):
    composite, bias, options = chosen
    network, images = layout_network(layout).to(dtype), torch.from_numpy(layout_images(layout)).to(dtype)
    return explain(network, images, TARGETS, composite, bias=bias, **options, **more)


def difference(relevance, reference):
    """Largest difference, as a part of the largest relevance."""
    assert np.abs(reference).max() > 0
    return np.abs(relevance - reference).max() / np.abs(reference).max()


def cosine(a, b):
    a, b = a.ravel().astype(float), b.ravel().astype(float)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def check_pairs(result, layout, chosen, tolerance):
    references = expected(layout, WAYS.index(chosen))
    for n, row in enumerate(references):
        for t, reference in enumerate(row):
            assert difference(result.relevance[n, t], reference.relevance) <= tolerance
            assert cosine(result.relevance[n, t], reference.relevance) >= 0.9999
            assert abs(result.absorbed[n, t] - reference.absorbed) <= tolerance * reference.flow
            assert abs(result.lost[n, t] - reference.lost) <= tolerance * reference.flow
            assert abs(result.residual[n, t]) <= tolerance * reference.flow
            logit = result.logits[n, TARGETS[n][t]]
            assert abs(logit - reference.logit) <= tolerance * max(1, abs(reference.logit))


@EVERY_LAYOUT
@EVERY_WAY
def test_in_float64_maps_and_books_are_those_of_the_reference_to_the_last_digits(layout, chosen):
    result = explained(layout, chosen, torch.float64)
    assert result.relevance.dtype == np.float64
    assert result.relevance.shape == (2, 2, *layout_images(layout).shape[1:])
    assert result.composite == chosen[0]
    # Rules other than alpha-beta always keep biases, whatever was asked for.
    assert result.bias == (chosen[1] if "stem_bn" in chosen[2] else "keep")
    check_pairs(result, layout, chosen, 1e-12)


@EVERY_LAYOUT
@EVERY_WAY
def test_in_float32_maps_and_books_are_those_of_the_reference_to_rounding(layout, chosen):
    result = explained(layout, chosen, torch.float32)
    assert result.relevance.dtype == np.float32
    # z / (z + 1e-6) is rounding noise where z is about 1e-6: the rule itself is that uncertain in float32.
    noisy = chosen[0] == "epsilon" and "epsilon" not in chosen[2]
    check_pairs(result, layout, chosen, 1e-3 if noisy else 1e-5)


@EVERY_LAYOUT
def test_the_books_are_kept_layer_by_layer(layout):
    for composite in COMPOSITES:
        result = explained(layout, (composite, "keep", {}), torch.float64)
        assert len(result.layers) == result.layer_absorbed.shape[-1] == result.layer_lost.shape[-1]
        assert len(set(result.layers)) == len(result.layers)
        assert result.layer_absorbed.shape[:-1] == result.absorbed.shape == (2, 2)
        assert np.allclose(result.layer_absorbed.sum(-1), result.absorbed, rtol=1e-12, atol=1e-12)
        assert np.allclose(result.layer_lost.sum(-1), result.lost, rtol=1e-12, atol=1e-12)


@EVERY_LAYOUT
def test_epsilon_zero_is_gradient_times_input(layout):
    network = layout_network(layout).double()
    images = torch.from_numpy(layout_images(layout)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(images)[:, 1].sum(), images)
    product = (gradient * images).detach().numpy()
    result = explain(network, images.detach(), 1, "epsilon", epsilon=0.0)
    assert difference(result.relevance, product) <= 1e-10
    other = explain(network, images.detach(), 1, "gradient-x-input")
    assert difference(other.relevance, product) <= 1e-10


@pytest.mark.parametrize("composite", COMPOSITES)
def test_without_a_word_on_bias_and_options_the_defaults_of_the_definitions_hold(composite):
    network, images = layout_network("2-2, 3 channels").double(), layout_images("2-2, 3 channels").astype(np.float64)
    result = explain(network, images, 2, composite)
    for n, image in enumerate(images):
        assert difference(result.relevance[n], lrp(network, image, 2, composite).relevance) <= 1e-12


def test_the_bounds_of_the_z_box_may_differ_by_channel():
    network, images = layout_network("2-2, 3 channels").double(), layout_images("2-2, 3 channels").astype(np.float64)
    low, high = (-4.0, -5.0, -6.0), (5.0, 4.5, 6.0)
    result = explain(network, images, 0, "epsilon-gamma-box", low=low, high=high)
    for n, image in enumerate(images):
        reference = lrp(network, image, 0, "epsilon-gamma-box", low=low, high=high)
        assert difference(result.relevance[n], reference.relevance) <= 1e-12


def test_the_own_bounds_of_a_bare_network_are_said_in_the_notes():
    network, images = layout_network("wide"), layout_images("wide")
    own = explain(network, images, 0, "epsilon-gamma-box").notes
    given = explain(network, images, 0, "epsilon-gamma-box", low=-5.0, high=5.0).notes
    assert len(own) > len(given)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_classifier_is_explained_on_the_input_that_it_makes_of_an_x_ray(composite):
    model = build("densenet-small", ("sick", "well"), size=40, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    shake(model.network)
    model.double()
    xrays = np.random.default_rng(0).integers(0, 256, (2, 40, 40), dtype=np.uint8)
    result = explain(model, xrays, ["well", "sick"], composite)
    assert result.classes == ("sick", "well")
    black, white = (model.preprocess(np.full((1, 40, 40), value, np.uint8))[0, :, 0, 0] for value in (0, 255))
    bounds = {"low": black, "high": white} if composite == "epsilon-gamma-box" else {}
    inputs = model.preprocess(xrays).double()
    for n, target in enumerate((1, 0)):
        reference = lrp(model.network, inputs[n], target, composite, **bounds)
        assert difference(result.relevance[n], reference.relevance) <= 1e-9  # bounds may come from float32


def shake(network):
    """Give a fresh network batch norms that do something."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.normal_(0.6, 0.7, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)


# Ties: an image of zeros makes every window of a plain stem's max pool a tie.


@EVERY_WAY
@pytest.mark.parametrize("layout", [name for name, (arguments, _) in LAYOUTS.items() if "stem_type" not in arguments])
def test_the_first_of_equal_values_wins_a_max_pool(layout, chosen):
    composite, bias, options = chosen
    network = layout_network(layout).double()
    image = np.zeros((1, *layout_images(layout).shape[1:]))
    result = explain(network, image, 1, composite, bias=bias, **options)
    reference = lrp(network, image[0], 1, composite, bias, **options)
    assert np.abs(result.relevance[0] - reference.relevance).max() <= 1e-12 * max(reference.flow, 1e-6)
    assert result.absorbed[0] == pytest.approx(reference.absorbed, abs=1e-12 * reference.flow)
    assert result.lost[0] == pytest.approx(reference.lost, abs=1e-12 * reference.flow)


# Batches.


@EVERY_WAY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_has_the_same_map_alone_and_in_a_batch(chosen, dtype):
    composite, bias, options = chosen
    network = layout_network("2-2, 3 channels").to(dtype)
    images = torch.from_numpy(layout_images("2-2, 3 channels", n=5)).to(dtype)
    images[3] *= 1e3  # a loud neighbour
    targets = [0, 1, 2, 1, 0]
    alone = [explain(network, images[n : n + 1], targets[n], composite, bias=bias, **options) for n in range(5)]
    for batch in (1, 2, 5):
        together = explain(network, images, targets, composite, bias=bias, batch=batch, **options)
        for n in range(5):
            assert difference(together.relevance[n], alone[n].relevance[0]) <= 1e4 * torch.finfo(dtype).eps
            assert together.logits[n] == pytest.approx(alone[n].logits[0], rel=1e-5)
    lists = explain(network, images, [[1, target] for target in targets], composite, bias=bias, batch=2, **options)
    for n in range(5):
        assert difference(lists.relevance[n, 1], alone[n].relevance[0]) <= 1e4 * torch.finfo(dtype).eps


# Any network, any image: finite maps, and books that balance.

IMAGES = {
    "ordinary": lambda noise: noise,
    "zero": np.zeros_like,
    "constant": lambda noise: np.full_like(noise, 0.7),
    "negative constant": lambda noise: np.full_like(noise, -2.0),
    "huge": lambda noise: noise * np.float32(1e6),
    "tiny": lambda noise: noise * np.float32(1e-6),
    "one pixel": lambda noise: np.eye(1, noise.size, noise.size // 2, dtype=noise.dtype).reshape(noise.shape),
}


@st.composite
def networks(draw):
    deep = draw(st.booleans())
    network = random_network(
        draw(st.integers(0, 10_000)),
        num_classes=draw(st.integers(1, 4)),
        growth_rate=draw(st.integers(1, 8)),
        block_config=tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))),
        bn_size=draw(st.integers(1, 4)),
        in_chans=draw(st.sampled_from([1, 3])),
        stem_type="deep" if deep else "",
    )
    scales = draw(st.sampled_from(["mixed", "mixed", "zero", "below zero"]))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and scales == "zero":
            module.weight.data.zero_()
        if isinstance(module, nn.BatchNorm2d) and scales == "below zero":
            module.weight.data.abs_().neg_()
    return network


@st.composite
def images_for(draw, network, kind):
    size = draw(st.integers(17, 36)), draw(st.integers(17, 36))
    noise = np.random.default_rng(draw(st.integers(0, 10_000))).normal(size=(1, network.in_chans, *size))
    return IMAGES[kind](noise.astype(np.float32))


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from(list(IMAGES)), st.sampled_from([torch.float32, torch.float64]))
@pytest.mark.slow
def test_every_map_is_finite_and_its_books_balance(data, kind, dtype):
    network = data.draw(networks())
    images = torch.from_numpy(data.draw(images_for(network, kind))).to(dtype)
    network = network.to(dtype)
    target = data.draw(st.integers(0, network.num_classes - 1))
    for composite in COMPOSITES:
        for bias in BIASES:
            result = explain(network, images, target, composite, bias=bias)
            for part in (result.relevance, result.absorbed, result.lost, result.layer_absorbed, result.layer_lost):
                assert np.isfinite(part).all()
            moved = np.abs(result.relevance).sum() + np.abs(result.layer_absorbed).sum()
            moved += np.abs(result.layer_lost).sum() + abs(result.logits[0, target])
            residual = (
                result.logits[0, target] - result.relevance.sum(dtype=float) - result.absorbed[0] - result.lost[0]
            )
            assert abs(residual) <= 1e4 * torch.finfo(dtype).eps * moved
            assert result.residual[0] == pytest.approx(residual, abs=1e-5 * moved)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(["ordinary", "huge", "tiny"]))
@pytest.mark.slow
def test_maps_of_any_network_are_those_of_the_reference(data, kind):
    network = data.draw(networks()).double()
    images = data.draw(images_for(network, kind)).astype(np.float64)
    target = data.draw(st.integers(0, network.num_classes - 1))
    composite, bias, options = data.draw(st.sampled_from(WAYS))
    result = explain(network, images, target, composite, bias=bias, **options)
    reference = lrp(network, images[0], target, composite, bias, **options)
    # Small denominators of both signs (the epsilon rule, alpha - beta) multiply rounding by what they multiply.
    scale = np.abs(reference.relevance).max() + 1e-3 * reference.flow
    assert np.abs(result.relevance[0] - reference.relevance).max() <= 1e-9 * scale
    assert abs(result.absorbed[0] - reference.absorbed) <= 1e-9 * reference.flow
    assert abs(result.lost[0] - reference.lost) <= 1e-9 * reference.flow


# The network is only read.


def snapshot(network):
    return copy.deepcopy(network.state_dict())


def untouched(network, before):
    after = network.state_dict()
    return list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


def hooks_of(network):
    return [
        hook
        for module in network.modules()
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
        for hook in hooks
    ]


def logits_of(network, images):
    with torch.no_grad():
        return network(images)


@EVERY_WAY
@pytest.mark.parametrize("layout", ["3-1-2", "deep stem"])
def test_explaining_touches_neither_parameters_nor_hooks_nor_images(layout, chosen):
    composite, bias, options = chosen
    network, images = layout_network(layout), torch.from_numpy(layout_images(layout))
    seen, before, logits = images.clone(), snapshot(network), logits_of(network, images)
    explain(network, images, [0, 1], composite, bias=bias, **options)
    assert untouched(network, before)
    assert hooks_of(network) == []
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(images, seen)
    assert torch.equal(logits_of(network, images), logits)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_network_in_training_is_explained_as_in_evaluation_and_stays_in_training(composite):
    arguments, _ = LAYOUTS["3-1-2"]
    network = random_network(0, **arguments, drop_rate=0.5, proj_drop_rate=0.5)
    images = layout_images("3-1-2")
    evaluated = explain(network, images, 0, composite)
    before = snapshot(network.train())
    trained = explain(network, images, 0, composite)
    assert all(module.training for module in network.modules())
    assert untouched(network, before)
    assert np.array_equal(trained.relevance, evaluated.relevance)
    assert difference(trained.relevance[0], lrp(network, images[0], 0, composite).relevance) <= 1e-3


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_network_that_changed_is_explained_as_it_is_now(composite):
    network, images = layout_network("2-2, 3 channels").double(), layout_images("2-2, 3 channels").astype(np.float64)
    explain(network, images, 0, composite)
    with torch.no_grad():
        network.features.denseblock1.denselayer2.conv2.weight[0].neg_()
        network.features.transition1.norm.running_mean[3] += 0.5
        network.classifier.weight[0] *= 1.5
    result = explain(network, images, 0, composite)
    for n, image in enumerate(images):
        assert difference(result.relevance[n], lrp(network, image, 0, composite).relevance) <= 1e-12


FAILURES = [
    ({"images": 2}, (ExplainError, RuntimeError), None),
    ({"targets": 3}, ExplainError, "3"),
    ({"targets": "7"}, ExplainError, "7"),
    ({"composite": "epsilon-plus"}, ExplainError, "epsilon-plus"),
    ({"bias": "sometimes"}, ExplainError, "sometimes"),
    ({"stem_bn": "jump"}, ExplainError, "jump"),
    ({"gamma_ray": 1.0}, ExplainError, "gamma_ray"),
    ({"gamma": 0.5}, ExplainError, "gamma"),
]


@pytest.mark.parametrize(("wrong", "error", "named"), FAILURES, ids=lambda value: str(value))
def test_what_cannot_be_explained_says_why_and_leaves_no_trace(wrong, error, named):
    network, images = layout_network("one layer, 1 channel"), torch.from_numpy(layout_images("one layer, 1 channel"))
    before, maps = snapshot(network), explain(network, images, 0).relevance
    channels = wrong.get("images", 1)
    arguments = {"targets": 0, "composite": "epsilon-plus-flat"} | {k: v for k, v in wrong.items() if k != "images"}
    with pytest.raises(error, match=named):
        explain(network, images.expand(-1, channels, -1, -1), **arguments)
    assert untouched(network, before)
    assert hooks_of(network) == []
    assert np.array_equal(explain(network, images, 0).relevance, maps)


def test_eight_threads_on_one_network_get_the_maps_of_one_after_the_other():
    network = layout_network("2-2-2-2").double()
    images = torch.from_numpy(layout_images("2-2-2-2", n=8)).double()
    jobs = [WAYS[number % len(WAYS)] for number in range(0, 24, 3)]
    assert len({composite for composite, _, _ in jobs}) >= 4
    targets = [number % 3 for number in range(8)]

    def work(number):
        composite, bias, options = jobs[number]
        return explain(network, images[number : number + 1], targets[number], composite, bias=bias, **options).relevance

    before, logits = snapshot(network), logits_of(network, images)
    alone = [work(number) for number in range(8)]
    together, failures, start = {}, [], threading.Barrier(9)

    def thread(number):
        start.wait()
        try:
            for repeat in range(3):
                together[number, repeat] = work(number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    start.wait()
    during, running = [], True
    while running:
        running = any(one.is_alive() for one in threads)
        during += [torch.equal(logits_of(network, images), logits), untouched(network, before)]
    assert failures == []
    assert all(during)
    assert len(together) == 24
    for (number, _), relevance in together.items():
        assert difference(relevance, alone[number]) <= 1e-12
    assert untouched(network, before)
    assert hooks_of(network) == []
    assert torch.equal(logits_of(network, images), logits)


def test_the_layouts_hold_what_the_tests_are_about():
    for layout in LAYOUTS:
        network = layout_network(layout)
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        scales = torch.cat([norm.weight.detach() for norm in norms])
        assert (scales < 0).any()
        assert (scales == 0).any()
        assert (scales > 0).any()
        assert all(norm.running_mean.abs().max() > 0.01 for norm in norms)
        steps = untangled(network)
        values = steps.values(torch.from_numpy(layout_images(layout)[0]).double())
        active = torch.cat(
            [value.ravel() > 0 for value, step in zip(values, steps, strict=True) if "relu" in step.name]
        )
        assert 0.2 < active.double().mean() < 0.8
