import dataclasses
import json
import pickle
import socket

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from cxr.errors import WeightsError
from cxr.models import ModelCard, build, list_weights, load_model, save_model
from cxr.models.load_state import load_state
from cxr.models.weights import read_state

CLASSES = ("covid19", "normal", "pneumonia")
X = np.random.default_rng(0).integers(0, 256, (2, 32, 32), dtype=np.uint8)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def small(**options):
    return build("densenet-small", **{"classes": CLASSES, "size": 32, **options}).eval()


def test_a_saved_network_comes_back_with_its_card_and_its_logits(weights):
    model = small(mean=0.4, std=0.3)
    model.card = dataclasses.replace(model.card, name="mine", metrics={"test": {"n": 3}}, licence="CC0")
    save_model(model, weights / "mine.safetensors")
    loaded = load_model(weights / "mine.safetensors")
    assert loaded.card == model.card
    assert torch.equal(loaded(X), model(X))
    assert not loaded.training
    beside = json.loads((weights / "mine.json").read_text())
    assert ModelCard.from_dict(beside) == model.card


def test_weights_are_listed_by_name_and_found_by_it(weights):
    save_model(small(), weights / "mine.safetensors")
    (weights / "broken.safetensors").write_bytes(b"no")
    assert [(n, c.backbone) for n, _, c in list_weights() if n in ("mine", "broken")] == [("mine", "densenet-small")]
    assert load_model("mine").classes == CLASSES


def test_saving_leaves_no_draft_behind(weights):
    save_model(small(), weights / "mine.safetensors")
    assert sorted(p.name for p in weights.iterdir()) == ["mine.json", "mine.safetensors"]


def test_a_file_of_the_same_classes_in_another_order_is_matched_by_name(weights):
    model = small()
    path = save_model(model, weights / "mine.safetensors")
    turned = build("densenet-small", ("pneumonia", "covid19", "normal"), weights=path).eval()
    assert turned.card.size == 32
    torch.testing.assert_close(turned(X), model(X)[:, [2, 0, 1]])


def test_a_file_of_other_classes_lends_its_body_and_not_its_head(weights):
    model = small()
    path = save_model(model, weights / "mine.safetensors")
    other = build("densenet-small", ("a", "b", "c"), weights=path)
    assert torch.equal(other.network.features.conv0.weight, model.network.features.conv0.weight)
    assert not (other.network.classifier.weight == model.network.classifier.weight).any()


def test_a_state_dict_of_timm_is_loaded_whole_with_its_wrappers_prefix(tmp_path):
    source = timm.create_model("resnet18", num_classes=3, in_chans=1).eval()
    torch.save({"state_dict": {f"module.{n}": t for n, t in source.state_dict().items()}}, tmp_path / "r.pth")
    model = build("resnet18", CLASSES, size=32, weights=tmp_path / "r.pth").eval()
    torch.testing.assert_close(model(X), source(model.preprocess(X)))


def test_a_state_dict_without_a_fitting_head_starts_it_anew_and_says_so(tmp_path):
    source = timm.create_model("resnet18", num_classes=10, in_chans=1)
    torch.save(source.state_dict(), tmp_path / "r.pth")
    model = build("resnet18", CLASSES, size=32)
    report = load_state(model, *read_state(tmp_path / "r.pth"))
    assert report.complete
    assert "starts from random values" in report.head
    assert torch.equal(model.network.conv1.weight, source.conv1.weight)


def test_weights_that_fit_in_part_are_refused_with_names_and_shapes(tmp_path):
    state = timm.create_model("resnet18", num_classes=3, in_chans=1).state_dict()
    del state["layer1.0.conv1.weight"]
    state["layer2.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
    state["stranger"] = torch.zeros(1)
    torch.save(state, tmp_path / "r.pth")
    with pytest.raises(WeightsError) as refusal:
        build("resnet18", CLASSES, size=32, weights=tmp_path / "r.pth")
    text = str(refusal.value)
    for part in ("layer1.0.conv1.weight", "(1, 2, 3, 3) in the file", "1 unexpected: stranger"):
        assert part in text
    assert "\n" not in text


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/evil", "w"))


def test_a_pickle_that_needs_code_is_refused(tmp_path):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    torch.save({"a": Evil()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(WeightsError, match="refused"):
            build("densenet-small", CLASSES, weights=tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"PK\x03\x04 not a zip"])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, ending):
    path = tmp_path / f"bad{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as refusal:
        build("densenet-small", CLASSES, weights=path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_safetensors_without_a_card_are_no_model_but_serve_as_weights(tmp_path):
    model = small()
    path = tmp_path / "plain.safetensors"
    safetensors.torch.save_file(model.network.state_dict(), path)
    with pytest.raises(WeightsError, match="has no card"):
        load_model(path)
    again = build("densenet-small", CLASSES, size=32, weights=path).eval()
    assert torch.equal(again(X), model(X))


def test_another_backbone_than_the_cards_is_refused(weights):
    path = save_model(small(), weights / "mine.safetensors")
    with pytest.raises(WeightsError, match="holds a densenet-small"):
        build("resnet18", CLASSES, weights=path)


def test_unknown_weights_are_answered_with_the_names_there_are(weights):
    save_model(small(), weights / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"'nope'.*mine"):
        build("densenet-small", CLASSES, weights="nope")


def test_imagenet_weights_lying_in_the_folder_are_taken_without_a_network(weights, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    source = timm.create_model("resnet18", num_classes=1000)
    weights.mkdir()
    safetensors.torch.save_file(source.state_dict(), weights / "resnet18.imagenet.safetensors")
    model = build("resnet18", CLASSES, weights="imagenet", size=32)
    assert torch.equal(model.network.conv1.weight, source.conv1.weight)
    assert (model.card.channels, model.card.mean) == (3, (0.485, 0.456, 0.406))
    grey = build("resnet18", CLASSES, weights="imagenet", size=32, channels=1)
    torch.testing.assert_close(grey.network.conv1.weight, source.conv1.weight.sum(1, keepdim=True))


def test_imagenet_without_a_network_names_the_file_and_where_to_put_it(weights, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(weights / "no-cache"))
    with pytest.raises(WeightsError) as refusal:
        build("densenet201", CLASSES, weights="imagenet")
    text = str(refusal.value)
    assert "timm/densenet201" in text
    assert str(weights / "densenet201.imagenet.safetensors") in text
    assert "\n" not in text


def test_a_backbone_of_ours_has_no_imagenet_weights():
    with pytest.raises(WeightsError, match="has no ImageNet weights"):
        build("densenet-small", CLASSES, weights="imagenet")


def no_network(*_args, **_options):
    raise socket.gaierror("no network")
