import json

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import ODD, ODD_NAMES, ONE_FINDING, every_configuration, write_network, write_xrays
from PIL import Image
from toys import CLASSES

from cxr.data import ImageCache, Manifest
from cxr.errors import ExplainError
from cxr.explain import explain
from cxr.explain.heatmap import Method, picture_digest
from cxr.explain.job import explain_run
from cxr.explain.run_files import read_map, safe_names
from cxr.explain.settings import Targets
from cxr.explain.store import HeatmapStore, clear
from cxr.models import build, load_model, save_model
from cxr.runs.folder import RunFolder


def test_labels_that_the_network_does_not_know_are_counted_and_their_maps_said_to_be_of_the_predicted_class(
    tmp_path, params
):
    table = pd.read_csv(params["manifest"])
    table.loc[[0, 1], "label"] = "tuberculosis"
    table.loc[2, "label"] = ""
    table.to_csv(params["manifest"], index=False)
    told = []
    folder = do(tmp_path, params | {"targets": "label"}, lambda fraction, message: told.append(message))
    results = folder.read_json("results.json")
    assert results["label_unknown"] == {"tuberculosis": 2, "": 1}
    assert results["notes"][-1] == (
        "3 X-rays have a label that the network does not know (tuberculosis: 2, no label: 1): the predicted class is "
        "explained there."
    )
    assert "3 of them for the predicted class" in told[-1]
    assert do(tmp_path, params | {"targets": "predicted"}).read_json("results.json")["label_unknown"] == {}


@pytest.fixture
def params(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (70, 90), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "image_id": f"x{i}", "label": CLASSES[i % 3], "split": "test"})
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows.append({"image": "broken.png", "image_id": "x9", "label": "normal", "split": "test"})
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    torch.manual_seed(0)
    save_model(build("densenet-small", CLASSES, size=64).eval(), tmp_path / "net.safetensors")
    return {"model": str(tmp_path / "net.safetensors"), "manifest": str(tmp_path / "manifest.csv"), "split": "test"}


def do(tmp_path, params, progress=lambda fraction, message: None):
    folder = RunFolder.create(tmp_path / "runs", "explain", params)
    explain_run(folder, folder.params, progress)
    return folder


def test_the_store_holds_the_maps_of_explain_with_their_scale(tmp_path, params):
    folder = do(tmp_path, params | {"targets": "label", "batch": 2, "previews": 2})
    index = pd.read_parquet(folder.path / "index.parquet")
    assert list(index["image_id"]) == [f"x{i}" for i in range(5)]
    assert list(index["target"]) == list(index["label"])
    store = np.load(folder.path / "relevance.npy", mmap_mode="r")
    assert (store.dtype, store.shape) == (np.float16, (5, 64, 64))
    model, manifest = load_model(params["model"]), Manifest.load(params["manifest"])
    expected = explain(model, ImageCache.build(manifest, 64).rows(["x3"]), "covid19")
    relevance, row = read_map(folder, "x3")
    assert np.allclose(relevance, expected.relevance[0].sum(0), atol=1e-3 * np.abs(relevance).max())
    assert row["logit"] == pytest.approx(expected.target_logits[0], rel=1e-4, abs=1e-5)
    assert len(list((folder.path / "previews").glob("*.png"))) == 2
    results = folder.read_json("results.json")
    assert results["n"] == 5
    assert [entry["image_id"] for entry in results["left_out"]] == ["x9"]
    assert results["legend"][0].startswith("LRP: epsilon, z+, flat (epsilon-plus-flat) · biases ignored")
    assert any(line.startswith("First convolution: flat") for line in results["legend"])
    ledger = index["positive"] + index["negative"] + index["absorbed"] + index["lost"] + index["residual"]
    assert np.allclose(ledger, index["logit"])
    json.dumps(results, allow_nan=False)


def test_ids_choose_the_images_and_a_class_or_the_prediction_is_explained(tmp_path, params):
    one = do(tmp_path, params | {"ids": ["x4", "x1"], "targets": "pneumonia", "composite": "gradient-x-input"})
    index = pd.read_parquet(one.path / "index.parquet")
    assert set(index["image_id"]) == {"x1", "x4"}
    assert set(index["target"]) == {"pneumonia"}
    predicted = do(tmp_path, params | {"n": 3})
    index = pd.read_parquet(predicted.path / "index.parquet")
    assert len(index) == 3
    assert list(index["target"]) == list(index["predicted"])


