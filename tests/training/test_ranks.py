"""Several processes that train one network on the CPU: real processes that speak over loopback."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import psutil
import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from cxr.errors import RecipeError
from cxr.runs import Run, local
from cxr.runs import start as start_run
from cxr.training.ranks import together
from cxr.training.watching.heatmaps import drawn_epochs, read_heatmaps
from tests import warm
from tests.training.running import assert_same, best, furthest, interrupted, last, rows, run, start

# Plain gradient descent: Adam's first steps turn rounding of gradients near 0 into whole steps.
STILL = {
    "backbone_args": {"block_config": [1, 1, 1, 1]},
    "stages.*.augment": {"rotate": 5, "noise": 0.05, "contrast": 0.2, "hflip": True},
    "stages.*.optimiser": {"name": "sgd", "lr": 0.05},
    "stages.*.clip_gradients": 1.0,
    "threads": 1,
}
TWO = STILL | {"devices": 2}


@pytest.fixture(scope="module")
def together_and_alone(tiny, tiny_cache, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(tiny_cache))
        patch.setenv("CXR_RUNS", str(tmp_path_factory.mktemp("runs")))
        return run(start(tiny, changes=TWO)), run(start(tiny, changes=STILL))


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(together_and_alone):
    two, one = together_and_alone
    assert furthest(last(two), last(one)) < 1e-4
    assert furthest(best(two), best(one)) < 1e-4


@pytest.mark.slow
def test_two_processes_tell_the_story_of_one(together_and_alone):
    two, one = together_and_alone
    ours, theirs = rows(two), rows(one)
    assert [(r["kind"], r["step"], r.get("lr")) for r in ours] == [(r["kind"], r["step"], r.get("lr")) for r in theirs]
    for key in ("loss", "train_loss", "val_loss", "val_accuracy"):
        values = [[r[key] for r in told if key in r] for told in (ours, theirs)]
        assert values[0]
        assert np.allclose(*values, rtol=1e-3)
    assert two.predictions()["image_id"].tolist() == one.predictions()["image_id"].tolist()
    assert two.read_json("results.json")["best"]["epoch"] == one.read_json("results.json")["best"]["epoch"]


def test_the_environment_is_as_it_was_and_no_helper_is_left(together_and_alone):
    assert not [name for name in local.RANK_VARIABLES if name in os.environ]
    assert not helpers_of(together_and_alone[0].path)


@pytest.mark.parametrize("looks", [3, 6])
@pytest.mark.slow
def test_processes_that_were_stopped_together_go_on_exactly(together_and_alone, tiny, looks):
    assert_same(run(interrupted(start(tiny, changes=TWO), looks)), together_and_alone[0])


@pytest.mark.slow
def test_stages_parts_mean_and_kept_neurons_work_with_two_processes(tiny):
    changes = {"stages.*.epochs": 2, "stages.*.accumulate": 2, "stages.1.ema": 0.9}
    changes |= {"stages.1.train": "head", "stages.1.unfreeze": {2: "all"}, "stages.*.early_stop": 5}
    changes |= {"heatmaps_every": 2}
    two, one = (run(start(tiny, "twice-keep", base | changes)) for base in (TWO, STILL))
    assert two.read_json("results.json")["kept_neurons"] == one.read_json("results.json")["kept_neurons"]
    assert [r["kind"] for r in rows(two)] == [r["kind"] for r in rows(one)]
    assert_same(run(interrupted(start(tiny, "twice-keep", TWO | changes), 11)), two)
    assert drawn_epochs(Run(two)) == drawn_epochs(Run(one)) == [(0, 2), (1, 2)]
    drawn = read_heatmaps(Run(two), 0, 2)
    assert drawn is not None
    # The network that is explained is the one whose validation it was.
    confidences = [1 / (1 + np.exp(-abs(logit))) for logit in drawn.logits]
    assert confidences == pytest.approx([xray["confidence"] for xray in drawn.xrays], abs=1e-4)


def helpers_of(folder) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            env = process.environ()
        except psutil.Error:
            continue
        if env.get(local.RUN_VARIABLE) == str(folder) and env.get("RANK", "0") != "0":
            found.append(process)
    return found


def wait_until(condition, timeout: float = 300.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def long_run(tiny):
    """A training of two processes in a worker of its own, with steps behind it and many before it."""
    spec = start(tiny, changes=TWO | {"stages.0.epochs": 500, "checkpoint_every_steps": 5}).spec
    run = start_run("train", spec["params"])
    wait_until(lambda: sum(r["kind"] == "step" for r in run.metrics()[0]) > 6 or not run.active)
    assert run.status()["state"] == "running", run.folder.log_tail(20)
    yield run
    if run.active:
        run.kill()


@pytest.mark.slow
def test_a_helper_that_is_killed_fails_the_run_with_a_line_and_resuming_goes_on(long_run):
    (helper,) = helpers_of(long_run.folder.path)
    helper.send_signal(signal.SIGKILL)
    status = long_run.wait(300)
    assert status["state"] == "failed"
    assert "process 1 of this training was killed by signal 9" in status["error"]
    before = len(rows(long_run.folder, "step"))
    long_run.resume()
    wait_until(lambda: len(rows(long_run.folder, "step")) > before + 10 or not long_run.active)
    long_run.stop()
    assert long_run.wait(300)["state"] == "stopped"
    steps = [r["step"] for r in rows(long_run.folder, "step")]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.slow
def test_helpers_do_not_outlive_a_killed_run(long_run):
    assert helpers_of(long_run.folder.path)
    os.kill(long_run.status()["pid"], signal.SIGKILL)
    wait_until(lambda: not helpers_of(long_run.folder.path), timeout=20)
    assert long_run.status()["state"] == "failed"


def test_a_cluster_s_number_of_processes_must_be_that_of_the_recipe(tiny, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="devices: 2 do not fit 3 processes"), together(2, start(tiny)):
        pass


def test_a_batch_that_cannot_be_shared_out_is_refused(tiny):
    with pytest.raises(RecipeError, match=r"stages\.0\.batch: 3 is too small for devices 2 and accumulate 1"):
        start(tiny, changes={"devices": 2, "stages.0.batch": 3})


NORMS = """
import sys, torch, torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn
from cxr.training.global_norm import over_all_ranks
rank, port, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
given = torch.load(path, weights_only=True)
network = nn.Sequential(nn.BatchNorm2d(3), BatchNormAct2d(3))
network.load_state_dict(given["state"])
network = over_all_ranks(network, torch.device("cpu"))
x = given["x"][[slice(0, 2), slice(2, 5)][rank]].requires_grad_()
out = network(x)
(out * given["w"][[slice(0, 2), slice(2, 5)][rank]]).sum().backward()
for parameter in network.parameters():
    dist.all_reduce(parameter.grad)
