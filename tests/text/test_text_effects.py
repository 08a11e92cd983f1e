import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxr.evaluation.tests import holm
from cxr.experiments.masking.conditions import Condition, Controls, Masking, controls_of, lenders_of, versions
from cxr.experiments.masking.effects import Answers, beyond_control, effects, moved
from cxr.experiments.masking.results import by_group, left_in
from cxr.experiments.masking.sentences import finding
from cxr.text.boxes import TextBox

CLASSES = ("a", "b")
N = 200


def logits_of(predicted_b):
    """Logits of two classes, 2 apart: the second class where ``predicted_b``."""
    sign = np.where(np.asarray(predicted_b), 1.0, -1.0)
    return np.stack([-sign, sign], axis=-1)


def made_up(n_token, n_control, n=N, labelled=True):
    """Answers of n images of class a, all right before; the first change under masking, the last under the control."""
    token, control = np.arange(n) < n_token, np.arange(n) >= n - n_control
    return Answers(
        before=logits_of(np.zeros(n, bool)),
        tokens={"mean": logits_of(token)},
        random={"mean": np.stack([logits_of(control)] * 3)},
        other={"mean": logits_of(np.zeros(n, bool))},
        truth=np.zeros(n, int) if labelled else np.full(n, -1),
        patients=[f"p{k // 2}" for k in range(n)],
    )


def sentence(answers, n_tokens=200):
    accuracy = {name: {"accuracy": {"value": 1.0}} for name in ("before", "after")}
    facts = {"n_tokens": n_tokens, "n_with_text": n_tokens, "n_images": len(answers.truth)}
    return finding(facts | accuracy | {"modes": effects(answers, CLASSES)})


def test_shares_and_differences_are_those_that_were_made_up():
    told = effects(made_up(30, 6), CLASSES)["mean"]
    assert told["changed"]["tokens"]["value"] == pytest.approx(0.15)
    assert told["changed"]["random"]["value"] == pytest.approx(0.03)
    assert told["beyond_random"]["value"] == pytest.approx(0.12)
    assert 0 < told["beyond_random"]["low"] < 0.12 < told["beyond_random"]["high"]
    assert told["accuracy"]["tokens"]["value"] == pytest.approx(-0.15)
    assert (told["accuracy"]["tokens"]["became_wrong"], told["accuracy"]["tokens"]["became_right"]) == (30, 0)
    assert told["recall"]["tokens"]["a"]["value"] == pytest.approx(-0.15)
    assert told["logit"]["tokens"]["b"]["value"] == pytest.approx(0.3)
    assert told["flips"] == [{"from": "a", "to": "b", "tokens": 30.0, "random": 6.0, "other": 0.0}]


def test_the_sentence_blames_the_text_only_beyond_the_control():
    strong = sentence(made_up(30, 3))
    assert "matter more than patches of their size" in strong
    assert "15.0 % [" in strong
    assert "though boxes of other images" not in strong
    answers = made_up(30, 3)
    for said in (strong, sentence(made_up(3, 4))):
        assert len(re.findall(r"\(p = [^;)]+; 200 images\)", said)) == 2  # predictions, and how far probabilities move
    same = Answers(**{**vars(answers), "other": answers.tokens})
    assert "though boxes of other images do not show it (p = 1)" in sentence(same)
    assert "do not differ significantly" in sentence(made_up(3, 4))
    assert "Random boxes change more" in sentence(made_up(2, 30))
    assert sentence(made_up(0, 0), n_tokens=0) == "No text was found on the 200 images, so there is nothing to mask."


def test_a_claim_that_rests_on_black_boxes_says_what_to_look_at_too():
    def said(mode, n_token):
        answers = made_up(n_token, 3)
        swapped = {name: {mode: getattr(answers, name)["mean"]} for name in ("tokens", "random", "other")}
        return sentence(replace(answers, **swapped))

    assert "Black boxes are marks themselves" in said("black", 30)
    assert "Black boxes are marks themselves" not in said("black", 3)
    assert "Black boxes are marks themselves" not in said("inpaint", 30)


def test_few_patients_are_said_to_be_too_few():
    assert "With fewer than 6 patients no difference to a control can be shown." in sentence(made_up(6, 0, n=10))
    assert "fewer than" not in sentence(made_up(6, 0, n=12))


def test_the_recall_of_a_class_with_few_patients_has_a_wide_interval_where_nothing_changes():
    answers = made_up(0, 0)
    told = effects(replace(answers, truth=np.array([0] * (N - 10) + [1] * 10)), CLASSES)["mean"]
    common, rare = (told["recall"]["tokens"][name] for name in CLASSES)
    assert common["value"] == rare["value"] == 0
    assert rare["high"] > 5 * common["high"]


def test_without_labels_there_is_no_accuracy_and_no_word_about_it():
    answers = made_up(30, 3, labelled=False)
    told = effects(answers, CLASSES)["mean"]
    assert told["accuracy"]["tokens"]["value"] is None
    assert told["recall"]["tokens"] == {}
    assert told["changed"]["tokens"]["value"] == pytest.approx(0.15)
    assert "Accuracy" not in sentence(answers)


