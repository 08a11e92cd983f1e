"""The explorer's grid: rows, filters, order, selection, and what can be done with X-rays in it."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pandas as pd
import pytest
from apps import _component, _heard, codes, opened, said, shown_in_viewer
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.runs import Run, list_runs, start

from sections.grid import actions  # isort: skip  - found through the path that conftest sets
from sections.grid import rows as grid_rows  # isort: skip
from services import load  # isort: skip
from widgets import subject  # isort: skip


def shown(app: AppTest) -> dict[str, Any]:
    assert not app.exception, app.exception
    return json.loads(_component(app, "cxr_grid").json)


def ids(app: AppTest) -> list[str]:
    return [tile["id"] for tile in shown(app)["tiles"]]


@pytest.fixture
def explained(trained: Run, demo: Manifest) -> Run:
    """Heatmaps of the split test by the tiny network."""
    params = {"model": trained.id, "manifest": demo.path, "split": "test", "previews": 0}
    run = start("explain", params, detached=False)
    assert run.status()["state"] == "finished", run.folder.log_tail()
    return run


def grid(trained: Run, **query: str) -> AppTest:
    return opened("explorer", model=trained.id, data="demo", split="test", look="grid", **query)


def test_without_heatmaps_the_x_rays_are_shown_and_a_run_on_all_of_them_can_be_started(
    trained: Run, demo: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    app = grid(trained)
    assert shown(app)["total"] == len(demo.select(split="test"))
    assert all("heatmap" not in tile["alt"] for tile in shown(app)["tiles"])
    assert "These are X-rays alone" in said(app)
    app.button(key="grid:explain").click().run()
    assert not app.exception
    (run,) = list_runs(kind="explain")
    assert (run.params.split, run.params.ids) == ("test", None)
    app = grid(trained, outcome="right")
    n = shown(app)["total"]
    app.button(key="grid:explain").click().run()
    assert len(list_runs(kind="explain")[0].params.ids) == n


def test_each_x_ray_has_its_map_its_prediction_and_a_text_for_those_who_do_not_see_it(
    trained: Run, explained: Run
) -> None:
    app = grid(trained)
    tile = shown(app)["tiles"][0]
    row = pd.read_parquet(explained.folder.path / "index.parquet").set_index("image_id").loc[tile["id"]]
    assert f"heatmap of {row['predicted']} on {tile['id']}" in tile["alt"]
    assert f"→ {row['predicted']}" in tile["caption"]
    assert tile["url"].endswith(".jpg") or tile["url"].startswith("data:image/jpeg;base64,")
    assert grid(trained, shown="X-ray").query_params["shown"] == "X-ray"


def test_rows_are_filtered_and_sorted_by_what_the_address_names(trained: Run, explained: Run, demo: Manifest) -> None:
    table = demo.select(split="test").table.set_index("image_id")
    app = grid(trained, label="normal", order="confidence", down="1")
    assert set(ids(app)) == set(table.index[table["label"] == "normal"])
    confidence = [float(tile["caption"].split()[3]) for tile in shown(app)["tiles"]]
    assert confidence == sorted(confidence, reverse=True)
    right, wrong = (shown(grid(trained, outcome=outcome))["total"] for outcome in ("right", "wrong"))
    assert right + wrong == len(table)
    view = table["view"].iloc[0]
    app = grid(trained, column="view", values=view)
    assert set(ids(app)) == set(table.index[table["view"] == view])
    source = table["source"].iloc[0]
    assert shown(grid(trained, **{"from": source}))["total"] == (table["source"] == source).sum()
    half = grid(trained, confidence="0.00-0.5")
    assert all(float(tile["caption"].split()[3]) <= 0.505 for tile in shown(half)["tiles"]) or "No X-ray" in said(half)
    assert "confidence" in half.query_params


def test_a_filter_that_leaves_nothing_says_so(trained: Run) -> None:
    app = grid(trained, confidence="0.01-0.02")
    assert "No X-ray matches these filters" in said(app)
    assert not app.exception


def test_only_the_pictures_of_the_window_are_sent_and_those_of_another_follow(trained: Run, demo: Manifest) -> None:
    app = opened("explorer", model=trained.id, data="demo", split="train", look="grid")
    first = shown(app)
    assert first["total"] == len(demo.select(split="train"))
    value = {"window": {"stamp": first["stamp"], "first": 5, "count": 7, "ask": 1}}
    app = _heard(app, "cxr_grid", json_value=json.dumps(value))
    assert [tile["at"] for tile in shown(app)["tiles"]] == [5, 6, 7, 8, 9, 10, 11]
    value["window"]["stamp"] = "of another order"
    app = _heard(app, "cxr_grid", json_value=json.dumps(value))
    assert shown(app)["tiles"][0]["at"] == 0


def test_selected_x_rays_stand_side_by_side_and_are_exported_with_their_rows(
    trained: Run, explained: Run, demo: Manifest
) -> None:
    app = grid(trained)
    chosen = ids(app)[:3]
    app = _heard(app, "cxr_grid", json_value=json.dumps({"selected": {"number": 1, "turn": 0, "ids": chosen}}))
    assert "3 selected" in said(app)
    app.button(key="grid:beside:button").click().run()
    assert not app.exception
    viewer = shown_in_viewer(app)
    assert [pane["title"].split(":")[0] for pane in viewer["panes"]] == chosen
    assert len(viewer["maps"]) == 3
    of = subject.Subject(trained.id, demo, "demo", "test")
    rows = grid_rows.build(demo, "test", load.model(trained.id)[0], None, explained)
    rows = rows[rows["image_id"].isin(chosen)]
    archive = zipfile.ZipFile(io.BytesIO(actions._zip(of, rows, explained)))
    assert sorted(archive.namelist()) == sorted([*(f"{name}.png" for name in chosen), "rows.csv"])
    table = pd.read_csv(io.StringIO(archive.read("rows.csv").decode()))
    assert {"image_id", "label", "target", "logit", "view"} <= set(table.columns)
    assert not {"names", "row", "scale"} & set(table.columns)


def test_the_text_of_selected_x_rays_is_masked_and_the_text_page_does_not_take_it_for_the_split(
    trained: Run, demo: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = grid(trained)
    chosen = ids(app)[:3]
    app = _heard(app, "cxr_grid", json_value=json.dumps({"selected": {"number": 1, "turn": 0, "ids": chosen}}))
    assert app.button(key="grid:mask").label == "Mask the text of 3 X-rays"
    commands = codes(app)
    assert f"cxr text experiment {trained.id} --data demo --split test --ids demo_test.csv" in commands
    assert any(line.startswith("cxr explain") and "--ids demo_test.csv" in line for line in commands)
    app.button(key="grid:mask").click().run()
    assert not app.exception, app.exception
    (run,) = list_runs(kind="text-experiment")
    assert (run.params.ids, run.params.split) == (tuple(chosen), "test")
    run.wait()
    assert run.status()["state"] == "finished", run.folder.log_tail()
    words = said(opened("text", model=trained.id, data="demo", split="test", look="Whole split"))
    assert f"3 X-rays of {len(demo.select(split='test'))}: not the result of the split." in words
    assert "This rests on 3 X-rays" in words
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    whole = start("text-experiment", {"model": trained.id, "manifest": demo.path, "split": "test"})
    start("text-experiment", {"model": trained.id, "manifest": demo.path, "split": "test", "ids": chosen})
    app = opened("text", model=trained.id, data="demo", split="test", look="Whole split")
    assert app.selectbox(key="pick:run").value == whole.id  # not the newest, which is of three X-rays


def test_select_all_takes_all_that_the_filters_leave(trained: Run) -> None:
    app = grid(trained, outcome="right")
    n = shown(app)["total"]
    app.button(key="grid:all").click().run()
    assert len(shown(app)["selected"]) == n
    turn = shown(app)["turn"]
    app.button(key="grid:none").click().run()
    assert shown(app)["selected"] == []
    assert shown(app)["turn"] == turn + 1


def test_an_opened_x_ray_is_explained_and_the_grid_is_left(trained: Run) -> None:
    app = grid(trained)
    wanted = ids(app)[2]
    app = _heard(app, "cxr_grid", json_trigger_value=json.dumps([{"event": "open", "value": wanted}]))
    assert not app.exception
    assert app.query_params["image"] == wanted
    assert "look" not in app.query_params
    app.button(key="grid:enter").click().run()
    assert app.query_params["look"] == "grid"
    assert shown(app)["total"]


def test_text_is_looked_for_when_asked_and_then_filters_and_sorts(trained: Run, explained: Run) -> None:
    app = grid(trained)
    assert "Has text" not in [control.label for control in app.get("button_group")]
    app.button(key="grid:search").click().run()
    assert not app.exception
    n = shown(app)["total"]
    app.selectbox(key="grid:order").select("relevance in text").run()
    app.toggle(key="grid:down").set_value(True).run()
    assert shown(app)["total"] == n
    assert app.query_params["order"] == "relevance in text"
    app.slider(key="grid:share").set_range(0.01, 1.0).run()
    assert 0 < shown(app)["total"] <= n


def test_a_run_of_all_classes_gives_one_map_each_that_of_the_predicted_class() -> None:
    index = pd.DataFrame(
        {
            "image_id": ["a", "a", "b", "b"],
            "target": ["mass", "edema", "mass", "edema"],
            "predicted": ["edema", "edema", "hernia", "hernia"],
            "logit": [0.1, 0.2, 0.3, 0.4],
            "row": [0, 1, 2, 3],
            "scale": [1.0] * 4,
            "concerns": [""] * 4,
        }
    )
    chosen = grid_rows.one_map_each(index).set_index("image_id")
    assert chosen["row"].to_dict() == {"a": 1, "b": 2}


def test_captions_say_truth_prediction_and_whether_it_is_wrong() -> None:
    row = {"label": "edema", "predicted": "mass", "confidence": 0.731, "outcome": "wrong"}
    assert grid_rows.caption(row) == "edema → mass 0.73 ✗"
    assert grid_rows.caption({"label": ""}) == "unlabelled"
