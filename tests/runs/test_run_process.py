"""Real worker processes: started, watched, stopped, killed, resumed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import cxr.runs.worker
from cxr.errors import RunError
from cxr.runs import Run, RunFolder, get_run, list_runs, local, process, start
from cxr.runs.slurm.job import Task

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("job_kinds", "cold_workers")


def kill_process(run: Run) -> None:
    """Kill the worker as the system would, and wait until it is gone."""
    status = run.status()
    os.kill(status["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while run.status()["state"] == "running":  # its threads die one by one, the lock goes with the last of them
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_goes_from_queued_to_finished_and_leaves_rows_results_and_a_log():
    run = start("count", {"n": 5}, name="five")
    assert run.status()["state"] in ("queued", "running", "finished")
    status = run.wait(300)
    assert (status["state"], status["progress"], status["error"]) == ("finished", 1.0, None)
    assert status["started"] <= status["ended"]
    assert [row["step"] for row in run.metrics()[0]] == [0, 1, 2, 3, 4]
    assert run.results() == {"n": 5}
    assert any("finished" in line for line in run.folder.log_tail())


def test_in_the_foreground_start_returns_when_the_work_is_done():
    seen: list[float] = []
    run = start("count", {"n": 30}, detached=False, progress=lambda fraction, message: seen.append(fraction))
    assert run.status()["state"] == "finished"
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_spec_of_a_run_starts_the_same_again():
    first = start("count", {"n": 5}, name="five", detached=False)
    again = start(first.spec, detached=False)
    assert again.id != first.id
    assert (again.kind, again.name, again.results()) == ("count", "five", {"n": 5})


def test_an_unknown_kind_is_refused_and_leaves_no_folder(tmp_path):
    with pytest.raises(RunError, match=r"unknown kind of run 'trian'. Available: count, deep"):
        start("trian", {})
    assert list_runs() == []


def test_paths_in_the_parameters_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("manifest.csv").write_text("image,label\n")
    Path("demo").mkdir()  # not the weights of this name
    run = start("count", {"manifest": "manifest.csv", "model": "demo", "n": 1})
    assert run.spec["params"] == {"manifest": str(tmp_path / "manifest.csv"), "model": "demo", "n": 1}
    assert (run.params.manifest, run.params.model) == (tmp_path / "manifest.csv", "demo")
    file = start("count", {"model": "manifest.csv", "n": 1})
    assert file.params.model == str(tmp_path / "manifest.csv")


@pytest.mark.parametrize("kind", ["count", "deep"])
def test_a_running_job_is_stopped_and_keeps_what_it_has(kind, until):
    run = start(kind, {"n": 100_000})
    until(lambda: run.status()["state"] == "running")
    run.stop()
    assert run.status()["state"] in ("stopping", "stopped")
    assert run.wait(300)["state"] == "stopped"
    with pytest.raises(RunError, match="is stopped already"):
        run.stop()


def test_sigterm_alone_stops_a_job_as_the_button_does(has_rows):
    run = start("count", {"n": 100_000})
    has_rows(run)
    os.kill(run.status()["pid"], signal.SIGTERM)
    assert run.wait(300)["state"] == "stopped"


def test_a_run_stopped_before_its_process_is_up_never_works():
    run = start("count", {"n": 100_000})
    run.stop()
    assert run.wait(300)["state"] == "stopped"
    assert len(run.metrics()[0]) < 100


def test_a_stopped_training_resumes_where_it_was_and_keeps_its_first_start(has_rows):
    run = start("train", {"n": 60, "pause": 0.02})
    has_rows(run, 5)
    run.stop()
    before = run.wait(300)
    assert run.resume().wait(300)["state"] == "finished"
    status = run.status()
    assert (status["started"], status["resumes"]) == (before["started"], 1)
    assert [row["step"] for row in run.metrics()[0]] == list(range(60))
    assert len({row["pid"] for row in run.metrics()[0]}) == 2


def test_other_kinds_begin_anew(has_rows):
    run = start("count", {"n": 60, "pause": 0.02})
    has_rows(run, 5)
    run.stop()
    run.wait(300)
    run.resume().wait(300)
    assert [row["step"] for row in run.metrics()[0]] == list(range(60))
    assert len({row["pid"] for row in run.metrics()[0]}) == 1


def test_a_killed_process_is_shown_as_failed_by_whoever_looks_and_can_be_resumed(has_rows):
    run = start("train", {"n": 60, "pause": 0.02})
    has_rows(run)
    kill_process(run)
    status = get_run(run.id).status()
    assert status["state"] == "failed"
    assert "vanished" in status["error"]
    assert "\n" not in status["error"]
    assert run.folder.read_status()["state"] == "running"  # looking writes nothing
    assert run.resume().wait(300)["state"] == "finished"


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_the_run(has_rows):
    run = start("count", {"n": 100_000})
    has_rows(run)
    kill_process(run)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        run.folder.update_status(pid=stranger.pid, pid_started=local.start_time(stranger.pid) - 5)
        assert run.status()["state"] == "failed"
        with pytest.raises(RunError, match="is failed already"):
            run.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_setting_the_clock_does_not_make_a_living_run_a_failed_one(has_rows):
    run = start("count", {"n": 100_000})
    has_rows(run)
    run.folder.update_status(pid_started=run.status()["pid_started"] + 3600)
    assert run.status()["state"] == "running"
    run.stop()
    assert run.wait(300)["state"] == "stopped"


def test_a_zombie_counts_as_gone(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = local.start_time(child.pid)
    assert local.is_alive(child.pid, started)
    child.kill()
    deadline = time.monotonic() + 10
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
    assert not local.is_alive(child.pid, started)
    child.wait()


def test_ended_workers_leave_no_zombies_behind(until):
    runs = [start("count", {"n": 1}) for _ in range(2)]
    pids = [run.status()["pid"] for run in runs]
    for run in runs:
        run.wait(300)
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids if pid))


def test_a_silent_process_is_reported_but_not_declared_dead(has_rows, until, monkeypatch):
    run = start("count", {"n": 100_000})
    has_rows(run)
    pid = run.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(process, "SILENCE_S", 0.2)
        until(lambda: run.status()["message"].startswith("no sign of life for"))
        status = run.status()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert status["state"] == "running"


def test_the_heartbeat_goes_on_while_the_job_works(has_rows, until):
    run = start("count", {"n": 100_000})
    has_rows(run)
    first = run.status()["heartbeat"]
    until(lambda: run.status()["heartbeat"] > first)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("user", "x.png is not an image: it holds text"),
        ("disk", "the disk is full (/somewhere/last.safetensors): free some disk space, then resume the run"),
        ("other", "unexpected KeyError: 'labl' (see the log)"),
    ],
)
def test_a_failing_job_says_why_in_one_line_and_the_traceback_is_in_the_log(how, message):
    run = start("fail", {"how": how})
    status = run.wait(300)
    assert (status["state"], status["error"]) == ("failed", message)
    assert any("Traceback" in line for line in run.folder.log_tail())


def test_a_process_that_dies_without_a_word_is_failed():
    run = start("fail", {"how": "exit"})
    assert run.wait(300)["state"] == "failed"


def test_a_job_that_cannot_be_imported_is_failed_with_the_reason():
    assert "no_such_module" in start("missing", {}).wait(300)["error"]


def test_a_worker_that_does_not_start_is_failed_with_the_log_s_last_line(monkeypatch):
    command = [sys.executable, "-c", "import a_module_that_is_not_there"]
    monkeypatch.setattr(local, "worker_command", lambda folder: command)
    status = start("count", {}).wait(300)
    assert status["state"] == "failed"
    assert status["error"].startswith("its process did not start: ModuleNotFoundError: No module named 'a_module")


def test_a_queued_run_without_a_process_is_given_some_seconds_and_then_failed(tmp_path):
    run = Run(RunFolder.create(tmp_path, "count", {}))
    run.folder.update_status(launched=time.time())
    assert run.status()["state"] == "queued"
    run.folder.update_status(launched=time.time() - 60)
    assert run.status()["state"] == "failed"


def test_of_two_resumes_at_once_one_wins(has_rows):
    run = start("train", {"n": 100_000})
    has_rows(run)
    run.stop()
    run.wait(300)
    run.resume()
    with pytest.raises(RunError, match="only a stopped or failed run can be resumed"):
        get_run(run.id).resume()
    has_rows(run, 5)
    run.stop()
    run.wait(300)


def test_a_second_worker_on_the_same_run_leaves_it_alone(has_rows, monkeypatch):
    run = start("count", {"n": 100_000})
    has_rows(run)
    monkeypatch.setattr(cxr.runs.worker, "_PREDECESSOR_S", 0.1)
    assert cxr.runs.worker.main(run.folder.path) == 2
    assert run.status()["state"] == "running"


def test_a_worker_refuses_a_run_that_is_over():
    run = start("count", {"n": 1})
    run.wait(300)
    assert cxr.runs.worker.main(run.folder.path) == 2
    assert run.status()["state"] == "finished"


def test_a_finished_run_is_neither_resumed_nor_stopped_but_deleted():
    run = start("count", {"n": 1})
    run.wait(300)
    with pytest.raises(RunError, match="is finished: only a stopped or failed run can be resumed"):
        run.resume()
    with pytest.raises(RunError, match="is finished already"):
        run.stop()
    run.delete()
    assert not run.folder.path.exists()
    assert list_runs() == []


def test_an_active_run_is_not_deleted(has_rows):
    run = start("count", {"n": 100_000})
    has_rows(run)
    with pytest.raises(RunError, match="is running: stop it before deleting it"):
        run.delete()
    assert run.folder.path.exists()


def test_a_killed_run_has_no_process_left_however_long_it_takes_to_die(until, tmp_path, monkeypatch):
    # The system takes a while to take a gigabyte back; of a process with threads the first is gone before that.
    ready = tmp_path / "ready"
    large = f"import pathlib, time; held = b'1' * (1 << 30); pathlib.Path({str(ready)!r}).touch(); time.sleep(300)"
    monkeypatch.setattr(local, "worker_command", lambda folder: [sys.executable, "-c", large])
    run = start("count", {})
    until(ready.exists)
    pid = run.status()["pid"]
    run.kill()
    assert local.start_time(pid) is None


def test_killing_a_run_ends_its_children_too(until):
    run = start("nested", {"n": 100_000})
    until(lambda: run.folder.read_json("child.json"))
    child = run.folder.read_json("child.json")
    run.kill()
    assert run.status()["state"] == "stopped"
    until(lambda: local.start_time(child) is None)


def test_children_that_outlived_a_killed_worker_are_swept_away_by_the_resume(until):
    run = start("nested", {"n": 100_000})
    until(lambda: run.folder.read_json("child.json"))
    child = run.folder.read_json("child.json")
    kill_process(run)
    assert local.start_time(child) is not None
    run.resume()
    assert local.start_time(child) is None


def test_two_trainings_on_one_device_follow_each_other(has_rows, until):
    first = start("train", {"n": 100_000, "recipe": {"device": "cpu"}})
    has_rows(first)
    second = start("train", {"n": 3, "recipe": {"device": "cpu"}})
    until(lambda: "waiting" in second.status()["message"])
    third = start("train", {"n": 100_000, "recipe": {"device": "cpu"}})
    until(lambda: "waiting" in third.status()["message"])
    assert second.status()["state"] == third.status()["state"] == "queued"
    assert second.status()["message"] == f"waiting for cpu, behind {first.id}"
    assert third.status()["message"] == f"waiting for cpu, behind {first.id}, {second.id}"
    third.stop()
    assert third.wait(300)["state"] == "stopped"
    assert third.metrics()[0] == []
    kill_process(first)  # whatever the end, the next one's turn comes
    assert second.wait(300)["state"] == "finished"


def test_trainings_on_two_devices_do_not_wait_for_each_other(has_rows):
    start("train", {"n": 100_000, "recipe": {"device": "cpu"}})
    other = start("train", {"n": 3, "recipe": {"device": "cuda:1"}})
    assert other.wait(300)["state"] == "finished"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_the_work_outlives_the_process_that_started_it_and_its_whole_group(number, tmp_path, until, has_rows):
    script = f"""
