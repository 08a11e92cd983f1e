"""Further scores against scikit-learn, their intervals at the edges, and what is said of a class without an X-ray."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from cxr.evaluation.metrics import probabilities
from cxr.evaluation.scores.calibration import BINS, NoTemperature, Temperature, fit_temperature
from cxr.evaluation.scores.further import NOT_FITTED, OWN_SPLIT, further_scores, temperature_of


def predictions(task: str, classes: tuple[str, ...], n: int = 120, seed: int = 0, signal: float = 1.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    k = len(classes)
    several = task == "multi-label"
    true = (rng.uniform(size=(n, k)) < 0.4).astype(float) if several else np.eye(k)[rng.integers(0, k, n)]
    logits = rng.normal(size=(n, k)) + signal * (true - 0.5)
    chances = probabilities(logits, task)
    table = pd.DataFrame({"image_id": np.arange(n).astype(str), "patient_id": (np.arange(n) // 3).astype(str)})
    table["split"] = np.where(np.arange(n) // 3 % 2, "val", "test")
    if task == "multi-label":
        true[rng.uniform(size=(n, k)) < 0.1] = np.nan
        table[[f"target_{c}" for c in classes]] = true
        table["label"] = ""
    else:
        table["label"] = [classes[i] for i in true.argmax(1)]
        table["predicted"] = [classes[i] for i in logits.argmax(1)]
    table[[f"logit_{c}" for c in classes]] = logits
    table[[f"prob_{c}" for c in classes]] = chances
    return table


def sensitivity_at(specificity: float, true: np.ndarray, score: np.ndarray) -> float:
    fpr, tpr, _ = sk.roc_curve(true, score, drop_intermediate=False)
    return float(tpr[fpr <= 1 - specificity + 1e-12].max())


def value(estimate: object) -> float:
    assert isinstance(estimate, dict)
    assert estimate["low"] <= estimate["value"] <= estimate["high"]
    return estimate["value"]


@pytest.mark.parametrize("classes", [("a", "b", "c"), ("hernia", "no hernia")], ids=len)
def test_scores_of_classes_are_those_of_scikit_learn(classes):
    table = predictions("single-label", classes)
    label, predicted = table["label"], table["predicted"]
    chances = table[[f"prob_{c}" for c in classes]].to_numpy()
    scores = further_scores(table, classes, "single-label")
    overall, names = scores["overall"], list(classes)
    options = {"labels": names, "average": "macro"}
    assert value(overall["balanced_accuracy"]) == pytest.approx(sk.balanced_accuracy_score(label, predicted))
    assert value(overall["macro_recall"]) == pytest.approx(sk.recall_score(label, predicted, **options))
    assert value(overall["macro_precision"]) == pytest.approx(sk.precision_score(label, predicted, **options))
    assert value(overall["macro_f1"]) == pytest.approx(sk.f1_score(label, predicted, **options))
    assert value(overall["log_loss"]) == pytest.approx(sk.log_loss(label, chances, labels=names))
    one_hot = (label.to_numpy()[:, None] == np.array(names)).astype(float)
    squares = float(((chances - one_hot) ** 2).sum(1).mean())
    if len(classes) == 2:
        squares = sk.brier_score_loss(label, chances[:, 1], pos_label=classes[1])
    assert value(overall["brier"]) == pytest.approx(squares)
    for k, name in enumerate(classes):
        true, own = (label == name).to_numpy(), scores["per_class"][name]
        specificity = sk.recall_score(~true, predicted != name)
        assert value(own["specificity"]) == pytest.approx(specificity)
        assert value(own["average_precision"]) == pytest.approx(sk.average_precision_score(true, chances[:, k]))
        for share in (90, 95):
            expected = sensitivity_at(share / 100, true, chances[:, k])
            assert value(own[f"sensitivity_at_{share}"]) == pytest.approx(expected)


def test_scores_of_findings_are_those_of_scikit_learn_over_what_is_known():
    classes = ("Mass", "Nodule", "Effusion")
    table = predictions("multi-label", classes)
    scores = further_scores(table, classes, "multi-label", thresholds={"Mass": 0.3})
    rows = []
    for name in classes:
        known = table[table[f"target_{name}"].notna()]
        true, chance = known[f"target_{name}"] == 1, known[f"prob_{name}"]
        said = chance > (0.3 if name == "Mass" else 0.5)
        own = scores["per_class"][name]
        specificity = sk.recall_score(~true, ~said)
        assert value(own["specificity"]) == pytest.approx(specificity)
        assert value(own["sensitivity_at_90"]) == pytest.approx(sensitivity_at(0.9, true, chance))
        rows.append(
            {
                "macro_f1": sk.f1_score(true, said),
                "macro_precision": sk.precision_score(true, said),
                "balanced_accuracy": sk.balanced_accuracy_score(true, said),
                "brier": sk.brier_score_loss(true, chance),
                "log_loss": sk.log_loss(true, chance),
            }
        )
    for name, expected in pd.DataFrame(rows).mean().items():
        assert value(scores["overall"][str(name)]) == pytest.approx(expected), name


def test_the_calibration_error_is_that_of_bins_of_equal_width():
    classes = ("a", "b", "c")
    table = predictions("single-label", classes, n=600)
    confidence = table[[f"prob_{c}" for c in classes]].max(axis=1)
    right = (table["label"] == table["predicted"]).astype(float)
    parts = pd.DataFrame({"gap": confidence - right, "bin": pd.cut(confidence, np.linspace(0, 1, BINS + 1))})
    expected = parts.groupby("bin", observed=True)["gap"].sum().abs().sum() / len(table)
    assert value(further_scores(table, classes, "single-label")["overall"]["ece"]) == pytest.approx(expected)


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_temperature_scaling_undoes_logits_that_are_too_large(task):
    classes = ("a", "b", "c")
    table = predictions(task, classes, n=1200)
    logits = [f"logit_{c}" for c in classes]
    fitted = temperature_of(table, classes, task)
    assert isinstance(fitted, Temperature)
    larger = table.assign(**{name: 3 * table[name] for name in logits})
    larger[[f"prob_{c}" for c in classes]] = probabilities(larger[logits].to_numpy(), task)
    again = temperature_of(larger, classes, task)
    assert isinstance(again, Temperature)
    assert again.value == pytest.approx(3 * fitted.value, rel=1e-3)
    assert again.n == 600
    test, validation = (larger[larger["split"] == name] for name in ("test", "val"))
    scores = further_scores(test, classes, task, again)
    assert value(scores["scaled"]["ece"]) < scores["overall"]["ece"]["value"]
    assert value(scores["scaled"]["log_loss"]) < scores["overall"]["log_loss"]["value"]
    assert further_scores(validation, classes, task, again)["scaled"]["why"] == OWN_SPLIT
    assert further_scores(test, classes, task)["scaled"] == {"why": NOT_FITTED}
    assert temperature_of(test, classes, task) == NoTemperature(NOT_FITTED)


def test_the_fitted_temperature_is_that_of_a_search_over_many():
    table = predictions("single-label", ("a", "b"), n=300)
    logits = table[["logit_a", "logit_b"]].to_numpy()
    true = np.column_stack([(table["label"] == c).to_numpy() for c in "ab"])
    fitted = fit_temperature(logits, true, np.ones_like(true), "single-label", "val", np.arange(len(true)))
    assert isinstance(fitted, Temperature)
    grid = np.exp(np.linspace(-2, 2, 2001))
    losses = [sk.log_loss(table["label"], probabilities(logits / t)) for t in grid]
    assert fitted.value == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)


def of_validation(task: str, logits: list[list[float]], true: list[int], n_patients: int = 40) -> pd.DataFrame:
    """X-rays of the split val with these logits of two classes, again and again, and one X-ray of test."""
    n = 80
    values = np.array([logits[k % len(logits)] for k in range(n)])
    labels = np.array([true[k % len(true)] for k in range(n)])
    table = pd.DataFrame({f"logit_{name}": values[:, k] for k, name in enumerate("ab")})
    table[["prob_a", "prob_b"]] = probabilities(values, task)
    table["label"] = [("a", "b")[k] for k in labels]
    table["predicted"] = [("a", "b")[k] for k in values.argmax(1)]
    for k, name in enumerate("ab"):
        table[f"target_{name}"] = (labels == k).astype(float)
    rows = table.assign(image_id=[f"i{k}" for k in range(n)], patient_id=[f"p{k % n_patients}" for k in range(n)])
    return rows.assign(split=["test", *["val"] * (n - 1)])


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
@pytest.mark.parametrize(
    ("logits", "true", "n_patients", "said"),
    [
        ([[2.0, -1.0], [-1.0, 3.0]], [0, 1], 40, "all of the 79 X-rays of 40 patients in the split val are right"),
        ([[2.0, -1.0], [-1.0, 3.0]], [1, 0], 40, "the outputs are no better than equal probabilities"),
        (
            [[2.0, -1.0], [-1.0, 3.0], [0.5, -0.5]],
            [0, 1, 1],
            4,
            "only 79 X-rays of 4 patients in the split val, and at",
        ),
        ([[0.0, 0.0]], [0, 1], 40, "the outputs are no better than equal probabilities"),
    ],
)
def test_a_temperature_that_runs_to_the_end_of_any_search_is_not_fitted_and_the_reason_is_said(
    task, logits, true, n_patients, said
):
    table = of_validation(task, logits, true, n_patients)
    temperature = temperature_of(table, ("a", "b"), task)
    assert isinstance(temperature, NoTemperature)
    assert temperature.why.startswith("cannot be fitted: ")
    assert said in temperature.why
    for split in ("val", "test"):
        rows = table[table["split"] == split]
        assert further_scores(rows, ("a", "b"), task, temperature)["scaled"] == {"why": temperature.why}


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_temperature_is_found_whatever_the_scale_of_the_logits(task, scale):
    logits = [[2.0 * scale, -2.0 * scale]] * 4
    fitted = temperature_of(of_validation(task, logits, [0, 0, 0, 1]), ("a", "b"), task)
    assert isinstance(fitted, Temperature)
    odds = 59 / 20  # of 79, the first being of test
    difference = 4 * scale if task == "single-label" else 2 * scale
    assert fitted.value == pytest.approx(difference / np.log(odds))


def test_a_class_without_an_xray_is_in_no_mean_and_the_reason_is_said():
    classes = ("a", "b", "c")
    table = predictions("single-label", classes)
    table = table[table["label"] != "c"]
    scores = further_scores(table, classes, "single-label")
    assert scores["undefined"]["c"].startswith("no X-ray of it")
    assert scores["per_class"]["c"]["average_precision"]["value"] is None
    assert scores["per_class"]["c"]["specificity"]["value"] is not None
    recall = sk.recall_score(table["label"], table["predicted"], labels=["a", "b"], average="macro")
    assert value(scores["overall"]["balanced_accuracy"]) == pytest.approx(recall)
    one = further_scores(table[table["label"] == "a"], classes, "single-label")
    assert one["undefined"]["a"].startswith("no X-ray without it")
    assert one["overall"]["mean_average_precision"]["value"] is None
    nothing = further_scores(table[table["label"] == "c"], classes, "single-label")
    assert {entry["value"] for entry in nothing["overall"].values()} == {None}


def test_errors_are_counted_by_patient_and_no_interval_of_a_perfect_network_has_a_width_of_zero():
    table = predictions("single-label", ("a", "b"), n=60, signal=60)
    scores = further_scores(table, ("a", "b"), "single-label")
    assert scores["errors"] == "0 errors in 60 X-rays of 20 patients"
    for name in ("balanced_accuracy", "ece", "mean_sensitivity_at_95"):
        entry = scores["overall"][name]
        assert entry["high"] - entry["low"] > 0.05, name
    table.loc[0, "predicted"] = "b" if table.loc[0, "label"] == "a" else "a"
    assert further_scores(table, ("a", "b"), "single-label")["errors"].endswith(
        "1 error in 60 X-rays of 20 patients (1 patient with at least one)"
    )
