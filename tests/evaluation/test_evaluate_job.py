import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from cxr.data import ImageCache, Manifest
from cxr.errors import ManifestError, WeightsError
from cxr.evaluation import load_trained, predict, predictions_table
from cxr.evaluation.metrics import probabilities
from cxr.evaluation.run import evaluate
from cxr.models import build, save_model
from cxr.paths import runs_root
from cxr.runs.folder import RunFolder, Stopped

LABELS = ["covid19", "normal", "pneumonia", "normal", "tuberculosis", ""]
SPLITS = ["train", "val", "test", "test", "test", "external"]


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{n}.png" for n in range(len(LABELS))]
    for name in names:
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (40, 40), dtype=np.uint8))
    table = pd.DataFrame({"image": names, "label": LABELS, "split": SPLITS, "patient_id": names, "source": "here"})
    table.to_csv(tmp_path / "manifest.csv", index=False)
    return Manifest.load(tmp_path / "manifest.csv")


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    return save_model(build("densenet-small", ("covid19", "normal", "pneumonia"), size=32), tmp_path / "w.safetensors")


def job(manifest, **params):
    folder = RunFolder.create(runs_root(), "evaluate", {"manifest": str(manifest.path), **params})
    evaluate(folder, folder.spec)
    return folder


def test_the_table_holds_logits_probabilities_and_the_rows_own_facts(manifest, weights):
    model, _ = load_trained(weights)
    cache = ImageCache.build(manifest, 32, workers=0)
    ids = [manifest.ids[3], manifest.ids[0]]
    logits = predict(model, cache, ids, batch=1)
    torch.testing.assert_close(torch.from_numpy(logits), model(cache.rows(ids)).detach())
    table = predictions_table(manifest, ids, logits, model.classes)
    assert table["image_id"].tolist() == ids
    assert table["label"].tolist() == ["normal", "covid19"]
    assert table["split"].tolist() == ["test", "train"]
    probabilities = table[[f"prob_{c}" for c in model.classes]].to_numpy()
    np.testing.assert_allclose(probabilities, torch.softmax(torch.from_numpy(logits), 1).numpy(), rtol=1e-5)
    np.testing.assert_allclose(table["confidence"], probabilities.max(1))
    assert (table["correct"] == (table["predicted"] == table["label"])).all()


def test_the_table_of_a_network_of_several_findings_has_a_sigmoid_of_each_and_no_predicted_class(manifest):
    marked = manifest.with_table(manifest.table.assign(findings=["Mass|Nodule", *["No Finding"] * 5]))
    logits = np.array([[0.0, 3.0], [-200.0, 200.0]], np.float32)
    table = predictions_table(marked, marked.ids[:2], logits, ["Mass", "Nodule"], task="multi-label")
    named = ["image_id", "split", "label", "findings", "patient_id", "source"]
    assert table.columns.tolist() == [*named, "logit_Mass", "logit_Nodule", "prob_Mass", "prob_Nodule"]
    assert table["findings"].tolist() == ["Mass|Nodule", "No Finding"]
    np.testing.assert_allclose(table[["prob_Mass", "prob_Nodule"]], [[0.5, 1 / (1 + np.exp(-3))], [0, 1]], atol=1e-12)
    assert len(predictions_table(marked, [], np.zeros((0, 2)), ["Mass", "Nodule"], task="multi-label")) == 0


def test_probabilities_are_those_of_the_task_and_another_task_is_refused():
    logits = np.array([[1.0, -1.0, 0.0]])
    np.testing.assert_allclose(probabilities(logits, "single-label").sum(), 1)
    np.testing.assert_allclose(probabilities(logits, "multi-label"), 1 / (1 + np.exp(-logits)))
    with pytest.raises(ValueError, match="task 'both' is not one of single-label, multi-label"):
        probabilities(logits, "both")


def test_an_array_and_a_cache_are_predicted_alike_and_the_mode_is_restored(manifest, weights):
    model, _ = load_trained(weights)
    model.train()
    cache = ImageCache.build(manifest, 32, workers=0)
    np.testing.assert_array_equal(predict(model, np.asarray(cache.images)), predict(model, cache, cache.ids))
    assert model.training


def test_evaluating_measures_every_labelled_image_outside_training(manifest, weights):
    folder = job(manifest, weights=str(weights))
    table, results = folder.predictions(), folder.read_json("results.json")
    assert sorted(table["image_id"]) == sorted(manifest.ids[1:4])
    assert {name: s["n"] for name, s in results["splits"].items()} == {"val": 1, "test": 2}
    assert results["classes"] == ["covid19", "normal", "pneumonia"]


def test_a_manifest_without_splits_is_measured_whole(manifest, weights):
    whole = manifest.with_splits({}).save(manifest.root / "whole.csv")
    folder = job(whole, weights=str(weights))
    assert folder.predictions()["split"].tolist() == ["all"] * 4


def test_a_split_that_is_not_there_is_named_with_those_that_are(manifest, weights):
    with pytest.raises(ManifestError, match=r"split 'probe' is not in the manifest\. Found: external, test"):
        job(manifest, weights=str(weights), splits=["probe"])
    with pytest.raises(ManifestError, match="no image is labelled with one of covid19"):
        job(manifest, weights=str(weights), splits=["external"])


def test_a_stop_ends_the_job_between_batches(manifest, weights):
    folder = RunFolder.create(runs_root(), "evaluate", {"manifest": str(manifest.path), "weights": str(weights)})
    folder.request_stop()
    with pytest.raises(Stopped):
        evaluate(folder, folder.spec)
    assert folder.predictions() is None


def test_a_network_is_found_by_file_run_and_name(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path))
    run = RunFolder.create(runs_root(), "train", {})
    with pytest.raises(WeightsError, match="has no checkpoint yet"):
        load_trained(run.id)
    save_model(load_trained(weights)[0], run.checkpoints / "best.safetensors")
    for source in (weights, str(weights), "w", run.id, run.path):
        model, description = load_trained(source)
        assert model.classes == ("covid19", "normal", "pneumonia")
        assert "densenet-small at 32 px" in description
    assert run.id in load_trained(run.id)[1]


@pytest.mark.parametrize("source", ["nobody", "../../etc", "", "a/b"])
def test_what_names_no_network_is_answered_with_what_would(source):
    with pytest.raises(WeightsError, match=r"a run's id, a \.safetensors file or a name is needed"):
        load_trained(source)
