import itertools

import pytest
import torch
from torch import nn

from cxr.errors import WeightsError
from cxr.models import build, keep_output_neurons, kept_neurons, with_classes

FINDINGS = ("Cardiomegaly", "No Finding", "Pneumonia", "Edema")
FINAL = ("covid19", "normal", "pneumonia")
ALIASES = {"No Finding": "normal", "Pneumonia": "pneumonia"}


@pytest.mark.parametrize("new", list(itertools.permutations(FINAL)))
def test_kept_rows_are_equal_bit_for_bit_whatever_the_order_of_the_classes(new):
    head = nn.Linear(7, 4)
    kept = keep_output_neurons(head, FINDINGS, new, ALIASES)
    for ours, theirs in (("normal", "No Finding"), ("pneumonia", "Pneumonia")):
        assert torch.equal(kept.weight[new.index(ours)], head.weight[FINDINGS.index(theirs)])
        assert torch.equal(kept.bias[new.index(ours)], head.bias[FINDINGS.index(theirs)])


def test_the_other_rows_have_the_default_initialisation():
    head = nn.Linear(7, 4)
    torch.manual_seed(3)
    kept = keep_output_neurons(head, FINDINGS, FINAL, ALIASES)
    torch.manual_seed(3)
    fresh = nn.Linear(7, 3)
    assert torch.equal(kept.weight[0], fresh.weight[0])
    assert torch.equal(kept.bias[0], fresh.bias[0])
    assert not torch.equal(kept.weight[1], fresh.weight[1])


def test_the_old_head_is_left_as_it_was():
    head = nn.Linear(7, 4)
    before = head.weight.clone()
    kept = keep_output_neurons(head, FINDINGS, FINAL, ALIASES)
    with torch.no_grad():
        kept.weight.zero_()
    assert torch.equal(head.weight, before)


def test_kept_neurons_names_the_pairs_new_to_old():
    assert kept_neurons(FINDINGS, FINAL, ALIASES) == {"normal": "No Finding", "pneumonia": "Pneumonia"}
    assert kept_neurons(FINDINGS, FINAL) == {}
    assert kept_neurons(("b", "a"), ("a", "c")) == {"a": "a"}


def test_a_head_without_bias_and_of_another_type_keeps_both():
    kept = keep_output_neurons(nn.Linear(5, 2, bias=False, dtype=torch.float64), ("a", "b"), ("b", "c"))
    assert kept.bias is None
    assert kept.weight.dtype == torch.float64


def test_two_old_classes_that_mean_the_same_are_refused():
    with pytest.raises(WeightsError, match="'Pneumonia' and 'pneumonia' both mean 'pneumonia'"):
        keep_output_neurons(nn.Linear(3, 2), ("Pneumonia", "pneumonia"), FINAL, ALIASES)


def test_classes_that_are_not_the_heads_are_refused():
    with pytest.raises(WeightsError, match="4 outputs, but 3"):
        keep_output_neurons(nn.Linear(3, 4), FINAL, FINAL)


@pytest.mark.parametrize(
    "backbone", ["densenet-small", "resnet18", "efficientnet_b0", "mobilenetv3_small_050", "convnext_atto", "vgg11"]
)
def test_a_network_gets_new_classes_and_keeps_its_body(backbone):
    old = build(backbone, FINDINGS, size=32, task="multi-label").eval()
    body = {n: t.clone() for n, t in old.network.state_dict().items() if t.shape[:1] != (4,)}
    x = torch.rand(2, 32, 32)
    before = old(x)
    new, kept = with_classes(old, FINAL, task="single-label", keep=True, aliases=ALIASES)
    assert kept == {"normal": "No Finding", "pneumonia": "Pneumonia"}
    assert (new.classes, new.card.task) == (FINAL, "single-label")
    torch.testing.assert_close(new.eval()(x)[:, 1:], before[:, 1:3])
    after = new.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in body.items())


def test_without_keeping_even_a_class_of_the_same_name_starts_anew():
    old = build("densenet-small", FINAL, size=32)
    weight = old.network.classifier.weight.clone()
    new, kept = with_classes(old, FINAL, task="single-label")
    assert kept == {}
    assert not (new.network.classifier.weight == weight).any()
