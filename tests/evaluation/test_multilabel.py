import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from cxr.evaluation.metrics import sigmoid
from cxr.evaluation.multilabel import (
    multilabel_metrics,
    outcomes,
    summarise_findings,
    thresholds_in_words,
    weighted_average_precision,
)

NAMES = ["a", "b", "c"]
NOTHING = {"value": None, "low": None, "high": None}


@pytest.fixture
def findings():
    """Targets (200, 3) of which some are unknown and the last is never there, logits, and two images per patient."""
    rng = np.random.default_rng(1)
    targets = (rng.random((200, 3)) < [0.3, 0.5, 0]).astype(np.float32)
    logits = targets * 1.5 + rng.normal(size=(200, 3)) - 0.5
    targets[rng.random((200, 3)) < 0.2] = np.nan
    return targets, logits, [f"p{n // 2}" for n in range(200)]


@pytest.mark.parametrize("thresholds", [{}, {"a": 0.3, "c": 0.1}])
def test_every_figure_is_scikit_learns_over_what_is_known(findings, thresholds):
    targets, logits, patients = findings
    found = summarise_findings(targets, sigmoid(logits), NAMES, patients, thresholds)
    assert found["task"] == "multi-label"
    assert "accuracy" not in found
    assert (found["n"], found["n_patients"]) == (200, 100)
    for k, name in enumerate(NAMES[:2]):
        known = np.isfinite(targets[:, k])
        truth, chances = targets[known, k], sigmoid(logits)[known, k]
        said = chances > thresholds.get(name, 0.5)
        theirs = {
            "auc": roc_auc_score(truth, chances),
            "average_precision": average_precision_score(truth, chances),
            "sensitivity": recall_score(truth, said),
            "specificity": recall_score(truth, said, pos_label=0),
            "precision": precision_score(truth, said),
            "f1": f1_score(truth, said),
        }
        ours = found["per_class"][name]
        for measure, value in theirs.items():
            assert ours[measure]["value"] == pytest.approx(value), measure
            assert 0 <= ours[measure]["low"] < value < ours[measure]["high"] <= 1, measure
        assert (ours["known"], ours["positive"]) == (known.sum(), truth.sum())
        assert ours["negative"] == ours["known"] - ours["positive"]
        assert np.sum(ours["confusion"]) == ours["known"]
        assert ours["confusion"][1][1] == (truth * said).sum()
    for measure in ("auc", "average_precision"):
        mean = np.mean([found["per_class"][name][measure]["value"] for name in "ab"])
        assert found[measure]["value"] == pytest.approx(mean)
        assert multilabel_metrics(targets, logits)[measure] == pytest.approx(mean)


def test_a_finding_that_is_never_there_has_a_specificity_and_nothing_else(findings):
    targets, logits, patients = findings
    c = summarise_findings(targets, sigmoid(logits), NAMES, patients)["per_class"]["c"]
    assert c["positive"] == 0
    assert c["specificity"]["value"] == pytest.approx(np.mean(logits[np.isfinite(targets[:, 2]), 2] <= 0))
    for measure in ("auc", "average_precision", "sensitivity", "f1"):
        assert c[measure] == NOTHING


def test_thresholds_are_the_published_ones_or_said_to_be_the_default(findings):
    targets, logits, patients = findings

    def summary(thresholds):
        return summarise_findings(targets, sigmoid(logits), NAMES, patients, thresholds)

    some = summary({"a": 0.1})
    assert [some["per_class"][n]["threshold"] for n in NAMES] == [0.1, 0.5, 0.5]
    assert [some["per_class"][n]["published"] for n in NAMES] == [True, False, False]
    assert "above 0.5 for b, c" in thresholds_in_words(some)
    assert "above probability 0.5" in thresholds_in_words(summary({}))
    assert "publisher" in thresholds_in_words(summary(dict.fromkeys(NAMES, 0.2)))


def test_a_share_of_none_or_all_has_an_interval_of_more_than_a_point():
    targets = np.array([[1.0]] * 20 + [[0.0]] * 5)
    found = summarise_findings(targets, targets, ["a"], [f"p{n}" for n in range(25)])["per_class"]["a"]
    assert found["sensitivity"]["value"] == 1
    assert 0.8 < found["sensitivity"]["low"] < 0.839, "Wilson's of 20 of 20, Student's quantile for 25 patients"
    assert found["specificity"]["low"] < found["sensitivity"]["low"]


def test_the_weighted_average_precision_is_that_of_images_repeated():
    rng = np.random.default_rng(2)
    score, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    ours = weighted_average_precision(positive, score, weights)
    for row, value in zip(weights.astype(int), ours, strict=True):
        assert value == pytest.approx(average_precision_score(np.repeat(positive, row), np.repeat(score, row)))
    assert np.isnan(weighted_average_precision(np.ones(60, bool), score, weights)).all()
    assert np.isnan(weighted_average_precision(positive, score, weights * ~positive)).all()


def test_metrics_of_an_epoch_leave_out_findings_with_one_value_alone_and_know_no_accuracy():
    targets = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]], np.float32)
    logits = np.array([[2, -1, -1], [-2, -1, 1], [2, -1, 1], [-1, -1, 2.0]])
    found = multilabel_metrics(targets, logits)
    assert found["auc"] == pytest.approx((1 + roc_auc_score(targets[:, 2], logits[:, 2])) / 2)
    assert found["macro_f1"] == pytest.approx((1 + 0.8) / 2)
    assert found.keys() == {"auc", "average_precision", "macro_f1"}


def test_the_interval_of_an_auc_widens_when_the_images_of_a_patient_are_alike(findings):
    targets, logits, patients = (np.repeat(np.asarray(values)[:100], 4, axis=0) for values in findings)

    def width(groups):
        auc = summarise_findings(targets, sigmoid(logits), NAMES, groups)["per_class"]["b"]["auc"]
        return auc["high"] - auc["low"]

    assert width(patients.tolist()) > 1.5 * width([f"p{n}" for n in range(400)])


@pytest.mark.parametrize("n", [0, 1, 4])
def test_nothing_known_of_any_finding_gives_none_instead_of_an_error(n):
    found = summarise_findings(np.full((n, 2), np.nan), np.full((n, 2), 0.5), ["a", "b"], list("wxyz")[:n])
    assert found["n"] == n
    assert found["auc"] == found["average_precision"] == NOTHING
    assert found["per_class"]["a"]["sensitivity"] == NOTHING
    assert found["per_class"]["a"]["known"] == 0
    assert set(multilabel_metrics(np.full((n, 2), np.nan), np.zeros((n, 2))).values()) == {None}


def test_each_image_is_one_of_four_outcomes_of_a_finding_or_unknown():
    found = outcomes(np.array([1, 1, 0, 0, np.nan]), np.array([0.9, 0.5, 0.6, 0.1, 0.9]), 0.5)
    assert found.tolist() == ["true positive", "false negative", "false positive", "true negative", ""]
