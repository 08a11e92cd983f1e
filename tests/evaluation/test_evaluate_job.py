import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from configurations import CONFIGURATIONS, Configuration, every_configuration, make_network, write_network, write_xrays

from cxr.data import ImageCache, Manifest
from cxr.errors import ManifestError, WeightsError
from cxr.evaluation import predict, predictions_table
from cxr.evaluation.job import evaluate
from cxr.evaluation.metrics import probabilities
from cxr.evaluation.results import EvaluationResults
from cxr.models import build, save_model
from cxr.networks import load_network
from cxr.paths import runs_root
from cxr.runs.folder import RunFolder, Stopped
from tests.typed_results import misfits

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
    evaluate(folder, folder.params)
    return folder


def test_the_table_holds_logits_probabilities_and_the_rows_own_facts(manifest, weights):
    model, _ = load_network(weights)
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
    model, _ = load_network(weights)
    model.train()
    cache = ImageCache.build(manifest, 32, workers=0)
    np.testing.assert_array_equal(predict(model, np.asarray(cache.images)), predict(model, cache, cache.ids))
    assert model.training


@every_configuration
def test_every_network_is_measured_as_what_it_is(tmp_path, configuration):
    network = write_network(configuration, tmp_path / "w.safetensors")
    data = Manifest.load(write_xrays(tmp_path / "xrays", configuration))
    folder = job(data, weights=str(network))
    table, results = folder.predictions(), folder.read_json("results.json")
    summary = results["splits"]["test"]
    assert results["task"] == summary["task"] == configuration.task
    assert summary["classes"] == list(configuration.classes) == list(summary["per_class"])
    assert summary["n"] == len(table) == 12
    assert list(misfits(results, EvaluationResults)) == []
    own = {"findings"} | {f"target_{name}" for name in configuration.classes}
    others = {"predicted", "correct", "confidence"}
    chances = table[[f"prob_{name}" for name in configuration.classes]].to_numpy()
    if configuration.multi_label:
        assert not {"accuracy", "confusion", "macro_f1"} & summary.keys()
        assert own <= set(table)
        assert not others & set(table)
        for name, found in summary["per_class"].items():
            truth = table[f"target_{name}"]
            assert (found["known"], found["positive"]) == (truth.notna().sum(), (truth == 1).sum())
            assert found["threshold"] == 0.5
        assert "above probability 0.5" in results["notes"][-1]
    else:
        assert summary["accuracy"]["value"] == pytest.approx((table["predicted"] == table["label"]).mean())
        assert others <= set(table)
        assert not own & set(table)
        np.testing.assert_allclose(chances.sum(1), 1)


def test_published_thresholds_decide_where_the_card_has_them(tmp_path):
    configuration = CONFIGURATIONS[3]
    model = make_network(configuration)
    model.card.thresholds = {configuration.classes[0]: 1e-6}
    network = save_model(model, tmp_path / "w.safetensors")
    folder = job(Manifest.load(write_xrays(tmp_path / "xrays", configuration)), weights=str(network))
    found = folder.read_json("results.json")["splits"]["test"]["per_class"]
    first, second = (found[name] for name in configuration.classes)
    assert (first["threshold"], first["published"], first["sensitivity"]["value"]) == (1e-6, True, 1)
    assert (second["threshold"], second["published"]) == (0.5, False)


def test_a_network_of_one_finding_is_measured_and_one_of_a_single_class_refused(tmp_path, manifest):
    one = {task: Configuration(1, task, ("pneumonia",)) for task in ("single-label", "multi-label")}
    several, single = (write_network(one[t], tmp_path / f"{t}.safetensors") for t in ("multi-label", "single-label"))
    found = job(manifest, weights=str(several)).read_json("results.json")
    per_class = found["splits"]["test"]["per_class"]
    assert (per_class["pneumonia"]["positive"], per_class["pneumonia"]["known"]) == (1, 2)
    assert found["left_out"]["by_label"] == {"tuberculosis": 1}
    with pytest.raises(WeightsError, match=r"the single class 'pneumonia'.* nothing to measure"):
        job(manifest, weights=str(single))


def test_labels_that_the_network_does_not_know_are_in_the_results_and_an_alias_brings_them_back(manifest, weights):
    spelled = manifest.with_table(manifest.table.assign(label=["covid"] * 3 + ["normal"] * 2 + [""], split=""))
    spelled = spelled.save(manifest.root / "spelled.csv")
    found = job(spelled, weights=str(weights)).read_json("results.json")
    assert found["splits"]["all"]["n"] == 2
    assert found["left_out"]["by_label"] == {"covid": 3}
    assert any("3 X-rays whose label is not a class of the network (covid 3)" in note for note in found["notes"])
    folder = job(spelled, weights=str(weights), aliases={"covid": "covid19"})
    found = folder.read_json("results.json")
    assert found["splits"]["all"]["n"] == 5
    assert found["aliases"] == {"covid": "covid19"}
    assert found["left_out"]["by_label"] == found["left_out"]["likely"] == {}
    assert set(folder.predictions()["label"]) == {"covid19", "normal"}


