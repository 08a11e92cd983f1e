"""Choosing the cluster on the Train page; the jobs themselves are tested with a real Slurm in tests/runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.runs import list_runs
from tests.dashboard.apps import opened, said

from widgets import where


def label(elements, text: str):
    return next(element for element in elements if element.label == text)


def command_line(app: AppTest) -> str:
    return next(code.value for code in app.code if code.value.startswith("cxr train"))


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


def test_without_slurm_the_page_says_so_in_one_line(demo: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    app = opened("train", data="demo", recipe="demo")
    assert "there is no Slurm here (`sbatch` is not found)" in said(app)
    assert "--slurm" not in command_line(app)


def test_slurm_is_asked_for_its_partitions_and_the_command_says_what_is_chosen(demo: Manifest, slurm: Path):
    app = opened("train", data="demo", recipe="demo")
    assert "--slurm" not in command_line(app)
    app.radio(key="where:place").set_value(where.SLURM).run()
    assert app.selectbox(key="where:partition").options == ["gpu (up to 2-00:00:00)", "debug (up to 1:00:00)"]
    app.number_input(key="where:minutes").set_value(90)
    app.number_input(key="where:memory").set_value(16)
    app.text_input(key="where:extra").input("account=lab,qos=high").run()
    assert command_line(app).endswith("--slurm partition=gpu,time=90,gpus=1,mem=16,account=lab,qos=high")


def test_what_slurm_refuses_is_told_in_one_line_and_what_was_typed_stays(demo: Manifest, slurm: Path):
    app = opened("train", data="demo", recipe="demo")
    app.radio(key="where:place").set_value(where.SLURM).run()
    app.number_input(key="where:gpus").set_value(0)
    app.number_input(key="where:minutes").set_value(90).run()
    label(app.button, "Start training").click().run()
    assert "Slurm refused the run: Batch job submission failed: Invalid account" in app.error[0].value
    assert not app.exception
    assert list_runs() == []
    assert app.number_input(key="where:minutes").value == 90
    app.text_input(key="where:extra").input("array=1-9").run()
    assert "array is set by cxr itself" in app.error[0].value
    assert app.text_input(key="where:extra").value == "array=1-9"
