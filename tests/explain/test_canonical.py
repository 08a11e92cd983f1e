import gc

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, BlurPool2d
from torch import nn
from toys import pictures, shaken_densenet

from cxr.errors import ExplainError
from cxr.explain import canonical
from cxr.explain.canonical import canonical_copy, canonical_of, fingerprint, negative_scale_share

LAYOUTS = [
    {},
    {"in_chans": 3, "block_config": (1, 1)},
    {"stem_type": "deep"},
    {"memory_efficient": True, "drop_rate": 0.5, "proj_drop_rate": 0.5},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [64, 75])
@torch.no_grad()
def test_the_copy_has_the_logits_of_its_original(layout, size):
    network = shaken_densenet(**layout).double()
    images = torch.from_numpy(pictures(size=size, channels=layout.get("in_chans", 1))).double()
    assert torch.allclose(canonical_copy(network)(images), network(images), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_densenet121_in_float32_agrees_to_rounding():
    torch.manual_seed(0)
    network = timm.create_model("densenet121", num_classes=3, in_chans=1).eval()
    images = torch.from_numpy(pictures(n=1))
    assert torch.allclose(canonical_copy(network)(images), network(images), rtol=1e-5, atol=1e-6)


def test_every_activation_and_pooling_is_a_module_that_rules_can_see():
    twin = canonical_copy(shaken_densenet())
    assert not any(isinstance(module, BatchNormAct2d) for module in twin.modules())
    kinds = [type(module) for module in twin.modules() if not list(module.children())]
    # One norm per layer and transition and norm5 read a concatenation; the stem's and every norm2 are folded.
    assert kinds.count(nn.BatchNorm2d) == 7 + 2 + 1
    assert kinds.count(nn.ReLU) == 1 + 2 * 7 + 2 + 1
    assert kinds.count(nn.AdaptiveAvgPool2d) == 1
    names = [name for name, _ in twin.features.transition1.named_children()]
    assert names.index("pool") < names.index("conv")


def test_the_copy_is_frozen_in_evaluation_mode_and_carries_no_hook_of_the_original():
    network = shaken_densenet().train()
    network.features.conv0.register_forward_hook(lambda *_: pytest.fail("the original's hook ran"))
    twin = canonical_copy(network)
    assert not any(module.training for module in twin.modules())
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    twin(torch.from_numpy(pictures()))
    assert network.training


BLURRED = {"aa_layer": BlurPool2d, "aa_stem_only": False}


@pytest.mark.parametrize(
    ("layout", "named"), [({"act_layer": "silu"}, "SiLU"), ({"global_pool": "max"}, "'max'"), (BLURRED, "BlurPool2d")]
)
def test_what_relevance_is_not_defined_for_is_refused_by_name(layout, named):
    with pytest.raises(ExplainError, match=named):
        canonical_copy(shaken_densenet(**layout))


def test_the_copy_is_kept_until_a_number_of_the_network_changes():
    network = shaken_densenet()
    first = canonical_of(network)
    assert canonical_of(network) is first
    network.features.conv0.weight.data[0, 0, 0, 0] += 1e-3  # a write that autograd's version counter does not see
    second = canonical_of(network)
    assert second is not first
    network.features.norm0.running_mean[0] += 1e-3
    assert canonical_of(network) is not second


def test_copies_go_with_their_networks():
    network = shaken_densenet()
    canonical_of(network)
    count = len(canonical._copies)
    del network
    gc.collect()
    assert len(canonical._copies) == count - 1


def test_a_fingerprint_depends_on_every_tensor_and_on_nothing_else():
    network = shaken_densenet()
    before = fingerprint(network)
    assert fingerprint(shaken_densenet()) == before
    network.train().eval()
    assert fingerprint(network) == before
    network.classifier.bias.data[0] += 1e-6
    assert fingerprint(network) != before


def test_the_share_of_negative_scales_is_that_of_the_norms_left():
    assert negative_scale_share(canonical_copy(shaken_densenet(lowest=0.1))) == 0
    assert 0.05 < negative_scale_share(canonical_copy(shaken_densenet(lowest=-0.3))) < 0.4
