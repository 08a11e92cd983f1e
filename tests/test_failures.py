"""Failures that lose nothing: a full disk, too little memory, data that vanished. One line, and `resume` goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from cxr.data import Manifest
from cxr.data.phantom import write_demo
from cxr.errors import ManifestError, RunError
from cxr.paths import cache_root
from cxr.runs import Run, RunFolder, get_run, list_runs, start
from cxr.runs.storage import DiskFullError, is_disk_full
from cxr.runs.worker import one_line
from cxr.training.checkpoint import Checkpoints
from tests.test_kill import RECIPE, lasting, steps, wait_until, weights

SMALL_DISK = 6 * 2**20
SHORT = RECIPE | {"stages": [RECIPE["stages"][0] | {"epochs": 15}]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training that was left alone, which all others must equal."""
    folder = tmp_path_factory.mktemp("undisturbed")
    demo = write_demo(folder / "demo", n=60, size=96, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(folder / "data"))
        patch.setenv("CXR_RUNS", str(folder / "runs"))
        run = start("train", params(demo), name="undisturbed")
        status = run.wait(300)
        assert status["state"] == "finished", status["error"]
    return run


@pytest.fixture
def demo(undisturbed: Run, tmp_path: Path) -> Manifest:
    """A copy of the undisturbed training's X-rays."""
    original = Path(undisturbed.spec["params"]["manifest"]).parent
    shutil.copytree(original, tmp_path / "demo")
    return Manifest.load(tmp_path / "demo" / "manifest.csv")


