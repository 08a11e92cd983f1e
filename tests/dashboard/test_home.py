"""Home: the one next step, what runs, and the table of runs."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from apps import opened, refused, said

from cxr.data import Manifest
from cxr.paths import runs_root
from cxr.runs import Run, RunFolder
from cxr.runs.kinds import KINDS
from tests.dashboard.conftest import DASHBOARD

from sections.home import run_address, runs_table  # isort: skip  - found through the path that conftest sets
from sections.home.next_step import best_step  # isort: skip
from widgets import pages  # isort: skip

assert DASHBOARD
ROOM = 1280 - 250 - 2 * 48 - 36  # pixels, without the sidebar, the margins and the boxes to tick
LONG = "no group of class 'Büschel' is left for split 'test', which is said here as a whole and is never cut off" * 2


def made(kind: str, name: str, state: str = "finished", model: str = "", **status: Any) -> Run:
    params = {"manifest": "m.csv", "recipe": {"seed": 0}} | ({"model": model} if model else {})
    folder = RunFolder.create(runs_root(), kind, params, name)
    folder.update_status(state=state, started=1000.0, ended=4000.0, progress=1.0, **status)
    return Run(folder)


def active(name: str, **status: Any) -> Run:
    """As a run of another machine that was heard a moment ago."""
    run = made("train", name)
    here = {"state": "running", "pid": 1, "pid_started": 1.0, "host": "elsewhere", "heartbeat": time.time()}
    run.folder.update_status(**(here | {"started": time.time() - 600, "ended": None, "progress": 0.25} | status))
    return run


def runs_shown(app: Any) -> pd.DataFrame:
    assert not app.exception
    assert not app.error
    return next(frame.value for frame in app.dataframe if "kind" in frame.value.columns)


def test_the_table_tells_kind_result_duration_and_leads_to_the_page(private_folders: None) -> None:
    single, multi, study = made("train", "Größe"), made("evaluate", "b"), made("study", "c")
    value = {"value": 0.9312, "low": 0.85, "high": 0.98}
    single.folder.write_json("results.json", {"splits": {"val": {"accuracy": value}, "test": {"accuracy": value}}})
    multi.folder.write_json("results.json", {"splits": {"all": {"auc": value}}})
    study.folder.write_json("results.json", {"members": []})
    failed = made("import", "d", "failed", error=LONG)
    running = active("e")
    app = opened("home")
    table = runs_shown(app).set_index("name")
    assert table["result"].to_dict() == {
        "Größe": "test: 93.1 % [85.0, 98.0] right",
        "b": "all: AUC 0.931 [0.850, 0.980]",
        "c": "",
        "d": "",
        "e": "",
    }
    assert table.loc["Größe", "took"] == "50 min"
    assert table.loc["e", "took"] == "10 min"
    assert table.loc["Größe", "page"] == f"results?run={single.id}"
    assert table.loc["c", "page"] == f"study?study={study.id}"
    assert table.loc["e", "page"] == f"live?run={running.id}"
    assert table["progress"].dropna().to_dict() == {"e": 0.25}, "a failed run has no bar"
    assert LONG in said(app), "an error is shown whole"
    assert failed.name in said(app)


def test_the_table_is_narrowed_to_a_kind_and_paged_and_the_address_says_so(private_folders: None) -> None:
    for n in range(runs_table.PER_PAGE + 2):
        made("train", f"t{n}")
    made("evaluate", "only")
    app = opened("home", page="2")
    assert len(runs_shown(app)) == 3
    app.selectbox(key="home:kind").set_value("evaluate").run()
    assert runs_shown(app)["name"].tolist() == ["only"]
    assert {k: v[-1] for k, v in app.session_state["address"].shown.items()} == {"kind": "evaluate"}
    assert runs_shown(opened("home", kind="evaluate"))["name"].tolist() == ["only"]
    refused(opened("home"), {}, "kind", "page")


def test_what_runs_is_shown_and_only_then_the_page_asks_again(
    private_folders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import widgets.page

    intervals: list[float | None] = []
    original = widgets.page.refreshed
    monkeypatch.setattr(widgets.page, "refreshed", lambda every: (intervals.append(every), original(every))[1])
    made("train", "over")
    assert "Running" not in [s.value for s in opened("home").header]
    assert intervals[-1] is None
    for n in range(7):
        active(f"a{n}", message=f"epoch {n}")
    app = opened("home")
    assert "Running" in [s.value for s in app.header]
    assert intervals[-1] is not None
    assert "and 2 more" in said(app)


def test_every_kind_of_run_has_a_page(private_folders: None) -> None:
    assert set(runs_table.KIND_NAMES) == set(KINDS)
    for kind in KINDS:
        run = made(kind, "x")
        page = run_address.address_of(run, run.status(), {})
        assert page is not None, kind
        assert (DASHBOARD / "views" / f"{page.partition('?')[0]}.py").is_file()
    stranger = RunFolder.create(runs_root(), "from-the-future", {}, "y")
    assert run_address.address_of(Run(stranger), Run(stranger).status(), {}) is None
    assert "from-the-future" in runs_shown(opened("home"))["kind"].tolist()


def test_a_run_opens_with_its_network_and_its_x_rays(demo: Manifest) -> None:
    from cxr.data.library import list_data_sets

    names = run_address.data_set_names()
    file = list_data_sets()[0].manifest_path
    data = names[file.resolve()]

    def opens(kind: str, **params: Any) -> tuple[str, dict[str, list[str]]]:
        run = Run(RunFolder.create(runs_root(), kind, {"manifest": str(file), **params}, "x"))
        address = urlsplit(run_address.address_of(run, run.status(), names) or "")
        return address.path, {k: v for k, v in parse_qs(address.query).items() if v != [run.id]}

    of_network = {"model": "demo", "split": "test"}
    shown = {"model": ["demo"], "data": [data], "split": ["test"]}
    assert opens("text-experiment", **of_network) == ("text", {"look": ["Whole split"], **shown})
    assert opens("text-stamping", **of_network) == ("text", {"look": ["Stamp"], **shown})
    assert opens("cluster-heatmaps", **of_network) == ("explorer", shown)
    assert opens("audit-data") == ("data", {"look": ["audit"], "data": [data]})
    assert opens("find-duplicates") == ("data", {"look": ["check"], "data": [data]})
    assert opens("audit-network", **of_network) == ("trust", {})
    assert opens("audit-data", manifest="/gone/manifest.csv") == ("data", {})
    table = runs_shown(opened("home"))
    assert set(table.loc[table["kind"] != "data audit", "data"]) == {data}
    assert sorted(table.loc[table["kind"] == "data audit", "data"]) == ["", data], "its X-rays are not there any more"
    made_here = Run(RunFolder.create(runs_root(), "demo", {"name": data}, "y"))
    assert run_address.address_of(made_here, made_here.status(), names) == f"data?data={data}"


def test_the_overview_leads_to_each_data_set_and_says_what_came_of_audits(demo: Manifest) -> None:
    audit, text = made("audit-network", "a"), made("text-experiment", "t")
    audit.folder.write_json("results.json", {"findings": [], "counts": {"serious": 1, "warning": 2, "note": 0}})
    text.folder.write_json("results.json", {"n_changed": 3, "n_images": 1200})
    findings = made("text-experiment", "f")
    findings.folder.write_json("results.json", {"n_changed": 1, "n_images": 12, "task": "multi-label"})
    check = made("check-data", "c")
    check.folder.write_json("results.json", {"finding": "25 of 60 X-rays may not be what they seem: cut 25."})
    app = opened("home")
    results = runs_shown(app).set_index("name")["result"]
    assert results["c"] == "25 of 60 X-rays may not be what they seem: cut 25."
    assert (results["a"], results["t"]) == ("1 serious, 2 warnings", "3 of 1,200 predictions changed")
    assert results["f"] == "1 of 12 X-rays with a crossed threshold"
    sets = next(frame.value for frame in app.dataframe if "from" in frame.value.columns)
    assert sets["page"].tolist() == [f"data?data={name}" for name in sets["name"]]


def test_the_next_step_follows_from_what_there_is(demo: Manifest) -> None:
    from cxr.data.library import list_data_sets

    sets = list_data_sets()
    assert best_step([], []).page == pages.DATA
    assert best_step(sets, []).page == pages.TRAIN
    run = made("train", "t")
    assert (best_step(sets, [run]).page, best_step(sets, [run]).query) == (pages.TRUST, {"model": run.id})
    of_another = made("audit-network", "o", model="demo")
    assert best_step(sets, [of_another, run]).page == pages.TRUST
    audit = made("audit-network", "a", model=run.id)
    assert best_step(sets, [audit, run]).query == {"run": run.id}
    watched = active("now")
    assert (best_step(sets, [watched, run]).page, best_step(sets, [watched]).query) == (pages.LIVE, {"run": watched.id})
    assert not opened("home").exception


@pytest.mark.parametrize(
    ("started", "ended", "state", "seconds"), [(None, None, "queued", None), (5.0, 8.0, "failed", 3)]
)
def test_how_long_a_run_took(started: Any, ended: Any, state: str, seconds: Any) -> None:
    from cxr.runs import Status

    assert runs_table.took(Status(state=state, started=started, ended=ended)) == seconds


def test_trainings_can_be_sorted_by_parameters_and_figures_and_compared_from_there(private_folders: None) -> None:
    runs = []
    for seed, value in ((1, 0.5), (2, 0.9), (3, None)):
        recipe = {"backbone": "densenet-small", "size": 96, "seed": seed}
        recipe["stages"] = [{"epochs": 2}, {"epochs": 3, "optimiser": {"lr": 0.01 * seed}}]
        folder = RunFolder.create(runs_root(), "train", {"manifest": "m.csv", "recipe": recipe}, f"Größe {seed}")
        folder.update_status(state="finished", started=1000.0, ended=4000.0)
        if value is not None:
            scores = {"accuracy": {"value": value, "low": 0.1, "high": 1.0}, "auc": {"value": 0.7}}
            folder.write_json("results.json", {"splits": {"val": {}, "test": scores}})
        runs.append(Run(folder))
    multi_label = made("train", "findings of before", "failed", error=LONG)
    multi_label.folder.write_json("results.json", {"splits": {"all": {"auc": {"value": 0.8}}}})
    made("evaluate", "no training")
    app = opened("home", kind="train")
    shown = next(frame for frame in app.dataframe if "seed" in frame.value.columns)
    widths = [column["width"] for column in json.loads(shown.proto.columns).values() if "width" in column]
    assert len(widths) == len(shown.value.columns)
    assert sum(widths) <= ROOM, "no column is out of sight at 1280 pixels"
    table = shown.value.set_index("name")
    assert not app.exception
    assert set(table.index) == {"Größe 1", "Größe 2", "Größe 3", "findings of before"}
    assert table.loc["Größe 2", ["data", "accuracy", "AUC", "size", "epochs", "learning rate"]].tolist() == [
        *("test", "0.900 [0.100, 1.000]", "0.700", 96, 5, 0.02)
    ]
    assert table["accuracy"].isna().tolist() == [name in ("Größe 3", "findings of before") for name in table.index]
    assert table.loc["findings of before", ["data", "AUC"]].tolist() == ["all", "0.800"]
    assert LONG in said(app)
    assert "Tick two or more" in said(app)
    rows = [list(table.index).index(name) for name in ("Größe 2", "Größe 1")]
    app.session_state["home:trainings"] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    app.run()
    links = {link.proto.label: parse_qs(link.proto.query_string) for link in app.get("page_link")}
    assert "Compare on the same X-rays" not in links, "they have predicted none"
    for run in runs[:2]:
        run.folder.write_predictions(pd.DataFrame({"image_id": ["a"]}))
    links = {link.proto.label: parse_qs(link.proto.query_string) for link in app.run().get("page_link")}
    assert links["Compare on the same X-rays"] == {"runs": [f"{runs[1].id},{runs[0].id}"]}
    assert links["Compare their curves"] == {"run": [runs[1].id], "compare": [runs[0].id]}
