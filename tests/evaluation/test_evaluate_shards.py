"""Evaluating in shards: predictions and results are those of a run in one piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cxr.evaluation.shards
from cxr.evaluation.job import evaluate, evaluate_shard
from cxr.evaluation.shards import LOGITS
from cxr.paths import runs_root
from cxr.runs import RunFolder, start
from cxr.runs.shards.folders import shards_of
from tests.configurations import CONFIGURATIONS, Configuration, every_configuration, write_network, write_xrays
from tests.spoiled import settle, spoil


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two X-rays make a batch, so that few make several shards."""
    for module in ("shards", "job"):
        monkeypatch.setattr(f"cxr.evaluation.{module}.BATCH", 2)


def params_of(folder: Path, configuration: Configuration) -> dict[str, Any]:
    weights = write_network(configuration, folder / "network.safetensors")
    manifest = write_xrays(folder / "xrays", configuration, n=11)
    return {"weights": str(weights), "manifest": str(manifest), "splits": ["test"]}


def do_shards(run: RunFolder, done: int | None = None) -> None:
    for shard in shards_of(run)[:done]:
        shard.path.mkdir(parents=True)
        evaluate_shard(shard, shard.params)
        shard.update_status(state="finished")


def in_shards(params: dict[str, Any], n: int, done: int | None = None) -> RunFolder:
    """Do the first ``done`` shards (None: all) of a run in this process, and then the run's own job."""
    run = RunFolder.create(runs_root(), "evaluate", params, shards=n)
    do_shards(run, done)
    evaluate(run, run.params)
    return run


def in_one_piece(params: dict[str, Any]) -> RunFolder:
    run = RunFolder.create(runs_root(), "evaluate", params)
    evaluate(run, run.params)
    return run


def check_same(found: RunFolder, expected: RunFolder) -> None:
    pd.testing.assert_frame_equal(found.predictions(), expected.predictions(), check_exact=True)
    results = [run.read_json("results.json") for run in (found, expected)]
    for record in results:
        for changing in ("date", "opened"):
            record["provenance"].pop(changing)
    assert results[0] == results[1]


@every_configuration
def test_predictions_and_results_are_those_of_one_piece(
    tmp_path: Path, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
):
    params = params_of(tmp_path, configuration)
    expected = in_one_piece(params)
    predicted: list[int] = []
    real = cxr.evaluation.shards.predict
    monkeypatch.setattr(
        "cxr.evaluation.shards.predict", lambda *args, **more: predicted.append(len(args[2])) or real(*args, **more)
    )
    for n in (2, 9):  # nine shards of six batches: some are empty
        check_same(in_shards(params, n), expected)
    assert not predicted, "the run's job takes over what its shards have predicted"


def test_what_no_shard_has_done_or_what_has_changed_since_is_predicted_by_the_run(tmp_path: Path):
    params = params_of(tmp_path, CONFIGURATIONS[4])
    expected = in_one_piece(params)
    check_same(in_shards(params, 3, done=2), expected)
    run = RunFolder.create(runs_root(), "evaluate", params, shards=2)
    do_shards(run)
    first, second = (tmp_path / "xrays" / f"{k}.png" for k in (0, 1))
    first.write_bytes(second.read_bytes())
    write_network(CONFIGURATIONS[4], tmp_path / "network.safetensors", seed=1)
    evaluate(run, run.params)
    check_same(run, in_one_piece(params))


@pytest.mark.parametrize("broken", [(4,), (0, 1, 2, 3)], ids=["one of a shard", "all of a shard"])
def test_xrays_that_cannot_be_read_are_counted_as_in_one_piece(tmp_path: Path, broken: tuple[int, ...]):
    params = params_of(tmp_path, CONFIGURATIONS[1])
    for k in broken:
        (tmp_path / "xrays" / f"{k}.png").write_bytes(b"no picture")
    found, expected = in_shards(params, 3), in_one_piece(params)
    pd.testing.assert_frame_equal(found.predictions(), expected.predictions(), atol=1e-5)
    counts = [run.read_json("results.json")["unreadable"] for run in (found, expected)]
    assert counts[0] == counts[1]


def test_the_merge_opens_no_image(tmp_path: Path):
    params = params_of(tmp_path, CONFIGURATIONS[4])
    (tmp_path / "xrays" / "4.png").write_bytes(b"no picture")
    settle(tmp_path / "xrays")
    run = RunFolder.create(runs_root(), "evaluate", params, shards=3)
    do_shards(run)
    spoil(tmp_path / "xrays")
    evaluate(run, run.params)
    assert len(run.predictions()) == 10
    assert run.read_json("results.json")["unreadable"]


def test_a_stop_ends_a_shard_that_has_written_nothing(tmp_path: Path):
    run = RunFolder.create(runs_root(), "evaluate", params_of(tmp_path, CONFIGURATIONS[0]), shards=2)
    shard = shards_of(run)[0]
    shard.path.mkdir(parents=True)
    run.request_stop()
    with pytest.raises(cxr.runs.folder.Stopped):
        evaluate_shard(shard, shard.params)
    assert not (shard.path / LOGITS).exists()


@pytest.mark.slow
def test_real_processes_make_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    for variable, folder in (("CXR_DATA", "data"), ("CXR_RUNS", "runs")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    weights = write_network(CONFIGURATIONS[4], tmp_path / "network.safetensors")
    manifest = write_xrays(tmp_path / "xrays", CONFIGURATIONS[4], n=70)
    params = {"weights": str(weights), "manifest": str(manifest), "splits": ["test"]}
    run = start("evaluate", params, shards=2)
    assert run.wait(300).state == "finished", run.status().error
    check_same(run.folder, start("evaluate", params, detached=False).folder)
