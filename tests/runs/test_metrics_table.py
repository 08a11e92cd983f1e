"""A run's metrics as columns: the same numbers as its rows, shared, read from where the last reading ended."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from cxr.paths import runs_root
from cxr.runs import RunFolder
from cxr.runs.metrics import metrics_file, metrics_table
from cxr.runs.metrics.metrics_table import COLUMNS, Metrics, MetricsTable


def step(n: int, **values: object) -> dict:
    return {"kind": "step", "step": n, "stage_index": 0, "loss": 1 / (n + 1), "time": 1000.0 + n} | values


@pytest.fixture
def folder() -> RunFolder:
    return RunFolder.create(runs_root(), "train", {})


def test_the_columns_hold_what_the_rows_say_and_nan_where_they_say_nothing(folder):
    epoch = {"kind": "epoch", "step": 3, "val_loss": 0.5}
    folder.append_metrics([step(0, images_per_s=None), step(1, images_per_s=7.5), epoch, step(2, stage_index=1)])
    metrics = MetricsTable(folder).refresh()
    assert metrics.steps["step"].tolist() == [0, 1, 2]
    assert metrics.steps["stage_index"].tolist() == [0, 0, 1]
    np.testing.assert_allclose(metrics.steps["loss"], [1, 1 / 2, 1 / 3], rtol=1e-6)
    np.testing.assert_array_equal(metrics.steps["images_per_s"], [np.nan, 7.5, np.nan])
    assert (len(metrics), metrics.of_kind("epoch"), metrics.of_kind("neurons")) == (4, [epoch], [])


def test_only_what_was_added_is_read_again_and_what_was_given_out_stays_as_it_was(folder, monkeypatch):
    monkeypatch.setattr(metrics_table, "_FIRST_ROOM", 2)
    table = MetricsTable(folder)
    assert len(table.refresh()) == 0
    folder.append_metrics([step(n) for n in range(3)])
    first = table.refresh()
    folder.append_metrics([step(n) for n in range(3, 50)])
    read = []
    monkeypatch.setattr(metrics_file, "read_block", record(read, metrics_file.read_block))
    second = table.refresh()
    assert [block.count(b"\n") for block in read] == [47, 0]
    assert (first.steps["step"].tolist(), second.steps["step"].tolist()) == ([0, 1, 2], list(range(50)))


def record(read: list, original):
    def reading(*arguments):
        result = original(*arguments)
        read.append(result[0])
        return result

    return reading


def test_a_long_file_is_read_in_blocks_and_no_row_is_lost_between_them(folder, monkeypatch):
    folder.append_metrics([step(n) for n in range(500)])
    read = []
    monkeypatch.setattr(metrics_table, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(metrics_file, "read_block", record(read, metrics_file.read_block))
    assert MetricsTable(folder).refresh().steps["step"].tolist() == list(range(500))
    assert len(read) > 20
    monkeypatch.setattr(metrics_table, "_BLOCK_BYTES", 10)  # shorter than a line
    assert len(MetricsTable(folder).refresh()) == 500


@pytest.mark.parametrize("kept", [0, 5])
def test_a_resumed_run_takes_its_rows_back(folder, kept):
    table = MetricsTable(folder)
    folder.append_metrics([step(n) for n in range(kept)])
    offset = folder.metrics_size()
    folder.append_metrics([step(n, loss=9.0) for n in range(kept, 20)])
    assert len(table.refresh()) == 20
    folder.truncate_metrics(offset)
    assert len(table.refresh()) == kept
    folder.append_metrics([step(n, loss=2.0) for n in range(kept, 7)])
    metrics = table.refresh()
    assert metrics.steps["step"].tolist() == list(range(7))
    assert not (metrics.steps["loss"] == 9.0).any()


def test_threads_that_share_a_table_see_columns_of_one_length(folder):
    table, wrong, done = MetricsTable(folder), [], threading.Event()

    def look() -> None:
        while not done.is_set():
            steps = table.refresh().steps
            if len({len(values) for values in steps.values()}) != 1 or (np.diff(steps["step"]) != 1).any():
                wrong.append(steps)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(0, 3000, 100):
        folder.append_metrics([step(n) for n in range(start, start + 100)])
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(table.refresh()) == 3000


def test_a_step_takes_tens_of_bytes_not_a_dictionary():
    assert sum(np.dtype(kind).itemsize for kind in COLUMNS.values()) <= 40
    metrics = Metrics.of_rows(step(n) for n in range(10_000))
    assert sum(values.nbytes for values in metrics.steps.values()) <= 40 * 10_000


def as_read(block: bytes) -> tuple[dict[str, list], list[dict]]:
    columns = metrics_table._Columns()
    columns.add(metrics_file.parse_lines(block)[0])
    view = columns.view()
    return {name: values.tolist() for name, values in view.steps.items()}, list(view.others)


ODD_LINES = {
    "of other kinds": [{"kind": "epoch", "step": 1, "neurons": {"größe": {"kept": None}}}, {"time": 1}],
    "without values": [{"kind": "step"}, {"kind": "step", "loss": None, "stage_index": None}],
    "of whole numbers": [{"kind": "step", "step": 7, "loss": 2, "time": 3, "wait_s": 0}],
    "with keys of later versions": [{"kind": "step", "step": 1, "more": [1, {"a": 2}], "text": 'a "b" \\n'}],
}
DAMAGED_LINES = {
    "cut": b'{"kind": "step", "st',
    "no object": b"[1, 2]",
    "of a kind without a name": b'{"kind": 3}',
    "two in one": b'{"kind": "step", "step": 1}{"kind": "step", "step": 2}',
    "of another type": b'{"kind": "step", "step": 1, "loss": "high"}',
    "zeros": b"\0" * 30,
}


@pytest.mark.parametrize("name", ODD_LINES)
def test_columns_read_at_once_are_those_of_each_line(name):
    rows = [step(n, lr=1e-3, wait_s=0.1) for n in range(50)]
    rows[25:25] = ODD_LINES[name]
    block = "".join(json.dumps(row) + "\n" for row in rows).encode() + b"\n"
    columns, others = metrics_table.read_columns(block)
    expected, expected_others = as_read(block)
    assert others == expected_others
    for column, values in columns.items():
        np.testing.assert_array_equal(values.astype(COLUMNS[column]), np.array(expected[column], COLUMNS[column]))


@pytest.mark.parametrize("name", DAMAGED_LINES)
def test_a_damaged_line_is_left_out_and_no_other(name, folder, monkeypatch):
    monkeypatch.setattr(metrics_table, "_FEW_BYTES", 0)
    lines = [json.dumps(step(n)).encode() for n in range(50)]
    lines[25:25] = [DAMAGED_LINES[name]]
    (folder.path / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    if name == "of another type":
        assert metrics_table.read_columns(b"\n".join(lines)) is None
        return
    assert MetricsTable(folder).refresh().steps["step"].tolist() == list(range(50))


def test_a_long_run_is_read_the_same_in_either_way(folder, monkeypatch):
    folder.append_metrics([step(n, lr=1 / (n + 1)) for n in range(3000)] + [{"kind": "epoch", "step": 3000}])
    fast = MetricsTable(folder).refresh()
    monkeypatch.setattr(metrics_table, "read_columns", lambda block: None)
    slow = MetricsTable(folder).refresh()
    assert fast.others == slow.others
    for name in COLUMNS:
        np.testing.assert_array_equal(fast.steps[name], slow.steps[name])
