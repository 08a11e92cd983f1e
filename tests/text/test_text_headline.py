"""One short sentence of a text experiment, for lists of many results."""

import pytest

from cxr.experiments.masking.sentences import headline


def share(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "p_holm": 0.001}


def numbers(task, predictions, moved, *, weak=False):
    """Results of 25,000 images on which masking ``predictions`` and ``moved`` more than random boxes do."""
    none = {"value": 0.0, "low": -0.01, "high": 0.01, "p_holm": 1.0}
    effect = {
        "changed": {"tokens": share(0.05), "random": share(0.02)},
        "moved": {"tokens": share(0.04), "random": share(0.02)},
        "beyond_random": share(predictions) if predictions else none,
        "moved_beyond_random": share(moved) if moved else none,
        "match": {"change": {"tokens": 1.0, "random": 0.1 if weak else 1.0}},
    }
    return {"task": task, "modes": {"black": effect}, "n_images": 25_000, "n_patients": 1_800}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (
            numbers("single-label", 0.03, 0.02),
            "changes 5.0 % [4.0, 6.0] of the predictions, masking random boxes 2.0 % ",
        ),
        (numbers("single-label", 0, 0.02), "moves probabilities by 0.040 [0.030, 0.050], masking random boxes 0.020 "),
        (numbers("multi-label", 0.03, 0.02), "moves probabilities by 0.040 "),
        (numbers("single-label", -0.03, 0), "Random boxes move predictions more than burned-in text does"),
        (numbers("single-label", 0.03, 0.02, weak=True), "is not clear: random boxes are too weak a control"),
    ],
)
def test_the_headline_says_what_masking_does_beside_random_boxes(results, expected):
    sentence = headline(results)
    assert expected in sentence
    assert sentence.endswith("(25,000 images of 1,800 patients).")
    assert len(sentence) < 200
