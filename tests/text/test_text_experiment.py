import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from text_drawing import chest_like, write_text

from cxr.data import ImageCache, Manifest
from cxr.errors import TextError
from cxr.models import build, save_model
from cxr.paths import cache_root
from cxr.runs.folder import RunFolder
from cxr.text.detect import shared_detector
from cxr.text.experiment import Setting, condition_table, finding, masked_versions, paired_p, results_of, run
from cxr.text.store import DetectionStore

CLASSES = ("covid19", "normal")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six X-ray-like pictures of two classes; three carry a word. A seventh file is broken."""
    folder = tmp_path_factory.mktemp("xrays")
    rows = []
    for i in range(6):
        image = chest_like(220, 260, seed=i)
        if i % 2 == 0:
            image, _ = write_text(image, "PORTABLE", 130, 15, 22)
        Image.fromarray(image).save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "label": CLASSES[i % 2], "split": "test", "patient_id": f"p{i}"})
    (folder / "broken.png").write_bytes(b"no picture")
    rows.append({"image": "broken.png", "label": "normal", "split": "test", "patient_id": "p9"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    torch.manual_seed(0)
    model = build("densenet-small", CLASSES, size=64).eval()
    save_model(model, path)
    return path


@pytest.fixture(scope="module")
def black(tmp_path_factory, data, weights):
    """The folder of an experiment with black boxes, what it reported, and where its detections are kept."""
    folder = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(folder / "data"))
        return *do(folder, data, weights, mode="black"), folder / "data"


def do(tmp_path, data, weights, **params):
    params = {"model": str(weights), "manifest": str(data), "split": "test", "workers": 0} | params
    folder = RunFolder.create(tmp_path / "runs", "text-experiment", params)
    seen = []
    run(folder, folder.spec, lambda fraction, message: seen.append((fraction, message)))
    return folder, seen


def test_the_experiment_writes_its_numbers_its_boxes_and_a_sentence(black):
    folder, seen, _ = black
    results = folder.read_json("results.json")
    table = folder.predictions()
    assert (results["n_images"], results["n_with_text"], results["n_tokens"]) == (6, 3, 3)
    assert results["tokens_by_kind"] == {"word": 3}
    assert len(results["left_out"]) == 1
    assert "broken.png" in results["left_out"][0]["reason"]
    assert results["before"]["n"] == results["after"]["n"] == results["control"]["n"] == 6
    assert results["n_changed"] == table["changed"].sum() == len(results["changed"])
    assert set(results["mean_logit_change"]) == set(CLASSES)
    assert "3 tokens on 3 of 6 images" in results["finding"]
    json.dumps(results, allow_nan=False)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert seen[-1] == (1.0, results["finding"])
    boxes = pd.read_parquet(folder.path / "boxes.parquet")
    assert list(boxes.columns) == ["image_id", "x0", "y0", "x1", "y1", "text", "score", "kind"]
    assert set(boxes["text"].str.upper()) == {"PORTABLE"}
    assert len(pd.read_parquet(folder.path / "control_boxes.parquet")) == 3


def test_images_without_text_keep_their_logits_and_images_with_text_do_not(black):
    folder, _, _ = black
    table = folder.predictions()
    without, having = table[table["n_boxes"] == 0], table[table["n_boxes"] > 0]
    for name in CLASSES:
        assert np.array_equal(without[f"logit_{name}_before"], without[f"logit_{name}_after"])
        assert np.array_equal(without[f"logit_{name}_before"], without[f"logit_{name}_control"])
        assert (having[f"logit_{name}_before"] != having[f"logit_{name}_after"]).all()
    assert (without["masked_share"] == 0).all()
    assert having["masked_share"].between(0.01, 0.1).all()


def test_a_network_that_reads_the_token_changes_under_masking_and_not_under_the_control(tmp_path, data):
    manifest = Manifest.load(data)
    setting = Setting.of({"model": "", "manifest": "", "mode": "mean"})
    image_id = manifest.ids[0]
    boxes = shared_detector()(write_text(chest_like(220, 260), "PORTABLE", 130, 15, 22)[0])
    versions = masked_versions(manifest, image_id, boxes, setting, 64)
    before, after, control = (versions.images[k].astype(int) for k in ("before", "after", "control"))
    corner = np.s_[2:16, 30:64]  # where the word is, at the network's size
    assert (before - after)[corner].max() > 30
    assert np.array_equal(before[corner], control[corner])
    assert versions.masked_share > 0.01


def test_the_network_sees_the_same_pixels_as_from_the_cache(tmp_path, data):
    manifest = Manifest.load(data)
    cache = ImageCache.build(manifest, 64, workers=0)
    setting = Setting.of({"model": "", "manifest": ""})
    for image_id in cache.ids:
        assert np.array_equal(masked_versions(manifest, image_id, [], setting, 64).images["before"], cache[image_id])


def test_a_second_run_finds_every_token_in_the_store(tmp_path, data, weights, black, monkeypatch):
    monkeypatch.setenv("CXR_DATA", str(black[2]))
    stores = []
    monkeypatch.setattr("cxr.text.experiment.DetectionStore", lambda: stores.append(DetectionStore()) or stores[-1])
    do(tmp_path, data, weights, mode="inpaint")
    assert sum(store.hits for store in stores) == 6
    assert sum(store.misses for store in stores) == 0


def test_a_stop_is_obeyed_without_results(tmp_path, data, weights):
    params = {"model": str(weights), "manifest": str(data), "split": "test", "workers": 0}
    folder = RunFolder.create(tmp_path / "runs", "text-experiment", params)

    def stop_at_the_second_image(fraction, message):
        if "2 of" in message:
            folder.request_stop()

    run(folder, folder.spec, stop_at_the_second_image)
    assert not (folder.path / "results.json").exists()


@pytest.mark.parametrize(("changes", "named"), [({"mode": "blurr"}, "'blurr'"), ({"split": "night"}, "'night'")])
def test_a_wrong_setting_is_named(tmp_path, data, weights, changes, named):
    with pytest.raises(TextError, match=named):
        do(tmp_path, data, weights, **changes)


def test_worker_processes_give_the_same_numbers(tmp_path, data, weights):
    alone, _ = do(tmp_path, data, weights, n=2)
    shutil.rmtree(cache_root())
    beside, _ = do(tmp_path, data, weights, n=2, workers=1)
    assert beside.read_json("results.json")["n_tokens"] == 1
    pd.testing.assert_frame_equal(alone.predictions(), beside.predictions())


def made_up(n_token, n_control, n=200):
    """A table of n images, all right before; the first ones change under masking, the last ones under the control."""
    predicted = {name: np.array(["a"] * n) for name in ("before", "after", "control")}
    predicted["after"][:n_token] = "b"
    predicted["control"][n - n_control :] = "b"
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "split": "test", "label": "a", "source": ""})
    table["patient_id"] = [f"p{k // 2}" for k in range(n)]
    for name, values in predicted.items():
        table[f"predicted_{name}"], table[f"correct_{name}"] = values, values == "a"
        table[f"confidence_{name}"] = 0.9
        for c in "ab":
            table[f"logit_{c}_{name}"] = np.where(values == c, 1.0, -1.0)
            table[f"prob_{c}_{name}"] = np.where(values == c, 0.9, 0.1)
    table["changed"] = table["predicted_before"] != table["predicted_after"]
    table["changed_control"] = table["predicted_before"] != table["predicted_control"]
    table["n_boxes"], table["masked_share"] = 1, 0.01
    return table


def test_the_sentence_blames_the_text_only_beyond_the_control():
    strong = results_of(made_up(30, 3), ("a", "b"), {})
    assert "matter more than patches of their size" in strong["finding"]
    assert "15.0 % [" in strong["finding"]
    assert strong["accuracy_difference"]["value"] == pytest.approx(-0.15)
    assert strong["accuracy_difference"]["low"] < -0.15 < strong["accuracy_difference"]["high"] < 0
    assert (strong["accuracy_difference"]["became_wrong"], strong["accuracy_difference"]["became_right"]) == (30, 0)
    assert strong["mean_logit_change"] == pytest.approx({"a": -0.3, "b": 0.3})
    none = results_of(made_up(3, 4), ("a", "b"), {})
    assert "cannot be told apart" in none["finding"]
    reverse = results_of(made_up(2, 30), ("a", "b"), {})
    assert "Random boxes change more" in reverse["finding"]


def test_without_text_or_labels_the_results_say_so_and_hold_no_invented_number():
    table = made_up(0, 0, n=4)
    table["n_boxes"], table["label"] = 0, ""
    results = results_of(table, ("a", "b"), {})
    assert results["finding"] == finding(results) == ("No text was found on the 4 images, so there is nothing to mask.")
    assert results["accuracy_difference"]["value"] is None
    assert results["mean_logit_change"] == {"a": None, "b": None}


def test_mcnemars_exact_p_is_the_binomial_one():
    first, second = np.array([True] * 8 + [False] * 12), np.array([False] * 8 + [True] * 2 + [False] * 10)
    assert paired_p(first, second) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert paired_p(first, first) == 1.0


def test_one_condition_reads_like_plain_predictions():
    plain = condition_table(made_up(5, 0), "after")
    assert {"predicted", "correct", "confidence", "logit_a", "prob_b", "label"} <= set(plain.columns)
    assert not any(column.endswith(("_after", "_before")) for column in plain.columns)
    assert (plain["predicted"] == "b").sum() == 5