import sys, time
from cxr.runs import kinds, local, start
from tests.runs import conftest, jobs
kinds.KINDS = jobs.KINDS
local.worker_command = lambda folder: [sys.executable, "-c", conftest.WORKER, str(folder)]
open({str(tmp_path / "id")!r}, "w").write(start("count", dict(n=100000)).id + "\\n")
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup'd tests inherit an ignored one
    )
    identity = tmp_path / "id"
    until(lambda: identity.exists() and identity.read_text().endswith("\n"))
    run = get_run(identity.read_text().strip())
    has_rows(run)
    os.killpg(parent.pid, number)
    parent.wait()
    seen = len(run.metrics()[0])
    has_rows(run, seen + 20)
    assert run.status()["state"] == "running"
    run.stop()
    assert run.wait(300)["state"] == "stopped"


def test_waiting_too_long_says_so_and_leaves_the_run_alone(has_rows):
    run = start("count", {"n": 100_000})
    has_rows(run)
    with pytest.raises(TimeoutError, match="is still running after"):
        run.wait(0.1)
    assert run.active


def test_the_worker_s_usage_is_reported():
    done = subprocess.run([sys.executable, "-m", "cxr.runs.worker"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "usage: python -m cxr.runs.worker RUN_FOLDER" in done.stderr


def test_the_status_file_is_plain_json_for_other_tools():
    run = start("count", {"n": 1})
    run.wait(300)
    assert json.loads((run.folder.path / "status.json").read_text())["state"] == "finished"


def test_jobs_that_an_older_version_left_waiting_find_their_worker_and_their_task():
    assert pickle.loads(b"ccxr.runs.cluster_job\nTask\n.") is Task
    done = subprocess.run([sys.executable, "-m", "cxr.worker", "no-such-run"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no-such-run" in done.stdout + done.stderr