torch.save({"out": out.detach(), "dx": x.grad, "grads": [p.grad for p in network.parameters()],
            "state": network.state_dict(), "eval": network.eval()(given["x"]).detach()}, f"{path}.{rank}")
"""


@pytest.mark.slow
def test_norms_over_two_processes_are_those_of_the_whole_batch_and_so_are_their_gradients(tmp_path):
    import subprocess
    import sys

    from cxr.training.ranks import _free_port

    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), BatchNormAct2d(3))
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -1, 1)
    x, w = torch.randn(5, 3, 4, 4) * 3 + 7, torch.randn(5, 3, 4, 4)
    path, port = tmp_path / "given.pt", str(_free_port())
    torch.save({"state": network.state_dict(), "x": x, "w": w}, path)
    commands = [[sys.executable, "-c", NORMS, str(rank), port, str(path)] for rank in range(2)]
    ranks = [subprocess.Popen(command, env=os.environ | {warm.WARM: "1"}) for command in commands]
    assert [process.wait(300) for process in ranks] == [0, 0]
    parts = [torch.load(f"{path}.{rank}", weights_only=True) for rank in range(2)]

    x.requires_grad_()
    out = network(x)
    (out * w).sum().backward()
    assert torch.allclose(torch.cat([p["out"] for p in parts]), out, atol=1e-5)
    assert torch.allclose(torch.cat([p["dx"] for p in parts]), x.grad, atol=1e-5)
    for part in parts:
        for ours, theirs in zip(part["grads"], network.parameters(), strict=True):
            assert torch.allclose(ours, theirs.grad, atol=1e-4)
        for name, tensor in network.state_dict().items():
            assert torch.allclose(part["state"][name].float(), tensor.float(), atol=1e-5), name
        assert torch.allclose(part["eval"], network.eval()(x), atol=1e-4)
