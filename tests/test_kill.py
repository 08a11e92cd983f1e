"""Training bears any death of its process, and does not notice the death of the one that started it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cxr.data import Manifest
from cxr.data.phantom import write_demo
from cxr.runs import ENDED, Run, get_run, list_runs, start

PROJECT = Path(__file__).resolve().parents[1]
KILLS = int(os.environ.get("CXR_TEST_KILLS", "15"))  # every phase is hit by fifteen; more of them take longer
VOLATILE = ("time", "images_per_s", "wait_s")
STAGE: dict[str, Any] = {"batch": 4, "augment": {"rotate": 5, "noise": 0.02}, "monitor": "val_loss"}
RECIPE: dict[str, Any] = {
    "name": "kill",
    "backbone": "densenet-small",
    "backbone_args": {"growth_rate": 4, "block_config": [2, 2], "drop_rate": 0.1},
    "size": 32,
    "device": "cpu",
    "threads": 1,
    "seed": 7,
    "checkpoint_every_steps": 3,
    "stages": [STAGE | {"name": "final", "epochs": 40}],
}
FIRST, FINAL = 12, 16 + max(0, KILLS - 15)
# Two tasks, kept neurons, parts of a batch, a mean of the weights, blocks that thaw: all that has a state to lose.
EVERYTHING = RECIPE | {
    "stages": [
        STAGE
        | {"name": "first", "epochs": FIRST, "accumulate": 2, "train": "head", "unfreeze": {5: "block-2", 8: "all"}},
        STAGE | {"name": "final", "epochs": FINAL, "ema": 0.95, "keep_neurons": True},
    ]
}
PHASES = {"head", "block-2 thawed", "all thawed", "mean of the weights"}


@pytest.fixture
def demo(tmp_path: Path) -> Manifest:
    return write_demo(tmp_path / "demo", n=60, size=96, seed=3)


@pytest.fixture(autouse=True)
def end_everything(tmp_path):
    yield
    for run in list_runs(tmp_path / "runs"):
        if run.active:
            run.kill()


def steps(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.metrics()[0] if row["kind"] == "step"]


def wait_until(condition, timeout: float = 300.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def saved_step(run: Run) -> int:
    """The step of the last checkpoint, 0 before there is one."""
    pointer = run.folder.checkpoints / "last.json"
    return int(json.loads(pointer.read_text())["last"].split("-")[1]) if pointer.exists() else 0


def phase(row: dict[str, Any]) -> str:
    if row["stage"] == "final":
        return "mean of the weights"
    return "head" if row["epoch"] < 5 else "block-2 thawed" if row["epoch"] < 8 else "all thawed"


def places(kills: int) -> list[tuple[int, int] | None]:
    """Stage and epoch in which each life ends, spread over the training; None: wherever it is soon after it began."""
    placed = sum(life % 5 > 0 for life in range(kills))
    epochs = (int(k / (placed - 1) * (FIRST + 12)) for k in range(placed))
    lasting_lives = ((0, epoch + 1) if epoch < FIRST else (1, epoch - FIRST + 1) for epoch in epochs)
    return [None if life % 5 == 0 else next(lasting_lives) for life in range(kills)]


def reached(run: Run, place: tuple[int, int]) -> bool:
    """Return whether the training is in that stage and epoch or later."""
    return any((row["stage_index"], row["epoch"]) >= place for row in steps(run)[-1:])


def kill_in(run: Run, place: tuple[int, int] | None, gained: int, seconds: float, pause: float) -> int:
    """Kill the worker at a place and once it has gained so many steps, or after so long; return the rows there were."""
    begin, deadline = saved_step(run), time.monotonic() + seconds
    wait_until(
        lambda: (
            (place is not None and saved_step(run) - begin > gained and reached(run, place))
            or time.monotonic() > deadline
            or run.folder.read_status()["state"] in ENDED
        ),
        seconds + 60,
    )
    time.sleep(pause)
    status = run.folder.read_status()
    assert status["state"] not in ENDED, f"it {status['state']} before it could be killed: {status['error']}"
    os.kill(status["pid"], signal.SIGKILL)
    wait_until(lambda: run.status()["state"] == "failed", timeout=60)
    return len(steps(run))


def weights(run: Run) -> dict[str, dict[str, torch.Tensor]]:
    """Every tensor of the best and of the last checkpoint."""
    found = {"best": load_file(run.folder.checkpoints / "best.safetensors")}
    (last,) = run.folder.checkpoints.glob("step-*/last.safetensors")
    return found | {last.parent.name.rsplit("-", 1)[0]: load_file(last)}


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in VOLATILE} for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(1500)  # many starts of a process, on a machine that does other things beside
def test_a_training_killed_in_each_of_its_phases_ends_as_one_that_was_left_alone(demo):
    params = {"recipe": EVERYTHING, "manifest": str(demo.path)}
    whole = start("train", params, name="whole")
    assert whole.wait(600)["state"] == "finished", whole.status()["error"]

    killed = start("train", params, name="killed")
    moments, seen, phases = random.Random(0), [], set()
    for place in places(KILLS):
        # Most lives get on a little; every fifth ends wherever it is, be it while it loads or writes.
        seconds = 600 if place else moments.uniform(0.0, 0.5)
        seen.append(kill_in(killed, place, moments.randrange(6), seconds, moments.uniform(0.0, 0.03)))
        phases |= {phase(row) for row in steps(killed)[-1:]}
        killed.resume()
    status = killed.wait(600)
    assert (status["state"], status["resumes"]) == ("finished", KILLS), status["error"]
    assert len(set(seen)) > KILLS // 2  # it got on in between: otherwise little was tried
    assert phases == PHASES

    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    for name, tensors in expected.items():
        assert tensors.keys() == found[name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, found[name][key]), f"{name}: {key} differs"
    assert lasting(killed.metrics()[0]) == lasting(whole.metrics()[0])
    pd.testing.assert_frame_equal(killed.predictions(), whole.predictions())
    assert killed.results()["splits"] == whole.results()["splits"]


def test_a_training_goes_on_when_its_parent_and_the_parent_s_group_are_killed_and_others_can_stop_it(demo, tmp_path):
    long = RECIPE | {"stages": [RECIPE["stages"][0] | {"epochs": 2000}]}
    identity = tmp_path / "id"
    script = (
        "import sys, time; from cxr.runs import start; "
        f"run = start('train', {{'recipe': {long!r}, 'manifest': {str(demo.path)!r}}}); "
        f"open({str(identity)!r}, 'w').write(run.id + '\\n'); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, start_new_session=True)
    wait_until(lambda: identity.exists() and identity.read_text().endswith("\n"))
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()

    run = get_run(identity.read_text().strip())
    wait_until(lambda: len(steps(run)) >= 5)
    seen = len(steps(run))
    wait_until(lambda: len(steps(run)) > seen)
    assert run.status()["state"] == "running"
    run.stop()
    assert run.wait(300)["state"] == "stopped"
    assert (run.folder.checkpoints / "last.json").exists()
