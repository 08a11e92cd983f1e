import pytest
import torch
from timm.models.densenet import DenseNet
from toys import shaken_densenet

from cxr.errors import ExplainError
from cxr.explain.lrp.densenet.densenet_weights import read_densenet


def test_every_number_is_read_in_float64_and_none_is_shared_with_the_network():
    network = shaken_densenet().double()
    weights = read_densenet(network)
    network.features.conv0.weight.data.zero_()
    network.classifier.weight.data.zero_()
    assert weights.stem[0].weight.abs().sum() > 0
    assert weights.classifier.abs().sum() > 0
    assert weights.classifier.dtype == torch.float64
    assert [len(block.layers) for block in weights.blocks] == [2, 3, 2]
    assert [block.transition is None for block in weights.blocks] == [False, False, True]
    assert weights.blocks[1].layers[0].name == "features.denseblock2.denselayer1"


def test_a_batch_norm_is_its_scale_and_shift():
    network = shaken_densenet().double()
    norm = network.features.norm0
    values = torch.randn(2, len(norm.weight), 5, 5, dtype=torch.float64)
    read = read_densenet(network).stem[0].norm
    expected = torch.relu(values * read.scale[:, None, None] + read.shift[:, None, None])
    assert torch.allclose(norm(values), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"act_layer": "gelu"}, "activation GELU. Accepted: ReLU"),
        ({"global_pool": "max"}, "global pooling 'max' cannot be explained. Accepted: avg"),
        ({"num_classes": 0}, "without a classifier"),
        ({"norm_layer": "groupnorm1"}, "Accepted: batch norms"),
    ],
)
def test_densenets_that_relevance_is_not_defined_for_are_refused(arguments, named):
    settings = {"growth_rate": 4, "block_config": (1, 1), "num_classes": 3} | arguments
    with pytest.raises(ExplainError, match=named):
        read_densenet(DenseNet(**settings).eval())


def test_a_blurred_stem_is_refused():
    from timm.layers import BlurPool2d

    network = DenseNet(growth_rate=4, block_config=(1, 1), num_classes=3, aa_layer=BlurPool2d)
    with pytest.raises(ExplainError, match=r"stem pooled by Sequential cannot be explained. Accepted: MaxPool2d"):
        read_densenet(network)
