"""The slow reference is right: rules by hand, the rewritten network by its logits and gradients, books that balance."""

import copy

import numpy as np
import pytest
import torch
from reference import (
    LAYOUTS,
    WAYS,
    Affine,
    AveragePool,
    BatchNorm,
    MaxPool,
    ReLU,
    Steps,
    alpha_beta_rule,
    epsilon_rule,
    gamma_rule,
    layout_images,
    layout_network,
    lrp,
    propagate,
    random_network,
    scale_and_shift,
    stock,
    untangled,
    way,
    way_name,
)
from torch import nn

EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS)


# A network of two layers, by hand. x = (2, 1, 4).
#   hidden A: w = (1, -2, 0.5),  b = 1:     c = ( 2, -2, 2),  z = 3,    active
#   hidden B: w = (-1, 2, 0.25), b = -0.5:  c = (-2,  2, 1),  z = 0.5,  active
#   hidden C: w = (-1, 0, 0),    b = 0:     c = (-2,  0, 0),  z = -2,   inactive
#   logit:    w = (2, 4, 7),     b = 1:     c = ( 6,  2, 0),  z = 9
# With the epsilon rule and epsilon = 0 in the classifier: R_A = 6, R_B = 2, R_C = 0, and its bias absorbs 1.


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def column(*values):
    """A map of one pixel with these channels."""
    return tensor(*values)[:, None, None]


def matrix(*rows):
    """The weight of a 1 x 1 convolution."""
    return tensor(*rows)[:, :, None, None]


def two_layers(role="convolution"):
    steps = Steps()
    rows = (1.0, -2.0, 0.5), (-1.0, 2.0, 0.25), (-1.0, 0.0, 0.0)
    hidden = steps.add(Affine((0,), "hidden", role, matrix(*rows), tensor(1.0, -0.5, 0.0)))
    active = steps.add(ReLU((hidden,), "relu"))
    steps.add(Affine((active,), "classifier", "classifier", matrix((2.0, 4.0, 7.0)), tensor(1.0)))
    return steps


def by_hand(composite, role="convolution", bias="ignore", epsilon=0.0, **options):
    steps = two_layers(role)
    result = propagate(
        steps, way(composite, bias, epsilon=epsilon, **options), steps.values(column(2.0, 1.0, 4.0)), target=0
    )
    assert result.logit == 9
    assert result.lost == 0
    assert result.residual == pytest.approx(0, abs=1e-14)
    return result.relevance.ravel(), result.absorbed


def test_z_plus_without_bias_by_hand():
    relevance, absorbed = by_hand("epsilon-plus-flat")
    a, b = 6 * np.array([2, 0, 2]) / 4, 2 * np.array([0, 2, 1]) / 3
    assert relevance == pytest.approx(a + b)
    assert absorbed == pytest.approx(1)


def test_z_plus_with_bias_by_hand():
    relevance, absorbed = by_hand("epsilon-plus-flat", bias="keep")
    a, b = 6 * np.array([2, 0, 2]) / (4 + 1), 2 * np.array([0, 2, 1]) / 3  # only A's bias is above zero
    assert relevance == pytest.approx(a + b)
    assert absorbed == pytest.approx(1 + 6 * 1 / 5)


def test_alpha_2_beta_1_without_bias_by_hand():
    relevance, absorbed = by_hand("epsilon-alpha2-beta1-flat")
    a = 2 * 6 * np.array([2, 0, 2]) / 4 - 6 * np.array([0, 1, 0])
    b = 2 * 2 * np.array([0, 2, 1]) / 3 - 2 * np.array([1, 0, 0])
    assert relevance == pytest.approx(a + b)
    assert relevance == pytest.approx([4, -10 / 3, 22 / 3])
    assert absorbed == pytest.approx(1)


def test_alpha_2_beta_1_with_bias_by_hand():
    relevance, absorbed = by_hand("epsilon-alpha2-beta1-flat", bias="keep")
    a = 2 * 6 * np.array([2, 0, 2]) / 5 - 6 * np.array([0, 1, 0])
    b = 2 * 2 * np.array([0, 2, 1]) / 3 - 2 * np.array([2, 0, 0]) / 2.5
    assert relevance == pytest.approx(a + b)
    assert absorbed == pytest.approx(1 + 2 * 6 * 1 / 5 - 2 * 0.5 / 2.5)


