"""Runs are compared on the X-rays they share, over patients, and "cannot be told apart" is one of the answers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr.cli import main
from cxr.data import Manifest
from cxr.errors import RunError
from cxr.evaluation.comparison import ComparisonResults, Predictions, compare, compare_predictions
from cxr.evaluation.comparison.compare import published_tests
from cxr.evaluation.comparison.measures import Measures
from cxr.evaluation.comparison.pairing import NO_LABEL, NOT_SHARED, OTHER_LABEL, SEEN, pair
from cxr.evaluation.comparison.references import delong, mcnemar
from cxr.evaluation.intervals import difference_intervals, difference_tests
from cxr.evaluation.metrics import summarise, weighted_auc
from cxr.evaluation.multilabel import summarise_findings
from cxr.evaluation.tests import holm
from cxr.paths import runs_root
from cxr.runs import Run
from cxr.runs.folder import RunFolder
from tests.typed_results import misfits

ODD = ("no, finding", "prob_x", "Ærger|1")


def probabilities(predicted: np.ndarray, n_classes: int, sure: float = 0.6) -> np.ndarray:
    chances = np.full((len(predicted), n_classes), (1 - sure) / (n_classes - 1))
    chances[np.arange(len(predicted)), predicted] = sure
    return chances


def single(run: str, truth: np.ndarray, predicted: np.ndarray, classes=("a", "b"), patients=None, **values):
    """Predictions of a run; ``classes`` are those of ``truth`` and ``predicted``."""
    patients = [f"p{k}" for k in range(len(truth))] if patients is None else [f"p{k}" for k in patients]
    labels = np.array(classes, object)
    table = pd.DataFrame(
        {
            "image_id": [f"x{k}" for k in range(len(truth))],
            "split": "test",
            "label": labels[truth],
            "predicted": labels[predicted],
            "patient_id": patients,
            "seen": "",
        }
    )
    chances = pd.DataFrame(probabilities(predicted, len(classes)), columns=[f"prob_{name}" for name in classes])
    return Predictions(run, f"net {run}", "single-label", tuple(classes), pd.concat([table, chances], axis=1), "h")


def several(run: str, targets: np.ndarray, chances: np.ndarray, findings=("Mass", "Nodule/2")) -> Predictions:
    names = [f"{prefix}{name}" for prefix in ("target_", "prob_") for name in findings]
    table = pd.DataFrame(np.hstack([targets, chances]), columns=names)
    table["image_id"] = [f"x{k}" for k in range(len(table))]
    table["patient_id"] = [f"p{k // 2}" for k in range(len(table))]
    return Predictions(run, run, "multi-label", tuple(findings), table.assign(split="test", seen="", label=""), "h")


def flipped(truth: np.ndarray, wrong: np.ndarray, n_classes: int = 2) -> np.ndarray:
    return np.where(wrong, (truth + 1) % n_classes, truth)


def difference(results: ComparisonResults, measure: str):
    return next(row for row in results["differences"] if row["measure"] == measure)


def written(predictions: Predictions, manifest: str = "/nowhere/manifest.csv", data_hash: str = "h") -> str:
    """Make the folder of an evaluation that has these predictions, and return its id."""
    params = {"weights": "demo", "manifest": manifest}
    folder = RunFolder.create(runs_root(), "evaluate", params, name=predictions.name)
    folder.write_predictions(predictions.table)
    provenance = {"date": "2026-11-28T00:00:00+00:00", "cxr": "1", "manifest_hash": data_hash}
    results = {"task": predictions.task, "classes": list(predictions.classes), "splits": {}, "provenance": provenance}
    folder.write_json("results.json", results)
    return folder.id


# --- published tests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (1, 7, 0.0703),  # Fagerland, Lydersen and Laake 2013 (airway hyper-responsiveness), exact conditional test
        (6, 16, 0.0525),  # 2 * P(X <= 6), X of 22 trials: 2 * 110,056 / 2^22
        (0, 0, 1.0),
        (5, 5, 1.0),
    ],
)
def test_mcnemar_gives_the_published_p_values(first: int, second: int, p: float):
    assert mcnemar(first, second) == pytest.approx(p, abs=1e-4)
    assert mcnemar(second, first) == pytest.approx(p, abs=1e-4)


def delong_pair_by_pair(positive: np.ndarray, scores: list[np.ndarray]) -> tuple[float, float]:
    """The difference and its variance by DeLong's formulas of 1988, a comparison of every pair."""
    kernels = [np.heaviside(s[positive][:, None] - s[~positive][None], 0.5) for s in scores]
    m, n = kernels[0].shape
    s10 = np.cov([kernel.mean(1) for kernel in kernels])
    s01 = np.cov([kernel.mean(0) for kernel in kernels])
    contrast = np.array([1, -1])
    return float(kernels[0].mean() - kernels[1].mean()), float(contrast @ (s10 / m + s01 / n) @ contrast)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_by_ranks_is_delong_by_every_pair(ties: bool):
    rng = np.random.default_rng(1)
    positive = rng.random(90) < 0.3
    scores = [positive * gain + rng.normal(size=90) for gain in (1.2, 0.7)]
    scores = [np.round(score) if ties else score for score in scores]
    value, variance = delong_pair_by_pair(positive, scores)
    test = delong(positive, *scores)
    assert test is not None
    assert test.low is not None
    assert test.high is not None
    assert test.value == pytest.approx(value)
    assert (test.high - test.low) / 2 == pytest.approx(1.959964 * variance**0.5)
    assert test.first == pytest.approx(weighted_auc(positive, scores[0], np.ones((1, 90)))[0])


