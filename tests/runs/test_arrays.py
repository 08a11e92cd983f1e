"""Several runs as one job array, on a real Slurm of one node."""

from __future__ import annotations

import subprocess
import time

import pytest

from cxr import paths
from cxr.errors import RunError
from cxr.runs import Run, RunFolder, Slurm, get_run, list_runs, start
from cxr.runs.process import statuses_of_shards
from cxr.runs.shards.folders import shards_of
from cxr.runs.slurm import client
from cxr.runs.slurm.submit import submit_array

DEBUG = Slurm(partition="debug", minutes=5, cpus=1)


def folders(*numbers: int, where: Slurm = DEBUG, kind: str = "train") -> list[RunFolder]:
    """Runs that count to these numbers, made and not started."""
    made = []
    for n in numbers:
        params = {"n": n, "pause": 0.02}
        folder = RunFolder.create(paths.runs_root(), kind, params, f"to {n}", slurm=where.stored())
        folder.update_status(launched=time.time())
        made.append(folder)
    return made


@pytest.mark.usefixtures("real_slurm", "small_jobs")
class TestArrays:
    """Small jobs as elements of arrays."""

    def test_each_element_is_a_run_of_its_own_that_can_be_killed_and_resumed_alone(self, tmp_path, has_rows):
        three = folders(4, 100_000, 5)
        jobs = submit_array(three, DEBUG, tmp_path / "study", "a study")
        (array,) = {job.partition("_")[0] for job in jobs}
        assert jobs == [f"{array}_{k}" for k in range(3)] == [folder.read_status().job for folder in three]
        endless = Run(three[1])
        has_rows(endless)
        assert [Run(three[k]).wait(300)["state"] for k in (0, 2)] == ["finished", "finished"]
        assert endless.status()["state"] == "running"
        assert client.ask(jobs[1], fresh=True).state == "RUNNING"
        endless.kill()
        assert endless.status()["state"] == "stopped"
        one = get_run(three[1].id)
        one.resume()
        assert "_" not in one.status()["job"]  # submitted again alone
        has_rows(one)

    def test_a_waiting_element_says_why_and_leaves_the_queue_alone(self, tmp_path, until):
        waiting = Slurm(partition="closed", minutes=5, cpus=1)
        two = folders(1, 2, where=waiting)
        jobs = submit_array(two, waiting, tmp_path / "study", "a study")
        until(lambda: f"(job {jobs[1]}, PartitionDown" in Run(two[1]).status()["message"])
        Run(two[0]).stop()
        assert Run(two[0]).status()["state"] == "stopped"
        assert Run(two[1]).status()["state"] == "queued"

    @pytest.mark.slow
    def test_no_more_elements_run_at_once_than_allowed(self, tmp_path, has_rows, until):
        three = folders(100_000, 100_000, 100_000)
        jobs = submit_array(three, DEBUG, tmp_path / "study", "a study", at_once=1)
        has_rows(Run(three[0]))
        until(lambda: "JobArrayTaskLimit" in Run(three[1]).status()["message"])
        listed = subprocess.run(["squeue", "-h", "-r", "-t", "R", "-o", "%i"], capture_output=True, text=True).stdout
        assert listed.split() == jobs[:1]

    def test_an_element_whose_time_is_over_is_queued_again_alone(self, tmp_path, has_rows, until):
        two = folders(3, 100_000)
        jobs = submit_array(two, DEBUG, tmp_path / "study", "a study", restarts=False)
        assert Run(two[0]).wait(300)["state"] == "finished"
        has_rows(Run(two[1]))
        subprocess.run(["scancel", "--signal=USR2", jobs[1]], check=True)
        until(lambda: two[1].read_status()["requeues"] == 1)
        assert Run(two[0]).status()["state"] == "finished"

    def test_a_refusal_of_slurm_is_one_line(self, tmp_path):
        strange = Slurm(partition="gpu", minutes=5)
        with pytest.raises(RunError, match=r"^Slurm refused the run: .*invalid partition specified: gpu"):
            submit_array(folders(1, 2, where=strange), strange, tmp_path / "study", "a study")


