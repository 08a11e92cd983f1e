"""Curves against scikit-learn, their bands over patients, thresholds in words, matrices by patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix as reference_matrix
from sklearn.metrics import precision_recall_curve, roc_curve

from cxr.evaluation.curves import (
    classes_of,
    confusion_matrix,
    histogram,
    one_class,
    operating_point,
    point_in_words,
    precision_recall,
    reliability,
    roc,
)
from cxr.evaluation.curves.confusion import texts_of
from cxr.evaluation.curves.reliability import bins_of
from cxr.evaluation.curves.thresholds import predictive_value
from cxr.evaluation.scores.calibration import Temperature


def drawn(n: int, seed: int, *, ties: bool = False, patients: int | None = None):
    """X-rays of a class with their scores; the scores of a patient's X-rays go together."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, patients or n, n)
    positive = rng.random(n) < 0.35
    own = rng.normal(size=groups.max() + 1)[groups]
    score = 1 / (1 + np.exp(-(0.7 * own + 0.7 * rng.normal(size=n) + 1.4 * positive - 0.7)))
    return positive, score.round(1) if ties else score, groups


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [40, 700])
def test_curves_pass_through_the_points_of_scikit_learn(n: int, ties: bool) -> None:
    positive, score, groups = drawn(n, n, ties=ties)
    one = one_class(positive, score, groups)
    false, true, thresholds = roc_curve(positive, score, drop_intermediate=False)
    curve = roc(one)
    np.testing.assert_allclose(np.c_[curve.x, curve.y], np.c_[false, true])
    np.testing.assert_allclose(curve.thresholds[1:], thresholds[1:])
    precision, recall, thresholds = precision_recall_curve(positive, score)
    curve = precision_recall(one)
    np.testing.assert_allclose(np.c_[curve.x, curve.y][1:], np.c_[recall, precision][:-1][::-1])
    np.testing.assert_allclose(curve.thresholds[1:], thresholds[::-1])


def test_a_thinned_curve_keeps_its_ends_and_lies_on_the_whole_one() -> None:
    curve = roc(one_class(*drawn(20_000, 1)), band=False)
    thin = curve.thinned(300)
    assert len(thin.x) <= 302
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (0, 0, 1, 1)
    whole = set(zip(curve.x, curve.y, curve.thresholds, strict=True))
    assert set(zip(thin.x, thin.y, thin.thresholds, strict=True)) <= whole
    assert np.hypot(np.diff(thin.x), np.diff(thin.y)).max() < 0.02


@pytest.mark.parametrize("of", [roc, precision_recall])
def test_bands_hold_the_curve_are_wider_with_fewer_patients_and_never_without_a_width(of) -> None:
    positive, score, groups = drawn(600, 3)
    curve = of(one_class(positive, score, groups))
    band = curve.band
    inside = (band.x > 0.05) & (band.x < 0.95)
    own = np.interp(band.x, curve.x, curve.y)
    assert ((band.low - 0.02 <= own) & (own <= band.high + 0.02))[inside].all()
    ten_times = [np.repeat(column, 10) for column in (positive[:80], score[:80], groups[:80])]
    of_few, of_many = of(one_class(*ten_times)).band, of(one_class(*ten_times[:2], range(800))).band
    width_of_few, width_of_many = ((band.high - band.low)[10:90].mean() for band in (of_few, of_many))
    assert width_of_few > 2 * width_of_many  # 10 X-rays of a patient that are all alike tell as much as one
    perfect = of(one_class(np.arange(40) < 20, np.arange(40) < 20, np.arange(40))).band
    assert (perfect.high == 1).all()
    assert (perfect.low < 0.95).all()
    assert of(one_class([True, False], [0.9, 0.1], ["a", "a"])).band is None


def test_a_class_that_is_absent_or_alone_has_no_curve_and_says_why() -> None:
    absent = one_class([False] * 5, np.arange(5) / 5, range(5), "effusion")
    assert "no X-ray of effusion among 5 X-rays" in absent.undefined
    alone = one_class([True] * 5, np.arange(5) / 5, range(5), "effusion")
    assert "there is no rest" in alone.undefined
    nothing = one_class([], [], [], "effusion")
    assert nothing.undefined
    for one in (absent, alone, nothing):
        assert not len(roc(one).x)
        assert not len(precision_recall(one).x)
        assert operating_point(one, 0.5).ppv["value"] is None
    assert operating_point(absent, 0.5).sensitivity["value"] is None
    assert reliability(nothing) == []
    assert operating_point(absent, 0.5).specificity["value"] == pytest.approx(3 / 5)


