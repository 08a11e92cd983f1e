"""The paired bootstrap: patients are drawn, every measure is that of the X-rays drawn, and it agrees with our test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from cxr.evaluation.comparison import Predictions, compare_predictions
from cxr.evaluation.comparison.bootstrap import MeasuresOfDraws, paired_bootstrap
from cxr.evaluation.comparison.measures import Measures
from cxr.evaluation.comparison.pairing import pair
from cxr.evaluation.metrics import probabilities
from cxr.evaluation.resampling import draws_of


def runs_of(task: str, names: tuple[str, ...], n: int = 240, n_patients: int = 60, gain: float = 1.0):
    rng = np.random.default_rng(len(names))
    patient = rng.integers(0, n_patients, n)
    truth = rng.integers(0, len(names), n)
    targets = np.where(rng.random((n, len(names))) < 0.1, np.nan, rng.integers(0, 2, (n, len(names))))
    runs = []
    for name, signal in (("a", 1.0), ("b", gain)):
        there = np.eye(len(names))[truth] if task == "single-label" else np.nan_to_num(targets)
        logits = np.round(rng.normal(size=(n, len(names))) + signal * there, 1)
        table = pd.DataFrame(probabilities(logits, task), columns=[f"prob_{c}" for c in names])
        table["image_id"], table["patient_id"] = [f"i{k}" for k in range(n)], [f"p{k}" for k in patient]
        table["split"], table["label"] = "test", [names[k] for k in truth]
        if task == "single-label":
            table["predicted"] = [names[k] for k in logits.argmax(1)]
        else:
            table[[f"target_{c}" for c in names]] = targets
        runs.append(Predictions(name, name, task, names, table))
    return runs


def test_every_draw_has_as_many_patients_as_there_are_and_all_are_drawn_alike() -> None:
    draws = np.hstack(list(draws_of(40, 250, seed=1, chunk=100)))
    assert draws.shape == (40, 250)
    assert (draws.sum(0) == 40).all()
    assert draws.mean() == 1
    assert draws.var() == pytest.approx(1 - 1 / 40, abs=0.05)
    assert np.hstack(list(draws_of(40, 250, seed=1, chunk=100))).tolist() == draws.tolist()


@pytest.mark.parametrize(
    ("task", "names"), [("single-label", ("x", "y")), ("single-label", ("x", "y", "z, z")), ("multi-label", ("x", "y"))]
)
def test_a_draw_has_the_measures_of_the_x_rays_that_were_drawn(task: str, names: tuple[str, ...]) -> None:
    measures = Measures(pair(runs_of(task, names)))
    of_draws = MeasuresOfDraws(measures)
    counts = next(draws_of(of_draws.n_patients, 3, seed=2))
    drawn = of_draws.values(1, counts)
    paired = measures.paired
    for column in range(3):
        rows = np.repeat(np.arange(len(of_draws.patient)), counts[of_draws.patient, column].astype(int))
        truth, scores = paired.truth[rows], paired.scores[1][rows]
        if task == "single-label":
            predicted = paired.predicted[1][rows]
            aucs = [roc_auc_score(truth == k, scores[:, k]) for k in range(len(names))]
            expected = [accuracy_score(truth, predicted), balanced_accuracy_score(truth, predicted), np.mean(aucs)]
        else:
            known = np.isfinite(truth)
            aucs = [roc_auc_score(truth[known[:, k], k], scores[known[:, k], k]) for k in range(2)]
            expected = [np.mean(aucs), *aucs]
        np.testing.assert_allclose(drawn[column], expected, atol=1e-6)


def test_intervals_and_p_are_about_those_of_the_test_over_patients() -> None:
    runs = runs_of("single-label", ("x", "y"), n=1200, n_patients=400, gain=1.4)
    results = compare_predictions(runs)
    ours = {row["measure"]: row for row in results["differences"]}
    resampled = [row for row in results["references"] if row["test"] == "paired bootstrap"]
    assert {row["measure"] for row in resampled} == set(ours)
    for row in resampled:
        own = ours[row["measure"]]
        assert row["value"] == pytest.approx(own["value"])
        assert [row["low"], row["high"]] == pytest.approx([own["low"], own["high"]], abs=0.012)
        assert (row["p"] < 0.05) == (own["p"] < 0.05)


def test_two_runs_that_are_alike_differ_by_nothing_with_p_1() -> None:
    first, _ = runs_of("single-label", ("x", "y", "z"))
    second = Predictions("b", "b", first.task, first.classes, first.table)
    measures = Measures(pair([first, second]))
    for _, _, test in paired_bootstrap(measures, [(0, 1)], n_draws=200):
        assert (test.value, test.low, test.high, test.p) == (0, 0, 0, 1)


def test_a_class_of_one_patient_has_no_interval_where_most_draws_lack_it() -> None:
    runs = runs_of("multi-label", ("x", "y"), n=40, n_patients=5)
    for run in runs:
        run.table["target_y"] = (run.table["patient_id"] == "p0").astype(float)
        run.table.loc[run.table["patient_id"] != "p0", "target_y"] = np.nan
    names = {row["measure"] for row in compare_predictions(runs)["references"] if row["test"] == "paired bootstrap"}
    assert names == {"mean AUC", "AUC of x"}
