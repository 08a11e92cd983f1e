"""The page Studies under AppTest: empty, started from form and YAML, running, finished, with a failed member."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from apps import codes, done_by_call, first_place, opened, refused, said, without_time
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.experiments.study import Member, members, parse_plan, start_study
from cxr.runs import Run, list_runs, local, members_of
from tests.dashboard.conftest import RECIPE
from tests.study import quick
from tests.study.conftest import until

__all__ = ["until"]


@pytest.fixture
def quick_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "worker_command", quick.command)


def study(demo: Manifest, how: str = "", **changes: Any) -> Run:
    recipes = {
        "a": {"recipe": RECIPE | {"description": how}},
        "b": {"recipe": RECIPE, "set": {"stages.0.epochs": 6}},
    }
    values = {"name": "mine", "recipes": recipes, "seeds": 2, "first_epochs": 2, "set": {"stages.0.epochs": 6}}
    return start_study(parse_plan(values | changes), str(demo.path))


def button(app: AppTest, label: str) -> Any:
    return next(b for b in app.button if b.label == label)


def field(kind: Any, label: str) -> Any:
    return next(widget for widget in kind if widget.label == label)


def test_without_studies_and_data_the_page_says_what_to_do_next() -> None:
    app = opened("study")
    assert not app.exception
    assert "No study yet" in app.info[0].value
    assert "No data set yet" in app.info[1].value


def test_the_form_begins_with_recipes_that_can_be_trained_on_the_data(demo: Manifest, tmp_path: Path) -> None:
    app = opened("study", data="demo")
    recipes = field(app.multiselect, "Recipes, the first one is the baseline")
    assert recipes.value == ["scratch", "demo"]
    assert (
        "twice and twice-keep cannot be trained on demo: stage 1 (findings) has nothing to learn from, since no X-ray "
        "has a value in the column 'findings'."
    ) in said(app)
    assert str(demo.path) not in said(app)
    every = demo.table.assign(findings=["No Finding" if k % 2 else "Effusion" for k in range(len(demo.table))])
    save_data_set("found", Manifest.from_table(every, demo.root))
    app = opened("study", data="found")
    assert field(app.multiselect, "Recipes, the first one is the baseline").value == ["scratch", "twice", "twice-keep"]
    assert "cannot be trained on" not in said(app)


def test_the_data_set_chosen_last_is_that_of_the_next_page(demo: Manifest) -> None:
    save_data_set("a-first", Manifest.from_table(demo.table, demo.root))
    assert field(opened("study").selectbox, "Data set").value == "a-first"
    app = opened("train", data="demo")
    app.switch_page("views/study.py").run()
    assert not app.exception
    assert field(app.selectbox, "Data set").value == "demo"
    assert app.session_state["address"].shown["data"] == ["demo"]


@pytest.mark.usefixtures("quick_members")
def test_a_finished_study_shows_its_members_differences_and_what_they_do_not_tell(demo: Manifest) -> None:
    done = study(demo)
    assert done.wait(300)["state"] == "finished", done.status()
    app = opened("study", study=done.id)
    assert not app.exception
    assert not app.error
    table = app.dataframe[0].value
    assert (list(table.index), list(table.columns)) == (["a", "b"], ["seed 0", "seed 1"])
    first = members(done)[0].run
    assert table.loc["a", "seed 0"].startswith(f"live?run={first.id}#")
    assert "finished" in table.loc["a", "seed 0"]
    assert "Seeds are not patients" in said(app)
    assert any("b against a" in text.value for text in app.markdown)
    order = [first_place(app, kind) for kind in ("header", "plotly_chart", "slider", "dataframe")]
    assert order == sorted(order), "the answer, its curves, what changes them, and then the members"


@pytest.mark.usefixtures("quick_members")
def test_the_python_calls_run_a_study_and_report_it_as_the_commands_do(
    demo: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cxr: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    recipes = {"a": {"recipe": RECIPE}, "b": {"recipe": RECIPE, "set": {"stages.0.epochs": 6}}}
    plan = {"name": "mine", "recipes": recipes, "seeds": 2, "first_epochs": 2, "set": {"stages.0.epochs": 6}}
    Path("mine.yaml").write_text(yaml.safe_dump(plan))
    assert done_by_call("study", "mine.yaml", "--data", "demo") == "finished\n"
    (done,) = list_runs(kind="study")
    assert [member.state for member in members(done)] == ["finished"] * 4

    levels = ["--first", 4, "--accuracy", 0.5]
    for ending, options in ((".csv", []), (".md", []), (".md", levels)):
        assert cxr("study", "report", done.id, "--out", f"command{ending}", *options)[0] == 0
        done_by_call("study", "report", done.id, "--out", f"call{ending}", *options)
        by_call, by_command = (without_time(Path(f"{name}{ending}").read_text()) for name in ("call", "command"))
        assert by_call == by_command.replace("command-", "call-")
    assert "over the first 4 epochs" in Path("call.md").read_text()
    sentences = json.loads(cxr("study", "report", done.id, "--json", *levels)[1])["sentences"]
    assert done_by_call("study", "report", done.id, *levels).splitlines() == sentences


@pytest.mark.usefixtures("quick_members")
def test_the_beginning_and_the_level_can_be_moved(demo: Manifest) -> None:
    done = study(demo)
    done.wait(300)
    app = opened("study", study=done.id)
    field(app.slider, "The beginning (first epochs)").set_value(4)
    field(app.slider, "Level to reach").set_value(0.5)
    app.run()
    assert not app.exception
    assert "over the first 4 epochs" in said(app)
    app.button_group[0].set_value("epochs to the level").run()
    assert not app.exception
    assert "b against a: epochs to validation accuracy 0.5 " in said(app).replace("\\", "")
    field(app.slider, "Level to reach").set_value(0.6).run()
    assert "b against a: epochs to validation accuracy 0.6 " in said(app).replace("\\", "")


@pytest.mark.usefixtures("quick_members")
def test_what_an_address_names_of_a_study_comes_back_or_is_reported(demo: Manifest) -> None:
    done = study(demo)
    done.wait(300)
    query = {"study": done.id}
    app = opened("study", **query, first="4", level="0.5", measure="epochs to the level")
    assert not app.error
    assert field(app.slider, "The beginning (first epochs)").value == 4
    assert field(app.slider, "Level to reach").value == 0.5
    assert app.button_group[0].value == "epochs to the level"
    refused(app, query, "first", "level", "measure")


@pytest.mark.usefixtures("quick_members")
def test_a_study_before_its_first_epoch_shows_no_empty_chart_or_table(
    demo: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = study(demo)
    done.wait(300)
    with_curves = opened("study", study=done.id)
    assert len(with_curves.get("plotly_chart")) == 2
    assert "An empty cell" not in said(with_curves)
    nothing = [Member(member.recipe, member.seed, None, deleted=k == 0) for k, member in enumerate(members(done))]
    monkeypatch.setattr("cxr.experiments.study.members", lambda _: nothing)
    app = opened("study", study=done.id)
    assert not app.exception
    assert not app.get("plotly_chart")
    assert len(app.dataframe) == 1, "the members alone"
    assert "No epoch has been validated yet" in said(app)
    assert "Empty cells: 1 training was deleted, 3 were not started." in said(app)
    assert "These intervals hold" not in said(app)


@pytest.mark.usefixtures("quick_members")
def test_a_running_study_is_stopped_and_resumed_from_the_page(demo: Manifest, until: Any) -> None:
    running = study(demo, "slow")
    until(lambda: members_of(running) and members_of(running)[0].metrics()[0])
    app = opened("study", study=running.id)
    assert not app.exception
    assert "running" in app.dataframe[0].value.loc["a", "seed 0"]
    assert "An empty cell has not started" in said(app)
    button(app, "Stop").click().run()
    assert running.wait(300)["state"] == "stopped"
    app = opened("study", study=running.id)
    assert "stopped" in app.dataframe[0].value.loc["a", "seed 0"]
    assert app.dataframe[0].value.loc["b", "seed 1"] == ""
    button(app, "Resume").click().run()
    assert running.active


@pytest.mark.slow
@pytest.mark.usefixtures("quick_members")
def test_a_failed_member_is_named_and_can_be_tried_again(demo: Manifest) -> None:
    failed = study(demo, "fails once")
    assert failed.wait(300)["state"] == "finished"
    app = opened("study", study=failed.id)
    assert not app.exception
    assert "a seed 0 failed (" in app.warning[0].value
    assert "failed" in app.dataframe[0].value.loc["a", "seed 0"]
    (demo.path.parent / "mended").touch()
    button(app, "Try again").click().run()
    assert [m.run.wait(300)["state"] for m in members(failed)] == ["finished"] * 4


@pytest.mark.usefixtures("quick_members")
def test_the_form_starts_what_it_says(demo: Manifest) -> None:
    app = opened("study")
    field(app.multiselect, "Recipes, the first one is the baseline").set_value(["demo", "scratch"])
    field(app.selectbox, "Backbone").select("densenet-small")
    field(app.number_input, "Image size (pixels)").set_value(64)
    field(app.number_input, "Epochs, last stage").set_value(2)
    field(app.number_input, "Seeds").set_value(2)
    app.run()
    assert any("stages.-1.epochs: 2" in code for code in codes(app))
    button(app, "Start 4 trainings").click().run()
    assert not app.exception
    assert not app.error
    (started,) = list_runs(kind="study")
    assert started.spec["params"]["plan"]["seeds"] == [0, 1]
    recipes = started.spec["params"]["recipes"]
    assert {r["size"] for r in recipes.values()} == {64}
    assert {r["stages"][-1]["epochs"] for r in recipes.values()} == {2}


@pytest.mark.usefixtures("quick_members")
def test_a_study_is_started_from_yaml_and_a_wrong_key_keeps_what_was_typed(demo: Manifest) -> None:
    app = opened("study")
    field(app.toggle, "Write the YAML myself").set_value(True).run()
    assert "Bassi and Attux" in field(app.text_area, "Study").value
    field(app.text_area, "Study").input("recipes: [demo]\nseed: 3\n").run()
    assert app.error[0].value == "seed: unknown key (did you mean 'seeds'?)"
    assert field(app.text_area, "Study").value == "recipes: [demo]\nseed: 3\n"
    text = yaml.safe_dump({"recipes": {"x": {"recipe": RECIPE}}, "seeds": 1, "name": "typed"})
    field(app.text_area, "Study").input(text).run()
    button(app, "Start 1 training").click().run()
    assert not app.error
    assert list_runs(kind="study")[0].name == "typed"


def test_what_a_member_would_fail_with_is_reported_before_anything_starts(demo: Manifest, monkeypatch: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    app = opened("study")
    field(app.multiselect, "Recipes, the first one is the baseline").set_value(["imagenet"]).run()
    button(app, "Start 3 trainings").click().run()
    assert not app.exception
    assert "recipes.imagenet: no ImageNet weights" in app.error[0].value
    assert list_runs() == []
    assert field(app.multiselect, "Recipes, the first one is the baseline").value == ["imagenet"]


@pytest.mark.slow
def test_real_members_are_shown_with_their_real_curves(demo: Manifest, tmp_path: Path) -> None:
    done = start_study(parse_plan({"recipes": {"only": {"recipe": RECIPE}}, "seeds": 1}), str(demo.path))
    assert done.wait(300)["state"] == "finished", done.status()
    app = opened("study", study=done.id)
    assert not app.exception
    assert "epoch%202/2" in app.dataframe[0].value.loc["only", "seed 0"]
