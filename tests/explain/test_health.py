from dataclasses import replace

import numpy as np
import pytest
import torch
from maps import heatmap
from toys import CLASSES, Model, pictures, shaken_densenet

from cxr.explain.diagnostics import concerns
from cxr.explain.heatmap import Method, heatmaps_of


def test_a_sound_map_raises_no_concern():
    assert concerns(heatmap()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lost": 0.25, "positive": 0.65, "layer_lost": np.array([0.0, 0.25])}, "25 % of the logit was lost"),
        ({"layer_lost": np.array([0.5, -0.5])}, "100 % of the logit was lost"),
        ({"absorbed": -4.0, "positive": 5.3}, "Biases absorbed -4, 4.0 times the logit of +1"),
        ({"residual": 0.1, "absorbed": 0.3}, "does not close: +0.1 of the logit +1"),
        ({"residual": float("inf")}, "does not close"),
        ({"not_finite": 3}, "3 values of this map came out as NaN"),
        ({"not_finite": 1}, "1 value of this map came out as NaN"),
        ({"logit": 0.005, "positive": 0.5, "negative": -0.495, "absorbed": 0.0}, "+0.005 is small beside +0.5 for and"),
        ({"relevance": np.zeros((4, 4), np.float32), "positive": 0.0}, "zero everywhere"),
    ],
)
def test_each_fault_is_reported_with_its_figure(changes, words):
    (sentence,) = concerns(heatmap(**changes))
    assert words in sentence
    assert sentence.endswith(".")


def test_a_logit_of_exactly_zero_is_reported_without_dividing_by_it():
    told = " ".join(concerns(heatmap(logit=0.0, lost=0.2, absorbed=0.4, positive=0.5, negative=-1.1)))
    assert "infinitely many times" in told
    assert "is small beside" in told


def test_rounding_of_half_precision_is_no_fault_and_in_full_precision_it_is():
    off = heatmap(residual=0.02, absorbed=0.38)
    assert "does not close" in concerns(off)[0]
    assert concerns(replace(off, precision="bfloat16")) == []


def test_many_pixels_at_full_colour_are_reported():
    assert concerns(heatmap(), scale=0.10005) == []
    (sentence,) = concerns(heatmap(), scale=0.05)
    assert sentence.startswith("12.0 % of the pixels are at full colour")


def test_methods_without_a_ledger_are_only_asked_what_they_can_answer():
    nothing = float("nan")
    assert concerns(heatmap(composite="gradient", absorbed=nothing, lost=nothing, residual=nothing, logit=0.0)) == []


def test_values_that_are_no_numbers_are_counted_on_a_real_network():
    network = shaken_densenet()
    with torch.no_grad():
        network.features.conv0.weight.mul_(1e19)
        network.features.norm0.running_var.mul_(1e38)
    way = Method.of("gradient")
    (maps,) = heatmaps_of(way.explain(Model(network), pictures(1), [list(CLASSES)]))
    for one in maps:
        told = " ".join(concerns(one))
        assert ("NaN or infinite" in told) == (one.not_finite > 0)


def test_a_map_of_a_network_whose_classifier_is_zero_is_said_to_be_empty():
    network = shaken_densenet()
    torch.nn.init.zeros_(network.classifier.weight)
    (maps,) = heatmaps_of(Method.of().explain(Model(network), pictures(1), "normal"))
    told = concerns(maps[0])
    assert any("zero everywhere" in sentence for sentence in told)
