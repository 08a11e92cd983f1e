"""Runs on a cluster: a real Slurm of one node on loopback, real jobs, a real training."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr.cli import app
from cxr.data.phantom import write_demo
from cxr.errors import RunError
from cxr.runs import ENDED, Run, RunFolder, Slurm, get_run, kinds, list_runs, local, process, start
from cxr.runs.slurm import client
from cxr.runs.slurm.submit import SUBMITTING
from tests.runs import cluster_jobs
from tests.runs.conftest import work_as
from tests.test_kill import RECIPE, lasting, steps, weights

DEBUG = Slurm(partition="debug", minutes=5, cpus=1)
WAITS = Slurm(partition="closed", minutes=5, cpus=1)
ENDLESS = {"n": 100_000, "pause": 0.02}


def in_state(run: Run, *states: str) -> Callable[[], bool]:
    return lambda: run.status()["state"] in states


def slurm_state(job: str) -> str:
    return subprocess.run(["squeue", "-h", "-t", "all", "-j", job, "-o", "%T"], capture_output=True, text=True).stdout


def processes_of(run: Run) -> list[int]:
    """Processes on this machine that work for a run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(run.folder.path).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def fake_program(folder: Path, name: str, script: str) -> None:
    """Put a program ``name`` in front of the real ones, for answers that a small Slurm cannot be made to give."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


# settings


def test_settings_are_read_from_the_command_line_and_written_back():
    text = "partition=gpu,time=1-02:30:00,gpus=2,nodes=3,cpus=4,mem=16G,account=lab"
    text += ",requeues=3,warn=60,at-once=5,qos=high"
    slurm = Slurm.parse(text)
    assert slurm == Slurm("gpu", 1590, 2, 3, 4, 16.0, "lab", 3, 60, {"qos": "high"}, at_once=5)
    assert Slurm.parse(slurm.option()) == Slurm.of(json.loads(json.dumps(slurm.stored()))) == slurm
    older = {name: value for name, value in slurm.stored().items() if name != "at_once"}
    assert Slurm.of(older) == dataclasses.replace(slurm, at_once=0)
    assert Slurm.parse("").option() == "time=60"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu", "'gpu' is not of the form key=value"),
        ("time=soon", "time is 'soon'. Allowed: minutes, HH:MM:SS"),
        ("time=1:30", "time is '1:30'. Allowed: minutes, HH:MM:SS"),
        ("mem=lots", "mem is 'lots'. Allowed: a number of GiB"),
        ("gpus=-1", "gpus is -1. Allowed: a whole number from 0"),
        ("at-once=-1", "at_once is -1. Allowed: a whole number from 0"),
        ("array=1-5", "array is set by cxr itself"),
        ("--qos=high", "'--qos' is no option of sbatch"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_what_is_allowed(text, said):
    with pytest.raises(RunError) as error:
        Slurm.parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("asked", "recipe", "processes"),
    [
        (Slurm(), {}, 1),
        (Slurm(gpus=2, nodes=2), {"devices": 1}, 4),
        (Slurm(gpus=2), {"devices": 2, "device": "cuda"}, 2),
        (Slurm(), {"devices": 3, "device": "cpu"}, 3),
        (Slurm(nodes=2), {"devices": 4, "device": "cpu"}, 4),
    ],
)
def test_a_job_has_a_process_for_each_gpu_or_for_each_device_of_the_recipe(asked, recipe, processes):
    assert asked.tasks(kinds.kind_of("train"), {"recipe": recipe | {"name": "x"}}) == processes


@pytest.mark.parametrize(
    ("asked", "kind", "recipe", "said"),
    [
        (
            Slurm(gpus=2),
            "train",
            {"devices": 4},
            "make 2 processes, the recipe has devices 4. Allowed: devices 2, or 1",
        ),
        (Slurm(), "train", {"device": "cuda"}, "the recipe needs device 'cuda' but no GPU is requested: add gpus=1"),
        (Slurm(gpus=2), "evaluate", {}, "'evaluate' is the work of one process"),
    ],
)
def test_a_recipe_that_does_not_fit_what_is_requested_is_refused(asked, kind, recipe, said):
    with pytest.raises(RunError) as error:
        asked.tasks(kinds.kind_of(kind), {"recipe": recipe})
    assert said in str(error.value)


# without a Slurm


def test_without_sbatch_a_run_for_slurm_is_refused_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"^no Slurm here: `sbatch` is not found; leave --slurm away or run on a login"):
        start("demo", {"n": 12}, where=DEBUG)
    assert list_runs() == []
    assert not client.here()


def test_the_command_line_says_so_too(tmp_path, monkeypatch):
    manifest = write_demo(tmp_path / "demo", n=30, size=96, seed=0)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(app, ["train", "demo", "--data", str(manifest.path), "--slurm", "time=5"])
    assert isinstance(result.exception, RunError)
    assert "no Slurm here" in str(result.exception)
    result = CliRunner().invoke(app, ["train", "demo", "--data", str(manifest.path), "--slurm", "time=soon"])
    assert result.exit_code == 2


def test_a_run_of_another_machine_is_judged_by_its_heartbeat_and_never_by_a_process_of_this_one(tmp_path):
    folder = RunFolder.create(tmp_path, "demo", {})
    gone = {"pid": 2**22 - 1, "pid_started": 1.0, "host": "elsewhere", "launched": time.time()}
    folder.update_status(state="running", message="epoch 1", heartbeat=time.time(), **gone)
    assert Run(folder).status()["message"] == "epoch 1"
    folder.update_status(heartbeat=time.time() - 60)
    assert (Run(folder).status()["state"], Run(folder).status()["message"]) == ("running", "no sign of life for 60 s")
    folder.update_status(heartbeat=time.time() - process.LOST_S - 1)
    assert Run(folder).status()["state"] == "failed"
    assert "its process on elsewhere has given no sign of life" in Run(folder).status()["error"]
    folder.update_status(pid=os.getpid(), pid_started=local.start_time(os.getpid()))  # ours, by chance
    assert not local.send_signal(folder.read_status(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        ("7|PENDING|Resources|", "queued", "in Slurm's queue (job 7, Resources: no node is free yet)"),
        ("7|PENDING|QOSMaxJobsPerUserLimit|", "queued", "in Slurm's queue (job 7, QOSMaxJobsPerUserLimit)"),
        ("7|RUNNING|None|node3", "running", "its Slurm job 7 is RUNNING"),
        ("7|OUT_OF_MEMORY|None|node3", "failed", "Slurm job 7 is OUT_OF_MEMORY: it used more memory than requested"),
        (
            "7|NODE_FAIL|None|node3",
            "failed",
            "Slurm job 7 is NODE_FAIL: its node failed; the log ends with: last words",
        ),
        ("7|TIMEOUT|None|node3", "failed", "Slurm job 7 is TIMEOUT: its time limit was reached before it could save"),
        ("7|CANCELLED|None|node3", "failed", "Slurm job 7 is CANCELLED: it was cancelled in Slurm"),
        ("8|RUNNING|None|node3", "failed", "Slurm no longer knows its job 7"),
    ],
)
def test_what_slurm_says_of_a_silent_run_is_reported_in_one_line(tmp_path, monkeypatch, answer, state, said):
    fake_program(tmp_path / "bin", "squeue", f"echo '{answer}'")
    fake_program(tmp_path / "bin", "sacct", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(client, "_cache", {})
    folder = RunFolder.create(tmp_path, "demo", {}, slurm=DEBUG.stored())
    folder.log_path.write_text("words\nlast words\n")
    beat = time.time() - 100 if state != "queued" else None
    folder.update_status(
        state="running", message=SUBMITTING, submitting=True, job="7", host="node3", pid=1, heartbeat=beat
    )
    status = Run(folder).status()
    assert status["state"] == state
    assert said in (status["error"] or status["message"])
    assert "\n" not in (status["error"] or "")


def test_a_training_of_a_study_that_could_not_begin_is_failed_with_what_its_job_wrote(tmp_path, monkeypatch):
    fake_program(tmp_path / "bin", "squeue", "echo '7_1|FAILED|NonZeroExitCode|node3'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(client, "_cache", {})
    study = RunFolder.create(tmp_path, "study", {}, "a study")
    (study.path / client.FOLDER).mkdir()
    (study.path / client.FOLDER / "7_1_0_log.err").write_text("ModuleNotFoundError: No module named 'cxr'\n")
    folder = RunFolder.create(tmp_path, "train", {"study": study.id}, slurm=DEBUG.stored())
    folder.update_status(job="7_1", submitting=True)
    error = Run(folder).status()["error"]
    assert error.endswith(
        "its process ended with an error; the log ends with: ModuleNotFoundError: No module named 'cxr'"
    )


def test_a_job_that_squeue_has_forgotten_is_looked_up_in_the_accounting(tmp_path, monkeypatch):
    fake_program(tmp_path / "bin", "squeue", "true")
    fake_program(tmp_path / "bin", "sacct", "echo 'CANCELLED by 1000|node3'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(client, "_cache", {})
    monkeypatch.setattr(client, "_forgotten", {})
    assert client.ask("7") == client.Job("CANCELLED", "", "node3")


@pytest.mark.parametrize(("state", "ended"), [("COMPLETED", True), ("CANCELLED", True), ("RUNNING", False)])
def test_cancelling_a_job_fails_only_where_it_is_not_over(tmp_path, monkeypatch, state, ended):
    fake_program(tmp_path / "bin", "scancel", "echo 'scancel: Fehler: Auftrag unbekannt' >&2; exit 1")
    fake_program(tmp_path / "bin", "squeue", f"echo '7|{state}|None|node3'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(client, "_cache", {})
    with contextlib.nullcontext() if ended else pytest.raises(RunError, match="Auftrag unbekannt"):
        client.cancel("7")


def test_slurm_is_asked_once_for_many_runs_and_not_at_all_for_those_that_are_heard(tmp_path, monkeypatch):
    fake_program(tmp_path / "bin", "squeue", f"echo asked >> {tmp_path}/asked; seq -f '%g|PENDING|Priority|' 0 50")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(client, "_cache", {})
    for index in range(40):
        folder = RunFolder.create(tmp_path / "runs", "demo", {}, slurm=DEBUG.stored())
        beat = time.time() if index < 5 else None
        folder.update_status(state="running" if beat else "queued", job=str(index), heartbeat=beat, host="node3")
    states = [run.status()["state"] for run in list_runs(tmp_path / "runs")]
    assert (states.count("running"), states.count("queued")) == (5, 35)
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_run_submitted_since_slurm_was_last_asked_is_not_taken_for_a_lost_one(tmp_path, monkeypatch):
    fake_program(tmp_path / "bin", "squeue", f"echo asked >> {tmp_path}/asked; cat {tmp_path}/jobs")
    fake_program(tmp_path / "bin", "sacct", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(client, "_cache", {})
    monkeypatch.setattr(client, "_unlisted", set())
    monkeypatch.setattr(client, "CACHE_S", 1000.0)
    (tmp_path / "jobs").write_text("7|RUNNING|None|node3\n")
    assert client.ask("7") == client.Job("RUNNING", "", "node3")
    (tmp_path / "jobs").write_text("7|RUNNING|None|node3\n8|PENDING|Priority|\n")
    assert client.ask("8") == client.Job("PENDING", "Priority", "")
    asked = len((tmp_path / "asked").read_text().split())
    assert asked == 2
    assert {client.ask("6") for _ in range(5)} == {client.Job("UNKNOWN")}
    assert len((tmp_path / "asked").read_text().split()) == asked + 1  # not again for a job that is long over


def test_where_slurm_cannot_be_asked_the_run_is_not_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(client, "_cache", {})
    folder = RunFolder.create(tmp_path, "demo", {}, slurm=DEBUG.stored())
    folder.update_status(state="running", message="epoch 2", job="7", host="node3", heartbeat=time.time() - 100)
    status = Run(folder).status()
    assert (status["state"], status["message"]) == (
        "running",
        "epoch 2; Slurm cannot be asked about job 7 from here",
    )


RESUMED_MEANWHILE = """
import sys
from pathlib import Path
from cxr.runs.folder import RunFolder
from cxr.runs.status import QUEUED_AGAIN
RunFolder(Path(sys.argv[1])).update_status(**{**QUEUED_AGAIN, "launched": float(sys.argv[2])})
sys.exit(1)
"""


@pytest.mark.parametrize(("resumed", "state"), [(2000.0, "queued"), (1000.0, "failed")])
def test_a_job_that_leaves_ends_its_own_turn_of_the_run_alone(tmp_path, monkeypatch, resumed, state):
    """While the next job is being submitted a resumed run has no job, like one whose job began a moment ago."""
    from cxr.runs.slurm.job import Task

    folder = RunFolder.create(tmp_path, "demo", {}, slurm=DEBUG.stored())
    folder.update_status(state="running", job="7", launched=1000.0)
    for name, value in {"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", RESUMED_MEANWHILE, str(folder.path), str(resumed)]
    with pytest.raises(SystemExit):
        Task(folder.path, command, requeues=3, grace_s=1.0, restarts=False, launched=1000.0)()
    assert folder.read_status().state == state
    assert ("exit code 1" in (folder.read_status().error or "")) == (state == "failed")


def test_a_partition_has_the_gpus_of_its_largest_node(tmp_path, monkeypatch):
    lines = (
        "a|1:00|up|(null)",
        "b*|infinite|up|gpu:a100:4(S:0-1),shard:8",
        "b*|infinite|up|gpu:2",
        "c|2:00|up|gpu:t4:2",
    )
    fake_program(tmp_path / "bin", "sinfo", "\n".join(f"echo '{line}'" for line in lines))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert [(item.name, item.gpus) for item in client.partitions()] == [("b", 4), ("a", 0), ("c", 2)]


# with one


@pytest.mark.usefixtures("real_slurm", "small_jobs")
class TestJobs:
    """Small jobs on a real Slurm."""

    def test_a_run_goes_through_slurm_and_leaves_the_same_folder_as_anywhere(self):
        run = start("count", {"n": 5}, name="five", where=DEBUG)
        assert run.status()["state"] in ("queued", "running")
        status = run.wait(300)
        assert (status["state"], status["progress"], status["error"]) == ("finished", 1.0, None), status
        assert (status["host"], status["requeues"]) == (local.host(), 0)
        assert [row["step"] for row in run.metrics()[0]] == [0, 1, 2, 3, 4]
        assert run.results() == {"n": 5}
        assert any("finished" in line for line in run.folder.log_tail())
        assert (run.folder.path / "slurm" / f"{status['job']}_submission.sh").is_file()
        assert run.spec["slurm"] == DEBUG.stored()
        here = start("count", {"n": 5}, name="five", detached=False)
        assert here.spec.keys() == run.spec.keys() - {"slurm"}
        assert (here.status()["job"], here.status()["host"]) == (None, local.host())

    def test_a_waiting_run_says_why_it_waits_and_a_stop_takes_it_out_of_the_queue(self, until):
        run = start("count", {"n": 5}, where=WAITS)
        status = run.status()
        assert status["state"] == "queued"
        why = f"in Slurm's queue (job {status['job']}, PartitionDown: the partition takes no jobs now)"
        until(lambda: run.status()["message"] == why)
        run.stop()
        assert run.status()["state"] == "stopped"
        assert "CANCELLED" in slurm_state(status["job"])
        run.delete()
        assert list_runs() == []

    def test_a_killed_waiting_run_is_stopped_too(self):
        run = start("count", {"n": 5}, where=WAITS)
        run.kill()
        assert run.status()["state"] == "stopped"
        assert "CANCELLED" in slurm_state(run.status()["job"])

    def test_a_stopped_run_is_submitted_again_with_the_same_settings_and_goes_on(self, has_rows, until):
        run = start("train", {"n": 80, "pause": 0.05}, where=DEBUG)
        has_rows(run)
        run.stop()
        first = run.wait(300)
        assert first["state"] == "stopped"
        until(lambda: "COMPLETED" in slurm_state(first["job"]))
        assert run.resume().wait(300)["state"] == "finished"
        status = run.status()
        assert int(status["job"]) > int(first["job"])
        assert status["resumes"] == 1
        assert [row["step"] for row in run.metrics()[0]] == list(range(80))

    def test_a_killed_run_leaves_no_process_and_can_be_resumed(self, has_rows, until):
        run = start("train", {"n": 100, "pause": 0.02}, where=DEBUG)
        has_rows(run)
        run.kill()
        assert (run.status()["state"], run.status()["message"]) == ("stopped", "killed")
        until(lambda: not processes_of(run))
        assert run.resume().wait(300)["state"] == "finished"

    def test_scancel_by_hand_makes_the_run_save_and_stop(self, has_rows):
        run = start("train", ENDLESS, where=DEBUG)
        has_rows(run)
        subprocess.run(["scancel", run.status()["job"]], check=True)
        status = run.wait(300)
        assert status["state"] == "stopped"
        assert status["message"] == "saved; its job was ended in Slurm"

    def test_a_job_that_vanishes_is_failed_with_what_slurm_says(self, has_rows):
        run = start("train", ENDLESS, where=DEBUG)
        has_rows(run)
        subprocess.run(["scancel", "--signal=KILL", f"{run.status()['job']}.0"], check=True)
        status = run.wait(300)
        assert status["state"] == "failed"
        assert f"Slurm job {status['job']} is FAILED" in status["error"]
        assert run.folder.read_status()["state"] == "running"  # looking writes nothing

    def test_a_worker_that_is_killed_alone_is_failed_with_the_signal(self, has_rows):
        run = start("train", ENDLESS, where=DEBUG)
        has_rows(run)
        os.kill(run.status()["pid"], signal.SIGKILL)
        status = run.wait(300)
        assert status["state"] == "failed"
        assert "signal 9 (out of memory?)" in run.folder.read_status()["error"] or "FAILED" in status["error"]

    def test_a_run_whose_time_is_over_too_often_fails_with_what_to_do(self, has_rows):
        run = start("train", ENDLESS, where=Slurm("debug", 5, cpus=1, requeues=0))
        has_rows(run)
        subprocess.run(["scancel", "--signal=USR2", run.status()["job"]], check=True)
        status = run.wait(300)
        assert (status["state"], status["error"]) == (
            "failed",
            "Time limit reached 1 time (0 requeues allowed). Resume to continue.",
        )

    @pytest.mark.slow
    def test_a_run_of_another_kind_begins_anew_when_it_is_queued_again(self, has_rows, until):
        run = start("count", {"n": 150, "pause": 0.02}, where=DEBUG)
        has_rows(run, 20)
        subprocess.run(["scancel", "--signal=USR2", run.status()["job"]], check=True)
        until(lambda: run.status()["message"].startswith("requeued after time limit (1 of 10) (job "))
        assert run.status()["state"] == "queued"
        assert run.wait(300)["state"] == "finished"
        rows = run.metrics()[0]
        assert [row["step"] for row in rows] == list(range(150))
        assert len({row["pid"] for row in rows}) == 1

    def test_a_stop_while_the_run_waits_for_its_next_turn_is_a_stop(self, has_rows, until):
        run = start("train", ENDLESS, where=DEBUG)
        has_rows(run)
        subprocess.run(["scancel", "--signal=USR2", run.status()["job"]], check=True)
        until(in_state(run, "queued"))
        until(lambda: run.folder.read_status()["requeues"] == 1)
        until(lambda: "PENDING" in slurm_state(run.status()["job"]))
        run.stop()
        assert run.status()["state"] == "stopped"

    def test_an_unknown_partition_is_refused_with_slurm_s_words_and_the_partitions_there_are(self):
        with pytest.raises(RunError) as error:
            start("count", {"n": 5}, where=Slurm(partition="gpu"))
        told = str(error.value)
        assert "invalid partition specified: gpu" in told
        assert "Partitions: debug (up to 1:00:00), closed (up to 2:00:00)" in told
        assert "\n" not in told
        assert list_runs() == []

    def test_more_than_the_cluster_has_is_refused(self):
        with pytest.raises(RunError, match=r"Slurm refused the run: .*node configuration is not available"):
            start("count", {"n": 5}, where=Slurm(nodes=1, memory_gb=4000))

    def test_a_resume_that_slurm_refuses_leaves_the_run_as_it_was(self, monkeypatch, tmp_path):
        run = start("count", {"n": 5}, where=WAITS)
        run.stop()
        with monkeypatch.context() as away:
            away.setenv("PATH", str(tmp_path))
            with pytest.raises(RunError, match="no Slurm here"):
                run.resume()
        assert (run.status()["state"], run.status()["resumes"]) == ("stopped", 0)

    def test_trainings_on_a_cluster_do_not_wait_for_each_other(self, has_rows):
        pair = [start("train", ENDLESS, where=DEBUG) for _ in range(2)]
        for run in pair:
            has_rows(run)
        assert [run.status()["state"] for run in pair] == ["running", "running"]
        for run in pair:
            run.stop()
        assert [run.wait(300)["state"] for run in pair] == ["stopped", "stopped"]

    def test_a_spec_of_a_run_on_a_cluster_starts_the_same_again_there(self):
        run = start("count", {"n": 5}, where=WAITS)
        again = start(run.spec)
        assert again.spec["slurm"] == run.spec["slurm"]
        assert again.status()["job"] not in (None, run.status()["job"])

    def test_two_gpus_are_two_processes_that_know_each_other(self, monkeypatch):
        work_as(monkeypatch, "cluster_jobs:who")
        run = start("train", {"recipe": {"name": "x", "devices": 1}}, where=Slurm("debug", 5, gpus=2, cpus=1))
        assert run.spec["params"]["recipe"]["devices"] == 2
        assert run.wait(300)["state"] == "finished", run.status()["error"]
        told = [json.loads((run.folder.path / f"rank-{rank}.json").read_text()) for rank in range(2)]
        assert [(one["RANK"], one["LOCAL_RANK"], one["WORLD_SIZE"]) for one in told] == [
            ("0", "0", "2"),
            ("1", "1", "2"),
        ]
        assert {one["MASTER_ADDR"] for one in told} == {local.host().partition(".")[0]}
        assert len({one["MASTER_PORT"] for one in told}) == 1
        assert set(told[0]) == set(cluster_jobs.NAMES)

    def test_the_partitions_are_listed_the_default_first(self):
        assert [(item.name, item.default, item.up, item.gpus) for item in client.partitions()] == [
            ("debug", True, True, 2),
            ("closed", False, False, 2),
        ]


@pytest.mark.usefixtures("real_slurm")
@pytest.mark.slow
def test_a_training_whose_time_is_over_goes_on_and_ends_with_the_weights_of_one_that_was_left_alone(tmp_path, until):
    manifest = write_demo(tmp_path / "demo", n=60, size=96, seed=3)
    recipe = RECIPE | {"stages": [RECIPE["stages"][0] | {"epochs": 12}]}
    params = {"recipe": recipe, "manifest": str(manifest.path)}
    run = start("train", params, name="on a cluster", where=DEBUG)
    until(lambda: (run.folder.checkpoints / "last.json").exists())
    subprocess.run(["scancel", "--signal=USR2", run.status()["job"]], check=True)
    until(in_state(run, "queued", *ENDED))
    before = len(steps(run))
    assert run.status()["state"] == "queued", run.status()
    assert 0 < before < 132
    assert run.wait(300)["state"] == "finished", run.status()["error"]
    assert (run.status()["requeues"], run.status()["resumes"]) == (1, 0)
    assert any("resuming from step" in line for line in run.folder.log_path.read_text().splitlines())

    whole = start("train", params, name="here", detached=False)
    assert whole.status()["state"] == "finished", whole.status()["error"]
    expected, found = weights(whole), weights(run)
    assert expected.keys() == found.keys()
    for name, tensors in expected.items():
        assert all((tensor == found[name][key]).all() for key, tensor in tensors.items()), f"{name} differs"
    assert lasting(run.metrics()[0]) == lasting(whole.metrics()[0])
    shutil.rmtree(get_run(run.id).folder.path)