@pytest.mark.parametrize("bias", ["ignore", "keep"])
def test_the_epsilon_rule_by_hand_keeps_its_bias_either_way(bias):
    relevance, absorbed = by_hand("epsilon", bias=bias)
    a, b = 6 * np.array([2, -2, 2]) / 3, 2 * np.array([-2, 2, 1]) / 0.5
    assert relevance == pytest.approx(a + b)
    assert absorbed == pytest.approx(1 + 6 * 1 / 3 + 2 * -0.5 / 0.5)
    relevance, absorbed = by_hand("epsilon", bias=bias, epsilon=1.0)
    r_a, r_b = 9 * 6 / 10, 9 * 2 / 10
    a, b = r_a * np.array([2, -2, 2]) / 4, r_b * np.array([-2, 2, 1]) / 1.5
    assert relevance == pytest.approx(a + b)
    assert absorbed == pytest.approx(9 * 2 / 10 + r_a * (1 + 1) / 4 + r_b * (-0.5 + 1) / 1.5)


def test_the_epsilon_rule_pushes_a_negative_output_further_from_zero():
    message, absorbed, lost = epsilon_rule(0.5)(tensor(-3.0, 1.0)[None, :, None], tensor(0.0), tensor(5.0)[:, None])
    assert message.ravel() == pytest.approx([5 * 3 / 2.5, -5 / 2.5])
    assert absorbed.item() == pytest.approx(5 * 0.5 / 2.5)
    assert lost.item() == 0


@pytest.mark.parametrize("bias", ["ignore", "keep"])
def test_the_gamma_rule_by_hand_keeps_its_bias_either_way(bias):
    relevance, absorbed = by_hand("epsilon-gamma-box", bias=bias, gamma=0.5)
    a, b = 6 * np.array([3, -2, 3]) / (3 - 2 + 3 + 1.5), 2 * np.array([-2, 3, 1.5]) / (-2 + 3 + 1.5 - 0.5)
    assert relevance == pytest.approx(a + b)
    assert absorbed == pytest.approx(1 + 6 * 1.5 / 5.5 + 2 * -0.5 / 2)


def test_gamma_zero_is_the_epsilon_rule_without_epsilon_and_a_large_gamma_is_z_plus():
    epsilon, _ = by_hand("epsilon")
    assert by_hand("epsilon-gamma-box", gamma=0.0)[0] == pytest.approx(epsilon)
    plus, _ = by_hand("epsilon-plus-flat", bias="keep")
    assert by_hand("epsilon-gamma-box", gamma=1e12)[0] == pytest.approx(plus)


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-alpha2-beta1-flat", "innvestigate-a-flat"])
def test_a_flat_stem_by_hand(composite):
    relevance, absorbed = by_hand(composite, "stem")
    assert relevance == pytest.approx([6 / 3 + 2 / 3] * 3)
    assert absorbed == pytest.approx(1)


def test_a_z_box_stem_by_hand():
    relevance, absorbed = by_hand("epsilon-gamma-box", "stem", low=[1.0, 0.0, 0.0], high=5.0)
    # c = x w - low w+ - high w-: A (2 - 1, -2 + 10, 2), B (-2 + 5, 2, 1)
    assert relevance == pytest.approx(6 * np.array([1, 8, 2]) / 11 + 2 * np.array([3, 2, 1]) / 6)
    assert absorbed == pytest.approx(1)


def test_the_bounds_of_a_z_box_are_those_of_the_image_unless_given():
    image = np.array([[[0.0, 1.0], [3.0, 2.0]], [[-1.0, 5.0], [0.5, 1.0]]])
    steps = Steps()
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 2, 2, 2, generator=generator, dtype=torch.float64)
    stem = steps.add(Affine((0,), "stem", "stem", weight, tensor(0.0, 0.0)))
    steps.add(Affine((stem,), "classifier", "classifier", matrix((1.0, 1.0)), tensor(0.0)))
    values = steps.values(torch.from_numpy(image))
    own = propagate(steps, way("epsilon-gamma-box"), values, 0)
    given = propagate(steps, way("epsilon-gamma-box", low=[0.0, -1.0], high=[3.0, 5.0]), values, 0)
    assert np.array_equal(own.relevance, given.relevance)
    other = propagate(steps, way("epsilon-gamma-box", low=-2.0, high=6.0), values, 0)
    assert not np.allclose(own.relevance, other.relevance)


