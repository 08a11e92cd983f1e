import cv2
import numpy as np
import pytest
from text_drawing import chest_like, write_text

from cxr.errors import TextError
from cxr.text.boxes import TextBox, intersection
from cxr.text.stamp import (
    CONTROLS,
    FONTS,
    PLACES,
    box_for,
    cut_patch,
    place_of,
    stamp_patch,
    without_letters,
    word_patch,
)


def inside(box):
    return np.s_[box.y0 : box.y1, box.x0 : box.x1]


@pytest.fixture
def image():
    return chest_like(300, 260)


CASES = [(font, word) for font in FONTS for word in ("L", "DX", "Größe Ü") if (font, word) != ("aileron", "Größe Ü")]


@pytest.mark.parametrize(("font", "word"), CASES)
def test_only_pixels_of_the_box_change_and_its_ink_touches_all_sides(image, font, word):
    patch = word_patch(word, font).scaled(24)
    box = box_for(image.shape, patch, place_of("top-right"))
    changed = stamp_patch(image, patch, box) != image
    rows, columns = np.nonzero(changed)
    assert (box.height, box.width) == patch.shape
    assert box.x0 <= columns.min() <= box.x0 + 2
    assert box.x1 - 3 <= columns.max() < box.x1
    assert box.y0 <= rows.min() <= box.y0 + 2
    assert box.y1 - 3 <= rows.max() < box.y1


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("contrast", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("colour", ["white", "black"])
def test_the_control_changes_the_same_box_by_the_same_mean_grey(image, control, contrast, colour):
    patch = word_patch("PORTABLE", "sans", colour).scaled(20)
    box = box_for(image.shape, patch, (0.4, 0.6))  # over uneven ground
    blank = without_letters(image, patch, box, np.random.default_rng(0), control)
    stamped, controlled = stamp_patch(image, patch, box, contrast), stamp_patch(image, blank, box, contrast)
    outside = np.ones(image.shape, bool)
    outside[inside(box)] = False
    assert np.array_equal(controlled[outside], image[outside])
    wanted = stamped[inside(box)].mean() - image[inside(box)].mean()
    assert abs(wanted) > 25 * contrast
    assert controlled[inside(box)].mean() - image[inside(box)].mean() == pytest.approx(wanted, abs=0.6)
    assert (controlled != stamped).sum() > 0.3 * box.area * contrast


def test_the_shuffled_control_keeps_the_greys_but_not_the_letters(image):
    patch = word_patch("DX").scaled(40)
    box = box_for(image.shape, patch, (0.5, 0.5))
    blank = without_letters(image, patch, box, np.random.default_rng(0))
    greys = [np.histogram(stamp_patch(image, p, box)[inside(box)], bins=4, range=(0, 256))[0] for p in (patch, blank)]
    assert np.abs(greys[0] - greys[1]).sum() < 0.35 * box.area
    assert abs(np.corrcoef(patch.ink.ravel(), blank.ink.ravel())[0, 1]) < 0.4
    plate = without_letters(image, patch, box, np.random.default_rng(0), "plate")
    assert np.ptp(plate.ink) == 0


def test_a_token_cut_by_its_ink_reappears_without_its_ground(image):
    written, (x0, y0, x1, y1) = write_text(image, "DX", 30, 40, 40)
    patch = cut_patch(written, TextBox(x0 - 3, y0 - 3, x1 + 3, y1 + 3, "DX"))
    flat = np.full((300, 300), 90, np.uint8)
    box = box_for(flat.shape, patch, (0.5, 0.5))
    again = stamp_patch(flat, patch, box)[inside(box)]
    there = written[y0 - 3 : y1 + 3, x0 - 3 : x1 + 3]
    letters = there > 225
    assert again[letters].mean() > 215
    ground = cv2.dilate(letters.astype(np.uint8), np.ones((5, 5))) == 0
    assert ground.sum() > 100
    assert (again[ground] == 90).mean() > 0.95


def test_a_dark_token_is_cut_as_dark(image):
    bright = np.full((200, 200), 180, np.uint8)
    bright += chest_like(200, 200) // 32
    dark = 255 - write_text(255 - bright, "R", 60, 60, 50)[0]
    patch = cut_patch(dark, TextBox(56, 56, 100, 100))
    assert patch.grey.max() < 60
    assert cut_patch(dark, TextBox(56, 56, 100, 100), "bright").grey.min() > 150


def test_a_whole_cut_brings_its_ground_along(image):
    written, (x0, y0, x1, y1) = write_text(image, "DX", 30, 40, 40)
    source = TextBox(x0, y0, x1, y1)
    flat = np.full((300, 300), 90, np.uint8)
    patch = cut_patch(written, source, "all")
    box = box_for(flat.shape, patch, (0.1, 0.9))
    assert np.array_equal(stamp_patch(flat, patch, box)[inside(box)], written[inside(source)])


def test_all_is_the_same_the_next_time(image):
    patch = word_patch("LUCA").scaled(18)
    box = box_for(image.shape, patch, (0.2, 0.2))
    blanks = [without_letters(image, patch, box, np.random.default_rng([3, 5])).ink for _ in range(2)]
    assert np.array_equal(*blanks)
    other = without_letters(image, patch, box, np.random.default_rng([3, 6])).ink
    assert not np.array_equal(blanks[0], other)


@pytest.mark.parametrize("name", PLACES)
def test_a_named_place_is_where_it_says_and_whole(image, name):
    patch = word_patch("DX").scaled(20)
    box = box_for(image.shape, patch, place_of(name))
    assert 0 <= box.x0 < box.x1 <= 260
    assert 0 <= box.y0 < box.y1 <= 300
    for word, near in (("left", box.x0), ("right", 260 - box.x1), ("top", box.y0), ("bottom", 300 - box.y1)):
        assert (near < 10) == (word in name)


def test_a_token_that_is_there_stays_free_and_the_stamp_stays_near(image):
    patch = word_patch("DX").scaled(20)
    wanted = box_for(image.shape, patch, place_of("top-left"))
    token = TextBox(0, 0, wanted.x1 + 5, wanted.y1 + 5)
    box = box_for(image.shape, patch, place_of("top-left"), [token])
    assert intersection(box, token) == 0
    assert box.x0 - token.x1 < 20 or box.y0 - token.y1 < 20
    with pytest.raises(TextError, match="no room beside the 1 tokens of it"):
        box_for(image.shape, patch, (0, 0), [TextBox(0, 0, 260, 290)], image_name="it")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda image: word_patch(""), "word '' cannot be stamped. Accepted: 1 to 60"),
        (lambda image: word_patch("A\nB" * 40), "cannot be stamped"),
        (lambda image: word_patch("DX", "arial"), "unknown font 'arial'. Available: aileron"),
        (lambda image: word_patch("DX", colour="red"), "unknown colour 'red'. Available: white, black"),
        (lambda image: word_patch("日", "pixel"), "font 'pixel' cannot draw '日'"),
        (lambda image: word_patch("Ü", "aileron"), "font 'aileron' cannot draw 'Ü'; another one may: sans, sans-bold"),
        (lambda image: place_of("up"), "unknown place 'up'. Available: top-left"),
        (lambda image: place_of("0.5,1.2"), "or x,y as shares from 0 to 1"),
        (lambda image: place_of("nan,0.1"), "or x,y as shares from 0 to 1"),
        (lambda image: cut_patch(image, TextBox(0, 0, 300, 20)), "is not within the X-ray of 260 x 300 px"),
        (lambda image: cut_patch(np.full((90, 90), 7, np.uint8), TextBox(9, 9, 40, 30)), "holds no ink"),
        (lambda image: cut_patch(image, TextBox(0, 0, 20, 20), "some"), "unknown part of a token to take 'some'"),
        (lambda image: box_for(image.shape, word_patch("PORTABLE").scaled(200), (0, 0)), "too large for the X-ray"),
        (
            lambda image: stamp_patch(image, word_patch("A").scaled(9), TextBox(0, 0, 9, 9), 0),
            "contrast 0 is not allowed",
        ),
    ],
)
def test_what_cannot_be_is_reported_in_one_line(image, call, words):
    with pytest.raises(TextError) as error:
        call(image)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
