import numpy as np
import pytest
from text_drawing import chest_like, write_text

from cxr.errors import TextError
from cxr.text import MASK_MODES, TextBox, control_boxes, mask_text
from cxr.text.boxes import coverage, intersection

BOXES = [TextBox(200, 20, 280, 50), TextBox(10, 150, 40, 180)]


@pytest.mark.parametrize("mode", MASK_MODES)
@pytest.mark.parametrize("margin", [0, 0.2, 5])
def test_pixels_change_inside_the_grown_boxes_only(mode, margin):
    image = chest_like(200, 300)
    original = image.copy()
    masked = mask_text(image, BOXES, mode, margin)
    by = {0: 0, 0.2: 6, 5: 5}[margin]
    allowed = coverage([TextBox(b.x0 - by, b.y0 - by, b.x1 + by, b.y1 + by) for b in BOXES], image.shape)
    assert masked.dtype == np.uint8
    assert masked.shape == image.shape
    assert np.array_equal(masked[~allowed], original[~allowed])
    assert (masked[allowed] != original[allowed]).mean() > 0.3
    assert np.array_equal(image, original)


@pytest.mark.parametrize("mode", ["mean", "inpaint"])
def test_a_masked_token_is_gone_and_the_patch_has_the_grey_of_its_surroundings(mode):
    clean = chest_like(400, 400)
    written, ink = write_text(clean, "LEFT", 150, 40, 40)
    masked = mask_text(written, [TextBox(*ink)], mode)
    inside = coverage([TextBox(*ink)], clean.shape)
    assert np.abs(written[inside].astype(int) - clean[inside]).mean() > 15
    assert np.abs(masked[inside].astype(int) - clean[inside]).mean() < 8
    assert masked[inside].max() < written[inside].max() - 30


def test_black_is_black_and_a_box_over_everything_is_handled_by_every_mode():
    image = chest_like(60, 80)
    assert (mask_text(image, [TextBox(0, 0, 80, 60)], "black") == 0).all()
    for mode in MASK_MODES:
        assert mask_text(image, [TextBox(-5, -5, 500, 500)], mode).shape == image.shape


def test_a_large_picture_is_inpainted_inside_its_box_only():
    image = chest_like(1500, 1300)
    box = TextBox(900, 100, 1200, 180)
    masked = mask_text(image, [box], "inpaint", 0)
    outside = ~coverage([box], image.shape)
    assert np.array_equal(masked[outside], image[outside])


def test_no_boxes_means_an_equal_copy():
    image = chest_like(50, 50)
    masked = mask_text(image, [], "mean")
    assert np.array_equal(masked, image)
    assert masked is not image


@pytest.mark.parametrize(("mode", "margin"), [("blurr", 0.1), ("mean", -1), ("mean", float("nan"))])
def test_a_wrong_mode_or_margin_is_named(mode, margin):
    with pytest.raises(TextError, match=r"(Available: black, mean, inpaint|Accepted: 0 and above)"):
        mask_text(chest_like(50, 50), BOXES, mode, margin)


def test_control_boxes_have_the_same_sizes_lie_in_the_image_and_off_the_tokens():
    placed = control_boxes(BOXES, (200, 300), np.random.default_rng(0))
    assert sorted((b.width, b.height) for b in placed) == sorted((b.width, b.height) for b in BOXES)
    assert all(0 <= b.x0 < b.x1 <= 300 and 0 <= b.y0 < b.y1 <= 200 for b in placed)
    assert all(intersection(p, t) == 0 for p in placed for t in BOXES)
    assert intersection(*placed) == 0
    assert placed == control_boxes(BOXES, (200, 300), np.random.default_rng(0))


def test_control_boxes_without_a_free_place_overlap_as_little_as_was_drawn():
    token = TextBox(0, 0, 90, 100)
    (placed,) = control_boxes([token], (100, 100), np.random.default_rng(0))
    assert (placed.width, placed.height) == (90, 100)
    assert intersection(placed, token) < token.area
