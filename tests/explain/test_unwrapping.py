"""Networks inside DataParallel and of torchvision's classes are explained as timm's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from cxr.errors import ExplainError
from cxr.explain import explain
from cxr.models import build

CLASSES = ("effusion", "edema")


def theirs(channels: int = 3, outputs: int = 2) -> nn.Module:
    torch.manual_seed(1)
    network = torchvision.models.DenseNet(8, (2, 2), 16, num_classes=outputs)
    network.features.conv0 = nn.Conv2d(channels, 16, 7, 2, 3, bias=False)
    return network.eval()


def images(channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("channels", "outputs"), [(1, 2), (3, 14)])
@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "gradient"])
@pytest.mark.parametrize("wrap", [lambda network: network, nn.DataParallel], ids=["bare", "DataParallel"])
def test_a_densenet_of_torchvision_is_explained_with_its_own_logits(channels, outputs, composite, wrap):
    network = theirs(channels, outputs)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = explain(wrap(network), images(channels), 1, composite)
    with torch.no_grad():
        np.testing.assert_allclose(result.logits, network(images(channels)), rtol=1e-4, atol=1e-5)
    assert result.relevance.shape == (2, channels, 64, 64)
    assert np.abs(result.relevance).sum() > 0
    if composite != "gradient":
        assert np.abs(result.residual).max() < 1e-3
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_changes_in_the_network_changes_in_what_is_explained():
    network = theirs()
    first = explain(network, images(), 0)
    with torch.no_grad():
        network.classifier.bias += 1
    np.testing.assert_allclose(explain(network, images(), 0).logits, first.logits + 1, rtol=1e-4, atol=1e-5)
    network.classifier = nn.Linear(network.classifier.in_features, 2)
    assert not np.allclose(explain(network, images(), 0).logits, first.logits)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_classifier_of_ours_in_dataparallel_is_explained_as_without(channels):
    model = build("densenet-small", CLASSES, size=32, channels=channels, task="multi-label",
                  backbone_args={"growth_rate": 4, "block_config": [2, 2]}).eval()  # fmt: skip
    xrays = np.random.default_rng(0).integers(0, 256, (1, 32, 32), dtype=np.uint8)
    plain = explain(model, xrays, "edema")
    np.testing.assert_array_equal(explain(nn.DataParallel(model), xrays, "edema").relevance, plain.relevance)
    model.network = nn.DataParallel(model.network)
    np.testing.assert_array_equal(explain(model, xrays, "edema").relevance, plain.relevance)


def test_a_changed_network_of_torchvision_is_refused_with_the_way_out():
    network = theirs()
    network.classifier = nn.Sequential(nn.Linear(network.classifier.in_features, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ExplainError, match=r"torchvision's DenseNet cannot be explained as timm's.*timm\.create_model"):
        explain(network, images(), 0)
    network = theirs()
    network.features.pool0 = nn.Identity()
    with pytest.raises(ExplainError, match="its logits differ from those of timm's class"):
        explain(network, images(), 0)