def test_innvestigates_batch_norm_rule_is_what_its_formula_says():
    x, relevance = column(2.0, -3.0, 0.5), column(4.0, 5.0, 6.0)
    mean, gamma, beta = column(0.5, 1.0, -1.0), column(1.5, -2.0, 0.7), column(0.3, 0.4, -0.2)
    y = gamma * (x - mean) + beta
    norm = BatchNorm((0,), "norm", gamma.ravel(), (beta - gamma * mean).ravel())
    [(given, absorbed, lost)] = norm.give(relevance, x)
    assert torch.allclose(given, x * (y - beta) / ((x - mean) * y) * relevance)
    assert absorbed == pytest.approx(float((relevance - given).sum()))
    assert lost == 0


def test_a_batch_norm_of_scale_zero_absorbs_everything_on_its_way():
    [(given, absorbed, lost)] = BatchNorm((0,), "norm", tensor(0.0), tensor(2.0)).give(column(3.0), column(5.0))
    assert (given.item(), absorbed, lost) == (0, 3, 0)


def test_average_pools_share_in_proportion_and_lose_what_sums_to_zero():
    x = tensor(1.0, -2.0, 3.0, 2.0).view(1, 2, 2)
    [(given, absorbed, lost)] = AveragePool((0,), "pool", (2, 2)).give(column(8.0), x)
    assert given.ravel() == pytest.approx([2, -4, 6, 4])
    assert (absorbed, lost) == (0, 0)
    [(given, absorbed, lost)] = AveragePool((0,), "pool").give(column(8.0), tensor(1.0, -1.0, 2.0, -2.0).view(1, 2, 2))
    assert given.abs().sum() == 0
    assert (absorbed, lost) == (0, 8)


def test_a_row_and_column_that_an_average_pool_does_not_read_get_nothing():
    [(given, _, _)] = AveragePool((0,), "pool", (2, 2)).give(tensor(6.0).view(1, 1, 1), torch.ones(1, 3, 3).double())
    assert given.ravel() == pytest.approx([1.5, 1.5, 0, 1.5, 1.5, 0, 0, 0, 0])


def test_the_winner_of_a_max_pool_takes_all_and_the_first_one_in_a_tie():
    x = torch.zeros(1, 4, 4, dtype=torch.float64)
    x[0, 1, 1] = 2.0
    x[0, 3, 2] = x[0, 3, 3] = 1.0
    pool = MaxPool((0,), "pool")
    assert pool.value(x).ravel().tolist() == [2, 2, 2, 2]
    [(given, _, _)] = pool.give(tensor(1.0, 2.0, 4.0, 8.0).view(1, 2, 2), x)
    assert given[0, 1, 1] == 15
    x[0, 1, 1] = 0.0  # now the windows are tied: at 0 the first three, at 1 (of two) the last
    [(given, _, _)] = pool.give(tensor(1.0, 2.0, 4.0, 8.0).view(1, 2, 2), x)
    expected = torch.zeros(4, 4)
    expected[0, 0], expected[0, 1], expected[1, 0], expected[3, 2] = 1, 2, 4, 8
    assert torch.equal(given[0], expected.double())


def test_the_winner_of_a_max_pool_is_the_one_that_autograd_names():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 4, (5, 9, 12), generator=generator).double().requires_grad_()
    output = nn.functional.max_pool2d(x[None], 3, stride=2, padding=1)[0]
    relevance = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(output, x, relevance)
    assert torch.allclose(MaxPool((0,), "pool").give(relevance, x.detach())[0][0], gradient)


def dense_z(weights, x, bias):
    """Contributions (J, I) of the matrix that a convolution is, bias (J,)."""
    return weights * x.ravel(), bias