def test_an_image_that_cannot_be_read_is_counted_once(manifest, weights):
    (manifest.root / "3.png").write_text("no image")
    found = job(manifest, weights=str(weights)).read_json("results.json")
    assert found["unreadable"] == found["left_out"]["by_reason"]["unreadable"] == 1
    assert found["splits"]["test"]["n"] == 1
    assert found["measured"]["splits"] == {"test": 1, "val": 1}


def trained_on(manifest, weights, recipe=None):
    """A finished training's folder with its network, as it knows where it comes from."""
    run = RunFolder.create(runs_root(), "train", {"manifest": str(manifest.path)})
    model = load_network(weights)[0]
    hashes = {"manifest_hash": manifest.hash(), "split_hash": manifest.split_hash()}
    model.card = dataclasses.replace(model.card, **hashes, recipe=recipe or {"stages": [{}]})
    save_model(model, run.checkpoints / "best.safetensors")
    return run.id


def moved(manifest, folder, seed):
    """The same table on other pictures, of other patients."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for name in manifest.table["image"]:
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (40, 40), dtype=np.uint8))
    table = manifest.table.assign(patient_id=[f"{folder.name}-{k}" for k in range(len(manifest))])
    table.to_csv(folder / "manifest.csv", index=False)
    return Manifest.load(folder / "manifest.csv")


def test_a_runs_own_data_are_measured_on_what_it_held_out_and_strangers_whole(tmp_path, manifest, weights):
    run = trained_on(manifest, weights)
    own = job(manifest, run=run).read_json("results.json")
    assert own["measured"] == {"why": "own", "splits": {"test": 2, "val": 1}}
    stranger = job(moved(manifest, tmp_path / "other", 7), run=run).read_json("results.json")
    assert stranger["measured"] == {"why": "external", "splits": {"all": 4}}
    assert any("No patient and no image file of these data was in the training" in n for n in stranger["notes"])


def test_data_that_share_a_file_or_a_patient_with_the_training_are_no_strangers(tmp_path, manifest, weights):
    run, other = trained_on(manifest, weights), moved(manifest, tmp_path / "other", 7)
    (other.root / "0.png").write_bytes((manifest.root / "0.png").read_bytes())
    found = job(other, run=run).read_json("results.json")
    assert found["measured"]["why"] == "held-out"
    assert found["left_out"]["by_split"] == {"train": 1}
    assert any("`--split all` measures them too" in note for note in found["notes"])
    relative = moved(manifest, tmp_path / "relative", 8)
    relative.table.loc[2, "patient_id"] = manifest.table.loc[0, "patient_id"]
    found = job(relative.save(relative.path), run=run).read_json("results.json")
    assert found["measured"]["why"] == "held-out"


def test_nothing_is_taken_for_a_stranger_whose_training_cannot_be_looked_up(tmp_path, manifest, weights):
    other = moved(manifest, tmp_path / "other", 7)
    began_elsewhere = trained_on(manifest, weights, {"weights": "somebody", "stages": [{}]})
    for network in ({"weights": str(weights)}, {"run": began_elsewhere}):
        assert job(other, **network).read_json("results.json")["measured"]["why"] == "held-out"
    assert job(other, weights=str(weights), splits=["all"]).read_json("results.json")["measured"]["why"] == "asked"


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


@pytest.mark.parametrize(("known", "said"), [(6, None), (3, "of 1 of 3 X-rays"), (0, "of any X-ray")])
def test_results_say_of_how_many_xrays_no_patient_is_known(manifest, weights, known, said):
    table = manifest.table.assign(patient_id=[f"p{k}" if k < known else "" for k in range(6)])
    table.to_csv(manifest.path, index=False)
    notes = [
        line for line in job(manifest, weights=str(weights)).read_json("results.json")["notes"] if "patient" in line
    ]
    assert ([] if said is None else [f"No patient is known {said}"]) == [line.split(":")[0] for line in notes]


def test_a_stop_ends_the_job_between_batches(manifest, weights):
    folder = RunFolder.create(runs_root(), "evaluate", {"manifest": str(manifest.path), "weights": str(weights)})
    folder.request_stop()
    with pytest.raises(Stopped):
        evaluate(folder, folder.params)
    assert folder.predictions() is None