def test_no_change_at_all_still_has_an_interval():
    told = effects(made_up(0, 0), CLASSES)["mean"]
    assert told["changed"]["tokens"]["value"] == 0
    assert 0.02 < told["changed"]["tokens"]["high"] < 0.05  # that of 0 of 100 patients
    assert told["beyond_random"]["low"] == -told["beyond_random"]["high"] < 0
    assert told["beyond_random"]["p"] == 1


def test_intervals_widen_where_images_of_a_patient_go_together():
    beyond = (np.arange(N) % 10 == 0).astype(float)
    together = np.sort(beyond)  # the images that change are those of a few patients
    alone = beyond_control(beyond, [f"p{k}" for k in range(N)])
    grouped = beyond_control(together, [f"p{k // 10}" for k in range(N)])
    assert grouped["high"] - grouped["low"] > 1.5 * (alone["high"] - alone["low"])
    assert grouped["p"] > alone["p"]


def test_holm_is_the_textbooks():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])


def test_moved_is_half_the_sum_over_classes():
    before = np.log([[0.9, 0.1]])
    assert moved(before, np.log([[[0.6, 0.4]], [[0.9, 0.1]]])) == pytest.approx([0.15])


class Answer:
    """What :func:`left_in` reads of a token that was left in."""

    def __init__(self, rows, logits):
        self.rows, self.logits, self.n_tokens = rows, logits, len(rows)


def test_a_token_that_brings_the_prediction_back_is_named_first():
    answers = made_up(30, 0)
    rows = np.arange(30)
    kept = {
        "word:NOTHING": Answer(rows, answers.tokens["mean"][rows]),
        "word:PORTABLE": Answer(rows, answers.before[rows]),
    }
    first, second = left_in(answers, kept, CLASSES)
    assert (first["token"], first["towards"], first["changed"]["value"]) == ("PORTABLE", "a", 1.0)
    assert (second["token"], second["towards"], second["changed"]["value"]) == ("NOTHING", None, 0.0)


def test_groups_show_where_the_effect_is():
    answers = made_up(30, 0)
    source = np.where(np.arange(N) < 40, "journal", "hospital")
    table = pd.DataFrame({"label": "a", "source": source, "n_boxes": 1})
    rows = {row["group"]: row for row in by_group(table, answers)}
    assert rows["journal"]["changed"]["tokens"]["value"] == pytest.approx(30 / 40)
    assert rows["hospital"]["changed"]["tokens"]["value"] == 0
    assert rows["journal"]["beyond_random"]["p"] < 0.01


# --- conditions ----------------------------------------------------------------------------------------------------


def grey(side=200):
    return np.random.default_rng(0).integers(60, 120, (side, side)).astype(np.uint8)


def test_each_condition_masks_its_own_boxes_and_nothing_else():
    image, boxes = grey(), [TextBox(5, 5, 45, 20, "L", kind="letter"), TextBox(150, 170, 190, 185, "PORTABLE")]
    masking = Masking(("black", "mean"), margin=0, draws=3)
    lender = ([TextBox(50, 90, 70, 99), TextBox(10, 10, 40, 18)], (100, 100))
    controls = controls_of("x", image, boxes, masking, 64, [lender])
    made = dict(versions(image, boxes, controls, masking, 64, {"kind:letter": boxes[:1]}))
    assert set(made) == {*masking.conditions[1:], Condition("kept", "black", kept="kind:letter")}
    changed = {condition: picture != image for condition, picture in made.items()}
    token = np.zeros(image.shape, bool)
    for box in boxes:
        token[box.y0 : box.y1, box.x0 : box.x1] = True
    assert (changed[Condition("tokens", "black")] == token).all()
    for condition, where in changed.items():
        if condition.name in ("random", "other"):
            assert not (where & token).any()
            assert where.any()
    area = [changed[Condition("random", "black", draw)].sum() for draw in range(3)]
    assert area == [token.sum()] * 3
    assert not changed[Condition("kept", "black", kept="kind:letter")][:100].any()


def test_draws_differ_and_the_same_image_gets_the_same_boxes_again():
    image, boxes, masking = grey(), [TextBox(5, 5, 45, 20)], Masking(draws=4)
    first, again = (controls_of("x", image, boxes, masking, 64) for _ in range(2))
    assert first == again
    assert len(set(first["inpaint"].random)) == 4
    assert controls_of("y", image, boxes, masking, 64) != first
    assert controls_of("x", image, [], masking, 64) == {"inpaint": Controls(((), (), (), ()))}


def test_a_lender_is_another_patients_x_ray_with_text():
    found = {"1": [TextBox(0, 0, 9, 9)], "2": [TextBox(0, 0, 9, 9)], "3": [], "4": [TextBox(0, 0, 9, 9)]}
    patients = {"1": "p", "2": "p", "3": "q", "4": ""}
    assert lenders_of("1", patients, found, Masking()) == ["4"]
    assert set(lenders_of("4", patients, found, Masking())) == {"1", "2"}
