"""ImageNet weights from the hub's cache and from files put in place by hand, their sums verified, without a network."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from strangers import CLASSES, old_names, perturbed

from cxr.errors import WeightsError
from cxr.models import build
from cxr.models.checksums import sha256_of

REPOSITORY = "timm/resnet18.a1_in1k"


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """An empty folder of weights, no network, and a cache of the hub that is this test's own."""

    def no_network(*_args, **_options):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def resnet():
    return perturbed(timm.create_model("resnet18", num_classes=1000))


def hub_cache(root, network):
    """Lay a cache out as the hub's client does: blobs by sum, a snapshot of links, the branch's commit."""
    data = safetensors.torch.save(network.state_dict())
    folder = root / f"models--{REPOSITORY.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
    snapshot = folder / "snapshots" / ("c" * 40)
    for made in (blob.parent, snapshot, folder / "refs"):
        made.mkdir(parents=True)
    blob.write_bytes(data)
    (snapshot / "model.safetensors").symlink_to(os.path.relpath(blob, snapshot))
    (folder / "refs" / "main").write_text("c" * 40)
    return blob


def test_the_hub_s_cache_serves_without_a_network_and_its_sum_goes_on_the_card(resnet, tmp_path):
    blob = hub_cache(tmp_path / "hub", resnet)
    model = build("resnet18", CLASSES, weights="imagenet", size=32)
    assert torch.equal(model.network.layer2[0].conv1.weight, resnet.layer2[0].conv1.weight)
    assert model.card.origin == f"ImageNet weights, {REPOSITORY}"
    assert model.card.checksum == f"sha256 {blob.name} (agrees with the hub's cache)"


def test_a_damaged_cache_is_refused_with_both_sums(resnet, tmp_path):
    blob = hub_cache(tmp_path / "hub", resnet)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(WeightsError) as refusal:
        build("resnet18", CLASSES, weights="imagenet")
    assert f"the hub's cache says {blob.name}" in str(refusal.value)
    assert hashlib.sha256(data).hexdigest() in str(refusal.value)


def test_a_process_that_is_set_to_stay_offline_uses_the_cache(resnet, tmp_path):
    hub_cache(tmp_path / "home" / "hub", resnet)
    script = (
        "from cxr.models import build\nprint(build('resnet18', ('a', 'b'), weights='imagenet', size=32).card.checksum)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert "agrees with the hub's cache" in done.stdout, done.stderr


def test_a_file_of_torchvision_under_its_own_name_is_mapped_and_verified(weights, tmp_path):
    theirs = perturbed(torchvision.models.densenet121())
    torch.save(old_names(theirs.state_dict(), ""), tmp_path / "draft.pth")
    digits = sha256_of(tmp_path / "draft.pth")
    placed = (tmp_path / "draft.pth").rename(weights / f"densenet121-{digits[:8]}.pth")
    model = build("densenet121", CLASSES, weights="imagenet", size=32).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.network.forward_features(x), theirs.features(x).relu())
    assert model.card.origin == f"ImageNet weights, file {placed.name}"
    assert model.card.checksum == f"sha256 {digits} (agrees with the file's name)"
    placed.rename(weights / "densenet121-00000000.pth")
    with pytest.raises(WeightsError, match=rf"its sha256 is {digits}, but the file's name says 00000000"):
        build("densenet121", CLASSES, weights="imagenet")


def test_a_file_of_timm_under_its_own_name_is_found(resnet, weights, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "draft.pth")
    digits = sha256_of(tmp_path / "draft.pth")[:8]
    (tmp_path / "draft.pth").rename(weights / f"resnet18_a1_0-{digits}.pth")
    model = build("resnet18", CLASSES, weights="imagenet", size=32)
    assert torch.equal(model.network.conv1.weight, resnet.conv1.weight)


def test_a_placed_file_whose_sum_nobody_tells_is_remembered_and_a_change_is_noticed(resnet, weights):
    path = weights / "resnet18.imagenet.safetensors"
    safetensors.torch.save_file(resnet.state_dict(), path)
    model = build("resnet18", CLASSES, weights="imagenet", size=32)
    assert model.card.checksum == f"sha256 {sha256_of(path)} (first use, not verified)"
    safetensors.torch.save_file(perturbed(timm.create_model("resnet18"), seed=9).state_dict(), path)
    with pytest.raises(WeightsError, match=r"first-use\.sha256 says"):
        build("resnet18", CLASSES, weights="imagenet", size=32)


def test_a_placed_file_is_compared_with_the_sum_beside_it(resnet, weights):
    path = weights / "resnet18.imagenet.safetensors"
    safetensors.torch.save_file(resnet.state_dict(), path)
    path.with_name(path.name + ".sha256").write_text("0" * 64)
    with pytest.raises(WeightsError, match="refused"):
        build("resnet18", CLASSES, weights="imagenet")


def test_a_placed_file_of_another_network_is_refused(weights):
    safetensors.torch.save_file(
        timm.create_model("mobilenetv3_small_050").state_dict(), weights / "resnet18.imagenet.safetensors"
    )
    with pytest.raises(WeightsError, match=r"resnet18\.imagenet\.safetensors does not fit resnet18"):
        build("resnet18", CLASSES, weights="imagenet")


def test_a_placed_file_runs_no_code(weights, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"a": Evil()}, weights / "resnet18.imagenet.pth")
    with pytest.raises(WeightsError, match=r"posix\.system"):
        build("resnet18", CLASSES, weights="imagenet")
    assert not (tmp_path / "ran").exists()


def test_without_a_network_the_file_its_place_and_torchvision_s_are_named(weights):
    with pytest.raises(WeightsError) as refusal:
        build("densenet121", CLASSES, weights="imagenet")
    text = str(refusal.value)
    for part in (
        "model.safetensors of timm/densenet121",
        str(weights / "densenet121.imagenet.safetensors"),
        str(weights / "densenet121-a639ec97.pth"),
    ):
        assert part in text
    assert not re.search(r"[\n\r]", text)
