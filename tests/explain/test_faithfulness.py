import numpy as np
import pytest
import torch
from configurations import ONE_FINDING, every_configuration, make_network
from torch import nn
from toys import CLASSES, Model, pictures, shaken_densenet

from cxr.data.images.resize import fit_square
from cxr.data.phantom import make_phantom
from cxr.errors import ExplainError
from cxr.explain import COMPOSITES, explain
from cxr.explain.quality.faithfulness import (
    deletion,
    insertion,
    measure_faithfulness,
    random_baseline,
    region_perturbation,
)
from cxr.explain.quality.perturbation import Removal
from cxr.models import build, load_model
from cxr.paths import shipped_weights

SIDE = 64
MEAN = Removal(fill="mean", draws=8)


class Weighing(nn.Module):
    """Two logits: the mean of the input under a mask, and the mean of the rest."""

    def __init__(self, mask):
        super().__init__()
        masks = np.stack([mask, ~mask]).astype(np.float32)
        self.weight = nn.Parameter(torch.from_numpy(masks / masks.sum(axis=(1, 2), keepdims=True)))

    def forward(self, x):
        return torch.einsum("nchw,khw->nk", x, self.weight)


class Reading(Weighing):
    """As Weighing for strokes: how much pixels differ from those around them."""

    def forward(self, x):
        return 10 * super().forward((x - nn.functional.avg_pool2d(x, 5, 1, 2)).abs())


