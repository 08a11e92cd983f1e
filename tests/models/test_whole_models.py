"""Whole pickled models, whose code is not installed: read without it, with the logits that it gave."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import timm
import torch
import torchvision
from strangers import by_imagenet, grey, perturbed, saved
from torch import nn

from cxr.errors import WeightsError
from cxr.models import build, checksums, load_model
from cxr.models.checksums import sha256_of
from cxr.models.export import export
from cxr.models.imports.conversion import import_weights, look_at
from cxr.models.imports.recognise import XRV18
from cxr.models.safe_load import open_weights

X = grey()
FINDINGS = ("normal", "pneumonia", "covid19")
AS_IMAGENET = {"mean": "imagenet", "std": "imagenet", "size": 64, "task": "single-label"}

# As the paper's authors have it: a network of torchvision in a class of their own, its outputs three layers.
AUTHORS_CODE = """
import torch, torchvision
from torch import nn

class TwoLayerOut(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.linear1, self.linear2, self.linear3 = (nn.Linear(n, 1) for _ in range(3))
    def forward(self, x):
        return torch.cat([self.linear1(x), self.linear2(x), self.linear3(x)], dim=1)

class Net(nn.Module):
    def __init__(self, name="densenet121"):
        super().__init__()
        self.densenet = getattr(torchvision.models, name)(num_classes=3)
        self.densenet.classifier = TwoLayerOut(self.densenet.classifier.in_features)
    def forward(self, x):
        return self.densenet(x)
"""
# As torchxrayvision has it, in brief: grey input, operating points, lists of its findings.
XRV_CODE = """
import torch, torchvision
from torch import nn

class DenseNet(torchvision.models.DenseNet):
    def __init__(self, pathologies):
        super().__init__(32, (2, 2), 64, num_classes=len(pathologies))
        self.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.pathologies = self.targets = list(pathologies)
        self.apply_sigmoid, self.weights = False, "some"
        thresholds = torch.linspace(0.1, 0.5, len(pathologies))
        thresholds[1] = float("nan")
        self.register_buffer("op_threshs", thresholds)
"""


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def code(tmp_path, monkeypatch) -> Iterator[Callable[[str, str], Any]]:
    """Return a module made from source text, whose name means nothing once ``forget`` was called."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    names: list[str] = []

    def made(name: str, source: str) -> Any:
        package, _, inner = name.rpartition(".")
        place = folder / package.replace(".", "/")
        place.mkdir(exist_ok=True)
        if package:
            (place / "__init__.py").write_text("")
        (place / f"{inner}.py").write_text(source)
        names.extend(filter(None, (name, package)))
        return importlib.import_module(name)

    yield made
    for name in names:
        sys.modules.pop(name, None)


def forget(name: str, tmp_path: Path) -> None:
    """Make code that was imported impossible to import."""
    for known in [known for known in sys.modules if known == name or name.startswith(f"{known}.")]:
        if Path(getattr(sys.modules[known], "__file__", "/") or "/").is_relative_to(tmp_path):
            del sys.modules[known]
    for path in (tmp_path / "code").rglob("*.py"):
        path.unlink()
    importlib.invalidate_caches()
    with pytest.raises(ImportError):
        importlib.import_module(name)


def saved_whole(network: nn.Module, path: Path, monkeypatch, *, legacy: bool, location: str = "cuda:0") -> Path:
    """Save as torch did before 1.6 (or does now), with numbers that say that they lie on a GPU."""
    for module in network.modules():
        if legacy:  # an attribute that modules did not have then
            del module._non_persistent_buffers_set
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: location)
        torch.save(network, path, _use_new_zipfile_serialization=not legacy)
    for module in network.modules():
        module._non_persistent_buffers_set = set()
    assert location.encode() in path.read_bytes()[:2_000_000]
    return path


