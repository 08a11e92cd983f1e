"""Runs in shards: real processes of this machine that each do a slice, and one that merges."""

from __future__ import annotations

import os
import signal

import pytest

from cxr.errors import RunError
from cxr.machine import CORES, cores
from cxr.runs import RunFolder, devices, kinds, list_runs, local, start
from cxr.runs.shards.folders import Shard, ShardFolder, folder_at, own_slice, shards_of

pytestmark = pytest.mark.usefixtures("job_kinds")
SUM_OF_30 = sum(number**2 for number in range(30))


def numbers_of(shard: ShardFolder) -> list[int]:
    return [row["number"] for row in shard.metrics()[0]]


def states(run) -> list[str]:
    return [shard.read_status().state for shard in shards_of(run.folder)]


@pytest.mark.parametrize(("n", "of", "batch"), [(10, 3, 1), (10, 3, 4), (2, 3, 1), (0, 2, 5), (97, 7, 8), (64, 2, 32)])
def test_slices_hold_every_item_once_in_order_and_cut_no_batch(n, of, batch):
    items = list(range(n))
    slices = [Shard(index, of).slice(items, batch) for index in range(of)]
    assert [item for part in slices for item in part] == items
    assert all(part[0] % batch == 0 for part in slices if part)
    sizes = [-(-len(part) // batch) for part in slices]
    assert max(sizes) - min(sizes) <= 1


def test_a_shard_is_known_by_its_folder_and_asks_for_what_its_run_asks_for(tmp_path):
    run = RunFolder.create(tmp_path, "squares", {"n": 7}, "seven", shards=3)
    shard = shards_of(run)[1]
    assert shard.path == run.path / "shards" / "002-of-003"
    found = folder_at(shard.path)
    assert isinstance(found, ShardFolder)
    assert (found.shard, found.spec, found.params.n) == (Shard(1, 3), run.spec, 7)
    assert str(found.shard) == "shard 2 of 3"
    assert list(own_slice(found, range(7))) == [2, 3]
    assert list(own_slice(run, range(7))) == list(range(7))
    assert not isinstance(folder_at(run.path), ShardFolder)
    assert (found.user_stop_requested(), run.request_stop(), found.user_stop_requested()) == (False, None, True)
    assert shards_of(RunFolder.create(tmp_path, "squares", {"n": 7})) == []


def test_the_shards_are_processes_with_slices_and_the_run_merges_them():
    run = start("squares", {"n": 30, "pause": 0.001}, shards=3)
    status = run.wait(300)
    assert (status.state, status.progress, status.error) == ("finished", 1.0, None)
    assert run.spec["shards"] == 3
    assert run.results() == {"sum": SUM_OF_30, "own": []}
    assert states(run) == ["finished"] * 3
    assert [run.id] == [other.id for other in list_runs()]  # a shard is no run in the list
    left = {path.name for shard in shards_of(run.folder) for path in shard.path.iterdir()}
    assert left == {"status.json", "log.txt"}  # the parts are gone, the last words stay
    whole = start("squares", {"n": 30}, detached=False)
    assert whole.results()["sum"] == SUM_OF_30
    assert "shards" not in whole.spec
    again = start(run.spec)
    assert again.spec["shards"] == 3
    again.kill()


def test_a_failing_shard_is_named_the_others_end_and_a_resume_does_it_alone(until):
    run = start("squares", {"n": 30, "pause": 0.001, "how": "fail at 15"}, shards=3)
    status = run.wait(300)
    assert status.state == "failed"
    assert status.error == (
        "shard 2 of 3 failed: 15.png is not an image: it holds text (2 of 3 are done; resume does the others)"
    )
    assert states(run) == ["finished", "failed", "finished"]
    before = {shard.shard.index: shard.metrics()[0] for shard in shards_of(run.folder)}
    (run.folder.path / "mended").touch()
    hold = run.folder.path / "shards" / "002-of-003"
    rows: list[dict] = []

    def note() -> bool:
        rows.extend(folder_at(hold).metrics()[0][len(rows) :])
        return run.status().state == "finished"

    run.resume()
    until(note)
    assert run.results() == {"sum": SUM_OF_30, "own": []}
    for index in (0, 2):
        assert shards_of(run.folder)[index].read_status().resumes == 0
        assert shards_of(run.folder)[index].read_status().launched < run.status().launched
    assert [row["number"] for row in before[1]] == list(range(10, 15))


def test_a_killed_shard_is_reported_and_a_resume_goes_on_where_it_was(until):
    run = start("squares", {"n": 3000, "pause": 0.002}, shards=2)
    first, second = shards_of(run.folder)
    until(lambda: len(numbers_of(first)) > 5 and numbers_of(second))
    pid = first.read_status().pid
    assert pid != run.status().pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: first.read_status().state == "failed")
    assert run.status().state == "running"  # the other one goes on
    run.stop()
    assert run.wait(300).state == "stopped"
    kept = [numbers_of(first), numbers_of(second)]
    assert all(kept)
    rows = [row for shard in (first, second) for row in shard.metrics()[0]]
    assert {row["cores"] for row in rows} == {max(1, cores() // 2)}  # each shard has its part of the machine
    run.resume()
    until(lambda: len(numbers_of(first)) > len(kept[0]) and len(numbers_of(second)) > len(kept[1]))
    run.stop()
    assert run.wait(300).state == "stopped"
    for shard, before in zip((first, second), kept, strict=True):
        assert numbers_of(shard) == sorted(set(numbers_of(shard)))
        assert numbers_of(shard)[: len(before)] == before


def test_a_killed_shard_fails_the_run_with_the_signal(until):
    run = start("squares", {"n": 200, "pause": 0.002}, shards=2)
    until(lambda: numbers_of(shards_of(run.folder)[1]))
    os.kill(shards_of(run.folder)[1].read_status().pid, signal.SIGKILL)
    error = run.wait(300).error
    assert error.startswith("shard 2 of 2 failed: its process was ended by signal 9 (out of memory?); see ")
    assert error.endswith("002-of-002/log.txt (1 of 2 are done; resume does the others)")


def test_a_stop_ends_all_shards_and_begins_no_other_and_a_kill_leaves_no_process(until, monkeypatch):
    monkeypatch.setenv(CORES, "2")
    run = start("squares", {"n": 9000, "pause": 0.002}, shards=3)
    until(lambda: sum(bool(numbers_of(shard)) for shard in shards_of(run.folder)) == 2)
    until(lambda: run.status().message == "0 of 3 shards done, 2 at work")
    run.stop()
    assert run.wait(300).state == "stopped"
    kept = [numbers_of(shard) for shard in shards_of(run.folder)]
    assert [bool(numbers) for numbers in kept] == [True, True, False]
    run.resume()
    until(lambda: all(len(numbers_of(shards_of(run.folder)[k])) > len(kept[k]) for k in (0, 1)))
    pids = [shard.read_status().pid for shard in shards_of(run.folder)[:2]]
    run.kill()
    assert run.status().state == "stopped"
    until(lambda: not any(local.start_time(pid) for pid in pids))


@pytest.mark.parametrize(
    ("kind", "shards", "said"),
    [
        ("count", 2, "shards is 2: 'count' works in one piece. Allowed: 1, or more for squares"),
        ("squares", 0, "shards is 0. Allowed: a whole number from 1"),
        ("squares", 1.5, "shards is 1.5. Allowed: a whole number from 1"),
        ("squares", True, "shards is True. Allowed: a whole number from 1"),
    ],
)
def test_a_number_of_shards_that_a_kind_does_not_take_is_refused(kind, shards, said):
    with pytest.raises(RunError) as error:
        start(kind, {}, shards=shards)
    assert said in str(error.value)
    assert list_runs() == []


def test_on_gpus_each_shard_gets_one_and_no_more_are_taken_than_there_are(monkeypatch):
    monkeypatch.setattr(devices, "count_gpus", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    explain = kinds.Kind("explain", "", "", "", device="queued")
    assert devices.options_of(explain, {}, 2) == {
        f"cuda:{first}": (f"cuda:{first}", f"cuda:{first + 1}") for first in range(3)
    }
    assert devices.options_of(explain, {}, 9) == {"cuda:0": tuple(f"cuda:{k}" for k in range(4))}
    assert devices.options_of(explain, {"device": "cuda:2"}, 9) == {"cuda:2": ("cuda:2",)}
    assert devices.options_of(explain, {"device": "cpu"}, 9) is None
    assert devices.neighbours("cuda:1", 2) == ["cuda:1", "cuda:2"]
    assert devices.neighbours("cpu", 1) == ["cpu"]


def test_places_are_given_to_shards_one_at_a_time(until, monkeypatch):
    monkeypatch.setattr("cxr.runs.devices.count_gpus", lambda: 2)
    from cxr.runs import RunFolder as Folder
    from cxr.runs.shards import processes

    run = Folder.create(local.paths.runs_root(), "squares", {"n": 12, "pause": 0.001}, shards=4)
    said: list[str] = []
    assert processes.complete(run, ["cuda:0", "cuda:1"], lambda fraction, message: said.append(message))
    used = [{row["device"] for row in shard.metrics()[0]} for shard in shards_of(run)]
    assert set.union(*used) == {"cuda:0", "cuda:1"}
    assert all(len(devices_of_one) == 1 for devices_of_one in used)
    assert said[-1] == "4 of 4 shards done"