def quadrant():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[: SIDE // 2, SIDE // 2 :] = True
    return mask


def weighing(mask=None):
    return Model(Weighing(quadrant() if mask is None else mask), ("inside", "outside"))


def bright_quadrant():
    return quadrant()[None].astype(np.float32)


def untouched(network, before):
    return all(torch.equal(now, before[name]) for name, now in network.state_dict().items())


def test_a_map_on_the_quadrant_that_decides_has_the_area_that_can_be_worked_out():
    # Removing it takes the logit from 1 to the mean grey, 1/4, within the first quarter; at random it falls evenly.
    found = region_perturbation(weighing(), bright_quadrant(), quadrant().astype(float), "inside", removal=MEAN)
    relevant = 0.25 * (1 + 0.25) / 2 + 0.75 * 0.25
    assert found.relevant.logit[[0, 4, 16]] == pytest.approx([1, 0.25, 0.25])
    assert np.trapezoid(found.relevant.logit, found.relevant.share) == pytest.approx(relevant)
    assert found.area == pytest.approx((1 + 0.25) / 2 - relevant, abs=0.02)
    assert found.probability_area > 0


def test_the_inverted_map_is_as_much_worse_than_random_as_the_right_one_is_better():
    found = region_perturbation(weighing(), bright_quadrant(), -quadrant().astype(float), "inside", removal=MEAN)
    assert found.area == pytest.approx(-0.28125, abs=0.02)


@pytest.mark.parametrize("relevance", [np.random.default_rng(1).normal(size=(SIDE, SIDE)), np.ones((SIDE, SIDE))])
def test_a_random_map_and_one_of_equal_values_are_as_good_as_random(relevance):
    found = region_perturbation(weighing(), bright_quadrant(), relevance, "inside", removal=MEAN)
    assert abs(found.area) < 0.03


def test_the_least_relevant_regions_first_change_nothing_until_the_last_quarter():
    found = region_perturbation(
        weighing(), bright_quadrant(), quadrant().astype(float), "inside", removal=MEAN, least=True
    )
    assert found.least.logit[:13] == pytest.approx(np.ones(13))
    assert found.least.logit[-1] == pytest.approx(0.25)
    assert set(found.table()["order"]) == {"relevant", "random", "least"}


def test_a_network_that_reads_a_token_answers_to_the_map_of_the_token_and_not_to_that_of_the_lungs():
    phantom = make_phantom(4, "normal", token_set="c")
    image, token = fit_square(phantom.image, 128), fit_square(phantom.token_mask, 128) > 127
    lungs = fit_square(phantom.lung_mask, 128) > 127
    model, picture = Model(Reading(token), ("inside", "outside")), image[None] / np.float32(255)
    baseline = random_baseline(model, picture)
    on_token = region_perturbation(model, picture, token.astype(float), "inside", baseline=baseline)
    on_lungs = region_perturbation(model, picture, lungs.astype(float), "inside", baseline=baseline)
    assert on_token.area > 0.1
    assert on_lungs.area < 0
    assert on_token.areas.min() > 0


def test_all_orders_begin_with_the_whole_image_and_end_with_none_of_it():
    image = pictures(1, size=SIDE)[0]
    model = Model(shaken_densenet())
    found = region_perturbation(model, image, image, "normal", removal=Removal(steps=4, draws=3))
    with torch.no_grad():
        whole = model.network(torch.from_numpy(image)[None])[0, 1].item()
    curves = [found.relevant, *found.random]
    assert [curve.logit[0] for curve in curves] == pytest.approx([whole] * 4, abs=1e-5)
    assert len({round(curve.logit[-1], 5) for curve in curves}) == 1
    assert len({round(curve.logit[2], 5) for curve in curves}) == 4
    assert list(found.relevant.share) == [0, 0.25, 0.5, 0.75, 1]
    table = found.table()
    assert len(table) == 4 * 5
    assert list(table.columns) == ["order", "draw", "share", "logit", "probability"]
    summary = found.summary()
    assert (summary["low"] <= summary["random"]).all()
    assert (summary["random"] <= summary["high"]).all()


def test_a_baseline_serves_many_maps_and_classes_with_the_figures_they_would_have_alone():
    model, image = Model(shaken_densenet()), pictures(1, size=SIDE)[0]
    removal = Removal(steps=5, draws=2, seed=7, patch=8)
    baseline = random_baseline(model, image, removal)
    for target in ("normal", "pneumonia"):
        alone = region_perturbation(model, image, image, target, removal=removal)
        shared = region_perturbation(model, image, image, target, baseline=baseline)
        assert shared.removal == removal
        assert np.allclose(shared.areas, alone.areas, atol=1e-6)
        assert np.array_equal(shared.relevant.logit, alone.relevant.logit)


def test_a_seed_gives_the_same_figures_and_another_seed_other_orders():
    model, image = Model(shaken_densenet()), pictures(1, size=SIDE)[0]
    one, again, other = (random_baseline(model, image, Removal(steps=4, draws=2, seed=s)).logits for s in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.allclose(one[:, 2], other[:, 2])


def test_a_model_in_training_is_measured_as_in_use_and_left_as_it_was():
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    model = build("densenet-small", CLASSES, size=SIDE, backbone_args={"drop_rate": 0.5})
    removal, relevance = Removal(steps=3, draws=1), image.astype(float)
    expected = region_perturbation(model.eval(), image, relevance, "normal", removal=removal)
    before = {name: tensor.clone() for name, tensor in model.train().state_dict().items()}
    ran = []
    model.network.register_forward_hook(lambda *_: ran.append(1))
    found = region_perturbation(model, image, relevance, "normal", removal=removal)
    assert np.array_equal(found.relevant.logit, expected.relevant.logit)
    assert untouched(model, before)
    assert model.network.training
    assert not ran


def test_numbers_follow_the_network_when_it_changes():
    model, image = weighing(), bright_quadrant()
    before = deletion(model, image, quadrant().astype(float), "inside").logit
    model.network.weight.data *= 2
    assert deletion(model, image, quadrant().astype(float), "inside").logit == pytest.approx(2 * before)


def test_deletion_falls_and_insertion_rises_sooner_with_the_right_map():
    model, image, right = weighing(), bright_quadrant(), quadrant().astype(float)
    good, bad = (deletion(model, image, sign * right, "inside", steps=8) for sign in (1, -1))
    assert good.area < bad.area
    assert good.logit[2] == pytest.approx(0.25)
    good, bad = (insertion(model, image, sign * right, "inside", steps=8) for sign in (1, -1))
    assert good.area > bad.area
    assert good.logit[-1] == pytest.approx(1)
    assert good.logit[2] == pytest.approx(1)
    assert bad.logit[0] == good.logit[0] < 0.95
    assert list(good.table().columns) == ["share", "logit", "probability"]


@pytest.mark.parametrize(
    ("side", "patch"), [(224, 8), (128, 4), (64, 2), (256, 8), (512, 16), (299, 13), (331, 12), (96, 3), (20, 1)]
)
def test_regions_are_equal_where_the_side_allows_it_and_about_28_a_side(side, patch):
    assert Removal().patch_of(side) == patch


def test_regions_may_be_cut_off_at_the_edge_and_shares_are_of_pixels():
    image = np.ones((1, 50, 70), np.float32)
    image[0, 48:] = 0  # the last row of regions is two pixels high
    model = Model(Weighing(image[0] > 0), ("inside", "outside"))
    found = region_perturbation(model, image, image, "inside", removal=Removal(patch=16, fill="mean", steps=10))
    gone = 1 - (found.relevant.logit - 0.96) / (1 - 0.96)  # of the bright pixels, which go first
    assert found.patch == 16
    assert gone == pytest.approx((found.relevant.share / 0.96).clip(max=1), abs=16 * 16 / (50 * 70))


def test_a_network_of_doubles_and_one_of_three_channels_are_measured():
    images = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    removal = Removal(steps=3, draws=1)
    colour = build("densenet-small", CLASSES, size=SIDE, channels=3).eval()
    single = region_perturbation(colour, images, images.astype(float), "normal", removal=removal)
    doubled = region_perturbation(colour.double(), images, images.astype(float), "normal", removal=removal)
    assert single.relevant.logit == pytest.approx(doubled.relevant.logit, abs=1e-3)


@pytest.mark.parametrize(
    ("relevance", "target", "named"),
    [
        (np.ones((SIDE, SIDE)), "flu", r"unknown target 'flu'. Available: inside, outside"),
        (np.ones((SIDE, 32)), "inside", r"relevance of shape \(64, 32\) does not fit the network's input \(64, 64\)"),
        (np.full((SIDE, SIDE), np.nan), "inside", "not finite"),
    ],
)
def test_targets_and_maps_that_do_not_fit_are_refused(relevance, target, named):
    with pytest.raises(ExplainError, match=named):
        region_perturbation(weighing(), bright_quadrant(), relevance, target)
    with pytest.raises(ExplainError, match=named):
        deletion(weighing(), bright_quadrant(), relevance, target)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"fill": "black"}, r"unknown fill 'black'. Available: road, mean, blur"),
        ({"steps": 1}, r"steps 1 is not allowed. Accepted: 2 or more"),
        ({"draws": 0}, r"draws 0 is not allowed"),
        ({"patch": 0}, r"patch 0 is not allowed"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong, named):
    with pytest.raises(ExplainError, match=named):
        Removal(**wrong)


