"""A table of somebody else's predictions: which columns are what, what is refused, and the figures of its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from configurations import CONFIGURATIONS, ODD, Configuration, every_configuration, write_network, write_xrays

from cxr.errors import CxrError
from cxr.evaluation import evaluate_predictions
from cxr.evaluation.job import evaluate
from cxr.evaluation.metrics import softmax
from cxr.evaluation.tables.reading import read_predictions
from cxr.evaluation.tables.settings import PredictionsParams
from cxr.paths import runs_root
from cxr.runs import list_runs
from cxr.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("wide_terminal")

CLASSES = ("covid19", "normal", "pneumonia")


def table_of(
    classes: Sequence[str] = CLASSES, n: int = 24, logits: bool = False, labels: Sequence[str] = ()
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = np.arange(n) % len(labels or classes)
    values = rng.normal(size=(n, len(classes))) + 2 * (truth[:, None] == np.arange(len(classes)))
    scores = pd.DataFrame(values if logits else softmax(values), columns=list(classes))
    about = {"image": [f"x{k}.png" for k in range(n)], "label": [(labels or classes)[k] for k in truth]}
    return pd.concat([pd.DataFrame(about | {"patient": [f"p{k // 2}" for k in range(n)]}), scores], axis=1)


def read(table: pd.DataFrame, **options: Any):
    return read_predictions(PredictionsParams.of({"predictions": Path("t.csv"), **options}), table)


def refused(table: pd.DataFrame, **options: Any) -> str:
    with pytest.raises(CxrError) as error:
        read(table, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("classes", [CLASSES, ("hernia", "no hernia"), ODD[3:8]], ids=["three", "two", "odd"])
@pytest.mark.parametrize("prefix", ["", "prob_", "logit_"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_are_known_by_labels_and_prefixes_in_both_formats(tmp_path, classes, prefix, ending):
    table = table_of(classes, logits=prefix == "logit_")
    values = table[list(classes)].to_numpy()
    table = table.rename(columns={name: prefix + name for name in classes}).assign(age=40, sex="F")
    file = tmp_path / f"t.{ending}"
    table.to_csv(file, index=False) if ending == "csv" else table.to_parquet(file)
    predictions = read_predictions(PredictionsParams.of({"predictions": file}))
    assert predictions.classes == tuple(classes)
    assert predictions.task == "single-label"
    chances = predictions.table[[f"prob_{name}" for name in classes]].to_numpy()
    np.testing.assert_allclose(chances, softmax(values) if prefix == "logit_" else values, atol=1e-9)
    logits = predictions.table[[f"logit_{name}" for name in classes]].to_numpy()
    np.testing.assert_allclose(softmax(logits), chances, atol=1e-9)
    assert set(predictions.table["patient_id"]) == {f"p{k}" for k in range(12)}
    assert (predictions.table["age"] == "40").all()
    assert (predictions.table["sex"] == "F").all()


@every_configuration
def test_predictions_of_a_network_measured_from_their_table_give_the_figures_of_the_network(tmp_path, configuration):
    """What a run of ours exports is such a table too; of findings its columns state which of them are known."""
    network = write_network(configuration, tmp_path / "net.safetensors")
    data = write_xrays(tmp_path / "xrays", configuration)
    folder = RunFolder.create(runs_root(), "evaluate", {"weights": str(network), "manifest": str(data)})
    evaluate(folder, folder.params)
    exported = folder.predictions()
    assert exported is not None
    exported.to_csv(tmp_path / "theirs.csv", index=False)
    again = evaluate_predictions(tmp_path / "theirs.csv")
    assert again["task"] == configuration.task
    assert list(again["classes"]) == list(configuration.classes)
    stored = folder.read_json("results.json")["splits"]["test"]
    summary = json.loads(json.dumps(again["splits"]["test"]))
    assert summary.keys() == stored.keys()
    assert (summary.get("confusion"), summary["n_patients"]) == (stored.get("confusion"), stored["n_patients"])
    for name in ("accuracy", "macro_f1", "auc", "average_precision", "n"):
        assert summary.get(name) == pytest.approx(stored.get(name), abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[0], CONFIGURATIONS[4]], ids=str)
def test_labels_patients_and_splits_come_from_the_manifest(tmp_path, configuration: Configuration):
    data = write_xrays(tmp_path / "xrays", configuration)
    scores = np.random.default_rng(1).dirichlet(np.ones(len(configuration.classes)), 12)
    table = pd.DataFrame(scores, columns=list(configuration.classes))
    table.insert(0, "file", [f"some/where/{k}.png" for k in range(12)])
    table = pd.concat([table.iloc[:11], pd.DataFrame([{**table.iloc[0].to_dict(), "file": "other.png"}])])
    predictions = read(table.reset_index(drop=True), manifest=str(data))
    assert predictions.task == configuration.task
    assert len(predictions.table) == 11
    assert set(predictions.table["split"]) == {"test"}
    assert set(predictions.table["patient_id"]) == {f"p{k}" for k in range(6)}
    notes = " ".join(predictions.notes)
    assert "1 of 12 rows whose image is not in the data, such as 'other.png'" in notes
    assert "1 of the 12 X-rays of the data have no prediction" in notes
    if configuration.multi_label:
        assert predictions.table[f"target_{configuration.classes[0]}"].sum() > 0
    results = evaluate_predictions(table, data)
    assert results["left_out"]["by_reason"]["not-in-data"] == 1


def test_one_column_for_the_positive_class():
    values = table_of(("flu", "none"))
    table = values.drop(columns=["flu", "none"]).assign(probability=values["flu"])
    assert "Accepted: `--positive CLASS` with one of flu, none" in refused(table)
    predictions = read(table, positive="flu")
    assert predictions.classes == ("none", "flu")
    np.testing.assert_allclose(predictions.table["prob_flu"], values["flu"])
    named = read(values.drop(columns="none"))
    pd.testing.assert_frame_equal(named.table, predictions.table)
    logit = np.log(values["flu"]) - np.log(1 - values["flu"])
    from_logits = read(values.drop(columns="none").assign(flu=logit))
    np.testing.assert_allclose(from_logits.table["prob_flu"], values["flu"])
    numbers = table.assign(label=(values["label"] == "flu").astype(int))
    assert read(numbers).classes == ("0", "1")


def test_findings_are_joined_by_bars_or_have_columns_of_their_own():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(size=(6, 2)), columns=["Mass", "Nodule"])
    table.insert(0, "image", list("abcdef"))
    words = table.assign(label=["Mass", "Mass|Nodule", "?Nodule", "No Finding", "", "Nodule"])
    predictions = read(words)
    assert predictions.task == "multi-label"
    np.testing.assert_array_equal(predictions.table["target_Mass"], [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(predictions.table["target_Nodule"], [0, 1, np.nan, 0, 1])
    assert predictions.selection.unlabelled == 1
    columns = table.assign(target_Mass=["1", "1", "0", "0", "", "0"], target_Nodule=["0", "1", "-1", "0", "", "1"])
    own = read(columns)
    names = ["target_Mass", "target_Nodule"]
    pd.testing.assert_frame_equal(own.table[names], predictions.table[names].astype(float), check_dtype=False)
    bad = columns.assign(target_Mass=["1", "1", "0", "2", "", "0"])
    assert "row 4, column 'target_Mass': '2'" in refused(bad, task="multi-label")


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (lambda t: t.drop(columns="image"), {}, "no column names the image. Columns: label, patient, covid19"),
        (lambda t: t.drop(columns="label"), {}, "Accepted: columns named after the labels"),
        (lambda t: t.assign(label=""), {"class_columns": {"a": "normal"}}, "none of the 24 rows is of an X-ray with a"),
        (lambda t: t, {"columns": {"label": "truht"}}, "there is no column 'truht' (as the label). Columns: image,"),
        (lambda t: t, {"class_columns": {"flu": "f"}}, "there is no column 'f' (of class 'flu')"),
        (lambda t: t.assign(image="x"), {}, "row 2: image 'x' is in row 1 already (23 rows name an image again)"),
        (lambda t: t.assign(image=["", *t["image"][1:]]), {}, "row 1: 'image' is empty"),
        (lambda t: t.assign(normal=[*t["normal"][:-1], np.nan]), {}, "row 24, column 'normal': '' is not a finite"),
        (lambda t: t.assign(normal="high"), {}, "row 1, column 'normal': 'high' is not a finite number (24 values"),
        (lambda t: t.assign(normal=np.inf), {}, "row 1, column 'normal': 'inf' is not a finite number"),
        (lambda t: t.assign(normal=0.9), {}, "row 1: the probabilities of covid19, normal, pneumonia sum to"),
        (lambda t: t.assign(normal=1.5), {"scale": "probabilities"}, "row 1, column 'normal': 1.5 is not a probab"),
        (lambda t: t.assign(**{c: 100 * t[c] for c in CLASSES}), {}, "they look like per cent"),
        (lambda t: t.assign(label=["tb", *t["label"][1:]]), {}, "row 1: label 'tb' (1 X-rays) is none of the classes"),
        (lambda t: t, {"aliases": {"flu": "normal"}}, "unknown label in alias flu=normal: 'flu'"),
        (lambda t: t, {"positive": "normal"}, "--positive normal goes with one column of predictions"),
        (lambda t: t.drop(columns=["normal", "pneumonia"]), {}, "there are further labels: normal, pneumonia"),
        (lambda t: t.rename(columns={name: f"my {name}" for name in CLASSES}), {}, "no column holds predictions of"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_row_and_value(change, options, sentence):
    assert sentence in refused(change(table_of()), **options)


def test_labels_of_other_names_are_joined_or_left_out_as_requested():
    table = table_of()
    table["label"] = table["label"].replace("pneumonia", "Pneumonia Bilat")
    named = table.rename(columns={name: f"prob_{name}" for name in CLASSES})
    assert "--alias 'Pneumonia Bilat=CLASS'" in refused(named)
    joined = read(named, aliases={"Pneumonia Bilat": "pneumonia"})
    assert set(joined.table["label"]) == set(CLASSES)
    results = evaluate_predictions(named, ignored_labels=("Pneumonia Bilat",))
    assert results["splits"]["all"]["n"] == 16
    assert results["left_out"]["by_label"] == {"Pneumonia Bilat": 8}
    assert results["splits"]["all"]["absent"] == {"pneumonia": 0}
    assert "No X-ray of pneumonia in the data: nothing is said of it." in results["notes"]


def test_rounded_probabilities_are_divided_by_their_sum_and_further_columns_stay():
    table = table_of().round(2).assign(hospital="A", logit_other=1.0)
    predictions = read(table)
    chances = predictions.table[[f"prob_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(chances.sum(1), 1)
    assert any("each row was divided by its sum" in note for note in predictions.notes)
    assert set(predictions.table) >= {"hospital", "given_logit_other"}
    assert "logit_other" not in predictions.table


def test_the_command_measures_a_table_in_a_run_of_its_own(tmp_path, cxr):
    table_of().to_csv(tmp_path / "theirs.csv", index=False)
    code, out, err = cxr("evaluate", "--predictions", tmp_path / "theirs.csv")
    assert code == 0, err
    for words in ("accuracy", "24", "12", "taken as probabilities (all within 0 to 1)", "need the network: heatmaps"):
        assert words in out
    (run,) = list_runs(kind="evaluate-predictions")
    assert run.name == "predictions theirs"
    results = run.results()
    assert results is not None
    assert results["provenance"]["predictions"] == "theirs.csv"
    table = run.predictions()
    assert table is not None
    assert len(table) == 24


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "nothing to evaluate: give a RUN, or --predictions with a table"),
        (("demo", "--predictions", "FILE"), "--predictions goes without RUN"),
        (("--predictions", "FILE", "--split", "test"), "--predictions goes without --split"),
        (("demo", "--scale", "logits"), "--scale: only with --predictions"),
        (("--predictions", "FILE", "--scale", "odds"), "scale: 'odds' is not allowed. Allowed: auto, probab"),
        (("--predictions", "FILE", "--image-column", "no"), "there is no column 'no' (as the image)"),
        (("--predictions", "missing.csv"), "missing.csv is not there"),
    ],
)
def test_wrong_use_is_one_line_and_starts_nothing(tmp_path, cxr, words, sentence):
    file = tmp_path / "t.csv"
    table_of().to_csv(file, index=False)
    code, _, err = cxr("evaluate", *(file if word == "FILE" else word for word in words))
    assert code in (1, 2)
    assert sentence in err
    assert err.count("\n") == 1
    assert list_runs() == []
