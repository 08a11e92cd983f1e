"""Weights of others: every layout gives the logits that its own library gives, and what does not fit is refused."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from strangers import CLASSES, by_imagenet, grey, old_names, perturbed, saved
from torch import nn

from cxr.errors import WeightsError
from cxr.models import ModelCard, build, load_model
from cxr.models.backbones import make_network
from cxr.models.checksums import sha256_of
from cxr.models.imports.conversion import Misfit, card_of, import_weights, look_at
from cxr.models.imports.key_mapping import our_names
from cxr.models.imports.recognise import NIH14, XRV18, UnknownBackboneError, backbone_of

X = grey()
AS_IMAGENET = {"mean": "imagenet", "std": "imagenet", "size": 64, "task": "single-label"}


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def imported(path, **told):
    """Import, and return the network as it comes back from the file that was written."""
    return load_model(import_weights(path, **told)[0])


def same(model, theirs):
    """Compare logits of X, both after their own normalisation."""
    with torch.no_grad():
        torch.testing.assert_close(model(X), theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def densenet121():
    return perturbed(torchvision.models.densenet121(num_classes=3))


@pytest.fixture(scope="module")
def chexnet():
    """CheXNet as its reimplementation has it: DenseNet121 whose classifier is a linear layer and a sigmoid."""
    network = torchvision.models.densenet121()
    network.classifier = nn.Sequential(nn.Linear(1024, 14), nn.Sigmoid())
    return perturbed(network)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_a_densenet121_of_torchvision_gives_its_own_logits_behind_every_wrapper(densenet121, tmp_path, prefix):
    path = saved({prefix + n: t for n, t in densenet121.state_dict().items()}, tmp_path / "mine.pth")
    found = look_at(path)
    assert (found.backbone, found.channels, found.outputs) == ("densenet121", 3, 3)
    model = imported(path, classes=CLASSES, **AS_IMAGENET)
    same(model, by_imagenet(densenet121, X))
    assert model.card.classes == CLASSES
    assert model.card.checksum.startswith(f"sha256 {sha256_of(path)}")


def test_a_three_output_densenet201_as_the_paper_s_authors_save_it(tmp_path):
    theirs = perturbed(torchvision.models.densenet201(num_classes=3), seed=1)
    path = saved(OrderedDict(theirs.state_dict()), tmp_path / "NetA.pt")
    found = look_at(path)
    assert found.backbone == "densenet201"
    assert "class order unknown" in found.known.title
    assert "classes" in found.unknown
    model = imported(found, classes=("normal", "pneumonia", "covid19"), **AS_IMAGENET)
    same(model, by_imagenet(theirs, X))
    assert model.card.classes == ("normal", "pneumonia", "covid19")


def test_chexnet_with_its_old_names_prefix_and_dictionary_gives_its_own_logits(chexnet, tmp_path):
    checkpoint = {
        "epoch": 3,
        "best_loss": 0.5,
        "state_dict": old_names(chexnet.state_dict(), "module.densenet121."),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
    }
    assert any("norm.1." in name for name in checkpoint["state_dict"])
    path = saved(checkpoint, tmp_path / "model.pth.tar")
    found = look_at(path)
    assert (found.known.title, found.unknown) == ("CheXNet", ())
    model = imported(found, name="chexnet", size=64)
    assert model.classes == NIH14
    assert (model.card.task, model.card.mean) == ("multi-label", (0.485, 0.456, 0.406))
    theirs = by_imagenet(nn.Sequential(chexnet), X)  # probabilities: the sigmoid is theirs
    same(nn.Sequential(model, nn.Sigmoid()), theirs)
    rows = {row["tensor"]: row["name in the file"] for row in found.rows()}
    layer = "features.denseblock1.denselayer1"
    assert rows[f"{layer}.norm1.weight"] == f"module.densenet121.{layer}.norm.1.weight"
    assert rows["classifier.weight"] == "module.densenet121.classifier.0.weight"


class Python2Pickler(pickle._Pickler):
    """Writes text as Python 2 did, which has byte strings in its place."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_str(self, text):
        data = text.encode()
        self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        self.memoize(text)

    dispatch[str] = save_str


def test_a_checkpoint_pickled_by_python_2_before_torch_1_6_is_read(chexnet, tmp_path):
    def dump(value, file, protocol):
        Python2Pickler(file, protocol).dump(value)

    python2 = SimpleNamespace(__name__="python2", Pickler=Python2Pickler, dump=dump)
    path = tmp_path / "model.pth.tar"
    state = old_names(chexnet.state_dict(), "module.densenet121.")
    torch.save({"state_dict": state}, path, python2, pickle_protocol=2, _use_new_zipfile_serialization=False)
    assert b"U\nstate_dict" in path.read_bytes()
    assert b"X\n" not in path.read_bytes()[:2000]
    found = look_at(path)
    assert (found.known.title, found.report.complete) == ("CheXNet", True)


