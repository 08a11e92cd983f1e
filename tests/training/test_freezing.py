import pytest
import torch
import torch.nn.functional as F

from cxr.errors import RecipeError
from cxr.models import build
from cxr.training.freezing import ever_trained, parameters_of, set_training_mode, thaw
from cxr.training.optim import make_optimiser
from cxr.training.recipe import Optimiser


def moved_by_a_step(model, what):
    """Names of all parameters and statistics that one step of training changes."""
    before = {n: t.clone() for n, t in model.network.state_dict().items()}
    optimiser = make_optimiser(Optimiser(name="sgd", lr=0.1), ever_trained(model, ["all"]))
    thaw(model, what)
    set_training_mode(model)
    F.cross_entropy(model(torch.rand(4, 64, 64)), torch.tensor([0, 1, 0, 1])).backward()
    optimiser.step()
    return {n for n, t in model.network.state_dict().items() if not torch.equal(t, before[n])}


def test_training_the_head_alone_moves_nothing_else_not_even_norms():
    assert moved_by_a_step(build("densenet-small", ("a", "b"), size=64), "head") == {
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize(
    ("backbone", "first"),
    [("densenet-small", "features.denseblock3"), ("resnet10t", "layer3")],
)
def test_from_a_block_on_everything_moves_and_nothing_before_it(backbone, first):
    model = build(backbone, ("a", "b"), size=64)
    order = list(model.network.state_dict())
    begin = next(k for k, name in enumerate(order) if name.startswith(first))
    moved = moved_by_a_step(model, "block-3")
    assert moved
    assert all(order.index(name) >= begin for name in moved)
    norms = [n for n in order if "running_mean" in n]
    assert {n for n in norms if order.index(n) >= begin} <= moved


def test_a_block_counts_its_transition_and_the_blocks_nest():
    model = build("densenet-small", ("a", "b"), size=64)
    sizes = [len(parameters_of(model, what)) for what in ("all", "block-1", "block-2", "block-3", "block-4", "head")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 6
    names = {id(p): n for n, p in model.network.named_parameters()}
    from_2 = {names[id(p)] for p in parameters_of(model, "block-2")}
    assert not any("transition1" in n or "denseblock1" in n for n in from_2)
    assert "features.transition2.conv.weight" in from_2


def test_a_block_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(RecipeError, match=r"train: 'block-9' is not a part of densenet-small\. Allowed: all"):
        parameters_of(build("densenet-small", ("a", "b"), size=64), "block-9")
