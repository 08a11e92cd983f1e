"""The files of a run: whole or absent, whatever happens to the process that writes them."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr.errors import RunError
from cxr.runs import RunFolder, is_run_id, mark_of, new_run_id, told_apart


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "train", {"recipe": {"seed": 1}}, "First try", "abc")


def test_a_new_run_is_queued_and_knows_what_was_requested(folder):
    spec = folder.spec
    assert spec["id"] == folder.id == folder.path.name
    assert (spec["kind"], spec["name"], spec["manifest_hash"]) == ("train", "First try", "abc")
    assert spec["params"] == {"recipe": {"seed": 1}}
    assert spec["versions"]["torch"]
    assert folder.read_status()["state"] == "queued"
    assert folder.checkpoints.is_dir()


def test_ids_sort_by_time_and_are_safe_in_paths_and_urls():
    ids = [new_run_id("Übung/../x y"), new_run_id(""), new_run_id("a" * 300)]
    assert all(is_run_id(run_id) and len(run_id) < 80 for run_id in ids)
    assert len({new_run_id("x") for _ in range(100)}) == 100


def test_only_runs_that_share_a_name_have_a_part_of_their_id_behind_it() -> None:
    first, second, other = "20261130-225525-995480-demo", "20261130-225918-41c9ed-demo", new_run_id("Größe")
    assert [mark_of(i) for i in (first, second, "of somebody else")] == ["995480", "41c9ed", "of somebody else"]
    names = {first: "demo", second: "demo", other: "Größe"}
    assert told_apart(names) == {first: "demo (995480)", second: "demo (41c9ed)", other: "Größe"}
    of_another_day = "20261201-225525-995480-demo"
    assert told_apart({first: "demo", of_another_day: "demo"}) == {
        first: f"demo ({first})",
        of_another_day: f"demo ({of_another_day})",
    }


@pytest.mark.parametrize(
    "text", ["", ".", "..", "../x", "a/b", ".locks", "-x", "a b", "a\n", "a\0", "x" * 500, None, 3]
)
def test_what_is_not_an_id_is_not_taken_for_one(text):
    assert not is_run_id(text)


def test_a_status_update_leaves_the_other_fields_alone(folder):
    folder.update_status(state="running", message="epoch 1")
    folder.update_status(progress=0.5)
    status = folder.read_status()
    assert (status["state"], status["message"], status["progress"]) == ("running", "epoch 1", 0.5)


def test_an_unknown_state_is_refused_and_the_known_ones_are_named(folder):
    with pytest.raises(RunError, match=r"unknown state 'runing'. Available: queued, running"):
        folder.update_status(state="runing")
    assert folder.read_status()["state"] == "queued"


def test_writers_in_many_threads_lose_no_update_and_readers_see_no_half_file(folder):
    fields = ("eta_s", "pid", "resumes", "requeues", "heartbeat", "metrics_generation")

    def write(field: str) -> None:
        for step in range(20):
            folder.update_status(**{field: step})

    threads = [threading.Thread(target=write, args=(field,)) for field in fields]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        json.loads((folder.path / "status.json").read_bytes())
    assert [folder.read_status()[field] for field in fields] == [19] * 6


def test_a_field_that_a_status_has_not_is_refused(folder):
    with pytest.raises(RunError, match=r"unknown field of the status 'mesage'. Available: state, progress, message"):
        folder.update_status(mesage="epoch 1")


@pytest.mark.parametrize("stored", ["", "[]", '{"state": "thinking", "progress": 0.5, "colour": "red"}'])
def test_a_status_of_another_version_is_read_as_far_as_it_is_understood(folder, stored):
    (folder.path / "status.json").write_text(stored)
    status = folder.read_status()
    assert (status.state, status["message"], "colour" in status) == ("queued", "", False)


def test_a_failed_write_leaves_the_old_file_and_no_litter(folder):
    folder.write_json("results.json", {"a": 1})
    before = sorted(folder.path.iterdir())
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        folder.write_json("results.json", {"a": object()})
    assert folder.read_json("results.json") == {"a": 1}
    assert sorted(folder.path.iterdir()) == before


def test_numbers_of_numpy_and_nan_become_json_that_every_reader_accepts(folder):
    row = {"loss": np.float32(0.5), "n": np.int64(3), "nan": math.nan, "inf": np.float64("inf"), "a": np.arange(2)}
    folder.append_metrics([row])
    assert folder.metrics()[0] == [{"loss": 0.5, "n": 3, "nan": None, "inf": None, "a": [0, 1]}]


@pytest.mark.parametrize("name", ["../spec.json", "/etc/hostname", "a/b.json", "..", ""])
def test_json_files_are_read_and_written_in_the_run_s_folder_only(folder, name):
    with pytest.raises(RunError, match="is not the name of a file"):
        folder.read_json(name)
    with pytest.raises(RunError, match="is not the name of a file"):
        folder.write_json(name, {})


def test_metrics_are_read_from_where_the_reader_left_off(folder):
    folder.append_metrics([{"step": 0}, {"step": 1}])
    rows, offset = folder.metrics()
    assert [row["step"] for row in rows] == [0, 1]
    assert folder.metrics(offset) == ([], offset)
    folder.append_metrics([{"step": 2}])
    rows, offset = folder.metrics(offset)
    assert [row["step"] for row in rows] == [2]
    assert offset == folder.metrics_size()


def test_an_unfinished_last_line_is_left_for_later(folder):
    folder.append_metrics([{"step": 0}])
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "lo')
        file.flush()
        rows, offset = folder.metrics()
        assert [row["step"] for row in rows] == [0]
        file.write('ss": 2}\n')
    assert folder.metrics(offset)[0] == [{"step": 1, "loss": 2}]


def test_damaged_lines_are_skipped_and_counted(folder):
    folder.append_metrics([{"step": 0}])
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": \xff\xfe\n[1, 2]\n\n{"step": 5}\n')
    reader = folder.metrics_reader()
    assert [row["step"] for row in reader.read()] == [0, 5]
    assert reader.damaged == 2


def test_a_writer_that_comes_after_a_torn_line_does_not_lose_its_own(folder):
    folder.append_metrics([{"step": 0}])
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "lo')
    RunFolder(folder.path).append_metrics([{"step": 2}])
    assert [row["step"] for row in folder.metrics()[0]] == [0, 2]


def test_a_reader_starts_again_when_the_file_became_shorter(folder):
    folder.append_metrics([{"step": step} for step in range(10)])
    _, offset = folder.metrics()
    folder.truncate_metrics(len(b'{"step": 0}\n'))
    rows, shorter = folder.metrics(offset)
    assert [row["step"] for row in rows] == [0]
    assert shorter < offset


def test_a_metrics_reader_notices_a_truncation_even_when_the_file_grew_past_its_place_since(folder):
    folder.append_metrics([{"step": step, "try": 1} for step in range(4)])
    reader = folder.metrics_reader()
    assert len(reader.read()) == 4
    assert not reader.reset
    folder.truncate_metrics(len(b'{"step": 0, "try": 1}\n'))
    folder.append_metrics([{"step": step, "try": 2} for step in range(1, 9)])
    rows = reader.read()
    assert reader.reset
    assert [(row["step"], row["try"]) for row in rows] == [(0, 1), *((step, 2) for step in range(1, 9))]
    assert reader.read() == []
    assert not reader.reset


def test_truncating_beyond_the_end_adds_nothing(folder):
    folder.append_metrics([{"step": 0}])
    folder.truncate_metrics(10_000)
    assert [row["step"] for row in folder.metrics()[0]] == [0]
    assert folder.metrics_size() == len(b'{"step": 0}\n')


def test_predictions_come_back_as_they_were_written(folder):
    assert folder.predictions() is None
    table = pd.DataFrame({"image_id": ["a", "b"], "correct": [True, False], "prob_normal": [0.25, 0.5]})
    folder.write_predictions(table)
    pd.testing.assert_frame_equal(folder.predictions(), table)


def test_the_log_s_last_lines_are_found_without_reading_all_of_it(folder):
    folder.log_path.write_text("".join(f"line {index}\n" for index in range(100_000)))
    assert folder.log_tail(2) == ["line 99998", "line 99999"]
    assert folder.log_tail(0) == []


def test_a_stop_is_requested_seen_and_forgotten(folder):
    assert not folder.stop_requested()
    folder.request_stop()
    assert RunFolder(folder.path).stop_requested()
    folder.clear_stop()
    folder.clear_stop()
    assert not folder.stop_requested()


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match="is not the folder of a run"):
        _ = RunFolder(tmp_path).spec


def test_a_damaged_spec_is_named(folder):
    (folder.path / "spec.json").write_text('{"id": ')
    with pytest.raises(RunError, match=r"spec\.json is damaged"):
        _ = folder.spec