@pytest.fixture(scope="module")
def demo():
    model = load_model(shipped_weights() / "demo.safetensors")
    return model, fit_square(make_phantom(700, "covid19", tokens=False).image, model.card.size)


def test_the_demo_network_answers_as_its_heatmap_says_and_everything_is_measured(demo):
    model, image = demo
    told = []
    found = measure_faithfulness(
        model,
        image,
        "covid19",
        next(iter(COMPOSITES)),
        removal=Removal(steps=8, draws=3),
        progress=lambda fraction, message: told.append((fraction, message)),
    )
    assert not found.absolute
    assert found.perturbation.areas.min() > 0
    assert found.deletion.area < found.insertion.area
    assert set(found.classes.others) == {"normal", "pneumonia"}
    assert found.randomisation.stages[0] == "classifier"
    assert found.perturbation.relevant.probability[0] == pytest.approx(found.insertion.probability[-1], abs=1e-5)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == pytest.approx(1)
    assert {message.split(":")[0] for _, message in told} >= {"taking out regions", "randomising parameters"}


def test_all_measures_are_those_of_their_own_functions(demo):
    model, image = demo
    removal = Removal(steps=4, draws=2, seed=3)
    found = measure_faithfulness(model, image, "normal", "gradient", removal=removal, others=1, randomise=False)
    relevance = explain(model, image[None], "normal", "gradient").relevance[0]
    assert found.absolute
    relevance = np.abs(relevance)
    alone = region_perturbation(model, image, relevance, "normal", removal=removal)
    assert found.perturbation.area == pytest.approx(alone.area, abs=1e-5)
    assert found.deletion.area == deletion(model, image, relevance, "normal", steps=4, seed=3).area
    assert found.insertion.area == insertion(model, image, relevance, "normal", steps=4, seed=3).area
    assert found.randomisation is None
    assert len(found.classes.others) == 1


def test_of_a_slow_way_of_explaining_parameters_are_randomised_on_demand_alone(demo):
    model, image = demo
    removal = Removal(steps=2, draws=1)
    for asked, stages in ((None, 0), (True, 6)):
        found = measure_faithfulness(
            model, image, "normal", "smoothgrad", removal=removal, others=0, randomise=asked, samples=2
        )
        assert len(found.randomisation.stages if found.randomisation else ()) == stages
        assert found.classes is None


@every_configuration
def test_probabilities_of_curves_are_those_that_the_network_gives(configuration):
    """Softmax over classes, a sigmoid of each finding; the map of three channels orders pixels by their sum."""
    model = make_network(configuration)
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    target = configuration.classes[-1]
    few = {"removal": Removal(draws=2, steps=2, fill="mean"), "others": 1, "randomise": True}
    measured = measure_faithfulness(model, image, target, "epsilon-plus-flat", **few)
    with torch.no_grad():
        logits = model(image[None])[0].double()
    chances = logits.sigmoid() if configuration.multi_label else logits.softmax(-1)
    shown = measured.perturbation
    curves = (shown.relevant, *shown.random, measured.deletion)
    for curve in curves:
        assert curve.logit[0] == pytest.approx(float(logits[-1]), abs=1e-5)
        assert curve.probability[0] == pytest.approx(float(chances[-1]), abs=1e-6)
    assert measured.insertion.probability[-1] == pytest.approx(float(chances[-1]), abs=1e-6)
    assert measured.randomisation.maps.shape[1:] == (1, 64, 64)
    assert (measured.classes is None) == (len(configuration.classes) == 1)


def test_a_network_of_one_finding_has_no_other_class_to_compare_with():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    few = {"removal": Removal(draws=1, steps=2, fill="mean"), "randomise": False}
    measured = measure_faithfulness(make_network(ONE_FINDING), image, "Effusion", "epsilon-plus-flat", **few)
    assert measured.classes is None
    assert 0 < measured.deletion.probability[0] < 1