def test_a_stopped_run_keeps_what_it_had_done(tmp_path, params):
    folder = RunFolder.create(tmp_path / "runs", "explain", params | {"batch": 2})
    seen = []

    def stop_after_the_first_batch(fraction, message):
        seen.append(fraction)
        if fraction > 0:
            folder.request_stop()

    explain_run(folder, folder.params, stop_after_the_first_batch)
    assert seen[-1] < 0.5
    assert len(pd.read_parquet(folder.path / "index.parquet")) == 2
    assert np.abs(read_map(folder, "x1")[0]).max() > 0
    with pytest.raises(ExplainError, match=r"no heatmap of image 'x4' \(it holds 2\)"):
        read_map(folder, "x4")


def test_all_classes_of_every_image_are_explained_in_one_sweep(tmp_path, params):
    folder = do(tmp_path, params | {"targets": "all", "n": 2, "bias": "keep", "previews": 1})
    index = pd.read_parquet(folder.path / "index.parquet")
    assert list(index["target"]) == [*CLASSES, *CLASSES]
    assert list(index["row"]) == list(range(6))
    assert set(index["bias"]) == {"keep"}
    model, manifest = load_model(params["model"]), Manifest.load(params["manifest"])
    expected = explain(model, ImageCache.build(manifest, 64).rows(["x1"]), "pneumonia", bias="keep")
    relevance, row = read_map(folder, "x1", "pneumonia")
    assert row["row"] == 5
    assert np.allclose(relevance, expected.relevance[0].sum(0), atol=1e-3 * np.abs(relevance).max())
    assert {path.name for path in (folder.path / "previews").iterdir()} == {f"x0-{name}.png" for name in CLASSES}
    results = folder.read_json("results.json")
    assert (results["n"], results["maps"], results["bias"]) == (2, 6, "keep")
    with pytest.raises(ExplainError, match="no heatmap of image 'x1' for 'flu'"):
        read_map(folder, "x1", "flu")


def test_pages_find_the_maps_of_a_run_in_the_store_and_a_second_run_takes_them_over(tmp_path, params, monkeypatch):
    do(tmp_path, params | {"targets": "all", "n": 2})
    picture = picture_digest(ImageCache.build(Manifest.load(params["manifest"]), 64)["x1"])
    found = HeatmapStore.of(params["model"]).get(picture, Method.of(), CLASSES)
    assert set(found) == set(CLASSES)

    def refused(*arguments, **options):
        raise AssertionError("explained again")

    monkeypatch.setattr(Method, "explain", refused)
    again = do(tmp_path, params | {"targets": "label", "n": 2})
    relevance, row = read_map(again, "x1", "normal")
    assert np.array_equal(relevance, found["normal"].relevance)
    assert row["absorbed"] == found["normal"].absorbed


def test_a_stopped_run_goes_on_where_it_was(tmp_path, params):
    folder = RunFolder.create(tmp_path / "runs", "explain", params | {"batch": 2, "targets": "all"})

    def stop_after_the_first_batch(fraction, message):
        if fraction > 0:
            folder.request_stop()

    explain_run(folder, folder.params, stop_after_the_first_batch)
    before = pd.read_parquet(folder.path / "index.parquet")
    folder.clear_stop()
    clear()
    told = []
    explain_run(folder, folder.params, lambda fraction, message: told.append(message))
    assert told[1:] == ["4 of 5 images explained", "5 of 5 images explained", "5 images explained"]
    index = pd.read_parquet(folder.path / "index.parquet")
    assert len(index) == 15
    pd.testing.assert_frame_equal(index.iloc[: len(before)], before)
    once_more = []
    explain_run(folder, folder.params, lambda fraction, message: once_more.append(message))
    assert once_more[-1] == "5 images explained"
    assert folder.read_json("results.json")["legend"][0].startswith("LRP: epsilon, z+, flat")
    assert np.abs(read_map(folder, "x0", "normal")[0]).max() > 0


def test_a_resumed_run_explains_again_what_changed_meanwhile(tmp_path, params):
    folder = do(tmp_path, params)
    before = {image_id: read_map(folder, image_id)[0] for image_id in ("x0", "x1")}
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (70, 90), dtype=np.uint8)).save(tmp_path / "1.png")
    told = []
    explain_run(folder, folder.params, lambda fraction, message: told.append(message))
    assert told[1:] == ["5 of 5 images explained", "5 images explained"]
    assert np.array_equal(read_map(folder, "x0")[0], before["x0"])
    assert not np.array_equal(read_map(folder, "x1")[0], before["x1"])
    torch.manual_seed(1)
    save_model(build("densenet-small", CLASSES, size=64).eval(), tmp_path / "net.safetensors")
    explain_run(folder, folder.params, lambda fraction, message: None)
    assert not np.array_equal(read_map(folder, "x0")[0], before["x0"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"composite": "lrp"}, "unknown composite 'lrp'"),
        ({"targets": "flu"}, "unknown target 'flu'. Available: predicted, label, all, covid19"),
        ({"split": "night"}, "'night'"),
        ({"bias": "lose"}, "unknown bias 'lose'. Available: ignore, keep"),
        ({"precision": "float8"}, "unknown precision 'float8'"),
        ({"options": {"gamma": 1}}, "'gamma'"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, params, changes, named):
    with pytest.raises(ExplainError, match=named):
        do(tmp_path, params | changes)