def test_calibration_bins_are_equally_full_and_those_of_scikit_learn() -> None:
    positive, score, groups = drawn(900, 5, patients=300)
    bins = reliability(one_class(positive, score, groups))
    assert {entry.n for entry in bins} == {90}
    share, probability = calibration_curve(positive, score, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([entry.share["value"] for entry in bins], share, atol=0.012)
    np.testing.assert_allclose([entry.probability for entry in bins], probability, atol=0.005)
    for entry in bins:
        assert entry.share["low"] < entry.share["value"] < entry.share["high"]
        assert 0 < entry.n_patients <= entry.n
    assert len(reliability(one_class(positive[:30], score[:30], groups[:30]))) == 2
    assert len(np.unique(bins_of(np.r_[np.zeros(90), np.linspace(0.5, 1, 10)], 10))) <= 3


def test_histograms_count_every_x_ray_once_also_those_of_probability_1() -> None:
    positive = np.array([True, True, False, False])
    bars = histogram(one_class(positive, [1.0, 0.93, 0.0, 0.11], range(4)), bins=10)
    assert bars.with_class.tolist() == [0] * 9 + [2]
    assert bars.without.tolist() == [1, 1] + [0] * 8


def test_a_threshold_has_the_shares_of_the_matrix_and_predictive_values_by_bayes() -> None:
    positive, score, groups = drawn(800, 7, patients=200)
    one = one_class(positive, score, groups, "nodule")
    point = operating_point(one, 0.4)
    (tn, fp), (fn, tp) = point.counts
    assert [[tn, fp], [fn, tp]] == reference_matrix(positive, score > 0.4).tolist()
    assert point.sensitivity["value"] == pytest.approx(tp / (tp + fn))
    assert point.specificity["value"] == pytest.approx(tn / (tn + fp))
    assert point.ppv["value"] == pytest.approx(tp / (tp + fp))  # at the prevalence of the data
    assert point.npv["value"] == pytest.approx(tn / (tn + fn))
    rare = operating_point(one, 0.4, 0.01)
    assert rare.ppv["value"] < point.ppv["value"]
    assert rare.npv["value"] > point.npv["value"]
    for value in (rare.ppv, rare.npv, point.ppv, point.sensitivity):
        assert value["low"] < value["value"] < value["high"]
    text = " ".join(point_in_words(rare))
    assert f"{tp} of {tp + fn} X-rays of " in text
    assert "Where 1 % of X-rays have it" in text
    with pytest.raises(ValueError, match="prevalence 1 is not between 0 and 1"):
        operating_point(one, 0.4, 1)


def test_without_a_false_alarm_the_predictive_value_still_may_be_low_where_the_class_is_rare() -> None:
    positive = np.arange(60) < 20
    point = operating_point(one_class(positive, positive * 0.9, range(60)), 0.5, 0.01)
    assert point.ppv["value"] == 1
    assert point.ppv["high"] == 1
    # 40 X-rays without a false alarm allow for a rate of 9 %.
    assert 0.05 < point.ppv["low"] < 0.2
    nobody = operating_point(one_class(positive, positive * 0.9, range(60)), 0.95, 0.01)
    assert nobody.ppv["value"] is None
    assert "there is none here" in " ".join(point_in_words(nobody))


def test_the_interval_of_a_predictive_value_shrinks_to_that_of_a_known_rate() -> None:
    hit = {"value": 0.8, "low": 0.7, "high": 0.88}
    known = predictive_value(hit, {"value": 0.1, "low": 0.1, "high": 0.1}, 0.2)
    for end in ("value", "low", "high"):
        assert known[end] == pytest.approx(0.2 * hit[end] / (0.2 * hit[end] + 0.8 * 0.1))


def test_matrices_count_x_rays_or_each_patient_once() -> None:
    truth, predicted = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 1])
    groups = ["a", "a", "a", "b", "b"]
    matrix = confusion_matrix(truth, predicted, 3)
    assert matrix.tolist() == reference_matrix(truth, predicted, labels=[0, 1, 2]).tolist()
    by_patient = confusion_matrix(truth, predicted, 3, groups)
    np.testing.assert_allclose(by_patient, [[2 / 3, 1 / 3, 0], [0, 0.5, 0], [0, 0.5, 0]])
    assert by_patient.sum() == pytest.approx(2)
    assert texts_of(by_patient, "patients")[0] == ["0.7", "0.3", "0"]
    assert texts_of(np.array([[6469, 3]]), "X-rays")[0] == ["6,469", "3"]
    assert texts_of(matrix, "% of row")[0] == ["67 %", "33 %", "0 %"]
    assert texts_of(np.zeros((2, 2)), "% of row")[0] == ["–", "–"]


@pytest.mark.parametrize(("task", "names"), [("single-label", ("flu", "none", "a b")), ("multi-label", ("x", "y"))])
def test_each_class_of_a_table_stands_against_the_rest_where_it_is_known(task: str, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(30, len(names))).astype(np.float32)
    table = pd.DataFrame(logits, columns=[f"logit_{name}" for name in names])
    table["image_id"] = [f"i{k}" for k in range(30)]
    table["patient_id"] = ["p"] * 10 + [""] * 20
    if task == "multi-label":
        targets = rng.choice([0.0, 1.0, np.nan], (30, len(names)))
        table[[f"target_{name}" for name in names]] = targets
        known = int(np.isfinite(targets[:, 0]).sum())
    else:
        table["label"] = [names[0], "of no class", *[names[1]] * 28]
        table["predicted"] = names[1]
        known = 29
    by_name = classes_of(table, names, task)
    assert list(by_name) == list(names)
    assert by_name[names[0]].n == known
    assert by_name[names[0]].n_patients <= 21
    hot = classes_of(table, names, task, temperature=Temperature(1e6, "val", 9))
    expected = 0.5 if task == "multi-label" else 1 / len(names)
    np.testing.assert_allclose(hot[names[0]].score, expected, atol=1e-4)
