"""Slices of predictions whose right figures are known."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from cxr.cli import main
from cxr.data import Manifest
from cxr.errors import ManifestError, RunError
from cxr.evaluation.intervals import FEWEST_PATIENTS, jackknife
from cxr.evaluation.metrics import auc_without, patients_of, summarise, weighted_auc
from cxr.evaluation.multilabel import summarise_findings
from cxr.evaluation.slices import SliceResults, slice_predictions, slices_of
from cxr.evaluation.slices.columns import divided
from cxr.evaluation.slices.differences import Side, difference_limits, difference_p
from cxr.evaluation.slices.figures import MeanAuc
from cxr.paths import runs_root
from cxr.runs import get_run
from cxr.runs.folder import RunFolder
from tests.typed_results import misfits

TWO, ODD = ["yes", "no"], ["mass > 3 cm", "ünklar", "label"]


def predictions(classes, right, patients=None, seed=0):
    """Predictions that are right where ``right`` says, of labels by turns."""
    n, k = len(right), len(classes)
    truth = np.arange(n) % k
    predicted = np.where(right, truth, (truth + 1) % k)
    chances = np.full((n, k), 0.1) + np.eye(k)[predicted] * 0.5
    chances += np.random.default_rng(seed).random((n, k)) * 0.05
    return pd.DataFrame(
        {
            "image_id": [f"i{i}" for i in range(n)],
            "split": "test",
            "label": [classes[c] for c in truth],
            "predicted": [classes[c] for c in predicted],
            "patient_id": patients if patients is not None else [f"p{i // 2}" for i in range(n)],
            "source": "",
        }
        | {f"prob_{name}": chances[:, c] for c, name in enumerate(classes)}
    )


def one(results: SliceResults, **where):
    """The slice of these groups."""
    return next(entry for entry in results["slices"] if entry["where"] == where)


def worse_in_source_b(classes):
    """240 X-rays of 120 patients; in source b 24 of 60 are right, elsewhere 162 of 180; views say nothing."""
    right = np.r_[np.arange(60) % 5 < 2, np.arange(180) % 10 != 9]
    right[:60] = np.repeat(np.arange(30) % 5 < 2, 2)
    table = predictions(classes, right)
    table["source"] = ["b"] * 60 + ["a"] * 100 + ["c"] * 80
    table["view"] = np.where(np.arange(240) // 2 % 3 == 0, "PA", np.where(np.arange(240) // 2 % 3 == 1, "AP", ""))
    return table


@pytest.fixture(params=[TWO, ODD], ids=["two", "odd"])
def worse_in_b(request):
    return worse_in_source_b(request.param), request.param


def test_accuracy_and_recall_of_each_slice_are_those_of_scikit_learn(worse_in_b):
    table, classes = worse_in_b
    results = slice_predictions(table, classes)
    assert not list(misfits(results, SliceResults))
    for source in "abc":
        part, rest = table[table["source"] == source], table[table["source"] != source]
        entry = one(results, source=source)
        assert entry["figure"]["value"] == pytest.approx((part["label"] == part["predicted"]).mean())
        assert entry["rest"]["value"] == pytest.approx((rest["label"] == rest["predicted"]).mean())
        assert entry["difference"]["value"] == pytest.approx(entry["figure"]["value"] - entry["rest"]["value"])
        recalls = recall_score(part["label"], part["predicted"], labels=classes, average=None)
        assert [entry["per_class"][name]["value"] for name in classes] == pytest.approx(list(recalls))
        assert (entry["n"], entry["n_patients"]) == (len(part), part["patient_id"].nunique())
        summary = summarise(part, classes)
        assert entry["figure"] == pytest.approx(summary["accuracy"])
        assert entry["per_class"][classes[0]]["low"] == summary["per_class"][classes[0]]["recall"]["low"]
    assert results["overall"] == summarise(table, classes)["accuracy"]


def test_the_source_that_does_worse_stands_out_and_nothing_else(worse_in_b):
    table, classes = worse_in_b
    results = slice_predictions(table, classes)
    entry = one(results, source="b")
    assert entry["sentence"].startswith("In X-rays with source b the accuracy is 40.0 % (")
    assert "; 60 X-rays of 30 patients), 50.0 points lower than in the rest (" in entry["sentence"]
    assert entry["difference"]["p_holm"] < 0.001
    assert entry["difference"]["low"] < -0.5 < entry["difference"]["high"] < 0
    assert results["conclusions"][0].startswith(entry["sentence"])
    out = [e["where"] for e in results["slices"] if e["difference"]["p_holm"] < 0.05]
    assert {"source": "b"} in out
    assert not [where for where in out if "view" in where]
    worst = results["pairs"][0]
    assert worst["where"]["source"] == "b"
    assert [e["figure"]["value"] for e in results["pairs"]] == sorted(e["figure"]["value"] for e in results["pairs"])
    assert results["pairs_compared"] == 9
    assert all(e["difference"]["p_holm"] >= e["difference"]["p"] for e in (*results["slices"], *results["pairs"]))


@pytest.mark.parametrize("classes", [TWO, ODD], ids=["two", "odd"])
def test_a_slice_and_its_rest_are_one_comparison(classes: list[str]):
    table = worse_in_source_b(classes)
    table["source"] = ["b"] * 60 + ["a"] * 180
    table["view"] = np.where(np.arange(240) // 2 % 3 == 0, "PA", "AP")
    table["device"] = np.where(np.arange(240) // 2 % 3 == 0, "fixed", "mobile")  # divides as the view does
    results = slice_predictions(table, classes, pairs=False)
    assert len(results["slices"]) == 6
    assert results["tests"] == 2
    view, device, source = (one(results, **where) for where in ({"view": "PA"}, {"device": "mobile"}, {"source": "b"}))
    assert source["difference"]["p_holm"] == pytest.approx(2 * source["difference"]["p"])
    assert view["difference"]["p_holm"] == device["difference"]["p_holm"] == pytest.approx(view["difference"]["p"])
    assert [line.startswith(source["sentence"]) for line in results["conclusions"]] == [True]  # not its rest again
    assert results["conclusions"][0].endswith("corrected for 2 comparisons (Holm).")
    with_pairs = slice_predictions(table, classes)
    # Of the pairs of source and view four are questions of their own; those with the device repeat them.
    assert with_pairs["tests"] == 6
    again = one(with_pairs, source="b")["difference"]
    assert again["p"] == source["difference"]["p"]
    assert again["p_holm"] >= source["difference"]["p_holm"]  # who looks at more is corrected for more


def test_x_rays_without_a_value_are_a_group_of_their_own(worse_in_b):
    table, classes = worse_in_b
    results = slice_predictions(table, classes, by=["view"])
    assert results["columns"]["view"] == {"groups": {"AP": 80, "PA": 80}, "missing": 80, "edges": []}
    assert one(results, view=None)["n"] == 80
    assert "with no value for view" in one(results, view=None)["sentence"]


def test_where_all_do_alike_nothing_stands_out_which_is_said():
    table = predictions(TWO, np.arange(200) // 2 % 5 != 0)
    table["source"] = np.where(np.arange(200) // 2 % 2, "a", "b")
    results = slice_predictions(table, TWO)
    assert results["conclusions"][0].startswith("Nothing stands out among 2 slices.")


def test_a_slice_with_too_few_patients_says_how_many_are_needed():
    table = predictions(TWO, np.arange(60) % 3 != 0, [f"p{i // 4}" for i in range(60)])
    table["source"] = ["few"] * 4 * (FEWEST_PATIENTS - 1) + ["many"] * (60 - 4 * (FEWEST_PATIENTS - 1))
    results = slice_predictions(table, TWO)
    few = one(results, source="few")
    assert f"5 patients in it; {FEWEST_PATIENTS} are needed" in few["sentence"]
    assert few["figure"]["value"] is None
    assert f"5 patients in the rest; {FEWEST_PATIENTS} are needed" in one(results, source="many")["sentence"]
    assert results["conclusions"] == ["Nothing can be compared: no slice has enough patients on both sides."]


def test_a_slice_of_one_class_says_so_and_other_recalls_say_why_they_are_missing():
    table = predictions(ODD, np.arange(90) % 4 != 0, [f"p{i}" for i in range(90)])
    table["source"] = np.where(table["label"] == "ünklar", "x", "y")
    entry = one(slice_predictions(table, ODD), source="x")
    assert entry["only_class"] == "ünklar"
    assert "All of them are ünklar" in entry["sentence"]
    assert entry["per_class"]["label"]["too_small"] == f"0 patients with it; {FEWEST_PATIENTS} are needed"


def findings(n=400, seed=1):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 3)) < [0.4, 0.3, 0.5]
    noisy = np.repeat(np.arange(n // 2) % 2 == 0, 2)
    chances = 1 / (1 + np.exp(-(truth * 2.0 - 1) * np.where(noisy, 0.1, 2.0)[:, None] + rng.normal(size=(n, 3))))
    targets = truth.astype(float)
    targets[rng.random((n, 3)) < 0.1] = np.nan
    targets[noisy, 2] = 0.0  # nobody has the third in the slice
    table = pd.DataFrame({"image_id": [f"i{i}" for i in range(n)], "patient_id": [f"p{i // 2}" for i in range(n)]})
    table = table.assign(split="test", label="", findings="", view=np.where(noisy, "AP", "PA"))
    for k, name in enumerate(ODD):
        table[f"prob_{name}"], table[f"target_{name}"] = chances[:, k], targets[:, k]
    return table


def test_findings_are_compared_by_the_mean_auc_over_those_that_both_sides_have():
    table = findings()
    results = slice_predictions(table, ODD, "multi-label")
    assert not list(misfits(results, SliceResults))
    entry = one(results, view="AP")
    assert entry["findings"] == ODD[:2]
    for figure, view in ((entry["figure"], "AP"), (entry["rest"], "PA")):
        rows = table[table["view"] == view]
        known = [rows[rows[f"target_{name}"].notna()] for name in ODD[:2]]
        aucs = [roc_auc_score(of[f"target_{name}"], of[f"prob_{name}"]) for of, name in zip(known, ODD, strict=False)]
        assert figure["value"] == pytest.approx(np.mean(aucs))
    assert "mean AUC over mass > 3 cm, ünklar is 0." in entry["sentence"]
    assert entry["difference"]["p_holm"] < 0.01
    assert entry["per_class"]["label"]["too_small"] == f"0 patients with it; {FEWEST_PATIENTS} are needed"


def test_a_mean_auc_of_all_x_rays_has_the_interval_of_their_evaluation():
    table = findings(60)
    table[f"prob_{ODD[1]}"] = np.where(table[f"target_{ODD[1]}"] == 1, 0.9, 0.1)  # no error: its mean is less certain
    figure, everything = MeanAuc(table, ODD), np.ones(60, bool)
    targets, chances = (table[[prefix + name for name in ODD]].to_numpy() for prefix in ("target_", "prob_"))
    whole = summarise_findings(targets, chances, ODD, patients_of(table))["auc"]
    own = figure.side(everything, [0, 1, 2])
    assert own.value == pytest.approx(whole["value"])
    assert own.limits() == pytest.approx((whole["low"], whole["high"]))
    alone = Side.of(figure.statistic(everything, [0, 1, 2]), figure.patients, own.patients).limits()
    assert alone is not None
    assert alone[0] > own.limits()[0] + 0.001


def test_bands_of_numbers_state_their_edges_and_a_value_on_an_edge_lies_above_it():
    ages = divided("age", pd.Series([3.0, 18.0, 64.9, 65.0, np.nan]))
    assert list(ages.groups) == ["below 18", "18 to below 40", "40 to below 65", "65 and more", None]
    doses = divided("dose", pd.Series([str(i) for i in range(1, 101)]))
    assert doses.edges == (25.75, 50.5, 75.25)
    assert doses.to_dict()["groups"] == dict.fromkeys(doses.names, 25)
    assert divided("grade", pd.Series([10.0, 9.0, np.nan])).names == ("9", "10")
    assert divided("width", pd.Series([0, 512, 1024])).to_dict()["missing"] == 1


@pytest.mark.parametrize("values", [["1"] * 95 + list("23456789x"), ["2"] * 90 + [str(i) for i in range(10)]])
def test_every_value_belongs_to_one_group(values):
    division = divided("grade", pd.Series(values))
    assert sum(part.sum() for _, part in division.parts()) == len(values)
    assert all(part.any() for _, part in division.parts())


def test_columns_that_divide_nothing_are_named_and_an_unknown_one_is_wrong_use(worse_in_b):
    table, classes = worse_in_b
    table = table.assign(sex="", device="x", series=[f"s{i}" for i in range(240)])
    results = slice_predictions(table, classes)
    assert results["skipped"] == {
        "sex": "no X-ray has a value",
        "device": "all X-rays have the same value, x",
        "series": "240 values, more than 20: name it with --by to compare them all",
    }
    with pytest.raises(ManifestError, match=r"unknown column 'colour'\. Available: ") as error:
        slice_predictions(table, classes, by=["colour"])
    assert error.value.wrong_use


def side(values, patients):
    column = np.asarray(values, float)[:, None]

    def mean(weights):
        return weights @ column / weights.sum(1, keepdims=True)

    return Side.of(mean, patients, len(set(patients)))


def test_the_p_of_a_difference_is_where_its_interval_reaches_0():
    first, second = side([1] * 9 + [0] * 6, range(15)), side([1] * 27 + [0] * 3, range(30))
    p = difference_p(first, second)
    assert 0 < p < 0.1
    assert difference_limits(first, second, level=1 - p)[1] == pytest.approx(0, abs=1e-5)
    assert (difference_limits(first, second)[1] < 0) == (p < 0.05)


def test_a_slice_without_an_error_is_still_uncertain():
    """The jackknife alone says that 6 right answers of 6 have no variance."""
    first, second = side([1] * 6, range(6)), side([1] * 80 + [0] * 20, range(100))
    assert jackknife(lambda w: w @ np.ones((6, 1)) / w.sum(1, keepdims=True), range(6)).variance[0] == 0
    assert difference_p(first, second) > 0.05
    assert difference_limits(first, second)[0] < 0


def test_patients_on_both_sides_make_a_difference_surer_where_their_x_rays_go_together():
    """Each patient has two X-rays in the slice and two outside, right or wrong together."""
    right = np.repeat(np.arange(40) % 2 == 0, 4)
    right[::8] = False  # a slice that is worse within patients
    table = predictions(TWO, right, np.repeat([f"p{i}" for i in range(40)], 4))
    table["view"] = np.tile(["AP", "AP", "PA", "PA"], 40)
    apart = table.assign(patient_id=[f"{p}{v}" for p, v in zip(table["patient_id"], table["view"], strict=True)])
    together, strangers = (one(slice_predictions(of, TWO), view="AP")["difference"] for of in (table, apart))
    assert together["value"] == strangers["value"]
    assert together["high"] - together["low"] < strangers["high"] - strangers["low"]
    assert together["p"] < strangers["p"]


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A finished evaluation of splits test and val; four X-rays of test were seen and are left out."""
    table = worse_in_source_b(ODD).assign(seen="", split=["test"] * 200 + ["val"] * 40)
    table.loc[[0, 1, 100, 101], "seen"] = "trained"
    manifest = table[["image_id", "label", "patient_id", "source", "view", "split"]].assign(
        image=[f"{i}.png" for i in range(240)], sex=["F", "M"] * 120, age=np.r_[[np.nan] * 40, np.arange(200) % 90]
    )
    Manifest.from_table(manifest, tmp_path).save(tmp_path / "manifest.csv")
    folder = RunFolder.create(runs_root(), "evaluate", {"weights": "x", "manifest": str(tmp_path / "manifest.csv")})
    folder.write_predictions(table.drop(columns="view"))
    counts = {"of": 200, "trained": 4, "chosen": 0, "left_out": True}
    seen = {"compared_with": 9, "unknown": [], "blank": 0, "splits": {"test": counts}, "images": []}
    folder.write_json("results.json", {"task": "single-label", "classes": ODD, "splits": {}, "seen": seen})
    return get_run(folder.id)


