"""``cxr weights`` as a user has it: import, list, show, export, in a process of its own and at a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
from strangers import CLASSES, by_imagenet, grey, perturbed, saved

from cxr.cli import main
from cxr.models import build, load_model, save_model
from tests import warm

TOLD = ["--classes", ",".join(CLASSES), "--task", "single-label", "--size", "64", "--mean", "imagenet"]
TOLD += ["--std", "imagenet"]


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def theirs():
    return perturbed(torchvision.models.resnet18(num_classes=3))


@pytest.fixture
def file(theirs, tmp_path):
    state = OrderedDict((f"module.{name}", tensor) for name, tensor in theirs.state_dict().items())
    return saved({"state_dict": state}, tmp_path / "theirs.pth")


def cxr(*arguments):
    """Run the command line in a process of its own and return (exit code, stdout, stderr)."""
    command = [sys.executable, "-m", "cxr", *map(str, arguments)]
    environment = os.environ | {warm.WARM: "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def here(monkeypatch, capsys):
    """Run the command line in this process, without a terminal, and return (exit code, stdout, stderr)."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["cxr", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115, PTH123 - closed with the test
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, *capsys.readouterr()

    return command


@pytest.mark.slow
def test_the_round_trip_in_processes_of_their_own(theirs, file, tmp_path, weights):
    code, out, err = cxr("weights", "import", file, "--name", "mine", "--licence", "MIT", *TOLD)
    assert code == 0, err
    assert "conv1.weight" in out
    assert "64x3x7x7" in out
    assert "next: `cxr evaluate mine --data ...`" in out
    x = grey()
    torch.testing.assert_close(load_model("mine")(x), by_imagenet(theirs, x), rtol=1e-5, atol=1e-5)
    code, out, err = cxr("weights", "export", "mine", "--format", "timm", "--out", tmp_path / "folder", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["max_abs_difference"] == pytest.approx(0, abs=1e-4)
    again = timm.create_model(f"local-dir:{told['path']}", pretrained=True).eval()
    torch.testing.assert_close(by_imagenet(again, x), by_imagenet(theirs, x), rtol=1e-5, atol=1e-5)


def test_an_import_says_under_which_licence_the_weights_are_and_how_it_knows(here, file):
    _, out, _ = here("weights", "import", file, "--brief", *TOLD)
    assert "licence: unknown, no file beside the weights states it" in out
    file.with_name("LICENSE").write_text("GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007")
    _, out, _ = here("weights", "import", file, "--brief", "--name", "second", *TOLD)
    assert "licence: GPL-3.0 (from LICENSE). A network under the GPL" in out
    _, out, _ = here("weights", "import", file, "--brief", "--name", "third", "--licence", "MIT", *TOLD)
    assert "licence: MIT (from --licence)" in out
    code, out, _ = here("weights", "show", "second")
    assert (code, "| licence | GPL-3.0 |" in out) == (0, True)


def test_the_json_of_an_import_lists_every_tensor_and_the_card(here, file):
    code, out, _ = here("weights", "import", file, "--name", "mine", "--json", *TOLD)
    told = json.loads(out)
    assert code == 0
    assert {row["verdict"] for row in told["tensors"]} == {"matched"}
    first = next(row for row in told["tensors"] if row["tensor"] == "conv1.weight")
    assert first["name in the file"] == "module.conv1.weight"
    assert told["card"]["classes"] == list(CLASSES)
    assert told["next"] == "cxr evaluate mine --data ..."


def test_without_a_terminal_what_is_lacking_is_named_by_option_in_one_line(here, file, weights):
    code, out, err = here("weights", "import", file, "--json")
    assert code == 2
    assert all(f"--{option} (" in err for option in ("classes", "task", "size", "mean", "std"))
    assert err.count("\n") == 1
    assert "error" in json.loads(out)
    assert not weights.exists()


def test_a_partial_file_ends_with_1_shows_the_tensors_and_writes_nothing(here, theirs, tmp_path, weights):
    state = dict(theirs.state_dict())
    del state["layer1.0.bn1.bias"]
    state["extra.weight"] = torch.zeros(2, 5)
    path = saved(state, tmp_path / "part.pth")
    code, out, err = here("weights", "import", path, "--brief", "--backbone", "resnet18", *TOLD)
    assert code == 1
    assert "nothing was written" in err
    rows = [line for line in out.splitlines() if "missing" in line or "unexpected" in line]
    assert any("layer1.0.bn1.bias" in row and "64" in row for row in rows)
    assert any("extra.weight" in row and "2x5" in row for row in rows)
    assert "layer1.0.bn2.bias" not in out
    code, out, _ = here("weights", "import", path, "--backbone", "resnet18", "--json", *TOLD)
    told = json.loads(out)
    assert (code, "nothing was written" in told["error"]) == (1, True)
    assert {"missing", "unexpected", "matched"} == {row["verdict"] for row in told["tensors"]}
    assert not weights.exists()


def test_an_import_does_not_replace_without_force(here, file, weights):
    assert here("weights", "import", file, "--name", "mine", *TOLD)[0] == 0
    code, _, err = here("weights", "import", file, "--name", "mine", *TOLD)
    assert (code, "already exists: give --force" in err) == (1, True)
    assert here("weights", "import", file, "--name", "mine", "--force", *TOLD)[0] == 0


def test_at_a_terminal_it_asks_for_what_is_lacking(theirs, file, weights):
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "cxr", "weights", "import", str(file), "--name", "asked", "--brief"]
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    seen = ""
    answers = [("classes of the 3 outputs:", "covid19, normal, pneumonia"), ("task:", "single-label"), ("size:", "64")]
    answers += [("mean:", "imagenet"), ("std:", "imagenet"), ("licence [unknown]:", "CC-BY-4.0")]
    try:
        for question, answer in answers:
            seen += _until(leader, question)
            os.write(leader, f"{answer}\n".encode())
        seen += _until(leader, "next:")
        assert process.wait(300) == 0, seen
    finally:
        process.kill()
        os.close(leader)
    x = grey()
    torch.testing.assert_close(load_model("asked")(x), by_imagenet(theirs, x), rtol=1e-5, atol=1e-5)
    assert load_model("asked").classes == CLASSES
    assert load_model("asked").card.licence == "CC-BY-4.0"