def test_delong_says_nothing_where_nothing_can_be_said():
    score = np.arange(4.0)
    assert delong(np.zeros(4, bool), score, score) is None
    one = delong(np.array([True, False, False, False]), score, -score)
    assert one is not None
    assert one.p is None
    assert one.low is None
    same = delong(np.array([True, True, False, False]), score, score)
    assert same is not None
    assert (same.value, same.p) == (0, 1)


# --- tests over patients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 8, 40])
def test_the_p_of_a_difference_is_below_5_per_cent_where_its_interval_excludes_0(n: int):
    rng = np.random.default_rng(n)
    columns = np.column_stack(
        [rng.normal(mean, 0.2, n) for mean in (0, 0.05, 0.1, 0.2, 0.5)] + [np.zeros(n), np.ones(n)]
    )

    def means(weights: np.ndarray) -> np.ndarray:
        return weights @ columns / weights.sum(1, keepdims=True)

    tests = difference_tests(means, np.arange(n), [n] * 7)
    for test in tests:
        assert test.low is not None
        assert test.high is not None
        assert (test.p < 0.05) == (not test.low <= 0 <= test.high)
    assert [(test.low, test.high) for test in tests] == difference_intervals(means, np.arange(n), [n] * 7)
    assert tests[5].p == 1
    assert tests[6].p == 0


def test_networks_that_differ_are_said_to_differ_and_the_better_one_comes_first():
    truth = np.arange(120) % 2
    worse = single("w", truth, flipped(truth, np.arange(120) % 3 == 0))
    better = single("b", truth, flipped(truth, np.arange(120) % 20 == 0))
    row = difference(compare_predictions([worse, better]), "accuracy")
    assert row["value"] == pytest.approx(6 / 120 - 40 / 120)
    assert row["different"]
    assert row["low"] < row["value"] < row["high"] < 0
    assert row["sentence"].startswith("The accuracy of net b is 0.283 higher than that of net w (0.")
    assert "120 X-rays of 120 patients): they differ (p 0.0001, corrected for 3 comparisons)." in row["sentence"]


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_a_runs_figures_are_those_of_its_evaluation(task: str):
    rng = np.random.default_rng(6)
    if task == "single-label":
        truth = rng.integers(0, 3, 90)
        first, second = (
            single(run, truth, flipped(truth, (rng.random(90) < 0.05) & (truth != 2), 3), ODD, np.arange(90) // 3)
            for run in "ab"
        )
        own = summarise(first.table, ODD)
        expected = {"accuracy": own["accuracy"], "macro AUC": own["auc"]}
    else:
        targets = (rng.random((90, 2)) < [0.5, 0.1]).astype(float)
        chances = np.column_stack([rng.random(90), 0.1 + 0.8 * targets[:, 1]])  # no error in the second
        first, second = (several(run, targets, chances) for run in "ab")
        own = summarise_findings(targets, chances, ["Mass", "Nodule/2"], first.table["patient_id"])
        expected = {"mean AUC": own["auc"]}
        expected |= {f"AUC of {name}": scores["auc"] for name, scores in own["per_class"].items()}
    figures = compare_predictions([first, second])["runs"][0]["figures"]
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value), name