def test_a_run_is_divided_by_its_manifest_without_what_was_seen(run):
    results = slices_of(run)
    assert (results["splits"], results["n"]) == (["test"], 196)
    assert list(results["columns"]) == ["source", "view", "sex", "age"]
    assert results["columns"]["source"]["groups"] == {"a": 98, "b": 58, "c": 40}
    assert results["columns"]["age"]["missing"] == 38
    assert results["columns"]["age"]["edges"] == [18, 40, 65]
    assert "4 X-rays of all splits are left out" in results["notes"][0]
    assert slices_of(run, splits=["val", "test"])["n"] == 236
    with pytest.raises(RunError, match=r"unknown measured split 'train'\. Available: test, val") as error:
        slices_of(run, splits=["train"])
    assert error.value.wrong_use


def test_a_run_whose_manifest_is_gone_is_divided_by_what_its_predictions_hold(run, tmp_path):
    (tmp_path / "manifest.csv").unlink()
    results = slices_of(run, pairs=False)
    assert list(results["columns"]) == ["source"]
    assert "the manifest cannot be read" in results["notes"][0]
    assert results["pairs"] == []


def test_the_command_prints_the_slices_and_one_json_value(run, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "250")

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["cxr", "slices", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capsys.readouterr()

    code, out, err = command(run.id, "--by", "source", "--by", "age", "--no-pairs", "--json")
    assert code == 0, err
    assert json.loads(out)["slices"] == slices_of(run, ["source", "age"], pairs=False)["slices"]
    code, out, err = command(run.id)
    assert code == 0, err
    for words in (
        "source b",
        "Recall by class",
        "age is cut at 18, 40, 65.",
        "no value for age",
        "Two columns: lowest",
    ):
        assert words in out
    code, _, err = command(run.id, "--by", "colour")
    assert (code, err.count("\n")) == (2, 1)
    assert "unknown column 'colour'" in err


def test_a_run_without_predictions_is_refused_in_one_line(tmp_path):
    folder = RunFolder.create(runs_root(), "evaluate", {"weights": "x", "manifest": str(tmp_path / "m.csv")})
    with pytest.raises(RunError, match="has no predictions to divide"):
        slices_of(get_run(folder.id))


@pytest.mark.parametrize("ties", [False, True])
def test_an_auc_without_each_part_is_that_of_weights_of_0(ties: bool) -> None:
    rng = np.random.default_rng(5)
    score, positive, part = rng.normal(size=90), rng.random(90) < 0.3, rng.integers(0, 7, 90)
    positive[part == 6] = True
    score = score.round(0) if ties else score
    weights = (part != np.arange(8)[:, None]).astype(float)
    np.testing.assert_allclose(auc_without(positive, score, part, 8), weighted_auc(positive, score, weights))
    only = np.where(positive, 0, 1)  # without its part, no positive is left
    assert np.isnan(auc_without(positive, score, only, 2)).all()
