import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student

from cxr.evaluation.intervals import (
    FEWEST_PATIENTS,
    Jackknife,
    difference_intervals,
    effective_patients,
    jackknife,
    mean_intervals,
    mean_of_patients,
    patients_of_pairs,
    ratio_intervals,
    share_interval,
    share_intervals,
    sign_flips,
    wilson,
)
from cxr.evaluation.metrics import softmax, summarise, weighted_auc
from cxr.evaluation.multilabel import multilabel_metrics, summarise_findings, weighted_average_precision
from cxr.evaluation.scores.further import further_scores


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 20), (1, 7), (50, 100), (99, 100), (20, 20), (713, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_agrees_with_scipy(k, n, level):
    theirs = binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_has_no_interval():
    assert wilson(0, 0) is None


def mean_of(values):
    return lambda weights: (weights @ values / weights.sum(1))[:, None]


def width(limits):
    return limits[1] - limits[0]


def test_the_mean_of_patients_with_one_image_has_students_interval():
    values = np.random.default_rng(0).normal(size=200)
    (limits,) = mean_intervals(values, np.arange(200))
    half = student.ppf(0.975, 199) * values.std(ddof=1) / np.sqrt(200)
    assert width(limits) == pytest.approx(2 * half, rel=0.02)
    assert sum(limits) / 2 == pytest.approx(values.mean())


def test_a_share_of_single_images_has_about_wilsons_interval():
    right = (np.arange(300) < 240).astype(float)
    (limits,) = share_intervals(mean_of(right), np.arange(300), [300.0])
    assert limits == pytest.approx(wilson(240, 300), abs=0.004)


@pytest.mark.parametrize("kind", ["share", "difference", "ratio"])
def test_images_of_a_patient_that_go_together_widen_the_interval(kind):
    groups = np.repeat(np.arange(40), 10)
    values = np.repeat(np.random.default_rng(1).random(40), 10)

    def limits(patients):
        if kind == "share":
            return share_intervals(mean_of(values), patients, [effective_patients(patients)])[0]
        if kind == "difference":
            return difference_intervals(mean_of(values), patients, [effective_patients(patients)])[0]
        return ratio_intervals(mean_of(values), patients)[0]

    assert width(limits(groups)) > 2.5 * width(limits(np.arange(400)))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_images_agree_the_patients_bound_the_share(value):
    groups = np.repeat(np.arange(20), 5)
    (low, high) = share_intervals(mean_of(np.full(100, value)), groups, [effective_patients(groups)])[0]
    assert effective_patients(groups) == pytest.approx(20)
    assert value in (low, high)
    assert high - low == pytest.approx(width(wilson(20, 20, quantile=student.ppf(0.975, 19))))
    assert high - low > width(wilson(100, 100))


def test_an_error_of_one_patient_alone_is_not_taken_for_a_known_variance():
    groups, right = np.repeat(np.arange(100), 6), np.ones(600)
    right[0] = 0
    (low, _) = share_intervals(mean_of(right), groups, [effective_patients(groups)])[0]
    assert low < wilson(599, 600)[0]


def limits_at(value, carriers=2.0):
    """Return the interval of a share of 11 patients with the variance of 60 independent images."""
    found = Jackknife(np.array([value]), np.array([value * (1 - value) / 60]), np.array([carriers]), 10)
    return share_interval(found, 0, 8.0)


@pytest.mark.parametrize("value", [0.6, 0.9, 0.99])
def test_an_uncertain_variance_lengthens_the_far_end_and_hardly_the_near_one(value):
    n, quantile = 60 ** (2 / 3) * 8 ** (1 / 3), student.ppf(0.975, 10)
    far, most = wilson(value * n, n, quantile=quantile)
    low, high = limits_at(value)
    assert low == pytest.approx(far)
    assert wilson(value * 60, 60)[1] < high < most
    # The nearer the figure is to its end, the less is added there.
    added = (high - wilson(value * 60, 60)[1]) / (most - wilson(value * 60, 60)[1])
    assert added == pytest.approx((1 - value) / value, abs=0.1)
    assert limits_at(1 - value) == pytest.approx((1 - high, 1 - low))


def test_at_one_half_both_ends_are_alike():
    low, high = limits_at(0.5)
    assert high - 0.5 == pytest.approx(0.5 - low)
    assert limits_at(0.5 + 1e-9) == pytest.approx((low, high), abs=1e-7)


def test_intervals_of_few_patients_miss_as_often_as_they_say():
    rng, missed = np.random.default_rng(0), []
    for _ in range(1500):
        patients = np.repeat(np.arange(60), rng.integers(1, 11, 60))[:60]
        right = (rng.random(60) < 0.9).astype(float)
        ((low, high),) = share_intervals(mean_of(right), patients, [effective_patients(patients)])
        missed.append([high < 0.9, low > 0.9])
    below, above = np.mean(missed, axis=0)
    assert 0.02 < below < 0.05  # 0.015 where the near end is as long as the far one
    assert above < 0.01  # 60 of 60 are not surely more than 0.9


def test_rounding_errors_are_no_variance():
    patients = np.repeat(np.arange(10), 6)
    (low, high) = share_intervals(mean_of(np.full(60, 0.3)), patients, [10.0])[0]
    assert (low, high) == pytest.approx(wilson(3, 10, quantile=student.ppf(0.975, 9)))


def test_patients_stand_for_fewer_images_where_some_have_many():
    assert effective_patients(list("abcd")) == 4
    assert effective_patients(list("aaab")) == pytest.approx(16 / 10)
    assert effective_patients(list("aaab"), np.array([1, 0, 0, 1])) == 2
    assert effective_patients([]) == 0


def test_one_patient_gives_no_interval_and_what_is_not_defined_has_none():
    assert share_intervals(mean_of(np.array([1.0, 0, 1])), list("aaa"), [1.0]) == [None]
    assert difference_intervals(mean_of(np.array([1.0, 0, 1])), list("aaa"), [1.0]) == [None]
    assert mean_intervals(np.zeros((4, 2)), list("aabb")) == [None, None]
    nothing = lambda weights: np.full((len(weights), 1), np.nan)  # noqa: E731
    assert share_intervals(nothing, list("abc"), [3.0]) == [None]


def test_many_patients_are_left_out_in_groups_with_the_same_variance():
    values = np.random.default_rng(0).normal(size=3000)
    found = jackknife(mean_of(values), np.arange(3000))
    assert found.freedom == 249
    assert found.variance[0] == pytest.approx(values.var(ddof=1) / 3000, rel=0.3)


def test_a_difference_of_nothing_has_an_interval_to_both_sides():
    (low, high) = difference_intervals(mean_of(np.zeros(60)), np.arange(60), [60.0])[0]
    assert low == -high
    assert 0.03 < high < 0.1
    (_, of_fewer) = difference_intervals(mean_of(np.zeros(60)), np.arange(60), [10.0])[0]
    assert of_fewer > 2 * high


# --- means ---------------------------------------------------------------------------------------------------------


def test_a_mean_is_as_uncertain_of_its_variance_as_its_parts():
    values = np.column_stack([np.random.default_rng(0).random(30), np.arange(30) == 0, np.ones(30)])
    statistic = lambda weights: weights @ np.column_stack([values, values.mean(1)]) / weights.sum(1)[:, None]  # noqa: E731
    found = jackknife(statistic, np.arange(30))
    many, one, none, _ = found.carriers
    assert many > 10
    assert one == pytest.approx(1, abs=0.1)
    assert np.isnan(none)

    def carriers(parts, patients=(30.0, 30.0, 30.0, 30.0)):
        changed = found.with_means({3: parts}, patients).carriers
        assert changed[:3] == pytest.approx(found.carriers[:3], nan_ok=True)
        return changed[3]

    assert carriers([0]) == pytest.approx(many)
    assert carriers([0, 1]) == pytest.approx(2 / (1 / many + 1 / one))
    assert carriers([0, 2]) == pytest.approx(2 / (1 / many + 1))
    # A part of few patients is most of the mean's variance.
    assert carriers([0, 2], (300.0, 0.0, 3.0, 0.0)) == pytest.approx(1, abs=0.02)


def test_a_stabilised_variance_is_that_of_the_arcsine_of_the_root():
    right = np.r_[np.zeros(3), np.ones(57)]
    plain, stabilised = (jackknife(mean_of(right), np.arange(60), stabilised=columns) for columns in ((), (0,)))
    angle = jackknife(lambda weights: np.arcsin(np.sqrt(mean_of(right)(weights))), np.arange(60))
    assert stabilised.variance[0] == pytest.approx(4 * 0.95 * 0.05 * angle.variance[0])
    assert plain.variance[0] < stabilised.variance[0] < 1.3 * plain.variance[0]
    # Where much is wrong and nobody stands out, both are the same.
    halves = np.arange(60) % 2.0
    plain, stabilised = (jackknife(mean_of(halves), np.arange(60), stabilised=columns) for columns in ((), (0,)))
    assert stabilised.variance[0] == pytest.approx(plain.variance[0], rel=0.01)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_stabilised_figure_at_an_end_has_the_interval_of_its_patients(value):
    statistic = mean_of(np.full(20, value))
    plain, stabilised = (
        share_intervals(statistic, np.arange(20), [20.0], stabilised=columns)[0] for columns in ((), (0,))
    )
    assert stabilised == plain


def findings_drawn(rng, n):
    """Return targets (n, 3), probabilities and patients of 1 to 10 X-rays; the third finding is rare."""
    patient = np.repeat(np.arange(n), rng.integers(1, 11, n))[:n]
    targets = (rng.random((n, 3)) < [0.3, 0.5, 0.1]).astype(float)
    return targets, 1 / (1 + np.exp(-(rng.normal(size=(n, 3)) + 3.6 * (targets - 0.5)))), patient.astype(str)


def test_a_mean_over_findings_holds_where_a_rare_one_has_no_error_by_chance():
    rng, names = np.random.default_rng(0), ["a", "b", "c"]
    targets, chances, _ = findings_drawn(rng, 200_000)
    truth = multilabel_metrics(targets, chances)["average_precision"]
    found = []
    while len(found) < 300:
        targets, chances, patient = findings_drawn(rng, 60)
        if targets.any(0).all():
            found.append(summarise_findings(targets, chances, names, patient)["average_precision"])
    held = np.mean([mean["low"] <= truth <= mean["high"] for mean in found])
    assert held >= 0.96  # 0.94 with the variance of the mean as it is


def test_the_mean_of_one_finding_has_the_interval_of_it():
    targets, chances, patient = findings_drawn(np.random.default_rng(1), 60)
    summary = summarise_findings(targets[:, :1], chances[:, :1], ["a"], patient)
    for name in ("auc", "average_precision"):
        assert summary[name] == summary["per_class"]["a"][name]


def ranked_by(measure, targets, chances):
    """Return a statistic (B, 4) of weights: a measure of three columns, and its mean."""

    def statistic(weights):
        columns = [measure(targets[:, k] == 1, chances[:, k], weights) for k in range(3)]
        return np.column_stack([*columns, np.mean(columns, axis=0)])

    return statistic


def limits_of(estimate):
    return pytest.approx((estimate["low"], estimate["high"]), abs=1e-12)


def test_an_evaluation_has_its_means_as_uncertain_as_their_parts_and_stabilises_average_precision():
    targets, chances, patient = findings_drawn(np.random.default_rng(3), 120)
    chances[:, 2] = 0.1 + 0.8 * targets[:, 2]  # a rare finding without an error
    positive, negative = ([effective_patients(patient, targets[:, k] == value) for k in range(3)] for value in (1, 0))
    pairs = [patients_of_pairs(*pair) for pair in zip(positive, negative, strict=True)]
    summary = summarise_findings(targets, chances, ["a", "b", "c"], patient)
    for name, measure, patients, stabilised in (
        ("auc", weighted_auc, pairs, []),
        ("average_precision", weighted_average_precision, positive, [0, 1, 2, 3]),
    ):
        arguments = ranked_by(measure, targets, chances), patient, [*patients, mean_of_patients(patients)]
        plain = share_intervals(*arguments)
        own = share_intervals(*arguments, means={3: [0, 1, 2]}, stabilised=stabilised)
        assert own == [*(limits_of(summary["per_class"][c][name]) for c in "abc"), limits_of(summary[name])]
        assert width(own[3]) > 1.03 * width(plain[3])
    table = pd.DataFrame({"image_id": [str(k) for k in range(120)], "patient_id": patient})
    for k, name in enumerate("abc"):
        table[f"target_{name}"], table[f"prob_{name}"] = targets[:, k], chances[:, k]
        table[f"logit_{name}"] = np.log(chances[:, k] / (1 - chances[:, k]))
    further = further_scores(table, ["a", "b", "c"], "multi-label")["overall"]["mean_average_precision"]
    assert further == pytest.approx(summary["average_precision"])


def test_the_mean_auc_of_classes_is_as_uncertain_as_their_aucs():
    rng = np.random.default_rng(4)
    truth, patient = np.repeat([0, 1, 2], [80, 80, 6]), np.arange(166).astype(str)
    logits = rng.normal(size=(166, 3)) + 2 * np.eye(3)[truth]
    logits[:, 2] = 20 * (truth == 2) - 10  # a rare class without an error
    chances = softmax(logits)
    table = pd.DataFrame({"image_id": patient, "patient_id": patient})
    table["label"], table["predicted"] = np.array(list("abc"))[truth], np.array(list("abc"))[chances.argmax(1)]
    table[["prob_a", "prob_b", "prob_c"]] = chances
    pairs = [patients_of_pairs((truth == k).sum(), (truth != k).sum()) for k in range(3)]
    arguments = ranked_by(weighted_auc, np.eye(3)[truth], chances), patient, [*pairs, mean_of_patients(pairs)]
    plain, own = share_intervals(*arguments)[3], share_intervals(*arguments, means={3: [0, 1, 2]})[3]
    assert own == limits_of(summarise(table, list("abc"))["auc"])
    assert width(own) > 1.03 * width(plain)


# --- flipped signs -------------------------------------------------------------------------------------------------


def test_p_of_few_patients_is_that_of_all_their_signs():
    assert sign_flips(np.ones(5), list("abcde")).p == 2 / 2**5
    assert sign_flips(np.zeros(5), list("abcde")).p == 1


def test_p_is_that_of_single_images_where_each_patient_has_one():
    differences = np.array([1.0] * 8 + [-1.0] * 2)
    assert sign_flips(differences, np.arange(10)).p == pytest.approx(2 * (1 + 10 + 45) / 2**10)


@pytest.mark.parametrize("n", range(1, 9))
def test_too_few_patients_have_no_interval(n):
    found = sign_flips(np.linspace(0.1, 0.2, n), np.arange(n))
    assert (found.low is None) == (found.high is None) == (n < FEWEST_PATIENTS)


@pytest.mark.parametrize("n", [6, 9, 14, 40, 200])
def test_interval_and_test_agree(n):
    rng = np.random.default_rng(n)
    both = set()
    for _ in range(150):
        patient = np.repeat(np.arange(n), rng.integers(1, 5, n))
        more = min(0.2, rng.uniform(0, 0.8 / np.sqrt(n)))
        differences = rng.choice([-1.0, 0, 1], len(patient), p=[0.2, 0.6 - more, 0.2 + more])
        found = sign_flips(differences, patient)
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high
        both.add(found.p < 0.05)
    assert both == {True, False}


def test_four_flips_of_many_are_not_shown_by_the_interval_either():
    found = sign_flips((np.arange(300) < 4).astype(float), np.arange(300))
    assert found.p > 0.05
    assert found.low <= 0 < found.high


def test_a_change_of_every_image_alike_has_an_interval_of_some_width():
    found = sign_flips(np.ones(30), np.arange(30))
    assert found.p < 0.001
    assert 0.8 < found.low < 1 == found.high


def test_under_no_effect_it_rejects_as_often_as_it_says():
    rng = np.random.default_rng(0)
    ps = [sign_flips(rng.normal(size=40) / 9, np.arange(40), seed).p for seed in range(400)]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.09
