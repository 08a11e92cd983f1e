"""Images of a call that do not fit together are refused in one line that names what differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cxr.errors import ExplainError, ImageError, TextError
from cxr.evaluation.predict import predict
from cxr.explain import explain
from cxr.explain.quality.faithfulness import deletion, measure_faithfulness
from cxr.explain.quality.localisation import localise
from cxr.explain.render import figure, heatmap_rgb, overlay
from cxr.models import build
from cxr.models.image_batch import as_batch
from cxr.text import TextBox, cut_patch, detect_boxes, mask_text, recognise, stamp_patch, word_patch

BOX = TextBox(2, 2, 12, 10)
MAP = np.linspace(-1, 1, 32 * 32, dtype=np.float32).reshape(32, 32)


def grey(*shape, dtype=np.uint8):
    return np.random.default_rng(sum(shape)).integers(0, 255, shape).astype(dtype)


MIXED = {
    "heights": ([grey(32, 32), grey(40, 32)], "2 different shapes: 32 x 32 (image 0), 40 x 32 (image 1)"),
    "widths of tensors": ([torch.rand(32, 32), torch.rand(32, 40)], "shapes: 32 x 32 (image 0), 32 x 40 (image 1)"),
    "a tuple": ((grey(32, 32), grey(32, 32), grey(8, 8)), "32 x 32 (image 0), 8 x 8 (image 2)"),
    "objects": (np.array([grey(32, 32), grey(40, 32)], dtype=object), "32 x 32 (image 0), 40 x 32 (image 1)"),
    "channels": ([grey(1, 32, 32), grey(3, 32, 32)], "1 x 32 x 32 (image 0), 3 x 32 x 32 (image 1)"),
    "with and without a channel": ([grey(32, 32), grey(1, 32, 32)], "32 x 32 (image 0), 1 x 32 x 32 (image 1)"),
    "types": ([grey(32, 32), grey(32, 32, dtype=np.float32)], "types: uint8 (image 0), float32 (image 1)"),
    "types of tensors": ([torch.rand(8, 8), torch.rand(8, 8).double()], "float32 (image 0), float64 (image 1)"),
    "nothing": ([grey(32, 32), None], "image 1 is a NoneType"),
}


@pytest.fixture(scope="module", params=[(1, "single-label", ("a", "b")), (3, "multi-label", ("x", "y", "z"))])
def model(request):
    channels, task, classes = request.param
    torch.manual_seed(0)
    small = {"block_config": [1, 1, 1, 1]}
    made = build("densenet-small", classes, size=32, channels=channels, task=task, backbone_args=small)
    return made.eval()


def one_line(call, error, says):
    with pytest.raises(error) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "gradient"])
def test_explain_refuses_mixed_images_and_names_what_differs(model, kind, composite):
    images, says = MIXED[kind]
    one_line(lambda: explain(model, images, model.classes[0], composite), ExplainError, says)
    one_line(lambda: explain(model.network, images, 0, composite), ExplainError, says)


@pytest.mark.parametrize("kind", MIXED)
def test_a_network_and_its_predictions_refuse_mixed_images(model, kind):
    images, says = MIXED[kind]
    one_line(lambda: model(images), ImageError, says)
    one_line(lambda: predict(model, images), ImageError, says)


def test_a_list_of_images_of_one_shape_is_a_batch(model):
    images = grey(3, 40, 32)
    expected = explain(model, images, model.classes[1])
    for given in (list(images), tuple(map(torch.from_numpy, images)), [images[0], *map(torch.from_numpy, images[1:])]):
        assert np.array_equal(explain(model, given, model.classes[1]).relevance, expected.relevance)
    assert np.array_equal(predict(model, list(images)), predict(model, images))
    assert as_batch([Image.fromarray(image) for image in images]).shape == images.shape


def test_many_shapes_are_counted_and_four_of_them_named():
    one_line(
        lambda: as_batch([grey(8, 8 + k) for k in range(7)]),
        ImageError,
        "7 different shapes: 8 x 8 (image 0), 8 x 9 (image 1), 8 x 10 (image 2), 8 x 11 (image 3) and 3 more.",
    )


@pytest.mark.parametrize("given", [{}, {1, 2}, "a.png", iter([1]), 5, None])
def test_what_is_no_row_of_images_is_named(model, given):
    one_line(lambda: explain(model, given, model.classes[0]), ExplainError, "")
    one_line(lambda: predict(model, given), ImageError, f"images are a {type(given).__name__}")


UNUSABLE = [
    [grey(32, 32), grey(40, 32)],
    grey(2, 1, 32, 32),
    grey(32, 32).tolist(),
    np.zeros((0, 0), np.uint8),
    np.array([[1, None]], dtype=object),
    grey(32, 32) > 9,
    None,
    "a.png",
]


@pytest.mark.parametrize("image", UNUSABLE, ids=lambda image: type(image).__name__)
def test_what_is_not_one_xray_is_refused_by_whatever_takes_one(model, image):
    patch = word_patch("AP").scaled(8)
    for call in (
        lambda: detect_boxes(image),
        lambda: recognise(image, [BOX]),
        lambda: mask_text(image, [BOX]),
        lambda: cut_patch(image, BOX, "all"),
        lambda: stamp_patch(image, patch, TextBox(0, 0, *patch.shape[::-1])),
    ):
        one_line(call, TextError, "uint8")
    one_line(lambda: overlay(image, MAP), ExplainError, "the X-ray is")
    one_line(lambda: figure(image, MAP), ExplainError, "the X-ray is")


@pytest.mark.parametrize("relevance", [MIXED["heights"][0], None, "map", MAP > 0, np.zeros((0, 0), np.float32)])
def test_what_is_no_map_is_refused_by_whatever_takes_one(model, relevance):
    for call in (
        lambda: heatmap_rgb(relevance),
        lambda: localise(relevance, MAP > 0),
        lambda: deletion(model, grey(32, 32), relevance, model.classes[0]),
    ):
        one_line(call, ExplainError, "relevance is a")
    one_line(lambda: localise(MAP, MIXED["heights"][0]), ExplainError, "a mask is a list")


def test_faithfulness_is_measured_on_one_image_at_a_time(model):
    one_line(
        lambda: measure_faithfulness(model, MIXED["heights"][0], model.classes[0], "gradient"),
        ExplainError,
        "image 0 is a list",
    )