def _until(leader, words):
    """Read from a terminal until ``words`` are there."""
    text, deadline = "", time.monotonic() + 60
    while words not in text:
        assert time.monotonic() < deadline, text
        if select.select([leader], [], [], 1)[0]:
            text += os.read(leader, 4096).decode(errors="replace")
    return text


def test_the_card_is_shown_as_a_page_and_as_json(here, weights):
    save_model(build("densenet-small", CLASSES, size=32), weights / "small.safetensors")
    code, out, _ = here("weights", "show", "small")
    assert (code, "| classes | covid19, normal, pneumonia |" in out) == (0, True)
    code, out, _ = here("weights", "show", "small", "--json")
    assert json.loads(out)["size"] == 32
    code, _, err = here("weights", "show", "nothing")
    assert (code, "no trained network 'nothing'" in err) == (2, True)
    assert [row["name"] for row in json.loads(here("weights", "list", "--json")[1])][-1] == "small"


def test_export_writes_onnx_and_the_card_and_says_how_far_the_logits_are(here, weights, tmp_path):
    model = build("densenet-small", CLASSES, size=32, backbone_args={"growth_rate": 4, "block_config": [2, 2]})
    save_model(model, weights / "small.safetensors")
    code, out, err = here("weights", "export", "small", "--format", "onnx", "--out", tmp_path / "small.onnx")
    assert code == 0, err
    assert "its logits differ from the original's by at most" in out
    code, out, _ = here("weights", "export", "small", "--format", "card", "--out", tmp_path / "CARD.md")
    assert (tmp_path / "CARD.md").read_text().startswith("# densenet-small")
    code, _, err = here("weights", "export", "small", "--format", "pickle", "--out", tmp_path / "x")
    assert (code, "unknown format 'pickle'. Available: onnx, timm, card" in err) == (2, True)
    code, _, err = here("weights", "export", "small", "--format", "card", "--out", tmp_path / "CARD.md")
    assert (code, "already exists" in err) == (1, True)