@pytest.mark.parametrize(("stride", "padding", "size"), [(1, 0, 1), (1, 1, 3), (2, 3, 7), (2, 0, 2)])
def test_a_rule_on_windows_is_the_rule_on_the_matrix_that_the_convolution_is(stride, padding, size):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 2, size, size, generator=generator, dtype=torch.float64)
    layer = Affine((0,), "layer", "convolution", weight, tensor(0.5, -0.4, 0.0), stride, padding)
    x = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    z = layer.value(x)
    relevance = torch.randn(z.shape, generator=generator, dtype=torch.float64) * (z > 0)
    whole = torch.autograd.functional.jacobian(layer.value, x).reshape(z.numel(), x.numel())
    c = whole * x.ravel()
    b = layer.bias[:, None].expand(-1, z[0].numel()).ravel()
    assert torch.allclose(c.sum(1) + b, z.ravel())
    assert torch.allclose(layer.contributions(x).sum(1) + layer.bias[:, None], z.flatten(1))
    for rule in (epsilon_rule(0.1), alpha_beta_rule(1, 0, "ignore"), alpha_beta_rule(2, 1, "keep"), gamma_rule(0.3)):
        message, absorbed, lost = rule(c[:, :, None], b, relevance.ravel()[:, None])
        [(given, absorbed_here, lost_here)] = layer.give_by(rule, relevance, x)
        assert torch.allclose(given.ravel(), message.sum((0, 2)), rtol=1e-12, atol=1e-12)
        assert absorbed_here == pytest.approx(float(absorbed.sum()), abs=1e-12)
        assert lost_here == pytest.approx(float(lost.sum()), abs=1e-12)
    # Flat: over the inputs that a window reads inside the image, whatever their weights.
    read = torch.autograd.functional.jacobian(
        Affine((0,), "ones", "stem", torch.ones_like(weight), layer.bias, stride, padding).value, x
    ).reshape(z.numel(), x.numel())
    flat = (read / read.sum(1, keepdim=True) * relevance.ravel()[:, None]).sum(0)
    assert torch.allclose(layer.give_flat(relevance, x)[0][0].ravel(), flat)
    # z-box
    low, high = tensor(-4.0, -5.0), tensor(6.0, 4.0)
    lows, highs = (bound[:, None, None].expand_as(x).ravel() for bound in (low, high))
    c = whole * x.ravel() - whole.clamp(min=0) * lows - whole.clamp(max=0) * highs
    box = (c / c.sum(1, keepdim=True) * relevance.ravel()[:, None]).sum(0)
    assert torch.allclose(layer.give_box(relevance, x, low, high)[0][0].ravel(), box)


def test_a_part_without_contributions_loses_its_relevance():
    relevance = tensor(3.0)[:, None]
    for_only, against_only, nothing = (tensor(*v)[None, :, None] for v in ((1.0, 2.0), (-1.0, -2.0), (0.0, 0.0)))
    message, absorbed, lost = alpha_beta_rule(2, 1, "ignore")(for_only, tensor(-5.0), relevance)
    assert message.ravel() == pytest.approx([2, 4])
    assert (absorbed.item(), lost.item()) == (0, -3)
    message, absorbed, lost = alpha_beta_rule(2, 1, "ignore")(against_only, tensor(5.0), relevance)
    assert message.ravel() == pytest.approx([-1, -2])
    assert (absorbed.item(), lost.item()) == (0, 6)
    message, absorbed, lost = alpha_beta_rule(2, 1, "keep")(against_only, tensor(5.0), relevance)
    assert message.ravel() == pytest.approx([-1, -2])
    assert (absorbed.item(), lost.item()) == (6, 0)
    for rule in (alpha_beta_rule(2, 1, "keep"), alpha_beta_rule(1, 0, "ignore"), epsilon_rule(0.5), gamma_rule(1.0)):
        message, absorbed, lost = rule(nothing, tensor(0.0), relevance)
        assert message.abs().sum() == 0
        assert (absorbed.item(), lost.item()) == (0, 3)


# The network.


@EVERY_LAYOUT
@pytest.mark.parametrize("rewrite", [untangled, stock])
def test_the_steps_have_the_logits_of_the_network(layout, rewrite):
    network = layout_network(layout).double()
    steps = rewrite(network)
    for image in torch.from_numpy(layout_images(layout)).double():
        with torch.no_grad():
            logits = network(image[None])[0]
        error = (steps.values(image)[-1].ravel() - logits).abs().max() / logits.abs().max()
        assert error <= 1e-12


