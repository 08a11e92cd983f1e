import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from toys import pictures, shaken_densenet

from cxr.data.phantom import demo_phantom
from cxr.errors import ExplainError
from cxr.explain import explain
from cxr.explain.composites import COMPARISON, composite_of, names_of, summary
from cxr.explain.gradients import OPTIONS, attribute
from cxr.models import load_model

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "demo.safetensors"
QUICK = {
    "integrated-gradients": {"steps": 6},
    "smoothgrad": {"samples": 5},
    "occlusion": {"patch": 24, "stride": 16},
}


def images_of(n=2, size=64, channels=1, seed=0):
    return torch.from_numpy(pictures(n, size, channels, seed)).double()


def densenet(**arguments):
    return shaken_densenet(**arguments).double()


def linear_network(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 8, 3, bias=bias)).double()


def columns_for(n, *columns):
    return np.tile(columns or (1,), (n, 1))


def quick(name, **options):
    return QUICK.get(name, {}) | options


# What every method has in common


@pytest.mark.parametrize("name", OPTIONS)
def test_maps_and_logits_have_their_shapes_and_the_network_stays_as_it_was(name):
    network, images = densenet(in_chans=2).train(), images_of(3, channels=2)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    relevance, logits = attribute(network, images, columns_for(3, 2, 0), name, **quick(name))
    assert relevance.shape == (3, 2, 2, 64, 64)
    assert relevance.dtype == logits.dtype == torch.float64
    assert not relevance.requires_grad
    assert not images.requires_grad
    assert network.training
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.no_grad():
        assert torch.allclose(logits, network.eval()(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_image_has_the_same_map_alone_in_a_batch_and_whatever_goes_through_at_once(name):
    network, images = densenet(), images_of(3)
    columns = np.array([[0, 1], [2, 0], [1, 2]])
    together, _ = attribute(network, images, columns, name, **quick(name))
    in_twos, _ = attribute(network, images, columns, name, batch=2, **quick(name))
    alone, _ = attribute(network, images[1:2], columns[1:2, 1:], name, batch=1, **quick(name))
    assert torch.allclose(in_twos, together, rtol=1e-9, atol=1e-9 * float(together.abs().max()))
    assert torch.allclose(alone[0, 0], together[1, 1], rtol=1e-9, atol=1e-9 * float(together.abs().max()))


class Counting(nn.Sequential):
    """Remembers how many pictures came at once."""

    seen: list[int] = []  # noqa: RUF012

    def forward(self, values):
        self.seen.append(len(values))
        return super().forward(values)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "grad-cam"])
def test_no_more_pictures_go_through_at_once_than_allowed(name):
    network, images = Counting(*linear_network()), images_of(7)[:, :, :6, :16].reshape(7, 2, 6, 8)
    Counting.seen.clear()
    attribute(network, images, columns_for(7), name, batch=3, **quick(name))
    assert max(Counting.seen) == 3


