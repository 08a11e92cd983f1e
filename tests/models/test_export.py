"""What other programs get gives the logits that we give."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from strangers import CLASSES, perturbed

from cxr.errors import WeightsError
from cxr.models import build, load_model
from cxr.models.export import FORMATS, export, timm_config
from cxr.models.imports.conversion import import_weights, look_at

X = np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8)


def network(backbone="densenet-small", **options):
    settings = {"size": 32, "backbone_args": {"growth_rate": 4, "block_config": [2, 2]}, **options}
    model = build(backbone, CLASSES, **settings)
    perturbed(model.network)
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(X).numpy()


@pytest.mark.parametrize(
    "options",
    [{}, {"channels": 3, "mean": (0.1, 0.2, 0.3), "std": 0.5}, {"backbone": "resnet18", "backbone_args": {}}],
    ids=["grey", "three channels", "resnet"],
)
def test_onnx_holds_the_normalisation_and_takes_any_batch(tmp_path, options):
    model = network(**options)
    done = export(model, tmp_path / "net.onnx", "onnx")
    assert done.relative < 1e-4
    session = onnxruntime.InferenceSession(done.path)
    assert session.get_inputs()[0].shape == ["batch", 1, 32, 32]
    for n in (1, 4):
        (theirs,) = session.run(["logits"], {"image": X[:n, None].astype(np.float32) / 255})
        np.testing.assert_allclose(theirs, logits(model)[:n], rtol=1e-4, atol=1e-5)


def test_onnx_carries_class_names_and_card_and_no_path_of_this_machine(tmp_path):
    model = network()
    proto = onnx.load(export(model, tmp_path / "net.onnx", "onnx").path)
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(told["classes"]) == list(CLASSES)
    assert json.loads(told["card"])["size"] == 32
    assert "values in [0, 1]" in told["input"]
    assert b"/site-packages/" not in proto.SerializeToString()


@pytest.mark.parametrize("options", [{}, {"backbone": "resnet18", "backbone_args": {}, "channels": 3}])
def test_a_folder_of_timm_is_loaded_by_timm_with_names_and_normalisation(tmp_path, options):
    model = network(**options)
    done = export(model, tmp_path / "folder", "timm")
    assert done.relative < 1e-5
    theirs = timm.create_model(f"local-dir:{done.path}", pretrained=True).eval()
    with torch.no_grad():
        np.testing.assert_allclose(theirs(model.preprocess(X)).numpy(), logits(model), rtol=1e-5, atol=1e-6)
    told = theirs.pretrained_cfg
    assert tuple(told["label_names"]) == CLASSES
    assert tuple(told["input_size"]) == (model.card.channels, 32, 32)
    assert (tuple(told["mean"]), tuple(told["std"])) == (model.card.mean, model.card.std)
    assert told["num_classes"] == 3


def test_a_folder_of_timm_can_be_imported_again_without_a_question(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))
    model = network()
    folder = export(model, tmp_path / "folder", "timm").path
    found = look_at(folder)
    assert found.unknown == ()
    path, _ = import_weights(found, name="again")
    again = load_model(path)
    np.testing.assert_allclose(logits(again), logits(model), rtol=1e-5, atol=1e-6)
    assert (again.classes, again.card.task, again.card.size) == (CLASSES, "single-label", 32)


def test_the_card_is_written_as_a_page(tmp_path):
    model = network()
    assert export(model, tmp_path / "card.md", "card").path.read_text() == model.card.to_markdown()


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_replaced_without_force_and_no_draft_stays_behind(tmp_path, format):
    model = network()
    target = tmp_path / "target"
    export(model, target, format)
    with pytest.raises(WeightsError, match="already exists: give --force"):
        export(model, target, format)
    assert export(model, target, format, force=True).path == target
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_folder_that_is_not_timm_s_is_not_replaced_even_with_force(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for format in FORMATS:
        with pytest.raises(WeightsError, match=r"is not a folder of timm|is a folder"):
            export(network(), tmp_path / "mine", format, force=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_unknown_format_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(WeightsError, match=r"unknown format 'keras'\. Available: onnx, timm, card"):
        export(network(), tmp_path / "x", "keras")


def test_a_backbone_that_timm_does_not_know_is_refused_by_name(tmp_path):
    model = network()
    model.card = dataclasses.replace(model.card, backbone="mynet")
    with pytest.raises(WeightsError, match="timm has no architecture for backbone 'mynet'"):
        timm_config(model)


@pytest.mark.parametrize("format", ["onnx", "timm"])
def test_an_export_whose_logits_differ_is_refused_and_not_written(tmp_path, format):
    model = network()

    def dropping(images, forward=model.forward):
        return forward(images) + 0.01  # what is asked of the network itself stays as it was

    model.forward = dropping
    with pytest.raises(WeightsError, match=r"is not written: its logits differ from ours by 0\.01"):
        export(model, tmp_path / "net", format)
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_no_numbers_are_refused(tmp_path):
    model = network()
    model.network.classifier.bias.data[0] = float("nan")
    with pytest.raises(WeightsError, match="is not written"):
        export(model, tmp_path / "net", "timm")