def test_torchxrayvision_takes_grey_values_from_minus_1024_to_1024(tmp_path):
    theirs = torchvision.models.densenet121(num_classes=18)
    theirs.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    perturbed(theirs, seed=2)
    theirs.features.norm0.running_var.fill_(1e6)  # of inputs in the thousands
    thresholds = torch.linspace(0.1, 0.5, 18)
    thresholds[3] = float("nan")
    state = {**theirs.state_dict(), "op_threshs": thresholds}
    path = saved(state, tmp_path / "xrv.pt")
    found = look_at(path)
    assert (found.known.title, found.unknown) == ("torchxrayvision", ())
    model = imported(found, size=64)
    with torch.no_grad():
        same(model, theirs(X * 2048 - 1024))
    assert (model.classes, model.card.channels, model.card.task) == (XRV18, 1, "multi-label")
    assert model.card.thresholds["Hernia"] == pytest.approx(thresholds[13].item())
    assert "Pneumothorax" not in model.card.thresholds
    assert "did not train: Pneumothorax" in model.card.limits


def test_a_resnet_of_torchvision_gives_its_own_logits(tmp_path):
    theirs = perturbed(torchvision.models.resnet18(num_classes=3), seed=3)
    found = look_at(saved(theirs.state_dict(), tmp_path / "other.pth"))
    assert found.backbone == "resnet18"
    same(imported(found, classes=CLASSES, **AS_IMAGENET), by_imagenet(theirs, X))


@pytest.mark.slow
def test_a_vgg_of_torchvision_gives_its_own_logits_with_its_dense_layers_as_convolutions():
    theirs = perturbed(torchvision.models.vgg11_bn(num_classes=3), seed=3)
    state = our_names(theirs.state_dict()).state
    assert backbone_of(state) == ("vgg11_bn", {})
    ours = make_network("vgg11_bn", 3, 3, {})
    ours.load_state_dict(state)
    x = grey(1, 224).double()  # in 32 bit a sum of 25,088 products differs by its order
    logits = [by_imagenet(network.eval().double(), x) for network in (ours, theirs)]
    torch.testing.assert_close(*logits, rtol=1e-9, atol=1e-9)


def test_a_network_of_timm_gives_its_own_logits_and_a_given_backbone_is_taken(tmp_path):
    theirs = perturbed(timm.create_model("mobilenetv3_small_050", num_classes=2, in_chans=1), seed=4)
    path = tmp_path / "timm.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    with pytest.raises(WeightsError, match="give it with --backbone"):
        look_at(path)
    found = look_at(path, "mobilenetv3_small_050")
    model = imported(found, classes=("a", "b"), task="multi-label", size=64, mean=0.5, std=0.25)
    with torch.no_grad():
        same(model, theirs((X - 0.5) / 0.25))


def test_every_wrong_backbone_is_a_misfit_with_shapes(densenet121, tmp_path):
    path = saved(densenet121.state_dict(), tmp_path / "mine.pth")
    with pytest.raises(Misfit, match="does not fit densenet201, nothing was written") as refusal:
        import_weights(look_at(path, "densenet201"), classes=CLASSES, **AS_IMAGENET)
    rows = refusal.value.report.rows()
    missing = next(row for row in rows if row["verdict"] == "missing")
    assert missing["in the file"] == ""
    assert missing["in the model"].replace("x", "").isdigit()


@pytest.mark.parametrize("what", ["missing", "unexpected", "other shape"])
def test_a_file_that_fits_in_part_is_refused_and_nothing_is_written(densenet121, tmp_path, weights, what):
    state = dict(densenet121.state_dict())
    name = "features.denseblock2.denselayer3.conv1.weight"
    if what == "missing":
        del state[name]
    elif what == "unexpected":
        state["head2.weight"] = torch.zeros(4)
    else:
        state[name] = torch.zeros(2, 3, 1, 1)
    found = look_at(saved(state, tmp_path / "part.pth"))
    rows = [row for row in found.rows() if row["verdict"] != "matched"]
    assert [row["verdict"] for row in rows] == [what]
    if what == "other shape":
        assert (rows[0]["in the file"], rows[0]["in the model"][:4]) == ("2x3x1x1", "128x")
    with pytest.raises(Misfit, match="nothing was written"):
        import_weights(found, classes=CLASSES, **AS_IMAGENET)
    assert not weights.exists()


def test_a_head_of_other_classes_is_refused_with_both_numbers(densenet121, tmp_path):
    path = saved(densenet121.state_dict(), tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match="has 3 outputs, but 2 classes are named"):
        import_weights(path, classes=("a", "b"), **AS_IMAGENET)


