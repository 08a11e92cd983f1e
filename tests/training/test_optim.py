import itertools

import numpy as np
import pytest
from torch import nn

from cxr.training.data.stages import epoch_batches
from cxr.training.loop import is_better
from cxr.training.optim import learning_rate, make_optimiser
from cxr.training.recipe import Optimiser, Schedule


def rates(schedule, epochs=10, steps=5):
    return [learning_rate(schedule, 0.1, k, steps, epochs) for k in range(epochs * steps)]


def test_the_cosine_warms_up_linearly_and_ends_near_zero():
    lr = rates(Schedule(name="cosine", warmup_epochs=2))
    assert lr[:11] == pytest.approx([0.1 * (k + 1) / 11 for k in range(10)] + [0.1])
    assert all(a > b for a, b in itertools.pairwise(lr[10:]))
    assert 0 < lr[-1] < 0.001


def test_steps_multiply_by_gamma_and_constant_stays():
    lr = rates(Schedule(name="step", step_epochs=4, gamma=0.1))
    assert [lr[0], lr[19], lr[20], lr[40]] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    assert set(rates(Schedule(name="constant"))) == {0.1}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_norms_and_biases_are_not_decayed(name):
    layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimiser = make_optimiser(Optimiser(name=name, weight_decay=0.3), list(layer.parameters()))
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decay.pop(id(layer[0].weight)) == 0.3
    assert list(decay.values()) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("n", "batch"), [(10, 4), (9, 4), (33, 32), (5, 8), (2, 2)])
def test_an_epoch_takes_every_image_once_and_never_one_alone(n, batch):
    batches = epoch_batches(n, batch, seed=1, stage=0, epoch=3)
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert all(2 <= len(b) <= batch for b in batches)
    again = epoch_batches(n, batch, seed=1, stage=0, epoch=3)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_epochs_stages_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_batches(20, 20, *key)[0]) for key in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))}
    assert len(orders) == 4


def test_a_loss_is_better_lower_an_accuracy_higher_and_a_tie_is_not():
    assert is_better(0.4, 0.5, "val_loss")
    assert not is_better(0.5, 0.5, "val_loss")
    assert is_better(0.6, 0.5, "val_accuracy")
    assert is_better(0.1, None, "val_macro_f1")
    assert not is_better(None, 0.5, "val_macro_f1")