def same(model: nn.Module, theirs: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model(X), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "backbone", "legacy"),
    [("NetA.pt", "densenet201", True), ("NetD.pt", "densenet121", True), ("NetE.pt", "densenet121", False)],
)
def test_the_paper_s_networks_come_in_whole_without_their_code(code, tmp_path, monkeypatch, name, backbone, legacy):
    theirs = perturbed(code("authors_code", AUTHORS_CODE).Net(backbone))
    logits = by_imagenet(theirs, X)
    expected = {key: value.clone() for key, value in theirs.state_dict().items()}
    path = saved_whole(theirs, tmp_path / name, monkeypatch, legacy=legacy)
    forget("authors_code", tmp_path)
    with pytest.raises(Exception, match=r"cuda|authors_code|[Ww]eights"):
        torch.load(path, weights_only=True)
    state = open_weights(path).state
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    found = look_at(path)
    assert (found.backbone, found.outputs, found.class_name) == (backbone, 3, "authors_code.Net")
    assert "classes" in found.unknown
    assert "class order unknown" in found.known.title
    parts = ", ".join(f"densenet.classifier.linear{index}.weight" for index in (1, 2, 3))
    assert f"the outputs of 3 layers are joined to one, in this order: {parts}" in found.described()
    model = load_model(import_weights(found, classes=FINDINGS, **AS_IMAGENET)[0])
    same(model, logits)
    assert model.card.classes == FINDINGS
    assert model.card.licence == "GPL-3.0"
    assert "github.com/PedroRASB/COVID-19-Twice-Transfer-DNNs" in model.card.origin


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_network_of_torchvision_and_one_in_dataparallel_come_in_whole(tmp_path, monkeypatch, legacy, wrapped):
    theirs = perturbed(torchvision.models.resnet18(num_classes=2))
    logits = by_imagenet(theirs, X)
    network = nn.DataParallel(theirs) if wrapped else theirs
    path = saved_whole(network, tmp_path / "whole.pth", monkeypatch, legacy=legacy)
    found = look_at(path)
    assert found.class_name == (
        "torch.nn.parallel.data_parallel.DataParallel" if wrapped else "torchvision.models.resnet.ResNet"
    )
    model, _ = import_weights(found, classes=("effusion", "none"), **AS_IMAGENET | {"task": "multi-label"})
    same(load_model(model), logits)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("names", [XRV18, ("Edema", "Mass", "Nodule")])
def test_a_whole_network_of_torchxrayvision_tells_its_findings_and_input(code, tmp_path, monkeypatch, legacy, names):
    theirs = perturbed(code("torchxrayvision.models", XRV_CODE).DenseNet(names))
    theirs.features.norm0.running_var.fill_(1e6)  # of inputs in the thousands
    with torch.no_grad():
        logits = theirs(X * 2048 - 1024)
    path = saved_whole(theirs, tmp_path / "xrv.pt", monkeypatch, legacy=legacy)
    forget("torchxrayvision.models", tmp_path)
    found = look_at(path)
    assert (found.known.title, found.unknown, found.channels) == ("torchxrayvision", (), 1)
    model = load_model(import_weights(found, size=64)[0])
    same(model, logits)
    assert (model.classes, model.card.task, model.card.mean) == (tuple(names), "multi-label", (0.5,))
    assert f"did not train: {names[1]}" in model.card.limits


def test_findings_that_torchxrayvision_left_blank_are_named_and_said_to_be_untrained(code, tmp_path, monkeypatch):
    names = [name if index % 2 else "" for index, name in enumerate(XRV18)]
    theirs = perturbed(code("torchxrayvision.models", XRV_CODE).DenseNet(names))
    found = look_at(saved_whole(theirs, tmp_path / "xrv.pt", monkeypatch, legacy=True))
    assert found.known.classes == XRV18
    assert "did not train: Atelectasis, Consolidation, Infiltration" in found.known.limits


def test_a_checkpoint_around_a_whole_model_with_numpy_numbers_and_unknown_classes_is_read(code, tmp_path):
    module = code("lab.training", "class Settings:\n    pass\n")
    theirs = perturbed(torchvision.models.resnet18(num_classes=2))
    content = {
        "epoch": np.int64(3),
        "best": np.float64(0.9),
        "history": np.arange(4.0),
        "settings": module.Settings(),
        "classes": ["opaque", "clear"],
        "model": theirs,
    }
    path = saved(content, tmp_path / "checkpoint.ckpt")
    forget("lab.training", tmp_path)
    found = look_at(path)
    assert found.known.classes == ("opaque", "clear")
    model = load_model(import_weights(found, **AS_IMAGENET)[0])
    same(model, by_imagenet(theirs, X))


def test_tied_weights_buffers_that_are_not_saved_and_half_precision_come_out_as_torch_has_them(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3).half()
            self.second = self.first
            self.register_buffer("saved", torch.arange(6).reshape(2, 3).T)
            self.register_buffer("unsaved", torch.ones(2), persistent=False)
            self.register_parameter("none", None)
            self.view = nn.Parameter(torch.arange(10.0)[4:7])

    sys.modules[__name__].Odd = Odd
    Odd.__qualname__ = "Odd"
    network = Odd()
    for legacy in (True, False):
        path = tmp_path / f"odd{legacy}.pt"
        torch.save(network, path, _use_new_zipfile_serialization=not legacy)
        state, expected = open_weights(path).state, network.state_dict()
        assert list(state) == list(expected)
        assert all(torch.equal(state[name], value) for name, value in expected.items())
        assert state["first.weight"].dtype == torch.float16


def test_two_whole_models_in_one_file_are_refused_by_their_names(tmp_path):
    path = saved({"generator": nn.Linear(2, 2), "judge": nn.Linear(2, 2)}, tmp_path / "two.pt")
    with pytest.raises(WeightsError, match=r"holds 2 networks \(generator, judge\): save the state_dict\(\) of one"):
        open_weights(path)


def test_torchscript_is_named_and_not_run(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())).save(str(path))
    with pytest.raises(WeightsError, match="is a TorchScript file: ask for the state_dict"):
        open_weights(path)


# Licence and origin