def test_threads_on_one_network_get_the_maps_of_one_after_the_other():
    network, images = densenet(), images_of(1)
    alone = {name: attribute(network, images, columns_for(1), name, **quick(name))[0] for name in OPTIONS}
    together = {}

    def work(name):
        together[name] = attribute(network, images, columns_for(1), name, **quick(name))[0]

    threads = [threading.Thread(target=work, args=(name,)) for name in OPTIONS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(together[name], alone[name]) for name in OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_inference_mode_and_autocast_around_the_call_change_nothing(name):
    network, images = densenet().float(), images_of(1).float()
    expected, _ = attribute(network, images, columns_for(1), name, **quick(name))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        relevance, logits = attribute(network, images.clone(), columns_for(1), name, **quick(name))
    assert torch.equal(relevance, expected)
    assert relevance.dtype == logits.dtype == torch.float32


# Gradients


def test_the_gradient_is_the_slope_measured_by_finite_differences():
    network, images = densenet(), images_of(1)
    relevance, _ = attribute(network, images, columns_for(1, 2), "gradient")
    nudge = 1e-6 * torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rise = network(images + nudge)[0, 2] - network(images - nudge)[0, 2]
    assert float((relevance[0, 0] * nudge[0]).sum() * 2) == pytest.approx(float(rise), rel=1e-4)


def test_of_a_linear_network_without_bias_gradient_times_input_adds_up_to_the_logit():
    network, images = linear_network(bias=False), images_of(2, 16).reshape(2, 2, 8, 16)[:, :, :6, :8]
    relevance, logits = attribute(network, images, columns_for(2, 0, 2), "gradient-x-input")
    weights = network[1].weight.reshape(3, 2, 6, 8)
    assert torch.allclose(relevance, weights[[0, 2]][None] * images[:, None])
    assert torch.allclose(relevance.sum((2, 3, 4)), logits[:, [0, 2]])


# Integrated gradients


def test_integrated_gradients_of_a_linear_network_are_exact_in_one_step():
    network, images = linear_network(), images_of(2, 16).reshape(2, 2, 8, 16)[:, :, :6, :8]
    relevance, _ = attribute(network, images, columns_for(2), "integrated-gradients", steps=1, baseline=(0.5, -2.0))
    away = images - torch.tensor([0.5, -2.0], dtype=torch.float64)[:, None, None]
    assert torch.allclose(relevance[:, 0], network[1].weight[1].reshape(2, 6, 8) * away)


def missing(network, images, columns, **options):
    """How much of the change between baseline and picture integrated gradients miss, as share of the largest change."""
    relevance, logits = attribute(network, images, columns, "integrated-gradients", **options)
    with torch.no_grad():
        change = logits - network(torch.zeros_like(images) + options.get("baseline", 0.0))
    return (relevance.sum((2, 3, 4)) - change.gather(1, torch.as_tensor(columns))).abs().amax(1) / change.abs().amax(1)


def test_integrated_gradients_add_up_to_the_change_of_the_logit_within_one_percent_on_an_untrained_network():
    network, images = densenet(), images_of(2)
    by_default = missing(network, images, columns_for(2, 0, 1, 2))
    assert by_default.max() < 0.01
    assert missing(network, images, columns_for(2, 0, 1, 2), steps=4).max() > by_default.max()
    assert missing(network, images, columns_for(2, 0, 1, 2), baseline=-2.0).max() < 0.01


@pytest.mark.slow
def test_integrated_gradients_add_up_within_three_percent_on_the_trained_demo_network():
    model = load_model(WEIGHTS)
    images = model.preprocess(np.stack([demo_phantom(i).image for i in range(2)]))
    assert missing(model.network.eval(), images, columns_for(2, 0, 1, 2)).max() < 0.03
    assert missing(model.network, images, columns_for(2, 0, 1, 2), baseline=-2.0).max() < 0.03


def test_a_baseline_is_a_number_one_per_channel_or_a_picture():
    network, images = densenet(in_chans=2), images_of(2, 32, 2)

    def maps(baseline):
        return attribute(network, images, columns_for(2), "integrated-gradients", steps=3, baseline=baseline)[0]

    assert torch.equal(maps(-1.0), maps([-1.0, -1.0]))
    assert torch.equal(maps((0.5, -1.0)), maps(torch.tensor([0.5, -1.0]).view(1, 2, 1, 1)))
    one_each = torch.stack([torch.full((2, 32, 32), 1.0), torch.full((2, 32, 32), 2.0)])
    assert torch.equal(maps(one_each)[1], maps(2.0)[1])
    assert not torch.equal(maps(one_each)[0], maps(2.0)[0])


# SmoothGrad


def test_smoothgrad_without_noise_is_the_gradient():
    network, images = densenet(), images_of(2)
    smooth, _ = attribute(network, images, columns_for(2), "smoothgrad", samples=3, noise=0.0)
    assert torch.allclose(smooth, attribute(network, images, columns_for(2), "gradient")[0], rtol=1e-12, atol=1e-14)


def test_smoothgrad_depends_on_its_seed_and_leaves_the_global_generator_alone():
    network, images = densenet(), images_of(1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, _ = attribute(network, images, columns_for(1), "smoothgrad", samples=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert torch.equal(attribute(network, images, columns_for(1), "smoothgrad", samples=3)[0], first)
    assert not torch.allclose(attribute(network, images, columns_for(1), "smoothgrad", samples=3, seed=1)[0], first)


class Squares(nn.Module):
    def forward(self, values):
        return values.pow(2).sum((1, 2, 3))[:, None] / 2


def test_the_noise_of_smoothgrad_is_normal_with_the_given_share_of_the_pictures_range():
    images = images_of(2, 64)
    images[1] *= 10
    # The gradient of half the square is the noisy picture itself, so the map shows the mean noise.
    smooth, _ = attribute(Squares(), images, columns_for(2, 0), "smoothgrad", samples=16, noise=0.2)
    noise = (smooth[:, 0] - images) * 4  # the mean of 16 draws has a quarter of their deviation
    for drawn, picture in zip(noise, images, strict=True):
        assert float(drawn.std()) == pytest.approx(0.2 * float(picture.max() - picture.min()), rel=0.05)
        assert abs(float(drawn.mean())) < 0.05 * float(drawn.std())


# Grad-CAM


def cam_by_hooks(network, layer, images, column):
    """Grad-CAM as it is usually written: with hooks on a layer of the network itself."""
    stored = {}
    handle = layer.register_forward_hook(lambda _module, _inputs, output: stored.update(map=output))
    logits = network(images)
    handle.remove()
    (slopes,) = torch.autograd.grad(logits[:, column].sum(), stored["map"])
    weights = slopes.mean((2, 3), keepdim=True)
    cam = F.relu((weights * stored["map"]).sum(1, keepdim=True))
    return F.interpolate(cam, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0].detach()


def small_resnet():
    torch.manual_seed(0)
    network = ResNet(BasicBlock, (1, 1, 1, 1), num_classes=3, in_chans=2, channels=(8, 8, 12, 16), zero_init_last=False)
    return network.double().eval()


def small_chain():
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 3)).double()


@pytest.mark.parametrize(
    ("network", "last"),
    [(densenet(in_chans=2), "features.norm5"), (small_resnet(), "layer4"), (small_chain(), "4")],
    ids=["DenseNet", "ResNet", "chain"],
)
def test_grad_cam_is_that_of_the_last_feature_map_and_its_sum_over_channels_is_the_map(network, last):
    images = images_of(2, 96, 2)
    relevance, _ = attribute(network, images, columns_for(2, 1), "grad-cam")
    expected = cam_by_hooks(network, network.get_submodule(last), images, 1)
    assert expected.max() > 0
    assert torch.allclose(relevance[:, 0].sum(1), expected, rtol=1e-10, atol=1e-14)
    assert torch.equal(relevance[:, 0, 0], relevance[:, 0, 1])
    assert relevance.min() >= 0


def test_grad_cam_reads_feature_maps_whose_channels_come_last():
    torch.manual_seed(0)
    settings = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1), "window_size": 4, "patch_size": 4}
    network = SwinTransformer(img_size=32, in_chans=1, num_classes=3, **settings).double().eval()
    images = images_of(2, 32)
    relevance, _ = attribute(network, images, columns_for(2), "grad-cam")
    features = network.forward_features(images).detach().requires_grad_()
    (slopes,) = torch.autograd.grad(network.forward_head(features)[:, 1].sum(), features)
    cam = F.relu((slopes.mean((1, 2), keepdim=True) * features).sum(3)).detach()
    expected = F.interpolate(cam[:, None], (32, 32), mode="bilinear", align_corners=False)
    assert torch.allclose(relevance[:, 0], expected, rtol=1e-10, atol=1e-14)