@EVERY_LAYOUT
def test_every_reader_has_its_own_copies_and_every_affine_layer_a_relu(layout):
    steps = untangled(layout_network(layout))
    assert not any(isinstance(step, BatchNorm) for step in steps)
    assert [type(step) for step in steps].count(AveragePool) == 1
    blocks = LAYOUTS[layout][0]["block_config"]
    # In a block of n layers, layer j reads j maps and the norm that follows reads n + 1; each layer has one conv1.
    copies = sum(sum(range(1, n + 1)) + (n + 1) + n for n in blocks)
    stems = 3 if "stem_type" in LAYOUTS[layout][0] else 1
    affine = [number for number, step in enumerate(steps) if isinstance(step, Affine) and step.role != "classifier"]
    assert len(affine) == copies + stems
    for number in affine:
        assert [type(step) for step in steps if number in step.parents] == [ReLU]
    assert [steps[number].role for number in affine].count("diagonal") == blocks[0] + 1
    assert len({step.name for step in steps}) == len(steps)


@EVERY_LAYOUT
@pytest.mark.parametrize("chosen", WAYS, ids=way_name)
def test_relevance_absorbed_and_lost_add_up_to_the_logit(layout, chosen):
    composite, bias, options = chosen
    result = lrp(layout_network(layout), layout_images(layout)[0], 1, composite, bias, **options)
    assert np.isfinite(result.relevance).all()
    assert result.relevance.dtype == np.float64
    assert np.abs(result.relevance).max() > 0
    assert abs(result.residual) <= 1e-12 * result.flow
    assert all(not np.isnan(entry).any() for entry in result.ledger.values())


def leaky_names(result, kind):
    return {name for name, entry in result.ledger.items() if entry[kind]}


def test_without_biases_only_the_classifier_absorbs_and_with_them_nothing_is_lost():
    network, image = layout_network("2-2, 3 channels"), layout_images("2-2, 3 channels")[0]
    assert leaky_names(lrp(network, image, 0, "epsilon-plus-flat", "ignore"), kind=0) == {"classifier"}
    keep = lrp(network, image, 0, "epsilon-plus-flat", "keep")
    assert len(leaky_names(keep, kind=0)) > 10
    # An active unit has z > 0, so contributions or a bias above zero, up to rounding.
    assert abs(keep.lost) < 1e-12


@EVERY_LAYOUT
def test_passing_the_stem_leaves_nothing_behind_in_the_diagonal_layers(layout):
    network, image = layout_network(layout), layout_images(layout)[0]
    for composite in ("epsilon-plus-flat", "epsilon-alpha2-beta1-flat"):
        for bias in ("ignore", "keep"):
            ruled = lrp(network, image, 0, composite, bias, stem_bn="rule")
            passed = lrp(network, image, 0, composite, bias, stem_bn="pass")
            assert any(name.startswith("pool0") for name in ruled.ledger)
            assert not any(name.startswith("pool0") for name in passed.ledger)


def test_defaults_of_the_stem_are_rule_for_z_plus_and_pass_for_alpha_2_beta_1():
    network, image = layout_network("wide"), layout_images("wide")[0]
    for composite, stem_bn in (("epsilon-plus-flat", "rule"), ("epsilon-alpha2-beta1-flat", "pass")):
        default = lrp(network, image, 0, composite)
        assert np.array_equal(default.relevance, lrp(network, image, 0, composite, stem_bn=stem_bn).relevance)


@EVERY_LAYOUT
@pytest.mark.parametrize("target", [0, 2])
def test_epsilon_zero_is_gradient_times_input(layout, target):
    network = layout_network(layout).double()
    image = torch.from_numpy(layout_images(layout)[0]).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(image[None])[0, target], image)
    product = (gradient * image).detach().numpy()
    result = lrp(network, image.detach(), target, "epsilon", epsilon=0.0)
    assert np.abs(result.relevance - product).max() <= 1e-10 * np.abs(product).max()
    biases = result.logit - product.sum()
    assert result.absorbed == pytest.approx(biases, rel=1e-9)
    assert result.lost == 0