@pytest.fixture
def resnet(tmp_path) -> Path:
    folder = tmp_path / "from elsewhere"
    folder.mkdir()
    return saved(perturbed(torchvision.models.resnet18(num_classes=2)).state_dict(), folder / "lab.pth")


def licence_of(path: Path, **told: Any) -> str:
    written, _ = import_weights(path, classes=("a", "b"), force=True, **AS_IMAGENET, **told)
    return load_model(written).card.licence


def test_a_published_sum_tells_publisher_and_licence_whatever_the_file_is_called(resnet, monkeypatch):
    published = checksums.Publication("NetA.pt", "GPL-3.0", "github.com/somebody/something")
    monkeypatch.setitem(checksums.PUBLISHED, sha256_of(resnet), published)
    found = look_at(resnet)
    assert (found.licence, found.licence_from) == ("GPL-3.0", "github.com/somebody/something")
    model = load_model(import_weights(found, classes=("a", "b"), **AS_IMAGENET)[0])
    assert model.card.licence == "GPL-3.0"
    assert model.card.origin == "github.com/somebody/something, file lab.pth"
    assert "agrees with its publisher, NetA.pt of github.com/somebody/something" in model.card.checksum
    assert build("resnet18", ("x", "y"), weights=resnet, channels=3).card.licence == "GPL-3.0"


@pytest.mark.parametrize(
    ("name", "content", "licence"),
    [
        ("lab.json", json.dumps({"licence": "CC-BY-4.0"}), "CC-BY-4.0"),
        ("README.md", "---\nlicense: gpl-3.0\ntags: [x]\n---\n# A card", "GPL-3.0"),
        ("LICENSE", "        GNU GENERAL PUBLIC LICENSE\n          Version 3, 29 June 2007\n", "GPL-3.0"),
        ("LICENSE.txt", "MIT License\n\nPermission is hereby granted, free of charge, to any person", "MIT"),
        ("COPYING", "        Apache License\n      Version 2.0, January", "Apache-2.0"),
        ("README.md", "# No head\nlicense: mit", "unknown"),
        ("README.md", "---\n[broken\n---\n", "unknown"),
        ("lab.json", "[" * 100_000, "unknown"),
    ],
)  # fmt: skip
def test_a_licence_is_taken_from_what_lies_beside_the_file(resnet, name, content, licence):
    resnet.with_name(name).write_text(content)
    assert licence_of(resnet) == licence
    assert licence_of(resnet, licence="BSD-3-Clause") == "BSD-3-Clause"


def test_the_same_shape_alone_is_no_reason_to_call_a_network_the_authors(tmp_path):
    theirs = perturbed(torchvision.models.densenet121(num_classes=3))
    found = look_at(saved(theirs.state_dict(), tmp_path / "ours.pth"))
    assert (found.licence, found.known.origin) == ("", "")
    named_wrongly = look_at(saved(theirs.state_dict(), tmp_path / "NetA.pt"))  # A is a DenseNet201
    assert named_wrongly.licence == ""
    assert look_at(saved(theirs.state_dict(), tmp_path / "NetD.pt")).licence == "GPL-3.0"


def test_every_export_and_every_network_made_from_them_carries_licence_and_origin(tmp_path):
    told = {"licence": "GPL-3.0", "origin": "github.com/somebody/something"}
    theirs = build("densenet-small", ("a", "b"), size=32, backbone_args={"growth_rate": 4, "block_config": [2, 2]})
    file = saved(perturbed(theirs.network).state_dict(), tmp_path / "small.pth")
    inputs = {"size": 32, "mean": 0.5, "std": 0.25, "task": "multi-label"}
    path, model = import_weights(file, classes=("a", "b"), **inputs, **told)
    onnx = __import__("onnx").load(export(model, tmp_path / "net.onnx", "onnx").path)
    held = {entry.key: entry.value for entry in onnx.metadata_props}
    assert (held["licence"], held["origin"]) == ("GPL-3.0", "github.com/somebody/something")
    folder = export(model, tmp_path / "folder", "timm").path
    readme = (folder / "README.md").read_text()
    assert readme.startswith("---\nlibrary_name: timm\nlicense: gpl-3.0\n---\n")
    assert "| licence | GPL-3.0 |" in readme
    assert "may be passed on only under the same licence" in readme
    with safetensors.safe_open(folder / "model.safetensors", framework="pt") as file:
        assert file.metadata()["licence"] == "GPL-3.0"
    assert timm.create_model(f"local-dir:{folder}", pretrained=True).pretrained_cfg["license"] == "GPL-3.0"
    again = look_at(folder)
    assert (again.licence, again.known.origin) == ("GPL-3.0", "github.com/somebody/something")
    page = export(model, tmp_path / "card.md", "card").path.read_text()
    assert "github.com/somebody/something" in page
    derived = build("densenet-small", ("c", "d", "e"), weights=path)
    assert (derived.card.licence, derived.card.origin) == ("GPL-3.0", "github.com/somebody/something")