SUM_OF_30 = sum(number**2 for number in range(30))


def numbers_of(run: Run) -> list[list[int]]:
    """What the shards of a run have squared."""
    return [[row["number"] for row in shard.metrics()[0]] for shard in shards_of(run.folder)]


def states(run: Run) -> list[str]:
    return [status.state for status in statuses_of_shards(run.folder)]


@pytest.mark.usefixtures("real_slurm", "small_jobs")
class TestShards:
    """The shards of one run as the elements of an array, and the run's own job, which merges."""

    def test_shards_are_an_array_and_the_run_merges_once_they_are_over(self):
        run = start("squares", {"n": 30, "pause": 0.001}, shards=3, where=DEBUG)
        jobs = [shard.read_status().job for shard in shards_of(run.folder)]
        (array,) = {job.partition("_")[0] for job in jobs}
        assert jobs == [f"{array}_{k}" for k in range(3)]
        assert run.folder.read_status().job not in (*jobs, array)
        assert run.wait(300).state == "finished", run.status().error
        assert run.results() == {"sum": SUM_OF_30, "own": []}
        assert states(run) == ["finished"] * 3

    @pytest.mark.slow
    def test_a_shard_that_failed_is_named_and_a_resume_submits_it_alone(self):
        run = start("squares", {"n": 30, "pause": 0.01, "how": "fail at 12"}, shards=3, where=DEBUG)
        assert run.wait(300).state == "failed"
        assert run.status().error.startswith("shard 2 of 3 failed: 12.png is not an image")
        assert "2 of 3 are done" in run.status().error
        assert states(run) == ["finished", "failed", "finished"]
        done = [shard.read_status().job for shard in shards_of(run.folder)]
        (run.folder.path / "mended").touch()
        run = get_run(run.id)
        run.resume()
        assert run.wait(300).state == "finished", run.status().error
        assert run.results() == {"sum": SUM_OF_30, "own": []}
        again = [shard.read_status().job for shard in shards_of(run.folder)]
        assert [before == after for before, after in zip(done, again, strict=True)] == [True, False, True]
        assert "_" not in again[1]

    @pytest.mark.slow
    def test_a_shard_that_slurm_ended_is_named(self, until):
        run = start("squares", {"n": 300, "pause": 0.2}, shards=3, where=DEBUG)
        until(lambda: any(numbers_of(run)))
        first = next(k for k, numbers in enumerate(numbers_of(run)) if numbers)
        assert run.status().state == "running"
        assert "of 3 shards done" in run.status().message
        job = shards_of(run.folder)[first].read_status().job
        client.cancel(job)
        until(lambda: states(run)[first] == "failed")
        run.kill()
        assert run.status().state == "stopped"
        until(lambda: not subprocess.run(["squeue", "-h", "-r"], capture_output=True, text=True).stdout.strip())

    @pytest.mark.slow
    def test_a_stop_keeps_what_is_done_and_leaves_nothing_in_the_queue(self, until):
        run = start("squares", {"n": 60, "pause": 0.2}, shards=2, where=DEBUG)
        until(lambda: any(numbers_of(run)))
        run.stop()
        assert run.wait(300).state == "stopped"
        until(lambda: not subprocess.run(["squeue", "-h", "-r"], capture_output=True, text=True).stdout.strip())
        before = numbers_of(run)
        assert sum(map(len, before)) < 60
        (run.folder.path / "spec.json").write_text((run.folder.path / "spec.json").read_text().replace("0.2", "0.001"))
        run = get_run(run.id)
        run.resume()
        assert run.wait(300).state == "finished", run.status().error
        assert run.results() == {"sum": sum(number**2 for number in range(60)), "own": []}

    def test_a_refusal_leaves_nothing_in_the_queue(self):
        strange = Slurm(partition="gpu", minutes=5)
        with pytest.raises(RunError, match=r"^Slurm refused the run: .*invalid partition specified: gpu"):
            start("squares", {"n": 3}, shards=2, where=strange)
        assert list_runs() == []