@EVERY_LAYOUT
@pytest.mark.parametrize("bias", ["ignore", "keep"])
@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-alpha2-beta1-flat"])
def test_scales_of_zero_pass_nothing_on(layout, bias, composite):
    network = layout_network(layout)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.zero_()
            module.bias.data.abs_()
    result = lrp(network, layout_images(layout)[0], 0, composite, bias, stem_bn="rule")
    assert np.array_equal(result.relevance, np.zeros_like(result.relevance))
    assert abs(result.residual) < 1e-12
    after_classifier = result.logit - result.ledger["classifier"][0]
    if bias == "ignore":
        assert result.lost == pytest.approx(after_classifier)
    elif composite == "epsilon-plus-flat":
        assert result.absorbed == pytest.approx(result.logit)


def test_passing_the_stem_asks_neither_for_the_scale_nor_for_the_value():
    network = layout_network("one layer, 1 channel")
    for norm in (network.features.denseblock1.denselayer1.norm1, network.features.norm5):
        norm.weight.data.zero_()
        norm.bias.data.fill_(1.0)
    network.features.norm0.bias.data.fill_(-100.0)  # the pooled stem is zero everywhere
    network.classifier.weight.data.abs_()
    result = lrp(network, layout_images("one layer, 1 channel")[0], 0, "epsilon-plus-flat", stem_bn="pass")
    arrived = result.logit - result.absorbed - result.lost
    assert arrived > 0.01
    assert result.relevance.sum() == pytest.approx(arrived)
    assert (result.relevance >= 0).all()


def test_swapping_a_sign_between_a_batch_norm_and_its_input_changes_no_map():
    """F and -F are the same feature map to a reader whose scale changes its sign too: exact, not per layer."""
    network = layout_network("2-2-2-2").double()
    image = layout_images("2-2-2-2")[0]
    mirrored = copy.deepcopy(network)
    block = mirrored.features.denseblock2
    maker, channels = block.denselayer1.conv2, block.denselayer1.norm1.num_features
    maker.weight.data.neg_()
    for norm in (block.denselayer2.norm1, mirrored.features.transition2.norm):
        norm.weight.data[channels : channels + len(maker.weight)] *= -1
        norm.running_mean[channels : channels + len(maker.weight)] *= -1
    for composite in ("epsilon-plus-flat", "epsilon-alpha2-beta1-flat", "epsilon-gamma-box"):
        first, second = (lrp(n, image, 0, composite) for n in (network, mirrored))
        assert first.logit == pytest.approx(second.logit, rel=1e-12)
        assert np.abs(first.relevance - second.relevance).max() <= 1e-12 * np.abs(first.relevance).max()


def test_an_equal_rescaling_of_a_map_and_its_readers_changes_no_map_of_the_untangled_network():
    network = random_network(3, growth_rate=4, block_config=(2, 1), bn_size=2, in_chans=1).double()
    image = np.random.default_rng(0).normal(size=(1, 32, 32))
    rescaled = copy.deepcopy(network)
    factor = 7.5
    rescaled.features.transition1.conv.weight.data *= factor
    readers = [rescaled.features.denseblock2.denselayer1.norm1, rescaled.features.norm5]
    for norm in readers:
        channels = len(rescaled.features.transition1.conv.weight)
        scale, shift = scale_and_shift(norm)
        norm.running_mean[:channels] *= factor
        norm.weight.data[:channels] /= factor
        assert torch.allclose(scale_and_shift(norm)[0][:channels], scale[:channels] / factor)
        assert torch.allclose(scale_and_shift(norm)[1], shift)
    for bias in ("ignore", "keep"):
        first, second = (lrp(n, image, 1, "epsilon-plus-flat", bias) for n in (network, rescaled))
        assert np.abs(first.relevance - second.relevance).max() <= 1e-12 * np.abs(first.relevance).max()


def test_the_reference_leaves_the_network_as_it_was():
    network = layout_network("wide")
    before = copy.deepcopy(network.state_dict())
    for composite, bias, options in WAYS:
        lrp(network, layout_images("wide")[0], 0, composite, bias, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