def params_of(folder, configuration, n=3):
    """Parameters of a run on a few X-rays with a tiny network of a configuration."""
    weights = write_network(configuration, folder / "network.safetensors")
    return {"model": str(weights), "manifest": str(write_xrays(folder / "xrays", configuration, n=n)), "split": "test"}


@every_configuration
def test_maps_of_any_network_are_kept_summed_over_channels(tmp_path, configuration):
    wanted = params_of(tmp_path, configuration)
    folder = do(tmp_path, wanted | {"targets": "all", "previews": 1})
    index = pd.read_parquet(folder.path / "index.parquet")
    classes = configuration.classes
    assert list(index["target"]) == list(classes) * 3
    model, manifest = load_model(wanted["model"]), Manifest.load(wanted["manifest"])
    image_id = manifest.ids[1]
    picture = ImageCache.build(manifest, 64).rows([image_id])
    expected = explain(model, picture, [list(classes)])
    assert expected.relevance.shape == (1, len(classes), configuration.channels, 64, 64)
    for t, name in enumerate(classes):
        relevance, _ = read_map(folder, image_id, name)
        assert np.allclose(relevance, expected.relevance[0, t].sum(0), atol=1e-3 * np.abs(relevance).max())
    assert len(list((folder.path / "previews").glob("*.png"))) == len(classes)
    stored = HeatmapStore.of(wanted["model"]).get(picture_digest(picture[0]), Method.of(), classes)
    assert set(stored) == set(classes)
    assert all(heatmap.relevance.shape == (64, 64) for heatmap in stored.values())
    ledger = index["positive"] + index["negative"] + index["absorbed"] + index["lost"] + index["residual"]
    assert np.allclose(ledger, index["logit"])


@pytest.mark.parametrize("configuration", [*ODD_NAMES, ONE_FINDING], ids=str)
def test_classes_and_images_of_any_name_have_files_of_their_own(tmp_path, configuration):
    wanted = params_of(tmp_path, configuration)
    table = pd.read_csv(wanted["manifest"]).assign(image_id=["../out", "a/b", "a_b"])
    table.to_csv(wanted["manifest"], index=False)
    others = configuration.classes != ODD  # one of these is called "all"
    folder = do(tmp_path, wanted | ({"targets": "all"} if others else {"targets": "a/b"}))
    index = pd.read_parquet(folder.path / "index.parquet")
    files = sorted(path.relative_to(folder.path) for path in folder.path.rglob("*.png"))
    assert len(files) == len(index) == 3
    assert all(file.parent.name == "previews" for file in files)
    assert not list(tmp_path.glob("out*"))


def test_a_class_called_by_one_of_our_words_goes_before_the_word(tmp_path):
    for configuration in ODD_NAMES:
        model = load_model(write_network(configuration, tmp_path / "network.safetensors"))
        assert Targets.of("all", model) == Targets(name="all")
        assert Targets.of("label", model) == Targets(name="label")
        assert Targets.of("", model) == Targets.of(None, model) == Targets(word="predicted")


def test_several_findings_have_no_label_to_explain(tmp_path):
    model = load_model(write_network(ONE_FINDING, tmp_path / "network.safetensors"))
    with pytest.raises(ExplainError, match=r"unknown target 'label'\. Available: predicted, all, Effusion"):
        Targets.of("label", model)


def test_names_for_files_are_all_different_whatever_the_case():
    names = ["a/b", "a b", "A_B", "..", ".", "x" * 300, "x" * 301, "肺" * 99, ""]
    safe = safe_names(names)
    assert len({name.casefold() for name in safe.values()}) == len(names)
    assert all(len(name.encode()) < 110 and not name.startswith(".") and "/" not in name for name in safe.values())
    assert safe_names(["Pleural_Thickening", "covid19"]) == {n: n for n in ("Pleural_Thickening", "covid19")}
