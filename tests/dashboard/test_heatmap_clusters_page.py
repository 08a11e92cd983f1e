"""Clusters of heatmaps in the explorer: the map, the clusters, a name that stays, what masking does, a data set."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from apps import codes, done_by_call, opened, said
from configurations import CONFIGURATIONS, ODD_NAMES, Configuration
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.experiments.clusters.job import run as cluster
from cxr.experiments.clusters.names import names_of
from cxr.experiments.clusters.region.export import MASK
from cxr.runs import Run, get_run, list_runs
from cxr.runs.folder import RunFolder
from tests.audits.finished import finished

sys.path.insert(0, str(Path(__file__).parents[1] / "explain"))
from cluster_maps import write_heatmaps


def prepared(folder: Path, configuration: Configuration) -> tuple[Run, dict[str, str]]:
    """Return a finished run of clusters of drawn heatmaps, and the address that shows it."""
    heatmaps = write_heatmaps(folder / "drawn", configuration)
    (folder / "weights").mkdir()
    (folder / "drawn" / "net.safetensors").rename(folder / "weights" / "net.safetensors")
    save_data_set("drawn", Manifest.load(folder / "drawn" / "xrays" / "manifest.csv"))
    manifest = folder / "data" / "drawn" / "manifest.csv"
    params = {"model": "net", "manifest": str(manifest), "split": "test", "heatmaps": heatmaps.id, "text": False}
    run = RunFolder.create(folder / "runs", "cluster-heatmaps", params | {"workers": 0})
    cluster(run, run.params, lambda fraction, message="": None)
    run.update_status(state="finished", message="finished")
    return get_run(run.id), {"model": "net", "data": "drawn", "split": "test", "clusters": run.id}


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return app.run()


@pytest.mark.parametrize("configuration", [ODD_NAMES[1]], ids=str)
def test_clusters_are_shown_named_measured_and_made_a_data_set(configuration: Configuration, tmp_path: Path):
    run, link = prepared(tmp_path, configuration)
    app = opened("explorer", **link)
    assert not app.exception, app.exception
    assert [error.value for error in app.error] == []
    assert run.results()["finding"].split(".")[0] in said(app)
    assert app.selectbox(key="pick:group").value == configuration.classes[0]
    assert len(app.selectbox(key="pick:cluster").options) == 2
    assert "upper right corner" in " ".join(app.selectbox(key="pick:cluster").options)

    before = dict(app.query_params).get("image")
    others = [button for button in app.button if button.label == "Explain"]
    others[1].click().run()
    assert not app.exception
    assert dict(app.query_params)["image"] not in (None, before), "a link within the page changes its address"
    app.selectbox(key="pick:cluster").set_value("2").run()
    assert dict(app.query_params)["cluster"] in ("2", ["2"])
    name = next(field for field in app.text_input if field.label == "Name of this cluster")
    name.input("The mark").run()
    press(app, "Save the name")
    assert names_of(run) == {2: "The mark"}
    app = opened("explorer", **link, cluster="2")
    assert "The mark" in " ".join(app.selectbox(key="pick:cluster").options)

    press(app, "Mask it and measure")
    assert [error.value for error in app.error] == []
    assert "Masking the region of cluster 2" in app.success[0].value.replace("\\", "")
    press(app, "Data set to train without it")
    assert not app.exception, app.exception
    (made,) = (tmp_path / "data").glob("drawn-without-*-2")
    assert len(Manifest.load(made / "manifest.csv")) == 44
    assert "Train without it" in [link.label for link in app.get("page_link")]


def test_a_cluster_that_is_not_there_is_refused_in_one_line(tmp_path: Path):
    _, link = prepared(tmp_path, CONFIGURATIONS[1])
    app = opened("explorer", **link, cluster="7")
    assert not app.exception
    assert [error.value for error in app.error] == [
        "The address names the cluster '7', which is not here. Available: '2', '1'."
    ]


def test_a_button_starts_the_run_that_the_command_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    _, link = prepared(tmp_path, CONFIGURATIONS[1])
    app = opened("explorer", **{key: link[key] for key in ("model", "data", "split")}, target="hernia")
    commands = codes(app)
    assert "cxr clusters net --data drawn --split test --target hernia" in commands
    press(app, "Cluster the heatmaps of 44 X-rays")
    assert [error.value for error in app.error] == []
    params = list_runs(kind="cluster-heatmaps")[0].params
    assert (params.network, params.split, params.targets, params.heatmaps) == ("net", "test", "hernia", "")


def test_the_python_calls_name_measure_and_export_a_cluster_as_the_commands_do(tmp_path: Path, cxr: Callable):
    run, _ = prepared(tmp_path, ODD_NAMES[0])
    title = 'mark\'s "corner"'
    done_by_call("clusters", run.id, "--name", 1, title)
    assert names_of(run) == {1: title}

    status, printed, _ = cxr("clusters", run.id, "--measure", 1, "--mode", "mean", "--json")
    assert status == 0
    assert done_by_call("clusters", run.id, "--measure", 1, "--mode", "mean").strip() == json.loads(printed)["sentence"]

    by_command, by_call = tmp_path / "by-command", tmp_path / "by-call"
    assert cxr("clusters", run.id, "--export-mask", 1, "--out", by_command)[0] == 0
    done_by_call("clusters", run.id, "--export-mask", 1, "--out", by_call)
    assert {path.name for path in by_call.iterdir()} == {path.name for path in by_command.iterdir()}
    for file in ("manifest.csv", MASK):
        assert (by_call / file).read_bytes() == (by_command / file).read_bytes(), file


@pytest.mark.parametrize("configuration", [ODD_NAMES[1]], ids=str)
def test_an_audit_shows_the_clusters_that_it_rests_on(configuration: Configuration, tmp_path: Path):
    run, _ = prepared(tmp_path, configuration)
    params = {"model": "net", "manifest": str(run.params.manifest), "split": "test", "quick": True}
    audit = finished("audit-network", params)
    results = audit.results()
    (part,) = [part for part in results["parts"] if part["name"] == "clusters"]
    part |= {"state": "done", "runs": [run.id]}
    audit.folder.write_json("results.json", results)
    app = opened("trust", audit=audit.id, cluster="2")
    assert not app.exception, app.exception
    assert run.results()["finding"].split(".")[0] in said(app)
    assert app.selectbox(key="pick:cluster").value == "2"
