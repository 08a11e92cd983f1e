import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score, roc_auc_score

from cxr.evaluation import summarise
from cxr.evaluation.metrics import headline, point_metrics, softmax, weighted_auc
from cxr.evaluation.results import Summary
from cxr.evaluation.summary import validation_summary
from tests.typed_results import misfits

CLASSES = ["covid19", "normal", "pneumonia"]


def table_of(truth, logits, patients=None):
    probabilities = softmax(logits)
    table = pd.DataFrame(
        {
            "image_id": [f"i{n}" for n in range(len(truth))],
            "label": truth,
            "predicted": [CLASSES[k] for k in logits.argmax(1)] if len(truth) else [],
            "patient_id": patients if patients is not None else [f"p{n // 2}" for n in range(len(truth))],
        }
    )
    return table.assign(**{f"prob_{c}": probabilities[:, k] for k, c in enumerate(CLASSES)})


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 200)
    return table_of([CLASSES[k] for k in codes], np.eye(3)[codes] * 1.2 + rng.normal(size=(200, 3)))


def test_every_figure_agrees_with_scikit_learn(table):
    found = summarise(table, CLASSES)
    truth, said = table["label"], table["predicted"]
    assert found["confusion"] == confusion_matrix(truth, said, labels=CLASSES).tolist()
    assert found["accuracy"]["value"] == pytest.approx((truth == said).mean())
    assert found["macro_f1"]["value"] == pytest.approx(f1_score(truth, said, average="macro"))
    scores = table[[f"prob_{c}" for c in CLASSES]].to_numpy()
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr", labels=CLASSES))
    each = {"labels": CLASSES, "average": None}
    theirs = {"recall": recall_score, "precision": precision_score, "f1": f1_score}
    for name, measure in theirs.items():
        ours = [found["per_class"][c][name]["value"] for c in CLASSES]
        assert ours == pytest.approx(list(measure(truth, said, **each)))
    assert (found["n"], found["n_patients"]) == (200, 100)


def test_every_interval_holds_its_value(table):
    found = summarise(table, CLASSES)
    intervals = [found[name] for name in ("accuracy", "macro_f1", "auc")]
    intervals += [found["per_class"][c][m] for c in CLASSES for m in ("recall", "precision", "f1", "auc")]
    for interval in intervals:
        assert 0 <= interval["low"] < interval["value"] < interval["high"] <= 1
    assert found == summarise(table, CLASSES)


def test_the_weighted_auc_is_that_of_images_repeated_and_counts_ties_half():
    rng = np.random.default_rng(2)
    score, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    ours = weighted_auc(positive, score, weights)
    for row, value in zip(weights.astype(int), ours, strict=True):
        assert value == pytest.approx(roc_auc_score(np.repeat(positive, row), np.repeat(score, row)))
    assert np.isnan(weighted_auc(np.ones(60, bool), score, weights)).all()


def test_a_class_that_is_absent_has_none_and_does_not_lower_the_means():
    logits = np.array([[3.0, 0, 0], [0, 3, 0], [0, 3, 0], [3, 0, 0]])
    found = summarise(table_of(["covid19", "normal", "normal", "covid19"], logits), CLASSES)
    absent = found["per_class"]["pneumonia"]
    assert absent["support"] == 0
    for name in ("recall", "precision", "f1", "auc"):
        assert absent[name]["value"] is None
    assert found["macro_f1"]["value"] == found["auc"]["value"] == 1


@pytest.mark.parametrize("n", [0, 1, 3])
def test_nothing_one_image_or_one_patient_gives_none_instead_of_an_error(n):
    found = summarise(table_of(["normal"] * n, np.tile([0.0, 1, 0], (n, 1)), ["p"] * n), CLASSES)
    assert found["n"] == n
    assert found["auc"] == {"value": None, "low": None, "high": None}
    assert found["macro_f1"]["low"] is None
    assert found["accuracy"]["value"] == (None if n == 0 else 1)


def test_labels_outside_the_classes_are_left_out(table):
    strange = table.assign(label=["tuberculosis"] * 10 + table["label"].tolist()[10:])
    assert summarise(strange, CLASSES)["n"] == 190


def test_images_without_a_patient_are_patients_of_their_own(table):
    assert summarise(table.assign(patient_id=""), CLASSES)["n_patients"] == 200


def test_point_metrics_are_those_of_the_summary(table):
    codes = np.array([CLASSES.index(c) for c in table["label"]])
    logits = table[[f"prob_{c}" for c in CLASSES]].to_numpy()
    found, whole = point_metrics(codes, logits), summarise(table, CLASSES)
    assert found["accuracy"] == pytest.approx(whole["accuracy"]["value"])
    assert found["macro_f1"] == pytest.approx(whole["macro_f1"]["value"])


def test_the_summary_of_a_validation_is_that_of_its_task(table):
    codes = np.array([CLASSES.index(label) for label in table["label"]])
    scores = np.log(table[[f"prob_{c}" for c in CLASSES]].to_numpy())
    single = validation_summary("single-label", codes, scores, CLASSES, table["patient_id"].tolist())
    assert single["confusion"] == summarise(table, CLASSES)["confusion"]
    assert single["auc"] == pytest.approx(summarise(table, CLASSES)["auc"])
    targets = np.random.default_rng(0).integers(0, 2, (20, 3)).astype(np.float32)
    several = validation_summary("multi-label", targets, targets * 2 - 1, CLASSES, [f"p{k}" for k in range(20)])
    assert several["auc"]["value"] == 1
    assert "accuracy" not in several


def test_a_headline_says_what_kind_of_figure_it_is(table):
    assert headline(summarise(table, CLASSES)).startswith("accuracy ")
    auc = {"value": 0.8, "low": 0.7, "high": 0.9}
    assert headline({"task": "multi-label", "n": 9, "auc": auc}) == "mean AUC 0.800 (0.700 to 0.900), 9 X-rays"
    of = {"task": "multi-label", "n": 9, "n_patients": 1, "auc": auc}
    assert headline(of) == "mean AUC 0.800 (0.700 to 0.900), 9 X-rays of 1 patient"
    nothing = {"value": None, "low": None, "high": None}
    assert headline({"task": "multi-label", "n": 9, "auc": nothing}) == "no mean AUC, 9 X-rays"


def test_a_summary_is_what_its_type_says_and_each_difference_is_named(table):
    summary = summarise(table, CLASSES)
    assert list(misfits(summary, Summary)) == []
    without = {name: value for name, value in summary.items() if name not in ("n", "accuracy")}
    assert list(misfits(without, Summary)) == ["results: n is missing"]  # of findings there is no accuracy
    assert list(misfits({**summary, "f2": 1}, Summary)) == ["results.f2 is not among the keys of Summary"]
    wrong = {**summary, "auc": {"value": "high", "low": None, "high": True}}
    assert [text.split(":")[0] for text in misfits(wrong, Summary)] == ["results.auc.value", "results.auc.high"]