def test_a_file_of_imagenet_is_refused_with_where_it_belongs(tmp_path, weights):
    path = saved(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(WeightsError) as refusal:
        import_weights(path, classes=CLASSES, **AS_IMAGENET)
    assert str(weights / "resnet18.imagenet.pth") in str(refusal.value)


def test_a_body_without_a_head_is_refused(densenet121, tmp_path):
    state = {n: t for n, t in densenet121.state_dict().items() if not n.startswith("classifier")}
    with pytest.raises(WeightsError, match=r"no head classifier\.weight"):
        look_at(saved(state, tmp_path / "body.pth"))


def test_what_the_file_does_not_tell_is_given_by_option(densenet121, tmp_path):
    found = look_at(saved(densenet121.state_dict(), tmp_path / "NetD.pt"))
    with pytest.raises(WeightsError) as refusal:
        card_of(found)
    for option in ("--classes", "--task", "--size", "--mean", "--std"):
        assert option in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"size": "big"}, "size 'big'"),
        ({"mean": "a,b"}, "mean 'a,b'"),
        ({"mean": "0.1,0.2"}, "mean (0.1, 0.2)"),
        ({"channels": 1}, "channels 1"),
        ({"task": "both"}, "task 'both'"),
        ({"name": "../up"}, "name '../up'"),
    ],
)
def test_a_wrong_answer_is_named(densenet121, tmp_path, told, named):
    found = look_at(saved(densenet121.state_dict(), tmp_path / "mine.pth"))
    with pytest.raises(WeightsError) as refusal:
        import_weights(found, classes=CLASSES, **AS_IMAGENET | told)
    assert named in str(refusal.value)


def test_nothing_is_replaced_without_force(tmp_path, weights):
    path = saved(perturbed(torchvision.models.resnet18(num_classes=3)).state_dict(), tmp_path / "mine.pth")
    written, _ = import_weights(path, classes=CLASSES, **AS_IMAGENET)
    assert written == weights / "mine.safetensors"
    before = written.read_bytes()
    with pytest.raises(WeightsError, match=r"already exists: give --force"):
        import_weights(path, classes=("x", "y", "z"), **AS_IMAGENET)
    assert written.read_bytes() == before
    import_weights(path, classes=("x", "y", "z"), force=True, **AS_IMAGENET)
    assert load_model("mine").classes == ("x", "y", "z")
    assert ModelCard.from_dict(json.loads((weights / "mine.json").read_text())).classes == ("x", "y", "z")


class Evil:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"touch {self.flag}",)


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
def test_a_malicious_file_does_not_run_and_what_it_requested_is_named(tmp_path, way):
    flag, path = tmp_path / "ran", tmp_path / "evil.pth"
    content = {"state_dict": OrderedDict(a=torch.zeros(1)), "x": Evil(flag)}
    if way == "pickle":
        path.write_bytes(pickle.dumps({"x": Evil(flag)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "zip")
    with pytest.raises(WeightsError) as refusal:
        look_at(path)
    assert "posix.system" in str(refusal.value)
    assert "Ask its author for tensors alone" in str(refusal.value)
    assert "weights_only=False" not in str(refusal.value), "nobody is told to run it"
    assert not flag.exists()


@pytest.mark.parametrize("prefixes", ["module.", "model.module.", "_orig_mod.", "net.", "backbone.", "network.model."])
def test_what_stands_beside_a_wrapped_network_is_left_aside_by_name(tmp_path, prefixes):
    theirs = perturbed(torchvision.models.resnet18(num_classes=2), seed=3)
    state = {prefixes + name: tensor for name, tensor in theirs.state_dict().items()}
    state |= {"criterion.pos_weight": torch.ones(2), "ema.shadow": torch.zeros(3, 2)}
    found = look_at(saved({"state_dict": state}, tmp_path / "wrapped.ckpt"))
    assert found.renamed.wrappers == tuple(prefixes.split(".")[:-1])
    assert found.report.ignored == (("criterion.pos_weight", (2,)), ("ema.shadow", (3, 2)))
    assert [(row["tensor"], row["in the file"]) for row in found.rows() if row["verdict"] == "left aside"] == [
        ("criterion.pos_weight", "2"),
        ("ema.shadow", "3x2"),
    ]
    assert "2 left aside: criterion.pos_weight, ema.shadow" in str(found.report)
    same(imported(found, classes=("a", "b"), **AS_IMAGENET | {"task": "multi-label"}), by_imagenet(theirs, X))


def test_a_loss_beside_a_network_without_a_wrapper_is_left_aside_and_serves_as_weights_too(tmp_path):
    theirs = perturbed(torchvision.models.resnet18(num_classes=2), seed=3)
    path = saved({**theirs.state_dict(), "loss_fn.weight": torch.ones(2)}, tmp_path / "plain.pth")
    assert look_at(path).report.ignored == (("loss_fn.weight", (2,)),)
    model = build("resnet18", ("a", "b"), weights=path, channels=3, size=64)
    assert torch.equal(model.network.conv1.weight, theirs.conv1.weight)


@pytest.mark.parametrize("head", ["fc", "classifier", "head.1"])
def test_a_last_layer_outside_of_the_wrapper_is_the_head(tmp_path, head):
    theirs = perturbed(torchvision.models.resnet18(num_classes=2), seed=3)
    state = {f"encoder.{n}": t for n, t in theirs.state_dict().items() if not n.startswith("fc.")}
    state |= {f"{head}.weight": theirs.fc.weight.data, f"{head}.bias": theirs.fc.bias.data, "loss.w": torch.ones(1)}
    found = look_at(saved(state, tmp_path / "lightning.ckpt"))
    assert found.report.complete
    assert [name for name, _ in found.report.ignored] == ["loss.w"]
    started = build("resnet18", ("a", "b"), weights=tmp_path / "lightning.ckpt", channels=3, size=64)
    assert torch.equal(started.network.fc.weight, theirs.fc.weight)
    same(imported(found, classes=("a", "b"), **AS_IMAGENET), by_imagenet(theirs, X))


def test_a_head_of_two_layers_is_refused_by_its_layers(tmp_path):
    theirs = torchvision.models.resnet18()
    theirs.fc = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 2))
    with pytest.raises(WeightsError, match=r"head of several layers \(fc\.0\.weight \(64 x 512\), fc\.2\.weight"):
        look_at(saved(theirs.state_dict(), tmp_path / "two.pth"))


