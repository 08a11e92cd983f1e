"""A folder of data, networks and runs that the version before wrote is read as it was (``tools/record_version.py``)."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cxr.cli import app
from cxr.data import Manifest
from cxr.evaluation.results import EvaluationResults
from cxr.experiments.masking.shapes import MaskingResults
from cxr.experiments.stamping.results import StampingResults
from cxr.experiments.vocabulary.entries import VocabularyResults
from cxr.explain.run_files import INDEX, STORE
from cxr.explain.store import heatmaps_root
from cxr.runs import Run, RunFolder, list_runs
from cxr.runs.kinds import kind_of
from cxr.training.results import TrainingResults
from tests.dashboard.apps import opened, said
from tests.typed_results import misfits

RESULTS = {
    "evaluate": EvaluationResults,
    "train": TrainingResults,
    "text-experiment": MaskingResults,
    "text-stamping": StampingResults,
    "text-vocabulary": VocabularyResults,
}
RECORDED = sorted((Path(__file__).parent / "versions").glob("*.tar.xz"))


@pytest.fixture(params=RECORDED, ids=lambda path: path.name.partition(".")[0])
def recorded(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recorded folder, unpacked, as the folders of this test."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="data")
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl", ".yaml", ".csv", ".txt"):
            path.write_bytes(path.read_bytes().replace(b"@ROOT@", str(tmp_path).encode()))
    for variable, folder in (("CXR_DATA", "data"), ("CXR_RUNS", "runs"), ("CXR_WEIGHTS", "weights")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    return tmp_path


def of_kind(kind: str) -> list[Run]:
    return [run for run in list_runs() if run.spec["kind"] == kind]


def done_again(run: Run, folder: Path) -> RunFolder:
    """Do the work of a run once more, in this process, in a folder of its own."""
    spec = run.spec
    kind = kind_of(spec["kind"])
    params = kind.params_model().of(spec["params"])
    again = RunFolder.create(folder, kind.name, params.stored(), spec["name"], spec["manifest_hash"])
    kind.load_job()(again, params, progress=lambda fraction, message="": None)
    return again


def test_every_run_is_listed_finished_with_its_parameters_history_and_results(recorded: Path):
    runs = list_runs()
    assert len(runs) == len(list((recorded / "runs").glob("*/spec.json")))
    kinds = {run.spec["kind"] for run in runs}
    assert kinds >= {"train", "evaluate", "explain", "text-experiment", "text-stamping", "text-vocabulary", "study"}
    for run in runs:
        assert run.status()["state"] == "finished", run.id
        assert type(run.params) is kind_of(run.spec["kind"]).params_model(), run.id
        assert run.results(), run.id
        assert list(misfits(run.results(), RESULTS.get(run.kind, dict[str, Any]))) == [], run.id
        if run.spec["kind"] == "train":
            assert any(row["kind"] == "epoch" for row in run.metrics()[0]), run.id


def test_data_sets_are_the_same_to_the_runs_that_used_them(recorded: Path):
    hashes = {name: Manifest.load(recorded / "data" / name / "manifest.csv").hash() for name in ("demo", "findings")}
    trained = {run.spec["params"]["data_name"]: run.spec["manifest_hash"] for run in of_kind("train")[-2:]}
    assert trained == hashes


def test_networks_give_the_same_predictions(recorded: Path, tmp_path: Path):
    evaluations = of_kind("evaluate")
    assert len(evaluations) == 3
    for run in evaluations:
        again, before = done_again(run, tmp_path / "again").predictions(), run.predictions()
        assert again is not None
        assert before is not None
        assert list(again["image_id"]) == list(before["image_id"])
        shared = [name for name in before if name in again and pd.api.types.is_float_dtype(before[name])]
        assert len(shared) > 1, list(before)
        np.testing.assert_allclose(again[shared], before[shared], atol=1e-5)


def test_stored_heatmaps_are_taken_over_and_none_is_computed(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cxr.explain.store.heatmaps_of", lambda *_, **__: pytest.fail("a heatmap was computed"))
    stored = {path: path.read_bytes() for path in heatmaps_root().rglob("*.f16")}
    explaining = of_kind("explain")
    assert len(explaining) == 3
    for run in explaining:
        again = done_again(run, tmp_path / "again")
        before = pd.read_parquet(run.folder.path / INDEX)
        pd.testing.assert_frame_equal(pd.read_parquet(again.path / INDEX)[list(before)], before)
        maps = [np.load(folder.path / STORE) for folder in (again, run.folder)]
        assert np.array_equal(*maps)
    assert len(stored) == 3
    assert {path: path.read_bytes() for path in stored} == stored


@pytest.mark.parametrize(
    ("kind", "page", "param", "more"),
    [
        ("train", "live", "run", {}),
        ("train", "explorer", "run", {}),
        ("evaluate", "results", "run", {}),
        ("text-experiment", "text", "run", {"look": "Whole split", "split": "test"}),
        ("text-stamping", "text", "stamping", {"look": "Stamp", "split": "test", "towards": "covid19"}),
        ("study", "study", "study", {}),
    ],
)
def test_pages_show_the_runs_by_their_old_addresses(recorded: Path, kind: str, page: str, param: str, more: dict):
    for run in of_kind(kind)[-1:]:  # the oldest, of the network that was trained first
        subject = {"model": run.spec["params"]["model"]} if page == "text" else {}
        shown = opened(page, **subject, **{param: run.id}, **more)
        assert not shown.exception
        assert not shown.error, said(shown)
        assert shown.query_params.get(param) in (run.id, [run.id])


def test_commands_show_the_runs(recorded: Path):
    study = of_kind("study")[0]
    listed = CliRunner().invoke(app, ["runs", "list", "--json"])
    assert {run["id"] for run in json.loads(listed.stdout)} == {run.id for run in list_runs()}
    report = CliRunner().invoke(app, ["study", "report", study.id, "--json"])
    assert report.exit_code == 0, report.output
    assert set(json.loads(report.stdout)["recipes"]) == {"one", "two"}


def test_a_training_resumes_from_the_checkpoint(recorded: Path):
    run = next(run for run in of_kind("train") if run.id.endswith("-recorded"))
    run.folder.update_status(state="stopped")
    epochs = [row for row in run.metrics()[0] if row["kind"] == "epoch"]
    resumed = run.resume()
    resumed.wait(timeout=300)
    assert resumed.status()["state"] == "finished", "\n".join(resumed.folder.log_tail())
    assert [row for row in resumed.metrics()[0] if row["kind"] == "epoch"] == epochs
