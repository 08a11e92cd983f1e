import numpy as np
import pytest

from cxr.text.boxes import TextBox, clip, coverage, grow, intersection, iou, kind_of, merge


@pytest.mark.parametrize(
    ("text", "kind"),
    [("L", "letter"), ("AP", "word"), ("12.03.2020", "number"), ("14:05", "number"), ("", "symbol"), ("->", "symbol")],
)
def test_the_kind_follows_from_the_transcription(text, kind):
    assert kind_of(text) == kind


def test_boxes_are_cut_to_the_image_and_grow_by_fraction_or_pixels():
    box = TextBox(10, 10, 50, 30)
    assert clip(TextBox(-5, -5, 500, 20), (100, 200)) == TextBox(0, 0, 200, 20)
    assert grow(box, 0.1, (100, 100)) == TextBox(8, 8, 52, 32)
    assert grow(box, 4, (100, 100)) == TextBox(6, 6, 54, 34)
    assert grow(box, 0, (100, 100)) == box


def test_the_same_token_seen_twice_is_one_box_with_the_better_score():
    merged = merge([TextBox(0, 0, 100, 20, score=0.5), TextBox(5, 1, 102, 22, score=0.9)])
    assert merged == [TextBox(0, 0, 102, 22, score=0.9)]


def test_a_fragment_inside_a_word_joins_it_and_neighbours_stay_apart():
    word, fragment, neighbour = TextBox(0, 0, 100, 20), TextBox(80, 2, 103, 18), TextBox(110, 0, 150, 20)
    assert merge([fragment, neighbour, word]) == [TextBox(0, 0, 103, 20), neighbour]


def test_merging_never_makes_a_box_above_the_largest_area():
    boxes = [TextBox(0, 0, 60, 60, score=0.8), TextBox(20, 20, 80, 80, score=0.7)]
    assert all(box.area <= 3600 for box in merge(boxes, max_area=3600))


def test_overlap_and_coverage_count_half_open_pixels():
    a, b = TextBox(0, 0, 10, 10), TextBox(5, 0, 15, 10)
    assert intersection(a, b) == 50
    assert iou(a, b) == pytest.approx(50 / 150)
    assert intersection(a, TextBox(10, 0, 20, 10)) == 0
    assert np.array_equal(coverage([a, b], (20, 20)).sum(), 150)