def test_two_networks_side_by_side_are_not_guessed_between(tmp_path):
    state = torchvision.models.resnet18(num_classes=2).state_dict()
    both = {f"{prefix}.{name}": tensor for prefix in ("model", "net") for name, tensor in state.items()}
    with pytest.raises(WeightsError, match=r"holds 2 networks, under model\. and net\.: save the state_dict"):
        look_at(saved(both, tmp_path / "both.pth"))


def test_an_unknown_network_is_described_by_what_its_tensors_are_called(tmp_path):
    state = {"student.a": torch.ones(2, 2, 1, 1), "student.b": torch.ones(2), "teacher.a": torch.ones(2, 2, 1, 1)}
    path = saved(state, tmp_path / "strange.pth")
    with pytest.raises(
        UnknownBackboneError, match=r"cannot be recognised from 3 tensors \(student\. 2, teacher\. 1\)"
    ) as refusal:
        look_at(path)
    assert str(path) in str(refusal.value)


def test_numbers_of_numpy_in_a_checkpoint_are_no_obstacle(tmp_path):
    theirs = perturbed(torchvision.models.resnet18(num_classes=2), seed=3)
    content = {"state_dict": theirs.state_dict(), "best": np.float64(0.91), "epoch": np.int64(7), "roc": np.ones(3)}
    for legacy in (True, False):
        path = tmp_path / f"numpy{legacy}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        same(imported(path, classes=("a", "b"), **AS_IMAGENET, name=path.stem), by_imagenet(theirs, X))


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, new_format, share):
    state = timm.create_model("mobilenetv3_small_050", num_classes=3).state_dict()
    whole = tmp_path / "whole.pth"
    torch.save(state, whole, _use_new_zipfile_serialization=new_format)
    data = whole.read_bytes()
    path = tmp_path / "half.pth"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError) as refusal:
        look_at(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_truncated_safetensors_file_is_refused(tmp_path):
    data = safetensors.torch.save(timm.create_model("mobilenetv3_small_050", num_classes=3).state_dict())
    path = tmp_path / "half.safetensors"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="cannot be read"):
        look_at(path)


def test_values_that_are_not_finite_are_refused(densenet121, tmp_path):
    state = dict(densenet121.state_dict())
    state["classifier.bias"] = torch.tensor([0.0, float("nan"), 1.0])
    with pytest.raises(WeightsError, match=r"classifier\.bias holds values that are not finite"):
        look_at(saved(state, tmp_path / "nan.pth"))


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], {"state_dict": {}}, np.float64(3).item()])
def test_a_file_without_tensors_is_no_state_dict(tmp_path, content):
    with pytest.raises(WeightsError, match="a state dict is needed"):
        look_at(saved(content, tmp_path / "none.pth"))


def test_our_own_files_need_no_import(tmp_path, weights):
    written, _ = import_weights(
        saved(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "mine.pth"),
        classes=CLASSES,
        **AS_IMAGENET,
    )
    with pytest.raises(WeightsError, match="has a card already"):
        look_at(written)
