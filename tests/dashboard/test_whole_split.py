"""Heatmaps of a whole split, started in the explorer: the run, the command that does the same, what is shown then."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from apps import codes, first_place, opened, said, unfolded
from configurations import CONFIGURATIONS, ODD_NAMES, Configuration, write_network, write_xrays
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from cxr.cli import app as command_line
from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.explain.job import explain_run, explain_shard
from cxr.runs import Run, list_runs
from cxr.runs.shards.folders import shards_of

LINK = {"model": "net", "data": "drawn", "split": "test"}


@pytest.fixture(autouse=True)
def not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are made and not worked on: tests do their work in this process."""
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)


def prepare(folder: Path, configuration: Configuration) -> None:
    save_data_set("drawn", Manifest.load(write_xrays(folder / "xrays", configuration, n=6)))
    (folder / "weights").mkdir()
    write_network(configuration, folder / "weights" / "net.safetensors")
    write_network(configuration, folder / "weights" / "other.safetensors", seed=1)


def quiet(fraction: float, message: str = "") -> None:
    """Report nothing."""


def do(run: Run) -> None:
    for shard in shards_of(run.folder):
        shard.path.mkdir(parents=True)
        explain_shard(shard, shard.params, quiet)
        shard.update_status(state="finished")
    explain_run(run.folder, run.folder.params, quiet)
    run.folder.update_status(state="finished", message="finished")


def started(app: AppTest) -> Run:
    button = next(button for button in app.button if button.label == "Explain 6 X-rays")
    button.click().run()
    assert not app.exception
    assert not app.error
    return list_runs(kind="explain")[0]


def of_split(app: AppTest) -> str:
    return next(code for code in codes(app) if "--split" in code)


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[0], CONFIGURATIONS[4]], ids=str)
def test_a_split_is_explained_as_chosen_and_the_page_then_reads_its_maps(configuration: Configuration, tmp_path: Path):
    prepare(tmp_path, configuration)
    method = {"composite": "epsilon-gamma-box", "gamma": "0.5", "low": "-3"}
    app = opened("explorer", **LINK, **method, classes="all")
    assert "Explains every class" not in said(app), "folded away"
    app = unfolded(app, "split")
    assert "Explains every class on 6 X-rays of the split test" in said(app)
    app.number_input(key="where:explain:shards").set_value(2).run()
    command = of_split(app)
    run = started(app)
    assert "starting" in "".join(str(bar.proto.text) for bar in app.get("progress"))
    assert run.spec["shards"] == 2

    done = CliRunner().invoke(command_line, [*shlex.split(command)[1:], "--detach"])
    assert done.exit_code == 0, done.output
    (other,) = (listed for listed in list_runs(kind="explain") if listed.id != run.id)
    ours, theirs = run.params, other.params
    assert ours.method() == theirs.method()
    assert (ours.targets, ours.split, ours.manifest, other.spec["shards"]) == ("all", "test", theirs.manifest, 2)
    assert (ours.targets, ours.split, ours.network) == (theirs.targets, theirs.split, theirs.network)

    do(run)
    app = opened("explorer", **LINK, **method, classes="all", maps=run.id)
    assert "loaded from the store" in said(app)
    assert "computed in" not in said(app)
    n_maps = 6 * len(configuration.classes)
    assert f"{n_maps} maps (epsilon-gamma-box) of 6 X-rays" in said(app)
    assert str(run.folder.path) in said(app)


def test_the_predicted_class_of_each_is_explained_unless_one_is_chosen(tmp_path: Path):
    prepare(tmp_path, CONFIGURATIONS[1])
    app = unfolded(opened("explorer", **LINK), "split")
    assert "Explains the predicted class on" in said(app)
    assert "--target" not in of_split(app)
    assert started(app).params.targets == ""
    app = unfolded(opened("explorer", **LINK, target="hernia"), "split")
    assert "Explains the class hernia on" in said(app)
    assert "--target hernia" in of_split(app)
    assert started(app).params.targets == "hernia"


@pytest.mark.parametrize("configuration", ODD_NAMES, ids=str)
def test_a_class_called_by_our_word_is_named_as_what_it_is(configuration: Configuration, tmp_path: Path):
    prepare(tmp_path, configuration)
    assert "Explains the class all on" in said(unfolded(opened("explorer", **LINK, classes="all"), "split"))


def test_a_run_of_another_network_is_offered_with_what_it_explains(tmp_path: Path):
    prepare(tmp_path, CONFIGURATIONS[3])
    run = started(unfolded(opened("explorer", **LINK), "split"))
    app = opened("explorer", **LINK | {"model": "other"}, maps=run.id)
    assert "explains other X-rays, or another network" in app.error[0].value
    assert first_place(app, "error") < first_place(app, "selectbox"), "on the first screen"
    next(button for button in app.button if button.label == "Open it with its network and data").click().run()
    assert not app.error
    assert app.selectbox(key="pick:model").value == "net"
    assert app.selectbox(key="pick:maps").value == run.id
    assert app.run().selectbox(key="pick:maps").value == run.id, "it stays open"
