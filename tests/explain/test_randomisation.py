import numpy as np
import pytest
import torch
from torch import nn
from toys import CLASSES, Model, pictures, shaken_densenet

from cxr.data.images.resize import fit_square
from cxr.data.phantom import make_phantom
from cxr.errors import ExplainError
from cxr.explain.quality.randomisation import explaining, randomise, randomise_parameters, stages_of
from cxr.models import build, load_model
from cxr.paths import shipped_weights

DENSENET = ("classifier", "denseblock3", "denseblock2", "denseblock1", "stem")


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def chain():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (shaken_densenet(), DENSENET),
        (shaken_densenet(stem_type="deep", block_config=(1, 1)), ("classifier", "denseblock2", "denseblock1", "stem")),
        (chain(), ("4", "0")),
    ],
)
def test_every_parameter_belongs_to_one_stage_and_the_classifier_comes_first(network, names):
    stages = stages_of(network)
    assert tuple(stages) == names
    held = [id(p) for modules in stages.values() for module in modules for p in module.parameters()]
    assert sorted(held) == sorted(id(p) for p in network.parameters())


def test_the_stages_of_another_network_are_its_children():
    assert tuple(stages_of(build("resnet18", CLASSES, size=64).network)) == (
        "fc", "layer4", "layer3", "layer2", "layer1", "bn1", "conv1",
    )  # fmt: skip


def test_each_stage_adds_its_part_to_what_is_random_and_the_model_is_never_touched():
    model = Model(shaken_densenet().train())
    before, seen = state(model.network), []

    def changed(twin):
        now = twin.network.state_dict()
        changes = [name.split(".") for name in now if not torch.equal(now[name], before[name])]
        seen.append({".".join(parts[:2]) for parts in changes})
        return np.ones((1, 2, 2))

    randomise_parameters(model, changed, original=np.ones((1, 2, 2)))
    assert seen[0] == {"classifier.weight"}  # its biases are zero at first
    assert seen[1] - seen[0] == {"features.denseblock3", "features.norm5"}
    assert seen[2] - seen[1] == {"features.denseblock2", "features.transition2"}
    assert {"features.conv0", "features.norm0"} == seen[4] - seen[3]
    after = model.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert model.network.training


def test_a_map_that_does_not_look_at_the_network_passes_unchanged():
    edges = np.random.default_rng(0).normal(size=(2, 6, 6))
    found = randomise_parameters(Model(shaken_densenet()), lambda model: edges)
    assert found.stages == DENSENET
    assert found.spearman == pytest.approx(np.ones((5, 2)))
    assert found.cosine == pytest.approx(np.ones((5, 2)))


def test_the_map_of_a_trained_network_is_gone_when_all_of_it_is_random():
    model = load_model(shipped_weights() / "demo.safetensors")
    image = fit_square(make_phantom(600, "pneumonia").image, model.card.size)
    told = []
    maps_of = explaining(image[None], "pneumonia", "epsilon")
    found = randomise_parameters(model, maps_of, progress=lambda fraction, name: told.append((fraction, name)))
    assert found.maps.shape == (6, 1, 128, 128)
    assert np.array_equal(found.original, maps_of(model)[:, 0])
    assert abs(found.cosine[-1, 0]) < 0.3
    assert found.spearman[-1, 0] < 0.8
    assert [name for _, name in told] == list(found.stages) == list(found.table()["stage"])
    assert told[-1][0] == 1


def test_stages_can_be_chosen_and_give_the_maps_they_have_among_all():
    model, maps_of = Model(shaken_densenet()), explaining(pictures(2, size=40), "normal", "gradient")
    whole = randomise_parameters(model, maps_of, seed=3)
    some = randomise_parameters(model, maps_of, seed=3, stages=["stem", "denseblock3"])
    assert some.stages == ("denseblock3", "stem")
    assert np.array_equal(some.maps, whole.maps[[1, 4]])
    other = randomise_parameters(model, maps_of, seed=4, stages=["stem"])
    assert not np.allclose(other.maps, whole.maps[[4]])


def test_random_numbers_do_not_come_from_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    network = shaken_densenet()
    torch.manual_seed(0)
    randomise_parameters(Model(network), lambda model: np.ones((1, 2, 2)), seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_parameters_of_any_other_kind_are_shuffled():
    prelu = nn.PReLU(50)
    prelu.weight.data = torch.arange(50.0)
    randomise(nn.Sequential(prelu), torch.Generator().manual_seed(0))
    assert not torch.equal(prelu.weight, torch.arange(50.0))
    assert torch.equal(prelu.weight.sort().values, torch.arange(50.0))


def test_unknown_stages_and_networks_without_parameters_are_refused():
    model = Model(shaken_densenet())
    with pytest.raises(ExplainError, match=r"unknown stage 'layer4'. Available: classifier, denseblock3"):
        randomise_parameters(model, lambda model: np.ones((1, 2, 2)), stages=["layer4"])
    with pytest.raises(ExplainError, match="no stages given"):
        randomise_parameters(model, lambda model: np.ones((1, 2, 2)), stages=[])
    with pytest.raises(ExplainError, match="ReLU has no parameters to randomise"):
        stages_of(nn.ReLU())
