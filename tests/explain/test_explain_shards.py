"""Explaining in shards: maps, index and results are those of a run in one piece."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from configurations import CONFIGURATIONS, write_network, write_xrays
from spoiled import settle, spoil

from cxr.explain.job import explain_run, explain_shard
from cxr.explain.precision import Trial
from cxr.explain.run_files import PRECISION, PREVIEWS
from cxr.explain.store import clear
from cxr.paths import runs_root
from cxr.runs import RunFolder, start
from cxr.runs.shards.folders import shards_of


def params_of(folder, configuration, n=11):
    weights = write_network(configuration, folder / "network.safetensors")
    manifest = write_xrays(folder / "xrays", configuration, n=n)
    return {"model": str(weights), "manifest": str(manifest), "split": "test", "batch": 2, "previews": 5}


def quiet(fraction, message=""):
    """Report nothing."""


def do_shards(run):
    """Do the shards of a run one after the other in this process."""
    for shard in shards_of(run):
        shard.path.mkdir(parents=True)
        explain_shard(shard, shard.params, quiet)
        shard.update_status(state="finished")


def in_shards(params, n):
    """Do the shards of a run, then merge them."""
    run = RunFolder.create(runs_root(), "explain", params, shards=n)
    do_shards(run)
    explain_run(run, run.params, quiet)
    return run


def whole(params):
    run = RunFolder.create(runs_root(), "explain", params)
    explain_run(run, run.params, quiet)
    return run


def check_same(found, expected):
    """Compare everything that a run leaves."""
    assert np.array_equal(np.load(found.path / "relevance.npy"), np.load(expected.path / "relevance.npy"))
    tables = [pd.read_parquet(run.path / "index.parquet") for run in (found, expected)]
    pd.testing.assert_frame_equal(*tables)
    results = [run.read_json("results.json") for run in (found, expected)]
    for of_run in results:
        for changing in ("date", "opened"):
            of_run["provenance"].pop(changing)
    assert results[0] == results[1]
    previews = [{path.name: path.read_bytes() for path in (run.path / PREVIEWS).iterdir()} for run in (found, expected)]
    assert previews[0] == previews[1]


@pytest.mark.parametrize("configuration", CONFIGURATIONS[:1] + CONFIGURATIONS[4:5], ids=str)
@pytest.mark.parametrize("broken", [(), (0, 4, 5)], ids=["all readable", "some unreadable"])
def test_maps_index_results_and_previews_are_those_of_one_piece(tmp_path, configuration, broken):
    params = params_of(tmp_path, configuration)
    for k in broken:
        (tmp_path / "xrays" / f"{k}.png").write_bytes(b"no picture")
    if configuration.multi_label:
        params |= {"targets": "all"}
    for n in (3,) if broken or configuration.multi_label else (2, 9):
        clear()  # no map is taken from the store
        found = in_shards(params, n)
        if broken:  # the batches are others, so numbers may differ in the last digit
            clear()
            expected = whole(params)
            counts = [run.read_json("results.json") for run in (found, expected)]
            assert counts[0]["left_out"] == counts[1]["left_out"]
            assert (counts[0]["n"], counts[0]["maps"]) == (counts[1]["n"], counts[1]["maps"])
            maps = [np.load(run.path / "relevance.npy").astype(float) for run in (found, expected)]
            np.testing.assert_allclose(maps[0], maps[1], atol=2e-3)
            names = [sorted(path.name for path in (run.path / PREVIEWS).iterdir()) for run in (found, expected)]
            assert names[0] == names[1]
        else:
            clear()
            check_same(found, whole(params))
        assert not [shard for shard in shards_of(found) if (shard.path / "relevance.npy").exists()]


def test_a_merge_that_was_cut_short_goes_on_and_explains_what_changed_meanwhile(tmp_path):
    params = params_of(tmp_path, CONFIGURATIONS[0])
    run = RunFolder.create(runs_root(), "explain", params, shards=3)
    for shard in shards_of(run)[:2]:  # the third has not been done: the merge explains its X-rays itself
        shard.path.mkdir(parents=True)
        explain_shard(shard, shard.params, quiet)
        shard.update_status(state="finished")
    run.request_stop()
    explain_run(run, run.params, quiet)
    assert 0 < len(pd.read_parquet(run.path / "index.parquet")) < 11
    run.clear_stop()
    said = []
    explain_run(run, run.params, lambda fraction, message: said.append(message))
    assert said[-1] == "11 images explained"
    clear()
    expected = whole(params)
    assert np.array_equal(np.load(run.path / "relevance.npy"), np.load(expected.path / "relevance.npy"))


def test_a_shard_goes_on_where_it_was(tmp_path):
    params = params_of(tmp_path, CONFIGURATIONS[0])
    run = RunFolder.create(runs_root(), "explain", params, shards=2)
    shard = shards_of(run)[0]
    shard.path.mkdir(parents=True)
    explain_shard(shard, shard.params, lambda fraction, message: shard.request_stop() if fraction else None)
    assert len(pd.read_parquet(shard.path / "index.parquet")) == 2
    shard.clear_stop()
    said = []
    explain_shard(shard, shard.params, lambda fraction, message: said.append(message))
    assert said[1:] == ["4 of 6 images explained", "6 of 6 images explained"]


def test_the_merge_opens_no_image(tmp_path):
    params = params_of(tmp_path, CONFIGURATIONS[4])
    (tmp_path / "xrays" / "4.png").write_bytes(b"no picture")
    settle(tmp_path / "xrays")
    run = RunFolder.create(runs_root(), "explain", params, shards=3)
    do_shards(run)
    spoil(tmp_path / "xrays")
    explain_run(run, run.params, quiet)
    results = run.read_json("results.json")
    assert (results["n"], len(results["left_out"])) == (10, 1)
    assert len(list((run.path / PREVIEWS).iterdir())) == 5


@pytest.mark.parametrize("holds_on_the_first", [True, False], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS[:1] + CONFIGURATIONS[4:5], ids=str)
def test_the_run_s_first_image_decides_on_bfloat16_for_all_shards(
    tmp_path, monkeypatch, configuration, holds_on_the_first
):
    """On every other image the trial would decide the other way."""
    tried = []

    def trial(explainer, subject, columns):
        image = subject.inputs(slice(0, 1))
        tried.append(image)
        is_first = bool((image == tried[0]).all())
        return Trial(0.9999, 0.5 if is_first == holds_on_the_first else 2.0)

    monkeypatch.setattr("cxr.explain.explainer._tried", trial)
    params = params_of(tmp_path, configuration) | {"precision": "bfloat16", "previews": 0}
    (tmp_path / "xrays" / "0.png").write_bytes(b"no picture")  # the second one is the first that can be read
    expected = whole(params | {"batch": 2})
    used = "bfloat16" if holds_on_the_first else "float32"
    clear()
    run = RunFolder.create(runs_root(), "explain", params, shards=3)
    last = shards_of(run)[2]
    last.path.mkdir(parents=True)
    explain_shard(last, last.params, quiet)  # not the one that holds the run's first image
    assert run.read_json(PRECISION)["used"] == used
    monkeypatch.setattr("cxr.explain.explainer._tried", lambda *_: pytest.fail("decided a second time"))
    for shard in shards_of(run):
        shard.path.mkdir(parents=True, exist_ok=True)
        explain_shard(shard, shard.params, quiet)
        shard.update_status(state="finished")
    explain_run(run, run.params, quiet)
    results, of_one_piece = run.read_json("results.json"), expected.read_json("results.json")
    assert results["precision"] == of_one_piece["precision"]
    assert results["precision"]["used"] == used
    assert results["notes"] == of_one_piece["notes"]
    maps = [np.load(folder.path / "relevance.npy").astype(float) for folder in (run, expected)]
    np.testing.assert_allclose(maps[0], maps[1], atol=2e-2 if holds_on_the_first else 2e-3)


def test_shards_that_decided_each_for_itself_are_taken_over(tmp_path):
    """As an older version left them: one done in bfloat16, one in float32, one not done."""
    params = params_of(tmp_path, CONFIGURATIONS[0]) | {"precision": "bfloat16", "previews": 0}
    run = RunFolder.create(runs_root(), "explain", params, shards=3)
    for shard, share in zip(shards_of(run)[:2], (0.5, 2.0), strict=True):
        shard.path.mkdir(parents=True)
        shard.write_json(PRECISION, Trial(0.9999, share).record())
        shard.update_status(state="finished")
    explain_run(run, run.params, quiet)
    assert run.read_json("results.json")["precision"]["used"] == "bfloat16, then float32"
    assert len(pd.read_parquet(run.path / "index.parquet")) == 11


@pytest.mark.slow
def test_real_processes_make_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    params = params_of(tmp_path, CONFIGURATIONS[4])
    run = start("explain", params, shards=2)
    assert run.wait(300).state == "finished", run.status().error
    clear()
    one_piece = start("explain", params, detached=False)
    check_same(run.folder, one_piece.folder)
    json.dumps(run.results(), allow_nan=False)