def test_grad_cam_refuses_networks_without_a_feature_map_by_name():
    transformer = VisionTransformer(img_size=16, patch_size=8, in_chans=1, embed_dim=8, depth=1, num_heads=1)
    with pytest.raises(ExplainError, match=r"VisionTransformer ends in the shape \(1, 5, 8\)"):
        attribute(transformer, images_of(1, 16).float(), columns_for(1), "grad-cam")
    with pytest.raises(ExplainError, match="no last feature map of Squares"):
        attribute(Squares(), images_of(1), columns_for(1, 0), "grad-cam")
    with pytest.raises(ExplainError, match="no feature map in this chain of 2 layers"):
        attribute(linear_network(), images_of(1)[:, :, :6, :16].reshape(1, 2, 6, 8), columns_for(1), "grad-cam")


def test_grad_cam_is_not_said_to_run_on_any_network():
    assert summary("grad-cam")["runs_on"] == [composite_of("grad-cam").networks]
    assert "feature map" in composite_of("grad-cam").networks
    others = [name for name in names_of(COMPARISON) if name != "grad-cam"]
    assert all(summary(name)["runs_on"] == ["any network"] for name in others)
    transformer = VisionTransformer(img_size=16, patch_size=8, in_chans=1, embed_dim=8, depth=1, num_heads=1)
    with pytest.raises(ExplainError, match=rf"VisionTransformer.* Available: {', '.join(others)}$"):
        explain(transformer, images_of(1, 16).float(), 0, "epsilon")