def test_networks_that_cannot_be_told_apart_are_said_to_be_so_with_the_interval():
    truth = np.arange(60) % 3
    first = single("a", truth, flipped(truth, np.arange(60) < 6, 3), ODD)
    second = single("b", truth, flipped(truth, np.arange(60) >= 52, 3), ODD)
    results = compare_predictions([first, second])
    row = difference(results, "accuracy")
    assert row["value"] == pytest.approx(2 / 60)
    assert not row["different"]
    assert row["sentence"] == (
        f"The accuracy of net a is 0.033 higher than that of net b ({row['low']:.3f} to {row['high']:.3f}; 60 X-rays "
        "of 60 patients): they cannot be told apart."
    )
    assert row["low"] < 0 < row["high"]
    mcnemar_row = results["references"][0]
    assert (mcnemar_row["only_run"], mcnemar_row["only_against"]) == (8, 6)
    assert mcnemar_row["p"] == pytest.approx(row["p"], abs=0.1)  # one X-ray per patient
    assert not list(misfits(json.loads(json.dumps(results)), ComparisonResults))


def test_x_rays_of_a_patient_do_not_count_as_independent():
    """Ten patients with ten X-rays each, all alike: what 100 X-rays would show, 10 patients do not."""
    truth, patients = np.zeros(100, int), np.repeat(np.arange(10), 10)
    truth[50:] = 1
    first = single("a", truth, flipped(truth, patients == 0), patients=patients)
    second = single("b", truth, flipped(truth, np.isin(patients, (1, 2, 8))), patients=patients)
    results = compare_predictions([first, second])
    row, of_images = difference(results, "accuracy"), results["references"][0]
    assert of_images["p"] < 0.01
    assert row["p"] > 0.3
    assert not row["different"]
    assert results["n_patients"] == 10


def test_delong_agrees_with_the_test_over_patients_where_each_has_one_x_ray():
    rng = np.random.default_rng(3)
    targets = np.column_stack([rng.random(200) < 0.4, rng.random(200) < 0.3]).astype(float)
    chances = [1 / (1 + np.exp(-(targets * gain + rng.normal(size=(200, 2))))) for gain in (1.6, 1.0)]
    runs = [several(name, targets, chance) for name, chance in zip("ab", chances, strict=True)]
    runs = [replace(run, table=run.table.assign(patient_id="")) for run in runs]
    results = compare_predictions(runs)
    reference = results["references"][0]
    row = difference(results, reference["measure"])
    assert row["value"] == pytest.approx(reference["value"])
    assert [row["low"], row["high"]] == pytest.approx([reference["low"], reference["high"]], abs=0.01)
    assert any("No patient is known of 200" in note for note in results["notes"])


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_measures_without_a_part_of_the_x_rays_are_those_of_weights_of_0(task: str):
    rng = np.random.default_rng(2)
    chances, part = rng.dirichlet(np.ones(3), 60), rng.integers(0, 5, 60)
    part[0] = 6  # no X-ray is of part 5, one alone of part 6
    if task == "single-label":
        truth = np.where(part == 4, 2, rng.integers(0, 2, 60))  # one part has all of a class
        run = single("a", truth, rng.integers(0, 3, 60), classes=("cat", "dog", "cow"))
    else:
        targets = np.where(rng.random((60, 3)) < 0.2, np.nan, rng.integers(0, 2, (60, 3)))
        run = several("a", targets, chances, findings=("Mass", "Hernia", "Nodule/2"))
    measures = Measures(pair([run, replace(run, run="b")]))
    weights = (part != np.arange(7)[:, None]).astype(float)
    np.testing.assert_allclose(measures.without(0, part, 7), measures.values(0, weights), rtol=1e-12)
    if task == "single-label":
        figures, by_weights = measures.by_run[0].without(part, 7), measures.by_run[0].values(weights)
        assert figures.keys() == by_weights.keys()
        for name, values in figures.items():
            np.testing.assert_allclose(values, by_weights[name], rtol=1e-12, err_msg=name)


