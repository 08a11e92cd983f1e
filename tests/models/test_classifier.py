import numpy as np
import pytest
import torch

from cxr.errors import ImageError, WeightsError
from cxr.models import build

CLASSES = ("covid19", "normal", "pneumonia")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build("densenet-small", CLASSES, size=32).eval()


def test_bytes_floats_arrays_and_tensors_of_the_same_xray_give_the_same_logits(model):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    wanted = model(pixels)
    as_floats = torch.from_numpy(pixels).float() / 255
    for same in (torch.from_numpy(pixels), pixels[:, None], as_floats, as_floats[:, None], as_floats.numpy()):
        torch.testing.assert_close(model(same), wanted)
    assert wanted.shape == (3, 3)


def test_preprocess_normalises_by_the_card_and_resizes_to_its_size():
    model = build("densenet-small", CLASSES, size=32, channels=3, mean=(0.1, 0.2, 0.3), std=0.5)
    grey = torch.full((2, 1, 48, 40), 0.6)
    seen = model.preprocess(grey)
    assert seen.shape == (2, 3, 32, 32)
    for channel, mean in enumerate((0.1, 0.2, 0.3)):
        torch.testing.assert_close(seen[:, channel], torch.full((2, 32, 32), (0.6 - mean) / 0.5))


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (np.zeros((32, 32), np.uint8), "(32, 32)"),
        (np.zeros((2, 3, 32, 32), np.uint8), "(2, 3, 32, 32)"),
        (np.zeros((2, 32, 32), np.int64), "int64"),
        (np.full((2, 32, 32), 200.0, np.float32), "200"),
        (np.full((2, 32, 32), -0.5, np.float32), "-0.5"),
        (np.full((2, 32, 32), np.nan, np.float32), "nan"),
        ([[1, 2]], "(1, 2)"),
        ({1: 2}, "dict"),
    ],
)
def test_wrong_pixels_are_refused_in_one_line_that_names_them(model, images, named):
    with pytest.raises(ImageError) as refusal:
        model(images)
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_unknown_backbone_is_answered_with_the_nearest_names():
    with pytest.raises(WeightsError, match=r"'densnet121' is not known\. Did you mean .*densenet121"):
        build("densnet121", CLASSES)


def test_a_transformer_is_refused_as_no_convolutional_classifier():
    with pytest.raises(WeightsError, match="'vit_base_patch16_224' is not a convolutional classifier"):
        build("vit_base_patch16_224", CLASSES)


def test_wrong_arguments_of_a_backbone_are_named():
    with pytest.raises(WeightsError, match="growth"):
        build("densenet-small", CLASSES, backbone_args={"growth": 3})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"classes": ("a", "a")}, "classes"),
        ({"task": "both"}, "both"),
        ({"channels": 2}, "channels 2"),
        ({"std": 0.0}, "std"),
        ({"size": 4}, "size 4"),
    ],
)
def test_a_card_that_cannot_be_is_refused(options, named):
    with pytest.raises(WeightsError, match=named):
        build("densenet-small", **{"classes": CLASSES, "size": 32, **options})


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "regnetx_002"])
def test_other_convolutional_networks_of_timm_classify_grey_xrays(name):
    model = build(name, CLASSES, size=64).eval()
    assert model(torch.zeros(2, 64, 64)).shape == (2, 3)


def test_the_small_network_is_small():
    assert sum(p.numel() * 4 for p in build("densenet-small", CLASSES, size=128).parameters()) < 1_000_000