@pytest.fixture(autouse=True)
def end_everything(tmp_path):
    yield
    for run in list_runs(tmp_path / "runs"):
        if run.active:
            run.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of a few MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here, so no small disk to fill")
    if mounted.returncode != 0:
        pytest.skip(f"a small disk to fill cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    for run in list_runs():
        if run.active:
            run.kill()
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Write a file that takes all the room there is, to the last byte, and return it."""
    filler = disk / "filler"
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for size in (65536, 4096, 1):
            try:
                while os.write(handle, b"x" * size):
                    pass
            except OSError:
                continue
    finally:
        os.close(handle)
    return filler


def params(demo: Manifest) -> dict[str, Any]:
    return {"recipe": SHORT, "manifest": str(demo.path)}


def assert_same_training(run: Run, undisturbed: Run) -> None:
    """Bit for bit: weights, curves, predictions, results."""
    expected, found = weights(undisturbed), weights(run)
    assert expected.keys() == found.keys()
    for name, tensors in expected.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, found[name][key]), f"{name}: {key} differs"
    assert lasting(run.metrics()[0]) == lasting(undisturbed.metrics()[0])
    pd.testing.assert_frame_equal(run.predictions(), undisturbed.predictions())
    assert run.results()["splits"] == undisturbed.results()["splits"]


# a full disk


@pytest.mark.slow
def test_a_training_whose_disk_fills_up_fails_in_one_line_and_goes_on_to_the_same_end_when_there_is_room(
    demo, undisturbed, small_disk, monkeypatch
):
    monkeypatch.setenv("CXR_RUNS", str(small_disk / "runs"))
    run = start("train", params(demo), name="full")
    pointer = run.folder.checkpoints / "last.json"
    for _ in range(2):
        before = pointer.read_text() if pointer.exists() else ""
        wait_until(lambda before=before: pointer.exists() and pointer.read_text() != before)
        filler = fill(small_disk)
        status = run.wait(300)
        assert status["state"] == "failed"
        assert status["error"].startswith("the disk is full (")
        assert status["error"].endswith("): free some disk space, then resume the run")
        assert run.folder.read_status()["state"] == "failed"  # written, not only concluded from a dead process
        assert Checkpoints(run.folder.checkpoints).load() is not None

        fill(small_disk)  # also what the failing training has given back
        with pytest.raises(RunError, match="the disk is full"):
            run.resume()
        assert run.status()["state"] == "failed"
        filler.unlink()
        run.resume()
    status = run.wait(300)
    assert (status["state"], status["resumes"]) == ("finished", 2), status["error"]
    assert_same_training(run, undisturbed)
    assert [path.name for path in run.folder.path.rglob(".*") if path.suffix in (".tmp", ".reserve")] == []
    assert len(list(run.folder.checkpoints.glob("step-*"))) == 1


@pytest.mark.slow
def test_a_run_that_finds_no_room_to_begin_is_refused_and_leaves_no_folder(demo, small_disk, monkeypatch):
    monkeypatch.setenv("CXR_RUNS", str(small_disk / "runs"))
    (small_disk / "runs").mkdir()
    filler = fill(small_disk)
    with pytest.raises(DiskFullError, match="the disk is full"):
        start("train", params(demo))
    assert list((small_disk / "runs").iterdir()) == []
    filler.unlink()
    assert start("train", params(demo)).wait(300)["state"] == "finished"


def test_a_process_that_could_not_even_write_its_last_word_is_said_to_have_met_a_full_disk(small_disk):
    folder = RunFolder.create(small_disk, "train", {})
    folder.update_status(state="running", pid=2**22 + 1, pid_started=1.0, heartbeat=1.0)
    assert "vanished" in Run(folder).status()["error"]
    fill(small_disk)
    assert Run(folder).status()["error"].startswith(f"the disk is full ({folder.path})")


def test_a_worker_that_finds_the_disk_full_ends_by_itself(small_disk):
    folder = RunFolder.create(small_disk, "demo", {"name": "x"})
    folder.update_status(launched=1.0)
    fill(small_disk)
    worker = subprocess.run([sys.executable, "-m", "cxr.runs.worker", str(folder.path)], capture_output=True, text=True)
    assert worker.returncode == 1
    assert worker.stdout.splitlines()[-1].endswith("free some disk space, then resume the run")
    assert Run(folder).status()["error"].startswith("the disk is full (")


def test_rows_that_a_full_disk_does_not_take_are_written_when_there_is_room(small_disk):
    folder = RunFolder.create(small_disk, "train", {})
    folder.append_metrics([{"step": 0}])
    filler = fill(small_disk)
    rows = [{"step": step, "text": "x" * 300} for step in range(1, 60)]
    for row in rows:
        folder.append_metrics([row])
    with pytest.raises(DiskFullError, match=r"the disk is full \(.*metrics\.jsonl\)"):
        folder.metrics_size()
    seen = folder.metrics()[0]
    assert 1 < len(seen) < len(rows)  # the last page had room for some
    filler.unlink()
    folder.append_metrics([{"step": 60}])
    assert folder.metrics()[0] == [{"step": 0}, *rows, {"step": 60}]
    assert folder.metrics_size() == (folder.path / "metrics.jsonl").stat().st_size


def test_a_line_that_a_full_disk_tore_is_healed_by_the_next_process(small_disk):
    folder = RunFolder.create(small_disk, "train", {})
    fill(small_disk)
    folder.append_metrics([{"step": step, "text": "x" * 300} for step in range(60)])
    (small_disk / "filler").unlink()
    torn = (folder.path / "metrics.jsonl").read_bytes() if (folder.path / "metrics.jsonl").exists() else b""
    if not torn:  # the file had no page yet, so nothing of it was written
        (folder.path / "metrics.jsonl").write_bytes(b'{"step": 0}\n{"st')
    seen = RunFolder(folder.path).metrics()[0]
    RunFolder(folder.path).append_metrics([{"step": 99}])
    assert folder.metrics()[0] == [*seen, {"step": 99}]


def test_the_last_status_is_written_on_a_full_disk_and_only_that(small_disk):
    folder = RunFolder.create(small_disk, "train", {})
    folder.update_status(state="running")
    folder.reserve_status()
    fill(small_disk)
    with pytest.raises(DiskFullError, match=r"the disk is full \(.*status\.json\)"):
        folder.update_status(progress=0.5)
    assert folder.read_status()["state"] == "running"
    folder.end_status(state="failed", error="x" * 2000)
    assert (folder.read_status()["state"], len(folder.read_status()["error"])) == ("failed", 2000)
    assert json.loads((folder.path / "status.json").read_text())["progress"] == 0.0
    assert sorted(path.name for path in folder.path.iterdir() if "tmp" in path.name or "reserve" in path.name) == []
    fill(small_disk)
    with pytest.raises(DiskFullError):
        folder.reserve_status()


def test_the_errors_of_every_library_that_writes_are_known_for_those_of_a_full_disk(small_disk):
    from safetensors.torch import save_file

    fill(small_disk)
    tensors = {"weight": torch.zeros(1000)}
    for write in (
        lambda: save_file(tensors, small_disk / "a.safetensors"),
        lambda: torch.save(tensors, small_disk / "a.pt"),
        lambda: pd.DataFrame({"a": range(1000)}).to_parquet(small_disk / "a.parquet"),
        lambda: (small_disk / "a.txt").write_text("x" * 10_000),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
            write()
        assert is_disk_full(caught.value), caught.value
        assert one_line(caught.value).startswith("the disk is full (")
    assert not is_disk_full(ValueError("no room")) | is_disk_full(None)


# too little memory


def test_a_gpu_without_memory_is_reported_with_what_to_change():
    text = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"
    for error in (torch.OutOfMemoryError(text), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x")):
        line = one_line(error)
        assert line.startswith("the GPU ran out of memory: ")
        for key in ("batch", "accumulate", "size", "precision"):
            assert key in line


def test_a_machine_without_memory_is_reported_with_what_to_change():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**52)
    for error in (caught.value, MemoryError()):
        line = one_line(error)
        assert line.startswith("this machine ran out of memory: ")
        assert "\n" not in line
        for key in ("batch", "accumulate", "size"):
            assert key in line


# data that vanished


def assert_fails_with(run: Run, *words: str) -> None:
    status = run.wait(300)
    assert status["state"] == "failed"
    assert "\n" not in status["error"]
    for word in words:
        assert word in status["error"]


@pytest.mark.slow
def test_a_manifest_that_vanished_is_named_and_the_training_begins_once_it_is_back(demo):
    away = demo.path.rename(demo.path.with_suffix(".away"))
    with pytest.raises(ManifestError, match=str(demo.path)):
        start("train", params(demo))
    assert list_runs() == []
    run = start("train", params(demo), manifest_hash="")  # as if it had vanished just after the start
    assert_fails_with(run, str(demo.path))
    away.rename(demo.path)
    assert run.resume().wait(300)["state"] == "finished"


@pytest.mark.slow
def test_images_that_vanished_before_they_were_decoded_are_named_and_the_training_begins_once_they_are_back(demo):
    images = demo.image_path(demo.ids[0]).parent
    away = images.rename(images.with_name("away"))
    run = start("train", params(demo))
    assert_fails_with(run, str(images))
    away.rename(images)
    assert run.resume().wait(300)["state"] == "finished"


@pytest.mark.parametrize("gone", ["manifest", "images", "cache"])
@pytest.mark.slow
def test_a_training_whose_data_vanish_on_the_way_ends_as_if_they_had_stayed(demo, undisturbed, gone):
    run = start("train", params(demo))
    wait_until(lambda: len(steps(run)) > 10)
    place = {"manifest": demo.path, "images": demo.image_path(demo.ids[0]).parent, "cache": cache_root()}[gone]
    away = place.rename(place.with_name("away"))
    if gone == "cache":
        shutil.rmtree(away)
    seen = len(steps(run))
    wait_until(lambda: len(steps(run)) > seen or not run.active)
    assert run.active, run.status()["error"]  # decoded images stay open
    run.stop()
    assert run.wait(300)["state"] == "stopped"
    if gone != "cache":
        assert_fails_with(run.resume(), str(place))
        assert Checkpoints(run.folder.checkpoints).load() is not None
        away.rename(place)
    assert get_run(run.id).resume().wait(300)["state"] == "finished", run.status()["error"]
    assert_same_training(run, undisturbed)