def test_the_published_tests_alone_are_those_of_the_whole_comparison():
    truth = np.arange(40) % 2
    runs = [single("a", truth, flipped(truth, np.arange(40) < 4)), single("b", truth, flipped(truth, truth == 1))]
    whole, short = compare_predictions(runs), compare_predictions(runs, with_references=False)
    assert published_tests(runs) == whole["references"]
    assert short == whole | {"references": []}


def test_p_values_are_corrected_over_all_pairs_and_measures():
    truth, rng = np.arange(90) % 3, np.random.default_rng(0)
    runs = [
        single(name, truth, flipped(truth, rng.random(90) < share, 3), ODD)
        for name, share in zip("abc", (0.1, 0.2, 0.25), strict=True)
    ]
    results = compare_predictions(runs)
    rows = results["differences"]
    assert [(row["run"], row["against"]) for row in rows[::3]] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert results["n_comparisons"] == 9
    assert [row["p_corrected"] for row in rows] == holm([row["p"] for row in rows])
    unsure = [row for row in rows if row["p"] < 0.05 <= row["p_corrected"]]
    assert unsure
    assert all(" alone; p " in row["sentence"] and not row["different"] for row in unsure)


def test_too_few_patients_are_never_told_apart():
    truth = np.array([0, 1, 0, 1, 1])
    row = difference(compare_predictions([single("a", truth, truth), single("b", truth, 1 - truth)]), "accuracy")
    assert row["low"] is None
    assert not row["different"]
    assert row["sentence"].endswith("they cannot be told apart with so few patients, at least 6 are needed.")


# --- figures and baselines -----------------------------------------------------------------------------------------


