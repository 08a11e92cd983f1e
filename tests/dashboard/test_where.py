"""The choice of a cluster on each form that starts a run; the jobs themselves are tested in tests/runs."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from apps import codes, opened, said, unfolded
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.runs import KINDS, Run, list_runs

from widgets import where

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"


@dataclass(frozen=True)
class Form:
    """A form that starts a run: its page and address, the kind, how its fields are called, and what its command is."""

    page: str
    kind: str
    key: str
    button: str
    command: str
    query: dict[str, str] = field(default_factory=dict)
    part: str = ""  # of the page, where the form is folded away

    def opened(self) -> AppTest:
        app = opened(self.page, **self.query)
        return unfolded(app, self.part) if self.part else app


TEXT = {"model": "demo", "data": "demo", "split": "test"}
FORMS = [
    Form("train", "train", "train", "Start training", "cxr train demo", {"data": "demo", "recipe": "demo"}),
    Form("home", "train", "home", "Train a fresh demo network", "cxr train demo"),
    Form("results", "evaluate", "results", "Measure", "cxr evaluate"),
    Form(
        "results", "evaluate-predictions", "predictions", "Measure the predictions", "cxr evaluate --predictions FILE"
    ),
    Form(
        "text", "text-experiment", "text-experiment", "Mask the text of", "cxr text exp", TEXT | {"look": "Whole split"}
    ),
    Form(
        "text", "text-stamping", "text-stamping", "Stamp all", "cxr text stamp", TEXT | {"look": "Stamp", "cover": "1"}
    ),
    Form(
        "text", "text-vocabulary", "text-vocabulary", "Search the text", "cxr text voc", TEXT | {"look": "Vocabulary"}
    ),
    Form("data", "check-data", "check-data", "Check these", "cxr data check", {"data": "demo", "look": "check"}),
    Form("data", "find-duplicates", "find-duplicates", "Look for", "cxr data dupl", {"data": "demo", "look": "check"}),
    Form("data", "audit-data", "audit-data", "Audit these", "cxr data audit", {"data": "demo", "look": "audit"}),
    Form("data", "probe-data", "probe-data", "Probe these", "cxr data probe", {"data": "demo", "look": "audit"}),
    Form("explorer", "explain", "explain", "Explain", "cxr explain demo --data", TEXT, "split"),
    Form(
        "explorer",
        "relevance-regions",
        "relevance-regions",
        "Measure regions",
        "cxr relevance demo --data",
        TEXT,
        "regions",
    ),
    Form(
        "explorer",
        "cluster-heatmaps",
        "cluster-heatmaps",
        "Cluster the heatmaps",
        "cxr clusters demo --data",
        TEXT,
        "clusters",
    ),
    Form("data", "import", "import", "Import", "cxr data import", {"tab": "Import"}),
    Form("data", "demo", "demo", "Make synthetic X-rays", "cxr demo", {"tab": "Synthetic X-rays"}),
    Form("trust", "audit-network", "audit-network", "Audit", "cxr audit demo", {"model": "demo", "data": "demo"}),
    Form("study", "study", "study", "Start 9 trainings", "cxr study", {"tab": "New study"}),
]
OF_SEVERAL = {"minutes", "gpus", "nodes", "cpus", "memory"}
OF_ONE = {"minutes", "cpus", "memory"}
FIELDS = {
    "train": OF_SEVERAL,
    "study": OF_SEVERAL | {"at-once"},
    **dict.fromkeys(("import", "demo", "text-vocabulary", "evaluate-predictions", "audit-data", "probe-data"), OF_ONE),
    "check-data": OF_ONE,
    "find-duplicates": OF_ONE,
    "audit-network": OF_ONE | {"gpus"},
    **{
        kind: OF_ONE | {"gpus"}
        for kind in (
            "evaluate",
            "explain",
            "cluster-heatmaps",
            "text-experiment",
            "text-stamping",
            "relevance-regions",
        )
    },
}


def button(app: AppTest, label: str):
    return next(element for element in app.button if element.label.startswith(label))


def command_line(app: AppTest, command: str = "cxr train") -> str:
    return next(code for code in codes(app) if code.startswith(command))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that answer as Slurm's do: two partitions, and a sbatch that refuses whatever it gets."""
    answers = {
        "sinfo": "printf 'debug|1:00:00|up|(null)\\ngpu*|2-00:00:00|up|gpu:4\\n'",
        "sbatch": "echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1",
        "srun": "exit 1",
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in answers.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    where._partitions.clear()
    return folder


def test_without_slurm_nothing_is_shown_of_it(demo: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    app = opened("train", data="demo", recipe="demo")
    assert "Where it runs" not in [expander.label for expander in app.expander]
    assert "Slurm" not in said(app)
    assert "--slurm" not in command_line(app)


def test_each_kind_of_run_has_a_form_here():
    assert {form.kind for form in FORMS} == KINDS.keys()
    assert FIELDS.keys() == KINDS.keys()


@pytest.mark.parametrize("file", sorted(DASHBOARD.rglob("*.py")), ids=lambda file: str(file.relative_to(DASHBOARD)))
def test_whatever_starts_a_run_says_where(file: Path):
    tree = ast.parse(file.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    starts = [call for call in calls if call.func.id in ("start", "start_study")]
    assert [call.lineno for call in starts if "where" not in [keyword.arg for keyword in call.keywords]] == []


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.key)
def test_every_form_offers_the_cluster_with_what_fits_its_kind(trained: Run, slurm: Path, form: Form):
    app = form.opened()
    assert not app.exception
    assert "--slurm" not in command_line(app, form.command)
    key = f"where:{form.key}"
    app.radio(key=f"{key}:place").set_value(where.SLURM).run()
    fields = {name.key.rpartition(":")[2] for name in app.number_input if (name.key or "").startswith(key + ":")}
    assert fields == FIELDS[form.kind] | ({"shards"} if KINDS[form.kind].shard else set())
    gpus = [number for number in app.number_input if number.key == f"{key}:gpus"]
    assert all(number.max == (64 if "nodes" in fields else 1) for number in gpus)
    expected = "partition=gpu,time=60,gpus=1" if gpus else "partition=gpu,time=60"
    assert command_line(app, form.command).endswith(f"--slurm {expected}")
    # What has members refuses in its own process; an import wants a folder, a measure of predictions their table.
    if KINDS[form.kind].members or form.kind in ("import", "evaluate-predictions"):
        return
    button(app, form.button).click().run()
    assert "Slurm refused the run: Batch job submission failed: Invalid account" in app.error[0].value
    assert [run.id for run in list_runs()] == [trained.id]


SHARDED = [form for form in FORMS if KINDS[form.kind].shard]


@pytest.mark.parametrize("form", SHARDED, ids=lambda form: form.key)
def test_a_kind_that_can_be_sharded_is_started_in_as_many_shards_as_chosen(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
):
    monkeypatch.setenv("PATH", str(tmp_path))  # no Slurm here
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    app = form.opened()
    assert "--shards" not in command_line(app, form.command)
    assert app.number_input(key=f"where:{form.key}:shards").value == 1
    app.number_input(key=f"where:{form.key}:shards").set_value(3).run()
    assert command_line(app, form.command).endswith("--shards 3")
    button(app, form.button).click().run()
    assert not app.exception
    (started,) = (run for run in list_runs() if run.kind == form.kind)
    assert started.spec["shards"] == 3


def test_each_kind_that_can_be_sharded_has_a_form_with_that_field():
    assert {form.kind for form in SHARDED} == {kind.name for kind in KINDS.values() if kind.shard}


@pytest.mark.parametrize("file", sorted(DASHBOARD.rglob("*.py")), ids=lambda file: str(file.relative_to(DASHBOARD)))
def test_whatever_chooses_shards_starts_its_runs_with_them(file: Path):
    tree = ast.parse(file.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if not any(isinstance(call.func, ast.Attribute) and call.func.attr == "choose_with_shards" for call in calls):
        return
    starts = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "start"]
    assert starts
    assert [call.lineno for call in starts if "shards" not in [keyword.arg for keyword in call.keywords]] == []


def test_slurm_is_asked_for_its_partitions_and_the_command_says_what_is_chosen(demo: Manifest, slurm: Path):
    app = opened("train", data="demo", recipe="demo")
    app.radio(key="where:train:place").set_value(where.SLURM).run()
    assert app.selectbox(key="where:train:partition").options == ["gpu (up to 2-00:00:00)", "debug (up to 1:00:00)"]
    app.number_input(key="where:train:minutes").set_value(90)
    app.number_input(key="where:train:memory").set_value(16)
    app.text_input(key="where:train:extra").input("account=lab,qos=high").run()
    assert command_line(app).endswith("--slurm partition=gpu,time=90,gpus=1,mem=16,account=lab,qos=high")


def test_what_slurm_refuses_is_reported_in_one_line_and_what_was_typed_stays(demo: Manifest, slurm: Path):
    app = opened("train", data="demo", recipe="demo")
    app.radio(key="where:train:place").set_value(where.SLURM).run()
    app.number_input(key="where:train:gpus").set_value(0)
    app.number_input(key="where:train:minutes").set_value(90).run()
    button(app, "Start training").click().run()
    assert "Slurm refused the run: Batch job submission failed: Invalid account" in app.error[0].value
    assert not app.exception
    assert list_runs() == []
    assert app.number_input(key="where:train:minutes").value == 90
    app.text_input(key="where:train:extra").input("array=1-9").run()
    assert "array is set by cxr itself" in app.error[0].value
    assert app.text_input(key="where:train:extra").value == "array=1-9"


def test_an_import_s_command_has_the_options_that_were_given(demo: Manifest, slurm: Path):
    app = opened("data", tab="Import")
    app.text_input(key="import:0:path").input("/xrays").run()
    next(box for box in app.selectbox if box.label == "What it is").select("image-folder").run()
    app.text_input(key="import:0:name").input("mine").run()
    given = "image-folder /xrays --name mine --splits make"
    assert command_line(app, "cxr data import").startswith(f"cxr data import {given}")
