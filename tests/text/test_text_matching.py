"""Controls change the picture as much as the tokens do, lie as deep in it, and no sentence claims more than that."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from configurations import THREE, TWO
from scipy.special import logit

from cxr.data.images.resize import fit_square
from cxr.experiments.masking.conclusions import conclusion
from cxr.experiments.masking.conditions import Masking, controls_of, versions
from cxr.experiments.masking.effects import SMALLEST_EFFECT, Answers, effects
from cxr.experiments.masking.effects_by_finding import effects_by_finding
from cxr.experiments.masking.matched_controls import (
    DEPTH_TOLERANCE,
    LARGEST_GAIN,
    MaskedChange,
    depth,
    enlarged,
    gain_of,
)
from cxr.experiments.masking.results import left_in
from cxr.experiments.masking.sentences import finding
from cxr.experiments.masking.shrinkage import FEWEST_PATIENTS, shrunken_means
from cxr.experiments.stamping.dose_response import least
from cxr.reports import masking_tables
from cxr.text import TextBox, mask_text
from cxr.text.controls import control_boxes, share_of_middle

SIZE = 64
MODES = ("inpaint", "mean", "black")


def film(shape=(260, 300), seed=0):
    """A smooth picture with some edges, a bright word at its rim and a letter in its middle; and their boxes."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(40, 160, shape, dtype=np.uint8), (31, 31), 0)
    for k in range(8):  # like ribs and clavicles
        cv2.line(image, (20, 20 + 28 * k), (280, 45 + 25 * k), 150 + 5 * k, 3)
    boxes = [TextBox(10, 12, 90, 32, "PORTABLE", kind="word"), TextBox(140, 120, 160, 145, "L", kind="letter")]
    cv2.putText(image, "PORTABLE", (12, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 2)
    cv2.putText(image, "L", (143, 140), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    return image, boxes


def change(image, picture):
    return np.abs(fit_square(picture, SIZE).astype(int) - fit_square(image, SIZE)).mean()


@pytest.mark.parametrize("mode", MODES)
def test_random_boxes_change_the_networks_picture_as_much_as_the_tokens_do(mode):
    by_condition, by_place = {"tokens": [], "random": []}, []
    for seed in range(4):
        image, boxes = film(seed=seed)
        masking = Masking((mode,), draws=3)
        controls = controls_of(str(seed), image, boxes, masking, SIZE)
        for condition, picture in versions(image, boxes, controls, masking, SIZE):
            by_condition[condition.name].append(change(image, picture))
        placed = control_boxes(boxes, image.shape, np.random.default_rng(seed), margin=masking.margin)
        by_place.append(change(image, mask_text(image, placed, mode)))
    tokens, random = (np.mean(by_condition[name]) for name in ("tokens", "random"))
    assert random == pytest.approx(tokens, rel=0.2)
    if mode == "inpaint":  # what placing alone does: much less
        assert np.mean(by_place) < 0.6 * tokens


def test_a_control_lies_as_deep_in_the_picture_as_its_token_and_off_all_tokens():
    image, boxes = film()
    controls = controls_of("x", image, boxes, Masking(draws=5), SIZE, [([TextBox(0, 0, 30, 9)], (100, 100))])
    assert len(set(controls["inpaint"].random)) == 5
    for draw in controls["inpaint"].random:
        assert sorted(box.area for box in draw) == sorted(box.area for box in boxes)
        for box in draw:
            token = next(token for token in boxes if token.area == box.area)
            assert abs(depth(box, image.shape) - depth(token, image.shape)) <= DEPTH_TOLERANCE
        assert share_of_middle(draw, image.shape) >= 0.9 * share_of_middle(boxes, image.shape)


def test_each_mode_has_controls_of_its_own():
    image, boxes = film()
    controls = controls_of("x", image, boxes, Masking(MODES, draws=2), SIZE)
    assert len({controls[mode].random for mode in MODES}) > 1


@pytest.mark.parametrize("mode", ["inpaint", "mean", "black", "blur", "noise", "swap"])
def test_the_estimated_change_is_near_the_one_that_the_network_sees(mode):
    image, boxes = film()
    measure = MaskedChange(image, SIZE, mode, 0.1)
    seen = change(image, mask_text(image, boxes, mode, 0.1))
    assert measure.of(boxes) == pytest.approx(seen, rel=0.35)
    assert sum(map(measure.of_box, boxes)) == pytest.approx(seen, rel=0.35)


def test_what_a_place_cannot_change_is_enlarged_within_limits():
    image, masked = np.full((4, 4), 100, np.uint8), np.full((4, 4), 110, np.uint8)
    assert (enlarged(image, masked, 1.0) == 110).all()
    assert (enlarged(image, masked, 2.5) == 125).all()
    assert (enlarged(image, np.full((4, 4), 250, np.uint8), 3.0) == 255).all()
    assert (gain_of(3, 2), gain_of(1, 2), gain_of(9, 1), gain_of(1, 0)) == (1.5, 1.0, LARGEST_GAIN, 1.0)


def test_a_token_that_fills_the_picture_still_has_controls():
    image = film()[0]
    boxes = [TextBox(0, 0, 300, 130), TextBox(0, 130, 300, 260)]
    (draw,) = controls_of("x", image, boxes, Masking(draws=1), SIZE)["inpaint"].random
    assert [box.area for box in draw] == [300 * 130] * 2


# --- what is said of it --------------------------------------------------------------------------------------------


def answers(by, task, classes, n=120):
    """Answers of n patients, whose tokens move the first class's probability farther than random boxes, by ``by``."""
    rng = np.random.default_rng(0)
    before = np.full((n, len(classes)), 1 / len(classes))
    jitter = lambda: np.clip(0.002 + rng.normal(0, 0.0005, n), 0, None)  # noqa: E731

    def moved_by(size):
        after = before.copy()
        after[:, 0] += size
        if task == "single-label":
            after[:, 1] -= size
            return np.log(after / after.sum(1, keepdims=True))
        return logit(after)

    return Answers(
        before=moved_by(np.zeros(n)),
        tokens={"mean": moved_by(jitter() + by)},
        random={"mean": np.stack([moved_by(jitter()), moved_by(jitter())])},
        other={"mean": moved_by(jitter())},
        truth=np.zeros(n, int) if task == "single-label" else np.zeros((n, len(classes))),
        patients=[f"p{k}" for k in range(n)],
        task=task,
    )


def sentence(by, task, classes, match=None):
    multi_label = task == "multi-label"
    effect = (effects_by_finding if multi_label else effects)(answers(by, task, classes), classes)
    if match:
        effect["mean"]["match"] = match
    summary = {"auc": {"value": 0.8}, "accuracy": {"value": 0.8}, "per_class": {}}
    facts = {"task": task, "classes": list(classes), "n_tokens": 9, "n_with_text": 9, "n_images": 120}
    said = finding(facts | dict.fromkeys(("before", "after"), summary) | {"modes": effect})
    return conclusion(effect["mean"], multi_label), said


tasks = pytest.mark.parametrize(("task", "classes"), [("single-label", THREE), ("multi-label", TWO)], ids=str)


@tasks
def test_a_difference_beyond_chance_that_is_too_small_to_matter_is_not_claimed(task, classes):
    of = len(classes) if task == "multi-label" else 1  # of findings the mean is taken
    kind, said = sentence(0.6 * SMALLEST_EFFECT * of, task, classes)
    assert kind == "small"
    assert "too small to matter" in said
    assert "matter more" not in said
    assert "responds to the text" not in said
    kind, said = sentence(2 * SMALLEST_EFFECT * of, task, classes)
    assert kind == "probabilities"
    assert "too small" not in said
    assert "matter more" in said or "responds to the text" in said


@tasks
def test_controls_that_change_the_picture_much_less_allow_no_claim_and_are_reported(task, classes):
    shares = {"tokens": 0.01, "random": 0.01, "other": 0.0}
    strong = {"change": {"tokens": 0.4, "random": 0.38, "other": 0.3}, "inside": shares}
    kind, said = sentence(0.05, task, classes, strong)
    assert kind == "probabilities"
    assert "by 0.40 grey levels (of 255) on average, masking random boxes by 0.38" in said
    kind, said = sentence(0.05, task, classes, strong | {"change": {"tokens": 0.4, "random": 0.12, "other": 0.1}})
    assert kind == "weak"
    assert "these change the picture much less" in said
    (p,) = re.findall(r"more than random boxes do \(p = ([^,;)]+)", said)
    assert float(p) < 0.05  # that of what differs
    assert "0.12" in said
    assert "matter more" not in said
    assert "Farther than under random boxes" not in said


def test_a_single_finding_that_moves_too_little_is_not_named():
    _, said = sentence(0.6 * SMALLEST_EFFECT, "multi-label", TWO)
    assert "No single finding moves farther" in said


def test_tables_show_how_well_controls_match_and_open_results_of_an_older_version():
    effect = effects(answers(0.05, "single-label", THREE), THREE)
    match = {name: {"tokens": 0.4, "random": 0.12, "other": 0.1} for name in ("change", "inside")}
    row = masking_tables.match({"modes": {"mean": effect["mean"] | {"match": match}}}).iloc[0]
    assert row["grey levels changed, random boxes"] == "0.12"
    assert row["middle of the X-ray, text masked"] == "40.00 %"
    assert masking_tables.match({"modes": effect}).empty
    old = {"group": "word", "token": "L", "n_images": 9, "n_tokens": 9, "changed": None, "towards": None}
    value = {"value": 0.02, "low": 0.01, "high": 0.03}
    shown = masking_tables.left_in({"modes": effect, "left_in": [old | {"moved": value, "probability": {}}]}).iloc[0]
    assert (shown["probabilities moved"], shown["as measured"]) == ("–", "0.020 [0.010, 0.030]")


def test_a_stamp_that_raises_a_probability_by_too_little_has_no_smallest_dose():
    def dose(size, by):
        return {"size": size, "contrast": 1.0, "probability_beyond": {"value": by, "p_holm": 0.001}}

    assert least({"doses": [dose(0.1, 0.6 * SMALLEST_EFFECT), dose(0.2, 2 * SMALLEST_EFFECT)]})["size"] == 0.2
    assert least({"doses": [dose(0.1, 0.6 * SMALLEST_EFFECT)]}) is None


# --- the most affected word ----------------------------------------------------------------------------------------


def words(seed, spread, n=40):
    rng = np.random.default_rng(seed)
    truth = 0.012 * np.exp(rng.normal(0, spread, n))
    return truth, [rng.gamma(1, mean, int(rng.integers(5, 30))) for mean in truth]


def first_of(seed, spread):
    truth, values = words(seed, spread)
    drawn = shrunken_means(values, [list(map(str, range(len(some)))) for some in values])
    first = max(range(len(values)), key=lambda k: drawn[k]["value"])
    measured = max(some.mean() for some in values)
    return truth[first], drawn[first]["value"], measured, drawn[first]["low"] <= truth[first] <= drawn[first]["high"]


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_the_word_that_is_listed_first_is_not_said_to_move_more_than_it_does(spread):
    true, said, measured, holds = np.array([first_of(seed, spread) for seed in range(60)]).T
    assert said.mean() == pytest.approx(true.mean(), rel=0.2)
    assert measured.mean() > 1.25 * true.mean()
    assert holds.mean() > 0.85


def test_words_of_too_few_patients_have_no_estimate_and_are_listed_last():
    few, many = FEWEST_PATIENTS - 1, FEWEST_PATIENTS + 3
    values = [np.full(many, 0.9), np.linspace(0.01, 0.03, many), np.linspace(0.02, 0.04, many)]
    patients = [[str(k % few) for k in range(many)], [str(k) for k in range(many)], [str(k) for k in range(many)]]
    first, *rest = shrunken_means(values, patients)
    assert first is None
    assert all(one["low"] < one["value"] < one["high"] for one in rest)
    assert shrunken_means([], []) == []
    assert shrunken_means([np.zeros(9)], [list("abcdefghi")])[0]["value"] == pytest.approx(0, abs=1e-6)


class Kept:
    def __init__(self, rows, logits):
        self.rows, self.logits, self.n_tokens = rows, logits, len(rows)


def test_a_frequent_word_goes_before_a_rare_one_that_seems_to_do_more():
    of = answers(0.05, "single-label", THREE)
    frequent, rare = np.arange(60), np.arange(3)
    kept = {
        "word:OFTEN": Kept(frequent, of.before[frequent]),
        "word:RARE": Kept(rare, of.before[rare] + [[3.0, 0.0, 0.0]] * 3),
    }
    first, last = left_in(of, kept, THREE)
    assert (first["token"], last["token"]) == ("OFTEN", "RARE")
    assert first["shrunken"]["value"] == pytest.approx(first["moved"]["value"], rel=0.1)
    assert last["shrunken"] is None
    assert last["moved"]["value"] > first["moved"]["value"]


# --- the benchmark -------------------------------------------------------------------------------------------------


@pytest.fixture
def placebo(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import placebo_tokens

    return placebo_tokens


def test_the_placebo_page_counts_the_claims_of_its_draws(placebo):
    rng = np.random.default_rng(0)
    before = {"network 1": rng.normal(size=(60, 3))}

    def a_set(by):
        after = before["network 1"] + rng.normal(0, 0.01, (4, 60, 3))
        after[0] += [by, 0, 0]
        return {"change": np.ones((4, 60)), "network 1": after}

    patients = [str(k) for k in range(60)]
    rows = {by: list(placebo.rows_of([a_set(by)] * 2, before, patients, 4)) for by in (0.0, 1.0)}
    assert [row["conclusion"] for row in rows[0.0]] == ["nothing"] * 4
    assert all(row["conclusion"] in ("predictions", "probabilities") for row in rows[1.0])
    told = [{"control": "matched", "mode": "mean"} | row for row in (*rows[0.0], *rows[1.0])]
    page = placebo.page(told, 60, 2, "command")
    assert "**4 claims in 8 experiments (50.0 %).**" in page
    assert "| matched | all | all | 4 of 8 (50.0 %) |" in page
    json.dumps(told)
