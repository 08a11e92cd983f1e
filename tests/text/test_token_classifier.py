import cv2
import numpy as np
import pytest
from text_drawing import chest_like, write_text

from cxr.text.boxes import TextBox, iou
from cxr.text.detection.components import components
from cxr.text.detection.scale_bars import scale_bars
from cxr.text.detection.token_classifier import CLASSES, N_CHANNELS, SIZE, WEIGHTS, patches, shared_classifier


def with_arrow(image: np.ndarray, tip: tuple[int, int], tail: tuple[int, int], grey: int) -> tuple[np.ndarray, TextBox]:
    drawn = image.copy()
    cv2.arrowedLine(drawn, tail, tip, grey, 4, cv2.LINE_AA, tipLength=0.4)
    y, x = np.nonzero(drawn != image)
    return drawn, TextBox(int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)


def test_the_shipped_network_is_small_and_distinguished_from_plain_anatomy():
    assert WEIGHTS.stat().st_size < 2e6
    image, ink = write_text(chest_like(700, 700), "L", 600, 60, 40)
    letter, anatomy = shared_classifier(1)(image, [TextBox(*ink), TextBox(330, 300, 370, 350)])
    assert letter.token > 0.9
    assert letter.kind == "letter"
    assert anatomy.token < 0.1


def test_a_mirrored_turned_or_dark_letter_and_an_arrow_are_known_by_their_looks():
    image, ink = write_text(chest_like(700, 700), "R", 560, 80, 44)
    box = TextBox(*ink)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    assert shared_classifier(1)(mirrored, [TextBox(700 - box.x1, box.y0, 700 - box.x0, box.y1)])[0].token > 0.9
    turned = np.ascontiguousarray(np.rot90(image))
    assert shared_classifier(1)(turned, [TextBox(box.y0, 700 - box.x1, box.y1, 700 - box.x0)])[0].token > 0.9
    for grey in (250, 5):
        drawn, arrow = with_arrow(chest_like(700, 700), (380, 300), (320, 350), grey)
        score = shared_classifier(1)(drawn, [arrow])[0]
        assert score.token > 0.9
        assert score.kind == "arrow"


def test_what_the_network_sees_does_not_depend_on_the_size_of_the_file():
    image, ink = write_text(chest_like(1000, 1000), "PORTABLE", 500, 60, 40)
    large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    boxes = [TextBox(*ink)], [TextBox(*(2 * v for v in ink))]
    (a, more_a), (b, more_b) = patches(image, boxes[0]), patches(large, boxes[1])
    assert a.shape == (1, N_CHANNELS, *SIZE)
    assert np.abs(a - b).mean() < 0.03
    assert more_b == pytest.approx(more_a, abs=0.05)


def test_a_score_depends_on_no_single_pixel_of_the_box():
    image, ink = write_text(chest_like(700, 700), "R", 560, 80, 44)
    drawn, arrow = with_arrow(image, (380, 300), (320, 350), 250)
    for box in (TextBox(*ink), arrow):
        looks = [TextBox(box.x0 - d, box.y0 - e, box.x1 + e, box.y1 + d) for d in range(4) for e in range(4)]
        assert min(score.token for score in shared_classifier(1)(drawn, looks)) > 0.9


def test_the_same_glyph_is_seen_with_more_of_its_surroundings_too():
    image, ink = write_text(chest_like(700, 700), "L", 600, 60, 40)
    other = image.copy()
    other[120:135, 560:660] = 255  # beyond what the first window shows
    (a, _), (b, _) = patches(image, [TextBox(*ink)]), patches(other, [TextBox(*ink)])
    assert np.array_equal(a[:, 0], b[:, 0])
    assert not np.array_equal(a[:, 1], b[:, 1])


def test_boxes_at_the_border_and_of_one_pixel_have_a_score():
    image = chest_like(90, 120)
    scores = shared_classifier(1)(image, [TextBox(0, 0, 120, 90), TextBox(119, 89, 120, 90), TextBox(0, 40, 120, 44)])
    assert len(scores) == 3
    assert all(0 <= v.token <= 1 and v.kind in CLASSES[1:] for v in scores)
    assert shared_classifier(1)(image, []) == []


@pytest.mark.parametrize("size", [300, 800, 1600])
def test_a_lone_letter_and_an_arrow_are_candidates_at_every_size(size):
    image, ink = write_text(chest_like(size, size), "L", round(0.86 * size), round(0.1 * size), round(0.05 * size))
    assert max(iou(box, TextBox(*ink)) for box in components(image)) > 0.5
    s = size / 800
    drawn, arrow = with_arrow(chest_like(size, size), (int(380 * s), int(300 * s)), (int(320 * s), int(350 * s)), 250)
    assert max(iou(box, arrow) for box in components(drawn)) > 0.5


def test_glyphs_of_a_word_are_joined_whichever_way_it_runs():
    image, ink = write_text(chest_like(700, 700), "PORTABLE", 400, 60, 30)
    for picture, truth in (
        (image, TextBox(*ink)),
        (np.ascontiguousarray(np.rot90(image)), TextBox(ink[1], 700 - ink[2], ink[3], 700 - ink[0])),
    ):
        assert max(iou(box, truth) for box in components(picture)) > 0.6


def test_a_marker_is_a_candidate_beside_its_initials():
    image, marker = write_text(chest_like(900, 900), "L", 700, 60, 70)
    image, initials = write_text(image, "OBC", marker[0], marker[3] + 6, 36)
    boxes = components(image)
    assert max(iou(box, TextBox(*marker)) for box in boxes) > 0.7
    assert max(iou(box, TextBox(*initials)) for box in boxes) > 0.5


@pytest.mark.parametrize("line", [True, False])
@pytest.mark.parametrize("upright", [True, False])
def test_a_ruler_is_found_as_a_scale_bar_and_a_word_is_none(line, upright):
    image, _ = write_text(chest_like(800, 800), "MILLIMETRE SCALE", 380, 40, 22)
    for i in range(21):
        cv2.line(image, (30, 300 + 12 * i), (44 if i % 5 else 54, 300 + 12 * i), 240, 2)
    if line:
        cv2.line(image, (30, 300), (30, 540), 240, 2)
    truth = TextBox(30, 299, 55, 542)
    if not upright:
        image, truth = np.ascontiguousarray(image.T), TextBox(299, 30, 542, 55)
    (bar,) = scale_bars(image)
    assert bar.kind == "scale"
    assert iou(bar, truth) > 0.6
    assert scale_bars(chest_like(800, 800)) == []
