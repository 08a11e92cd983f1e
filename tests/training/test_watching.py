"""What a training leaves for those who watch it: the X-rays that it gets most wrong, and what it takes of a machine."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from cxr.data import Manifest
from cxr.runs import Run, RunFolder
from cxr.runs.metrics.usage_file import USAGE, UsageTable
from cxr.training.losses import make_loss
from cxr.training.recipe import Stage
from cxr.training.watching.usage import Usage, recorded
from cxr.training.watching.worst import WORST, read_worst, worst_xrays, write_worst
from tests.training.running import run, start

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_training_keeps_the_xrays_that_its_last_validation_got_most_wrong(tiny: Path, channels: int) -> None:
    folder = run(start(tiny, changes={"channels": channels, "stages.*.epochs": 1}))
    worst = read_worst(Run(folder))
    assert worst is not None
    assert (worst["stage"], worst["epoch"], worst["n_val"], worst["manifest"]) == ("final", 1, 9, None)
    losses = [xray["loss"] for xray in worst["xrays"]]
    assert len(losses) == 9
    assert losses == sorted(losses, reverse=True)
    # The only epoch is the best one, so its network is on disk and its predictions are those of the run.
    table = folder.predictions()
    assert table is not None
    val = table[table["split"] == "val"].set_index("image_id")
    for xray in worst["xrays"]:
        row = val.loc[xray["image_id"]]
        assert (xray["truth"], xray["predicted"]) == (row["label"], row["predicted"])
        assert xray["confidence"] == pytest.approx(row["confidence"], abs=1e-3)
        assert xray["loss"] == pytest.approx(-np.log(row[f"prob_{row['label']}"]), abs=1e-3)


def test_a_stage_of_findings_keeps_the_finding_that_was_most_wrong(tiny: Path) -> None:
    """The last stage is of findings here, on X-rays that have no label."""
    stage = {"name": "findings", "task": "multi-label", "label": "findings", "sources": ["nih"], "epochs": 1}
    recipe = {"backbone": "densenet-small", "size": 32, "weights": None, "device": "cpu", "channels": 1}
    recipe |= {
        "name": "f",
        "backbone_args": {"block_config": [1, 1]},
        "stages": [stage, {"name": "final", "epochs": 1}],
    }
    folder = start(tiny, recipe, {"stages.*.epochs": 1})
    seen: list[dict] = []
    original = RunFolder.write_json

    class Noting(RunFolder):
        def write_json(self, name, value):
            if name == WORST:
                seen.append(value)
            return original(self, name, value)

    run(Noting(folder.path))
    assert [(worst["stage"], worst["epoch"]) for worst in seen] == [
        ("findings", 0),
        ("findings", 1),
        ("final", 0),
        ("final", 1),
    ]
    of_findings = seen[1]
    words = {f"{name} {state}" for name in ("Pneumonia", "Edema") for state in ("present", "absent")}
    findings = Manifest.load(tiny).table.set_index("image_id")["findings"]
    for xray in of_findings["xrays"]:
        assert {xray["truth"], xray["predicted"]} <= words
        name, state = xray["truth"].split()
        assert (name in findings[xray["image_id"]]) == (state == "present")
        assert 0.5 <= xray["confidence"] <= 1


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_the_loss_of_an_xray_is_that_of_the_stage_without_weights(task: str) -> None:
    rng = np.random.default_rng(1)
    logits = (2 * rng.standard_normal((12, 3))).astype(np.float32)
    classes = ("mass", "nodule", "scar")
    targets = rng.integers(0, 3, 12)
    if task == "multi-label":
        targets = rng.choice([0, 1, np.nan], (12, 3)).astype(np.float32)
        targets[4] = np.nan  # nothing is known of it
    label = "label" if task == "single-label" else "findings"
    stage = Stage(
        name="s", task=task, label=label, class_weights="none", loss="bce" if label == "findings" else "cross-entropy"
    )
    loss = make_loss(stage, classes, targets, CPU)
    ids = [f"x{k}" for k in range(12)]
    worst = worst_xrays(ids, classes, targets, logits)
    expected = {i: loss.mean(torch.from_numpy(logits[k : k + 1]), targets[k : k + 1]).item() for k, i in enumerate(ids)}
    if task == "multi-label":
        expected = {i: value for k, (i, value) in enumerate(expected.items()) if np.isfinite(targets[k]).any()}
        assert "x4" not in expected
    assert {xray["image_id"]: xray["loss"] for xray in worst} == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert [x["image_id"] for x in worst] == sorted(expected, key=lambda i: -expected[i])[: len(worst)]
    assert len(worst_xrays(ids, classes, targets, logits, most=2)) == 2


def test_a_file_that_cannot_be_written_or_read_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder.create(tmp_path, "train", {})
    assert read_worst(Run(folder)) is None
    (folder.path / WORST).mkdir()
    write_worst(
        folder, {"stage": "s", "stage_index": 0, "epoch": 1, "n_val": 0, "manifest": None, "masked": False, "xrays": []}
    )
    assert "are not kept" in caplog.text
    assert read_worst(Run(folder)) is None
    (folder.path / WORST).rmdir()
    (folder.path / WORST).write_text("{")
    assert read_worst(Run(folder)) is None


def test_a_training_records_processor_and_memory(tiny: Path) -> None:
    folder = run(start(tiny, changes={"stages.*.epochs": 1}))
    usage = UsageTable(folder.path).refresh()
    assert len(usage["time"]) >= 1  # it ends before the first five seconds are over, and one row is written at the end
    assert np.isfinite(usage["time"]).all()
    assert usage["cores"][0] > 0
    own = psutil.Process().memory_info().rss / 1e6
    assert 0.5 * own < usage["memory_mb"][-1] < 50 * own  # with the processes that decode images
    assert np.isnan(usage["gpu_mb"]).all()
    assert max(len(line) for line in (folder.path / USAGE).read_bytes().splitlines()) < 100


def test_processor_time_is_counted_in_cores() -> None:
    usage = Usage(CPU)
    began, busy = time.monotonic(), time.process_time()
    while time.monotonic() - began < 0.4:
        sum(range(1000))
    used = time.process_time() - busy
    row = usage.row()
    assert row["cores"] == pytest.approx(used / (time.monotonic() - began), abs=0.3)
    assert row.keys() == {"time", "cores", "memory_mb"}


def test_a_gpu_adds_its_share_and_its_memory_and_one_without_a_library_its_memory_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There need not be a GPU: torch's own functions are replaced."""
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3_000_000)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append("reset"))
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 87)
    usage = Usage(torch.device("cuda", 0))
    row = usage.row()
    assert (row["gpu"], row["gpu_mb"], asked) == (87, 3, ["reset"])

    def absent(device: torch.device) -> int:
        asked.append("share")
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", absent)
    assert [usage.row().keys() & {"gpu", "gpu_mb"} for _ in range(2)] == [{"gpu_mb"}] * 2
    assert asked.count("share") == 1


def test_a_folder_that_vanishes_ends_the_looking_and_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path / "gone")
    with recorded(folder, CPU, every=0.01):
        result = 1
    assert result == 1
    assert "not recorded any more" in caplog.text


def test_the_reader_reads_on_leaves_out_what_is_damaged_and_begins_again(tmp_path: Path) -> None:
    path, table = tmp_path / USAGE, UsageTable(tmp_path)
    assert len(table.refresh()["time"]) == 0
    rows = [{"time": 1.0 + k, "cores": 0.5, "memory_mb": 100} for k in range(3)]
    lines = [json.dumps(row) for row in rows]
    path.write_text(f"{lines[0]}\n{{torn\n{lines[1]}\n{lines[2][:9]}")
    assert table.refresh()["time"].tolist() == [1.0, 2.0]
    path.write_text(f"{lines[0]}\n{{torn\n{lines[1]}\n{lines[2]}\n")
    assert table.refresh()["time"].tolist() == [1.0, 2.0, 3.0]
    path.write_text(f"{lines[2]}\n")
    assert table.refresh()["time"].tolist() == [3.0]
