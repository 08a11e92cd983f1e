"""Helper ranks: they do the job and leave lock, queue, status and heartbeat to the run's own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cxr.runs import DeviceQueue, Run, RunFolder, local, start
from tests.runs.conftest import WORKER

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("job_kinds", "cold_workers")


def as_rank(folder: RunFolder, rank: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "RANK": rank, "WORLD_SIZE": "2", local.RUN_VARIABLE: str(folder.path)}
    command = [sys.executable, "-c", WORKER, str(folder.path)]
    return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_helper_works_beside_the_run_s_own_process_and_touches_neither_status_nor_queue(has_rows, until):
    run = start("ranks", {"n": 100_000})
    until(lambda: run.folder.read_json("rank-1.json"))
    until(lambda: run.status()["state"] == "running")
    helper = run.folder.read_json("rank-1.json")
    assert helper["pid"] != run.status()["pid"]
    assert [ticket.pid for ticket in DeviceQueue().tickets()] == []  # this kind needs no device, nor does its helper
    run.stop()
    assert run.wait(300)["state"] == "stopped"
    until(lambda: local.start_time(helper["pid"]) is None)
    log = run.folder.log_tail()
    assert any("rank 1 INFO helping" in line for line in log)
    assert sum(line.endswith(f"process {run.status()['pid']}") for line in log) == 1  # the helper did not begin a run


def handles_sigterm(process: subprocess.Popen[str]) -> bool:
    """Whether a process has got as far as taking the signal for a request to stop."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():  # not on Linux: nothing to wait for
        return True
    caught = int(status.read_text().partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_helper_of_a_training_takes_no_place_in_the_queue(has_rows, until):
    run = start("train", {"n": 100_000, "recipe": {"device": "cpu"}})
    has_rows(run)
    before = run.folder.read_status()
    helper = as_rank(run.folder, "1")
    try:
        has_rows(run, len(run.metrics()[0]) + 50)
        until(lambda: handles_sigterm(helper))
        assert helper.poll() is None
        assert [ticket.pid for ticket in DeviceQueue().tickets()] == [before["pid"]]
        assert run.folder.read_status()["pid"] == before["pid"]
    finally:
        helper.send_signal(signal.SIGTERM)
    assert helper.wait(300) == 0
    assert run.wait(300)["state"] == "stopped"  # the signal became the request to stop, which all obey


def test_a_run_of_rank_0_is_like_any_other(tmp_path):
    folder = RunFolder.create(tmp_path, "count", {"n": 3})
    process = as_rank(folder, "0")
    process.communicate()
    assert (process.returncode, Run(folder).status()["state"]) == (0, "finished")


@pytest.mark.parametrize(
    ("kind", "params", "code", "said"),
    [
        ("count", {"n": 3}, 0, ""),
        ("fail", {"how": "user"}, 1, "x.png is not an image"),
        ("missing", {}, 1, "no_such_module"),
        ("unheard-of", {}, 1, "unknown kind of run 'unheard-of'"),
    ],
)
def test_a_helper_s_exit_code_tells_how_it_ended_and_its_log_lines_carry_its_rank(tmp_path, kind, params, code, said):
    folder = RunFolder.create(tmp_path, kind, params)
    before = folder.read_status()
    process = as_rank(folder, "3")
    out, _ = process.communicate()
    assert process.returncode == code
    assert said in out
    assert not said or " rank 3 ERROR " in out
    assert folder.read_status() == before


def test_a_helper_stops_by_the_flag_alone(tmp_path):
    folder = RunFolder.create(tmp_path, "deep", {})
    folder.request_stop()
    process = as_rank(folder, "1")
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, "rank 1 INFO stopped" in out) == (0, True)


def test_helpers_of_a_killed_run_are_swept_away(until):
    run = start("ranks", {"n": 100_000})
    until(lambda: run.folder.read_json("rank-1.json"))
    helper = run.folder.read_json("rank-1.json")["pid"]
    os.kill(run.status()["pid"], signal.SIGKILL)
    until(lambda: run.status()["state"] == "failed")
    assert local.start_time(helper) is not None
    assert local.kill_group(run.folder, run.status()["pid"]) == 1
    assert local.start_time(helper) is None


def test_a_run_started_by_one_of_several_ranks_is_a_run_of_its_own(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert start("count", {"n": 2}).wait(300)["state"] == "finished"