class Named(nn.Sequential):
    """A chain with a constructor of its own."""

    def __init__(self, width):
        super().__init__(nn.Conv2d(1, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


def test_grad_cam_takes_chains_that_are_made_in_their_own_way():
    torch.manual_seed(0)
    named = Named(4).double()
    relevance, _ = attribute(named, images_of(1, 16), columns_for(1), "grad-cam")
    expected, _ = attribute(nn.Sequential(*named), images_of(1, 16), columns_for(1), "grad-cam")
    assert torch.equal(relevance, expected)
    assert expected.max() > 0


# Occlusion


def test_occlusion_by_tiles_shares_each_drop_of_the_logit_over_its_tile():
    network, images = densenet(in_chans=2), images_of(1, 32, 2)
    relevance, logits = attribute(network, images, columns_for(1, 2), "occlusion", patch=8, stride=8, fill=(0.3, -0.1))
    drops = []
    for top in range(0, 32, 8):
        for left in range(0, 32, 8):
            covered = images.clone()
            covered[:, 0, top : top + 8, left : left + 8] = 0.3
            covered[:, 1, top : top + 8, left : left + 8] = -0.1
            with torch.no_grad():
                drops.append(logits[0, 2] - network(covered)[0, 2])
            tile = relevance[0, 0, :, top : top + 8, left : left + 8]
            assert torch.allclose(tile, (drops[-1] / 128).expand_as(tile), rtol=1e-9, atol=1e-13)
    assert float(relevance.sum()) == pytest.approx(float(sum(drops)), rel=1e-9)


def test_patches_that_overlap_are_averaged_and_the_last_ends_at_the_edge():
    network, images = linear_network(), images_of(1, 16).reshape(1, 2, 8, 16)[:, :, :6, :8]
    relevance, _ = attribute(network, images, columns_for(1), "occlusion", patch=4, stride=3)
    worth = (network[1].weight[1].reshape(2, 6, 8) * images[0]).sum(0)
    total, times = torch.zeros(6, 8, dtype=torch.float64), torch.zeros(6, 8)
    for top in (0, 2):
        for left in (0, 3, 4):
            window = slice(top, top + 4), slice(left, left + 4)
            total[window] += worth[window].sum() / 32
            times[window] += 1
    assert times.min() == 1
    assert torch.allclose(relevance[0, 0], (total / times).expand(2, 6, 8))


def test_a_patch_larger_than_the_picture_covers_all_of_it():
    network, images = linear_network(), images_of(1, 16).reshape(1, 2, 8, 16)[:, :, :6, :8]
    relevance, logits = attribute(network, images, columns_for(1), "occlusion")
    bias = network[1].bias[1]
    assert torch.allclose(relevance[0, 0], ((logits[0, 1] - bias) / 96).expand(2, 6, 8))


# Refusals


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("guided-backprop", {}, r"unknown method 'guided-backprop'. Available: gradient, gradient-x-input"),
        ("gradient", {"steps": 3}, r"unknown option of 'gradient': 'steps'. Available: none"),
        ("smoothgrad", {"steps": 3}, r"'steps'. Available: samples, noise, seed"),
        ("integrated-gradients", {"steps": 0}, "steps 0 is out of range"),
        ("integrated-gradients", {"steps": 2.5}, "steps 2.5 is out of range"),
        ("integrated-gradients", {"steps": float("nan")}, "steps nan is out of range"),
        ("integrated-gradients", {"baseline": (1.0, 2.0, 3.0)}, r"baseline \(1.0, 2.0, 3.0\) does not fit"),
        ("integrated-gradients", {"baseline": torch.zeros(5, 5, 5, 5)}, r"of the shape \(5, 5, 5, 5\) does not fit"),
        ("integrated-gradients", {"baseline": "black"}, "baseline 'black' does not fit"),
        ("smoothgrad", {"noise": -0.1}, "noise -0.1 is out of range"),
        ("smoothgrad", {"noise": "much"}, "noise 'much' is out of range"),
        ("smoothgrad", {"seed": -1}, "seed -1 is out of range"),
        ("occlusion", {"patch": "8"}, "patch '8' is out of range"),
        ("occlusion", {"patch": 8, "stride": 9}, r"stride 9 leaves pixels uncovered. Accepted: 1 to 8"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_refused_by_name(name, options, named):
    with pytest.raises(ExplainError, match=named):
        attribute(densenet(in_chans=2), images_of(1, 32, 2), columns_for(1), name, **options)


def test_numbers_may_come_as_floats_and_from_numpy():
    network, images = linear_network(), images_of(1, 16).reshape(1, 2, 8, 16)[:, :, :6, :8]
    expected, _ = attribute(network, images, columns_for(1), "occlusion", patch=4, stride=3)
    given = {"patch": 4.0, "stride": np.int64(3), "fill": np.float32(0)}
    assert torch.equal(attribute(network, images, columns_for(1), "occlusion", **given)[0], expected)


def test_a_network_that_returns_no_logits_is_refused_by_name():
    network = nn.Sequential(nn.Conv2d(1, 3, 3))
    with pytest.raises(ExplainError, match=r"Sequential returns the shape \(1, 3, 14, 14\)"):
        attribute(network, images_of(1, 16).float(), columns_for(1), "gradient")
