import numpy as np
import pytest
from text_drawing import chest_like, write_text

from cxr.errors import TextError
from cxr.text import MASK_MODES, TextBox, borrowed_boxes, control_boxes, mask_text
from cxr.text.boxes import coverage, grow, intersection
from cxr.text.mask import FILLS

BOXES = [TextBox(200, 20, 280, 50), TextBox(10, 150, 40, 180)]


def test_every_mask_mode_has_a_fill_and_no_fill_is_without_a_mode():
    assert list(FILLS) == list(MASK_MODES)


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


@pytest.mark.parametrize("mode", ["mean", "noise", "inpaint", "inpaint-ns", "swap"])
def test_a_masked_token_is_gone_and_the_patch_has_the_grey_of_its_surroundings(mode):
    clean = chest_like(400, 400)
    written, ink = write_text(clean, "LEFT", 150, 40, 40)
    masked = mask_text(written, [TextBox(*ink)], mode)
    inside = coverage([TextBox(*ink)], clean.shape)
    assert np.abs(written[inside].astype(int) - clean[inside]).mean() > 15
    # Noise and a patch from elsewhere have grain of their own, so only the grey is near.
    assert abs(float(masked[inside].mean()) - clean[inside].mean()) < (20 if mode == "swap" else 8)
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


def test_blur_leaves_no_stroke():
    written, ink = write_text(chest_like(400, 400), "LEFT", 150, 40, 40)
    masked = mask_text(written, [TextBox(*ink)], "blur")
    inside = np.s_[ink[1] : ink[3], ink[0] : ink[2]]
    assert np.abs(np.diff(masked[inside].astype(int), axis=1)).max() < 10
    assert np.abs(np.diff(written[inside].astype(int), axis=1)).max() > 80


@pytest.mark.parametrize("mode", [name for name, mode in MASK_MODES.items() if mode.soft])
def test_a_soft_mask_is_whole_over_the_box_and_fades_over_the_outer_half_of_its_margin(mode):
    image, box, margin = chest_like(300, 300), TextBox(100, 120, 180, 160), 20
    masked = mask_text(image, [box], mode, margin)
    filled = FILLS[mode](image, [TextBox(80, 100, 200, 180)])
    middle = np.s_[110:170, 90:190]  # the box and the inner half of its margin
    assert np.array_equal(masked[middle], filled[middle])

    def share(row: int) -> float:
        moved, whole = (
            np.abs(there[row, 90:190].astype(int) - image[row, 90:190]).mean() for there in (masked, filled)
        )
        return moved / whole

    shares = [share(row) for row in (100, 103, 106, 109, 112)]
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert shares[-1] == 1


def test_noise_has_the_mean_and_the_deviation_of_the_ring_and_is_the_same_each_time():
    image, box = chest_like(400, 400), TextBox(150, 100, 250, 160)
    masked = mask_text(image, [box], "noise", 0)
    ring = coverage([TextBox(120, 70, 280, 190)], image.shape) & ~coverage([box], image.shape)
    inside = masked[100:160, 150:250].astype(float)
    assert inside.mean() == pytest.approx(image[ring].mean(), abs=2)
    assert inside.std() == pytest.approx(image[ring].std(), rel=0.1)
    assert np.array_equal(masked, mask_text(image, [box], "noise", 0))


def test_a_swapped_patch_is_one_of_the_image_s_own_off_the_text():
    image = np.random.default_rng(0).integers(0, 256, (200, 120), np.uint8)
    box, other = TextBox(10, 10, 30, 22), TextBox(60, 100, 100, 140)
    masked = mask_text(image, [box, other], "swap", 0)
    windows = np.lib.stride_tricks.sliding_window_view(image, (12, 20))
    (place,) = np.argwhere((windows == masked[10:22, 10:30]).all(axis=(2, 3)))
    found = TextBox(int(place[1]), int(place[0]), int(place[1]) + 20, int(place[0]) + 12)
    assert not intersection(found, box)
    assert not intersection(found, other)


def test_no_boxes_means_an_equal_copy():
    image = chest_like(50, 50)
    masked = mask_text(image, [], "mean")
    assert np.array_equal(masked, image)
    assert masked is not image


@pytest.mark.parametrize(("mode", "margin"), [("blurr", 0.1), ("mean", -1), ("mean", float("nan")), ("mean", 100.5)])
def test_a_wrong_mode_or_margin_is_named(mode, margin):
    with pytest.raises(TextError, match=r"(Available: black, mean, blur|Accepted: 0 to 100)"):
        mask_text(chest_like(50, 50), BOXES, mode, margin)


def test_control_boxes_have_the_same_sizes_lie_in_the_image_and_off_the_tokens():
    placed = control_boxes(BOXES, (200, 300), np.random.default_rng(0))
    assert sorted(b.area for b in placed) == sorted(b.area for b in BOXES)
    assert all(0 <= b.x0 < b.x1 <= 300 and 0 <= b.y0 < b.y1 <= 200 for b in placed)
    assert all(intersection(p, t) == 0 for p in placed for t in BOXES)
    assert intersection(*placed) == 0
    assert placed == control_boxes(BOXES, (200, 300), np.random.default_rng(0))


def test_control_boxes_that_will_grow_keep_off_what_has_grown():
    placed = control_boxes(BOXES, (200, 300), np.random.default_rng(3), margin=10)
    grown, tokens = ([grow(b, 10, (200, 300)) for b in boxes] for boxes in (placed, BOXES))
    assert sorted(b.area for b in placed) == sorted(b.area for b in BOXES)
    assert all(intersection(p, t) == 0 for p in grown for t in tokens)
    assert intersection(*grown) == 0


@pytest.mark.parametrize("token", [TextBox(6, 6, 66, 20), TextBox(120, 90, 150, 110), TextBox(290, 30, 300, 80)])
def test_control_boxes_lie_as_far_from_the_frame_as_the_token_on_every_side(token):
    def gaps(box):
        return box.x0, 300 - box.x1, box.y0, 200 - box.y1

    draws = [control_boxes([token], (200, 300), np.random.default_rng(seed))[0] for seed in range(200)]
    assert {min(gaps(box)) for box in draws} == {min(gaps(token))}
    nearest = {gaps(box).index(min(gaps(box))) for box in draws}
    assert len(nearest) >= 3
    anywhere = [control_boxes([token], (200, 300), np.random.default_rng(s), anywhere=True)[0] for s in range(200)]
    assert {(box.width, box.height) for box in anywhere} == {(token.width, token.height)}
    assert len({min(gaps(box)) for box in anywhere}) > 10


def test_boxes_of_another_image_lie_at_the_same_relative_places_and_never_on_text():
    theirs = [TextBox(0, 0, 100, 50, "LEFT", kind="word"), TextBox(300, 350, 400, 400)]
    moved = borrowed_boxes(theirs, (400, 400), (200, 800), [TextBox(700, 190, 710, 195)])
    assert [(b.x0, b.y0, b.x1, b.y1, b.text) for b in moved] == [(0, 0, 200, 25, "")]
    free = borrowed_boxes(theirs, (400, 400), (200, 800), [TextBox(590, 100, 598, 110)])
    assert len(free) == 2
    assert len(borrowed_boxes(theirs, (400, 400), (200, 800), [TextBox(590, 180, 598, 190)], margin=4)) == 1


def test_control_boxes_without_a_free_place_overlap_as_little_as_was_drawn():
    token = TextBox(0, 0, 90, 100)
    (placed,) = control_boxes([token], (100, 100), np.random.default_rng(0))
    assert placed.area == token.area
    assert intersection(placed, token) < token.area
