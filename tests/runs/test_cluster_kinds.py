"""Every kind of run on a cluster: its command takes ``--slurm``, and the work is what it is on this machine."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import cxr.cli
from cxr.cli import app
from cxr.data.phantom import write_demo
from cxr.errors import RunError
from cxr.experiments.study import members, retry, start_study
from cxr.networks import resolve_device
from cxr.runs import KINDS, Run, RunFolder, Slurm, list_runs, local, start
from cxr.runs.slurm.job import task_of
from tests.configurations import CONFIGURATIONS, TWO, Configuration, write_network, write_xrays
from tests.study import quick
from tests.study.conftest import plan

DEBUG = Slurm(partition="debug", minutes=5, cpus=1)
WAITS = Slurm(partition="closed", minutes=5, cpus=1)
NETWORK = ["demo", "--data", "demo", "--split", "test"]
COMMANDS = {
    "train": ["train", "demo", "--data", "demo"],
    "evaluate": ["evaluate", *NETWORK],
    "evaluate-predictions": ["evaluate", "--predictions", "PREDICTIONS"],
    "explain": ["explain", *NETWORK],
    "cluster-heatmaps": ["clusters", *NETWORK],
    "text-experiment": ["text", "experiment", *NETWORK],
    "text-stamping": ["text", "stamp", *NETWORK, "--word", "DX"],
    "text-vocabulary": ["text", "vocabulary", "demo"],
    "audit-data": ["data", "audit", "demo"],
    "check-data": ["data", "check", "demo"],
    "find-duplicates": ["data", "duplicates", "demo"],
    "audit-network": ["audit", *NETWORK],
    "probe-data": ["data", "probe", "demo"],
    "relevance-regions": ["relevance", *NETWORK],
    "import": ["data", "import", "image-folder", "XRAYS", "--name", "mine"],
    "demo": ["demo", "--name", "another", "--n", "12"],
    "study": ["study", "claim", "--data", "demo"],
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets that holds ``demo``."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_demo(folder / "demo", n=30, size=96, seed=0)
    return folder


@pytest.fixture
def refusing_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An sbatch that refuses whatever it gets."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "srun", "sinfo", "squeue"):
        (folder / name).write_text("#!/bin/sh\necho 'sbatch: error: Invalid account' >&2; exit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_each_kind_of_run_has_a_command_here():
    assert COMMANDS.keys() == KINDS.keys()


@pytest.mark.parametrize("file", sorted(Path(cxr.cli.__file__).parent.rglob("*.py")), ids=lambda file: file.name)
def test_whatever_command_starts_a_run_says_where(file: Path):
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    starts = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in ("start", "start_study")]
    assert [call.lineno for call in starts if "where" not in [keyword.arg for keyword in call.keywords]] == []


@pytest.mark.parametrize("command", [*COMMANDS.values(), ["runs", "resume", "x"]], ids=" ".join)
def test_a_value_that_cannot_be_read_is_wrong_use_before_anything_else(command: list[str]):
    result = CliRunner().invoke(app, [*command, "--slurm", "time=soon"])
    assert result.exit_code == 2
    assert "time is 'soon'" in result.stderr
    assert list_runs() == []


@pytest.mark.usefixtures("refusing_slurm")
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_of_every_kind_submits_its_run(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    monkeypatch.setenv("CXR_DATA", str(phantoms))
    (tmp_path / "theirs.csv").write_text("image,label,flu,none\na,flu,0.9,0.1\nb,none,0.2,0.8\n")
    places = {"XRAYS": str(phantoms / "demo" / "images"), "PREDICTIONS": str(tmp_path / "theirs.csv")}
    words = [places.get(word, word) for word in COMMANDS[kind]]
    if kind == "study":  # it refuses in a process of its own: what its members are to do there is tested below
        (tmp_path / "study.yaml").write_text(plan().to_yaml())
        words = ["study", str(tmp_path / "study.yaml"), "--data", "demo", "--detach"]
        monkeypatch.setattr(local, "spawn", lambda folder: os.getpid())
    if kind == "audit-network":  # as a study does
        words = [*words, "--detach"]
        monkeypatch.setattr(local, "spawn", lambda folder: os.getpid())
    result = CliRunner().invoke(app, [*words, "--slurm", "time=7,cpus=3"])
    if KINDS[kind].members:
        (starter,) = list_runs()
        assert (result.exit_code, starter.spec["slurm"]) == (0, Slurm(minutes=7, cpus=3).stored()), result.output
        return
    assert isinstance(result.exception, RunError), result.output
    assert "Slurm refused the run: Invalid account (requested: time=7,cpus=3)" in str(result.exception)
    assert list_runs() == []


def test_what_goes_with_no_cluster_is_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for words in (
        ["explain", "demo", "x.png", "--slurm", "time=5"],
        ["explain", "demo", "x.png", "--detach"],
        ["demo", "--out", str(tmp_path / "x"), "--slurm", "time=5"],
        ["runs", "resume", "x", "--here", "--slurm", "time=5"],
    ):
        monkeypatch.setattr("sys.argv", ["cxr", *words])
        with pytest.raises(SystemExit) as left:
            cxr.cli.main()
        error = capsys.readouterr().err
        assert (left.value.code, error.count("\n")) == (2, 1), error


@pytest.mark.parametrize(
    ("slurm", "named", "device"),
    [
        (Slurm(), "auto", "cpu"),
        (Slurm(gpus=1), "auto", "cuda:0"),
        (Slurm(gpus=1), "cpu", "cpu"),
        (Slurm(extra={"gres": "gpu:1"}), "auto", "cuda:0"),
    ],
)
def test_a_job_works_on_a_gpu_where_it_requested_one_and_only_there(tmp_path, monkeypatch, slurm, named, device):
    monkeypatch.setenv("CXR_DEVICE", "cuda:7")  # of the process that submits
    for name, value in task_of(tmp_path, slurm, restarts=True).environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert str(resolve_device(named)) == device


@pytest.mark.usefixtures("real_slurm", "small_jobs")
def test_a_stopped_run_goes_on_here_or_there(has_rows):
    run = start("count", {"n": 5}, where=WAITS)
    run.stop()
    run.resume("here")
    assert run.wait(300)["state"] == "finished"
    assert (run.spec.get("slurm"), run.status()["job"]) == (None, None)

    run = start("train", {"n": 100, "pause": 0.02, "recipe": {"devices": 1}})
    has_rows(run)
    run.stop()
    run.wait(300)
    with pytest.raises(RunError, match="invalid partition"):
        run.resume(Slurm(partition="gpu"))
    assert (run.status()["state"], "slurm" in run.folder.spec) == ("stopped", False)
    with pytest.raises(RunError, match="several processes"):
        run.resume(Slurm(gpus=2))
    assert run.resume(DEBUG).wait(300)["state"] == "finished"
    assert (run.folder.spec["slurm"], run.status()["resumes"]) == (DEBUG.stored(), 1)
    assert [row["step"] for row in run.metrics()[0]] == list(range(100))


@pytest.mark.slow
@pytest.mark.usefixtures("real_slurm")
@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], CONFIGURATIONS[5]], ids=str)
def test_evaluating_and_explaining_give_on_a_cluster_what_they_give_here(tmp_path: Path, configuration: Configuration):
    manifest = write_xrays(tmp_path / "xrays", configuration)
    network = write_network(configuration, tmp_path / "network.safetensors")
    params = {"model": str(network), "manifest": manifest}
    runs = {
        kind: start(kind, params | changes, where=DEBUG)
        for kind, changes in {"evaluate": {"splits": ["test"]}, "explain": {"split": "test", "n": 5}}.items()
    }
    for kind, run in runs.items():
        assert run.wait(300)["state"] == "finished", (run.status()["error"], run.folder.log_tail())
        assert run.status()["job"]
        here = RunFolder.create(tmp_path / "here", kind, run.spec["params"])
        KINDS[kind].load_job()(here, here.params, progress=lambda fraction, message="": None)
        for name in here.path.glob("*.parquet"):
            pd.testing.assert_frame_equal(pd.read_parquet(name), pd.read_parquet(run.folder.path / name.name))
    maps = np.load(runs["explain"].folder.path / "relevance.npy")
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """A manifest of two classes with all three splits."""
    manifest = write_xrays(tmp_path / "xrays", Configuration(3, "single-label", TWO), n=24, side=48)
    table = pd.read_csv(manifest)
    patient = table["patient_id"].str[1:].astype(int)
    table["split"] = np.select([patient % 4 == 0, patient % 4 == 1], ["val", "test"], "train")
    table.to_csv(manifest, index=False)
    return manifest


def rows_of(study: Run) -> list[list[int]]:
    """Return the epochs in the metrics of each member."""
    return [[row["epoch"] for row in member.run.metrics()[0]] for member in members(study) if member.run]


def states(study: Run) -> list[str]:
    return [member.state for member in members(study)]


@pytest.mark.slow
@pytest.mark.usefixtures("real_slurm")
class TestStudies:
    """Studies whose members are submitted as one job array."""

    @pytest.fixture(autouse=True)
    def quick_members(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local, "worker_command", quick.command)

    def test_members_are_one_array_and_one_that_fails_is_said(self, two_classes: Path, until: Callable[..., None]):
        recipes = {"good": "demo", "bad": {"recipe": "demo", "set": {"description": "fails once"}}}
        study = start_study(plan(recipes, seeds=[3]), str(two_classes), where=Slurm("debug", 5, cpus=1, at_once=1))
        until(lambda: len(jobs(study)) == 2)
        (array,) = {job.partition("_")[0] for job in jobs(study)}
        shown = subprocess.run(["scontrol", "show", "job", f"{array}_0"], capture_output=True, text=True, check=True)
        assert "ArrayTaskThrottle=1" in shown.stdout
        status = study.wait(300)
        assert (status["state"], status["job"], status["host"]) == ("finished", None, local.host()), status
        assert states(study) == ["finished", "failed"]
        assert "bad seed 3 failed" in study.results()["failures"][0]
        assert "the data are on a disk that is gone" in study.results()["failures"][0]
        assert rows_of(study)[0] == [1, 2, 3]
        (two_classes.parent / "mended").touch()
        (again,) = retry(study)
        assert again.wait(300)["state"] == "finished"
        assert again.status()["job"] not in (None, f"{array}_0", f"{array}_1")

    def test_whatever_becomes_of_the_study_nothing_is_trained_twice(self, two_classes: Path, until):
        recipes = {name: {"recipe": "demo", "set": {"description": "slow"}} for name in ("first", "second")}
        study = start_study(plan(recipes, seeds=[0]), str(two_classes), where=Slurm("debug", 5, cpus=1, at_once=1))
        until(lambda: states(study) == ["running", "queued"] and rows_of(study)[0])
        before = jobs(study)
        os.kill(study.status()["pid"], signal.SIGKILL)
        until(lambda: not study.active)
        with pytest.raises(RunError, match="are not over on the cluster"):
            study.delete()
        study.resume()
        until(lambda: study.status()["state"] == "running" and "0 of 2" in study.status()["message"])
        assert (states(study), jobs(study)) == (["running", "queued"], before)  # adopted as they are

        study.stop()
        assert study.wait(300)["state"] == "stopped"
        assert states(study) == ["stopped"] * 2
        (two_classes.parent / "hurry").touch()
        members(study)[0].run.resume("here").wait(300)
        assert states(study) == ["finished", "stopped"]
        assert study.resume().wait(300)["state"] == "finished", study.status()["error"]
        first, second = (member.run for member in members(study))
        assert (first.status()["job"], first.status()["resumes"]) == (None, 1)
        assert second.status()["job"] not in (None, *before)
        for epochs in rows_of(study):
            assert epochs == list(range(1, len(epochs) + 1))


def jobs(study: Run) -> list[str]:
    """Return the numbers of the members' jobs in Slurm."""
    return [member.run.status()["job"] for member in members(study) if member.run and member.run.status()["job"]]