def test_baselines_stand_beside_the_figures_of_the_runs():
    truth = np.array([0] * 14 + [1] * 4 + [2] * 2)
    wrong = np.arange(20) == 19
    results = compare_predictions([single("a", truth, truth, ODD), single("b", truth, flipped(truth, wrong, 3), ODD)])
    always, guess = results["baselines"]
    assert always["name"] == "always 'no, finding'"
    assert always["figures"] == {"accuracy": 0.7, "balanced accuracy": pytest.approx(1 / 3), "macro AUC": 0.5}
    assert guess["figures"] == {
        "accuracy": pytest.approx(1 / 3),
        "balanced accuracy": pytest.approx(1 / 3),
        "macro AUC": 0.5,
    }
    figures = results["runs"][1]["figures"]
    assert figures["accuracy"]["value"] == pytest.approx(0.95)
    assert figures["balanced accuracy"]["value"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert figures["accuracy"]["low"] < 0.95 < figures["accuracy"]["high"]


def test_a_finding_without_both_values_has_no_auc_and_does_not_count():
    rng = np.random.default_rng(0)
    targets = np.column_stack([np.arange(40) % 2, np.zeros(40)]).astype(float)
    targets[:4, 1] = np.nan
    runs = [several(name, targets, rng.random((40, 2))) for name in "ab"]
    results = compare_predictions(runs)
    assert results["n_comparisons"] == 2
    row = difference(results, "AUC of Nodule/2")
    assert row["value"] is None
    assert row["p_corrected"] is None
    assert "is not defined" in row["sentence"]
    assert "36 X-rays of 18 patients" in row["sentence"]
    assert difference(results, "mean AUC")["value"] == difference(results, "AUC of Mass")["value"]
    assert results["baselines"] == [
        {"name": "random guess", "figures": dict.fromkeys(results["runs"][0]["figures"], 0.5)}
    ]


# --- pairing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [("a", "b"), ODD])
def test_the_order_of_classes_and_of_x_rays_makes_no_difference(classes):
    truth = np.arange(48) % len(classes)
    one = flipped(truth, np.arange(48) % 7 == 0, len(classes))
    other = flipped(truth, np.arange(48) % 5 == 0, len(classes))
    k = len(classes) - 1
    runs = [single("a", truth, one, classes), single("b", truth, other, classes)]
    turned = single("b", k - truth, k - other, classes[::-1])
    shuffled = replace(turned, table=turned.table.sample(frac=1, random_state=1).reset_index(drop=True))
    assert compare_predictions([runs[0], shuffled]) == compare_predictions(runs)


def test_what_is_left_out_is_counted_on_each_side_with_its_reason():
    truth = np.arange(40) % 2
    first, second = single("a", truth, truth), single("b", truth, 1 - truth)
    table = first.table.copy()
    table.loc[[0, 1, 2], "seen"] = ["trained", "chosen", "trained"]
    table.loc[[5], "label"] = "other"
    table.loc[[6], "label"] = "b"
    first = replace(first, table=table.iloc[:38])
    second = replace(second, table=second.table.iloc[:39])
    paired = pair([first, second])
    same = {NO_LABEL: 1, OTHER_LABEL: 1, SEEN: 3}
    assert paired.left_out == (same, {NOT_SHARED: 1} | same)
    assert len(paired.patients) == 33
    assert len(first.table) - sum(paired.left_out[0].values()) == 33


def test_x_rays_that_were_all_seen_are_compared_and_said_to_be_so():
    truth = np.arange(20) % 2
    first = single("a", truth, truth)
    results = compare_predictions([replace(first, table=first.table.assign(seen="chosen")), single("b", truth, truth)])
    assert results["n"] == 20
    assert not any(note.startswith("Not known of") for note in results["notes"])
    assert results["notes"][0].startswith("All 20 X-rays were seen in training by one of the networks")
    assert difference(results, "accuracy")["sentence"].startswith("The accuracy of net a and net b is the same")


def test_findings_that_the_data_state_differently_count_as_unknown():
    rng = np.random.default_rng(2)
    targets = (rng.random((30, 2)) < 0.5).astype(float)
    other = targets.copy()
    other[0] = 1 - other[0]
    other[1, 0] = np.nan
    paired = pair([several("a", targets, rng.random((30, 2))), several("b", other, rng.random((30, 2)))])
    assert paired.left_out[0] == {NO_LABEL: 1}
    assert np.isnan(paired.truth[0]).tolist() == [True, False]


TRUTH = np.arange(8) % 2


@pytest.mark.parametrize(
    ("other", "error"),
    [
        (single("b", TRUTH, TRUTH, ("a", "ill")), "only 'net a' has b; only 'net b' has ill. Needed: the same class"),
        (several("b", np.ones((8, 2)), np.ones((8, 2))), "run 'net a' is single-label, run 'b' is multi-label"),
        (single("a", TRUTH, TRUTH), "run 'a' is given twice"),
        (
            replace(single("b", TRUTH, TRUTH), table=single("b", TRUTH, TRUTH).table.assign(image_id=list("stuvwxyz"))),
            "no X-ray is shared by all runs, compared by their ids: 'net a' (8 X-rays), 'net b' (8 X-rays)",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_by_name(other: Predictions, error: str):
    with pytest.raises(RunError) as refused:
        compare_predictions([single("a", TRUTH, TRUTH), other])
    assert error in str(refused.value)


def test_only_runs_that_share_a_name_are_told_apart_by_their_ids():
    elsewhere = single("b", TRUTH, TRUTH).table.assign(image_id=list("stuvwxyz"))
    twin = replace(single("b", TRUTH, TRUTH), name="net a", table=elsewhere)
    with pytest.raises(RunError) as refused:
        compare_predictions([single("a", TRUTH, TRUTH), twin])
    assert "'net a (a)' (8 X-rays), 'net a (b)' (8 X-rays)" in str(refused.value)


def test_x_rays_under_other_names_in_other_data_are_paired_by_their_files(tmp_path):
    truth, ids = np.arange(12) % 2, []
    images = [np.full((40, 40), 10 * k, np.uint8) for k in range(12)]
    for name, wrong in (("one", truth < 0), ("two", np.arange(12) < 3)):
        folder = tmp_path / name
        folder.mkdir()
        files = [f"{name}{k}.png" for k in (range(12) if name == "one" else reversed(range(12)))]
        for file in files:
            cv2.imwrite(str(folder / file), images[int(file.removeprefix(name).removesuffix(".png"))])
        order = truth if name == "one" else truth[::-1]
        pd.DataFrame({"image": files, "label": np.array(["a", "b"])[order]}).to_csv(
            folder / "manifest.csv", index=False
        )
        data = Manifest.load(folder / "manifest.csv")
        of_run = single(name, order, flipped(order, wrong))
        of_run = replace(of_run, table=of_run.table.assign(image_id=data.ids))
        ids.append(written(of_run, str(folder / "manifest.csv"), data.hash()))
    results = compare([Run(run_id) for run_id in ids])
    assert (results["n"], results["paired_by"]) == (12, "file")
    assert any(note.startswith(f"Not known of {ids[0]}, {ids[1]}") for note in results["notes"])
    assert difference(results, "accuracy")["value"] == pytest.approx(3 / 12)
    assert any("paired by their files' content" in note for note in results["notes"])


@pytest.mark.parametrize("classes", [("a", "b"), ODD])
def test_trainings_of_one_recipe_with_several_seeds_are_named_and_a_study_is_the_way_to_pool_them(classes):
    def training(name: str, recipe: dict[str, object], manifest_hash: str = "h") -> Run:
        folder = RunFolder.create(runs_root(), "train", {"manifest": "/x.csv", "recipe": recipe}, name=name)
        spec = json.loads((folder.path / "spec.json").read_text()) | {"manifest_hash": manifest_hash}
        (folder.path / "spec.json").write_text(json.dumps(spec))
        truth = np.arange(24) % len(classes)
        table = single(folder.id, truth, flipped(truth, truth < 0, len(classes)), classes).table
        folder.write_predictions(table)
        folder.write_json("results.json", {"task": "single-label", "classes": list(classes), "splits": {}})
        return Run(folder)

    scratch, other = {"name": "mine", "size": 64}, {"name": "mine", "size": 96}
    first, second = training("one", scratch | {"seed": 0}), training("two", scratch | {"seed": 7, "name": "again"})
    again, larger = training("same seed", scratch | {"seed": 0}), training("larger", other | {"seed": 3})
    elsewhere = training("other data", scratch | {"seed": 5}, "another")
    notes = [note for note in compare([first, second, larger])["notes"] if "of one recipe" in note]
    assert len(notes) == 1
    assert "one (seed 0), two (seed 7). They are not pooled here" in notes[0]
    assert "`cxr study show claim`" in notes[0]
    for runs in ([first, again], [first, larger], [first, elsewhere]):
        assert not [note for note in compare(runs)["notes"] if "of one recipe" in note]


# --- the command ---------------------------------------------------------------------------------------------------


def command(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["cxr", "compare", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_the_command_prints_a_comparison(task: str, monkeypatch, capsys):
    truth, rng = np.arange(24) % 3, np.random.default_rng(5)
    runs = [single(name, truth, flipped(truth, rng.random(24) < 0.3, 3), ODD) for name in "ab"]
    if task == "multi-label":
        targets = (rng.random((24, 2)) < 0.5).astype(float)
        runs = [several(name, targets, rng.random((24, 2))) for name in "ab"]
    ids = [written(run) for run in runs]
    code, out, err = command(monkeypatch, capsys, *ids)
    assert code == 0, err
    assert "24 X-rays of" in out
    assert "random guess" in out
    assert "cannot be told apart" in out
    assert "For reference, not corrected (McNemar and DeLong count X-rays as independent)" in out
    code, out, _ = command(monkeypatch, capsys, *ids, "--json", "--split", "test")
    assert code == 0
    assert not list(misfits(json.loads(out), ComparisonResults))


def test_the_command_refuses_in_one_line(monkeypatch, capsys):
    truth = np.arange(8) % 2
    ids = [written(single("a", truth, truth)), written(single("b", truth, truth, ("a", "ill")))]
    without = RunFolder.create(runs_root(), "evaluate", {"weights": "demo", "manifest": "/nowhere/manifest.csv"}).id
    for arguments, error in (
        ((ids[0],), "1 run given: a comparison needs two or more"),
        ((ids[0], "no-such-run"), "there is no run 'no-such-run'"),
        ((ids[0], without), "has no predictions to compare. Needed: a finished training or evaluation"),
        ((*ids, "--split", "no"), f"unknown split of run {ids[0]!r} 'no'. Available: test"),
        (ids, "the runs' classes differ"),
    ):
        code, _, err = command(monkeypatch, capsys, *arguments)
        assert code in (1, 2)
        assert error in err
        assert "Traceback" not in err
        assert err.count("\n") == 1
