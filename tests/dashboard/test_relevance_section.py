"""The relevance budget on the explorer's page: the run, the command that does the same, what is shown then."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from apps import codes, opened, said, unfolded
from configurations import CONFIGURATIONS, ODD_NAMES, Configuration, write_network, write_xrays
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from cxr.cli import app as command_line
from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.experiments.relevance import job
from cxr.experiments.relevance.results import KIND
from cxr.runs import Run, list_runs

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


def started(app: AppTest) -> Run:
    app.toggle(key="regions:text").set_value(False).run()
    app.button(key="regions:start").click().run()
    assert not app.exception
    assert not app.error, app.error
    return list_runs(kind=KIND)[0]


def do(run: Run) -> None:
    job.run(run.folder, run.folder.params, lambda fraction, message="": None)
    run.folder.update_status(state="finished", message="finished")


def command_of(app: AppTest) -> str:
    return next(code for code in codes(app) if code.startswith("cxr relevance"))


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], ODD_NAMES[1]], ids=str)
def test_regions_are_measured_as_chosen_and_the_page_shows_what_the_run_found(
    configuration: Configuration, tmp_path: Path
):
    prepare(tmp_path, configuration)
    app = unfolded(opened("explorer", **LINK, composite="epsilon"), "regions")
    run = started(app)
    command = command_of(app)
    assert "--no-text" in command
    done = CliRunner().invoke(command_line, [*shlex.split(command)[1:], "--detach"])
    assert done.exit_code == 0, done.output
    other = next(listed for listed in list_runs(kind=KIND) if listed.id != run.id)
    ours, theirs = run.params, other.params
    assert ours.method() == theirs.method()
    assert (ours.split, ours.manifest, ours.text, ours.network, ours.targets) == (
        (theirs.split, theirs.manifest, theirs.text, theirs.network, theirs.targets)
    )
    do(run)
    app = opened("explorer", **LINK, regions=run.id)
    assert not app.exception, app.exception
    assert run.results()["finding"].split(".")[0] in said(app)
    assert app.selectbox(key="pick:rank").value == "border"
    ranked = next(
        frame.value for frame in app.dataframe if "logit without it" in frame.value and "X-ray" in frame.value
    )
    shares = ranked["relevance"].str.removesuffix(" %").astype(float)
    assert shares.is_monotonic_decreasing
    app.selectbox(key="pick:rank").select("lungs").run()
    assert dict(app.query_params)["rank"] in ("lungs", ["lungs"])
    assert any("Report as a page" in str(button.proto) for button in app.get("download_button"))


def test_a_run_of_another_network_is_offered_with_what_it_is_of_and_nonsense_is_refused(tmp_path: Path):
    prepare(tmp_path, CONFIGURATIONS[3])
    run = started(unfolded(opened("explorer", **LINK), "regions"))
    app = opened("explorer", **LINK | {"model": "other"}, regions=run.id)
    assert "is of other X-rays, or of another network" in app.error[0].value
    next(button for button in app.button if button.label == "Open it with its network and data").click().run()
    assert not app.error
    assert app.selectbox(key="pick:model").value == "net"
    assert app.selectbox(key="pick:regions").value == run.id
    assert "There is no run" in opened("explorer", **LINK, regions="nope").error[0].value
