"""Home, Data, Train, Live and Results under AppTest, and every page with nothing to show."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from apps import opened, said
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest, split_manifest
from cxr.data.library import (
    describe_data_set,
    list_data_sets,
    open_data_set,
    read_excluded,
    save_data_set,
    update_data_set,
)
from cxr.runs import Run, list_runs, start

PAGES = ("home", "data", "train", "live", "results", "explorer", "text")


def button(app: AppTest, label: str) -> object:
    return next(b for b in app.button if b.label == label)


def field(kind: object, label: str) -> object:
    return next(widget for widget in kind if widget.label == label)


def metric(app: AppTest, label: str) -> str:
    return next(m.value for m in app.metric if m.label == label)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_nothing_to_show_tells_the_next_step(page: str) -> None:
    app = opened(page)
    assert not app.exception
    assert app.title[0].value
    assert len(app.info) + len(app.warning) > 0


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_a_finished_run_shows_no_error(page: str, trained: Run) -> None:
    app = opened(page)
    assert not app.exception
    assert not app.error


def test_home_starts_a_demo_training_with_one_button(demo: Manifest) -> None:
    app = opened("home")
    button(app, "Train a fresh demo network").click().run()
    (run,) = list_runs(kind="train")
    assert run.spec["params"]["recipe"]["backbone"] == "densenet-small"
    assert Path(run.spec["params"]["manifest"]) == demo.path


def test_home_without_synthetic_xrays_says_how_to_make_them() -> None:
    app = opened("home")
    button(app, "Train a fresh demo network").click().run()
    assert "cxr demo" in app.error[0].value
    assert list_runs() == []


def test_data_counts_the_xrays_by_class_split_and_source(demo: Manifest) -> None:
    app = opened("data")
    assert metric(app, "X-rays") == "60"
    by_split, by_source = (frame.value for frame in app.dataframe[:2])
    assert by_split.loc["covid19", "all"] == 20
    assert by_split.loc["all", "test"] == sum(demo.table["split"] == "test")
    assert by_source.loc["all", "all"] == 60


def test_data_warns_where_each_class_has_a_source_of_its_own(demo: Manifest) -> None:
    app = opened("data")
    assert any("sources that no other class has" in box.value for box in app.warning)


def test_data_makes_the_splits_again_and_keeps_what_is_known_of_the_set(demo: Manifest) -> None:
    describe_data_set("demo", "synthetic")
    before = demo.split_hash()
    app = opened("data")
    field(app.number_input, "Seed").set_value(7)
    button(app, "Split").click().run()
    assert open_data_set("demo").split_hash() != before
    assert list_data_sets()[0].kind == "synthetic"


def test_data_imports_a_folder_in_the_background_and_lists_what_was_left_out(demo: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for label in ("COVID", "NORMAL"):
        (folder / label).mkdir(parents=True)
        for row in demo.select(label={"COVID": "covid19", "NORMAL": "normal"}[label]).table["image"][:8]:
            (folder / label / Path(row).name).symlink_to(demo.root / row)
    (folder / "NORMAL" / "broken.png").write_text("no image")
    app = opened("data")
    field(app.selectbox, "What it is").select("image-folder").run()
    field(app.text_input, "Folder or file on this machine").input(str(folder))
    next(t for t in app.text_input if t.label == "Name of the data set" and not t.value).input("mine")
    button(app, "Import").click().run()
    assert not app.exception
    assert not app.error
    (run,) = list_runs(kind="import")
    assert run.wait(120)["state"] == "finished", run.status()
    assert len(open_data_set("mine")) == 16
    assert "broken.png" in read_excluded("mine")["file"].tolist()[0]


def test_data_refuses_a_path_that_does_not_exist(demo: Manifest) -> None:
    app = opened("data")
    field(app.text_input, "Folder or file on this machine").input("/no/such/folder")
    button(app, "Import").click().run()
    assert "/no/such/folder" in app.error[0].value
    assert list_runs() == []


def test_train_starts_what_the_form_says_and_shows_it_as_yaml(demo: Manifest) -> None:
    app = opened("train", data="demo", recipe="demo")
    field(app.number_input, "Epochs").set_value(2)
    field(app.number_input, "Image size (pixels)").set_value(64)
    app.run()
    assert any("size: 64" in code.value for code in app.code)
    button(app, "Start training").click().run()
    (run,) = list_runs(kind="train")
    recipe = run.spec["params"]["recipe"]
    assert (recipe["size"], recipe["stages"][0]["epochs"]) == (64, 2)
    assert not recipe["stages"][0]["augment"]["hflip"], "mirroring swaps the side markers; it is off by default"


def test_train_names_the_wrong_key_of_a_recipe_written_by_hand(demo: Manifest) -> None:
    app = opened("train", data="demo", recipe="demo")
    field(app.toggle, "Write the YAML myself").set_value(True).run()
    field(app.text_area, "Recipe").input("name: x\nstages:\n  - epoch: 3\n").run()
    assert "epoch" in app.error[0].value
    assert "\n" not in app.error[0].value


def test_live_shows_the_curves_and_the_state_of_a_run(trained: Run) -> None:
    app = opened("live", run=trained.id)
    assert metric(app, "Epochs done") == "2"
    assert int(metric(app, "Steps")) == max(row["step"] for row in trained.metrics()[0])
    assert "finished" in said(app)


def test_live_lets_a_stopped_training_go_on(demo: Manifest) -> None:
    app = opened("train", data="demo", recipe="demo")
    field(app.number_input, "Epochs").set_value(200)
    field(app.number_input, "Image size (pixels)").set_value(64)
    app.run()
    button(app, "Start training").click().run()
    (run,) = list_runs(kind="train")
    while not run.metrics()[0]:
        assert run.active, run.status()
        time.sleep(0.2)
    app = opened("live", run=run.id)
    button(app, "Stop").click().run()
    assert run.wait(60)["state"] == "stopped"
    app = opened("live", run=run.id)
    button(app, "Resume").click().run()
    assert run.active


def test_a_press_on_the_page_of_a_deleted_run_touches_no_other_run(demo: Manifest, trained: Run) -> None:
    params = trained.spec["params"] | {"manifest": str(demo.path.with_name("gone.csv"))}
    failed = start("train", params, name="failed", detached=False)
    other = start("train", params, name="other", detached=False)
    app = opened("live", run=failed.id)
    resume = button(app, "Resume")
    failed.delete()
    resume.click().run()
    assert not app.exception
    assert f"There is no run '{failed.id}' here" in app.error[0].value
    assert not app.metric, "no other run is shown in its place"
    assert other.status()["state"] == "failed"
    assert other.status()["resumes"] == 0


def test_results_show_every_figure_with_its_interval(trained: Run) -> None:
    app = opened("results", run=trained.id, split="test")
    summary = trained.results()["splits"]["test"]
    assert metric(app, "Images") == str(summary["n"])
    assert metric(app, "Accuracy") == f"{summary['accuracy']['value']:.1%}".replace("%", " %")
    assert f"{summary['accuracy']['low'] * 100:.1f} to" in said(app)
    assert "71.7 %" in said(app), "the paper's figure never stands alone"


def test_results_of_a_run_without_predictions_lead_to_its_curves(trained: Run) -> None:
    (trained.folder.path / "predictions.parquet").unlink()
    app = opened("results", run=trained.id)
    assert not app.exception
    assert "no predictions yet" in app.info[0].value


def test_results_measure_the_network_on_another_data_set_in_a_run_of_its_own(trained: Run) -> None:
    save_data_set("other", open_data_set("demo"))
    app = opened("results", run=trained.id)
    field(app.selectbox, "Data set").select("other")
    button(app, "Measure").click().run()
    assert not app.exception
    (run,) = list_runs(kind="evaluate")
    assert run.wait(120)["state"] == "finished", run.status()
    app = opened("results", run=run.id, split="test")
    assert not app.exception
    assert metric(app, "Accuracy") == f"{trained.results()['splits']['test']['accuracy']['value']:.1%}".replace(
        "%", " %"
    )


@pytest.mark.parametrize("kind", ["evaluate", "text-experiment"])
def test_a_network_is_not_measured_on_its_own_data_once_the_splits_were_made_again(
    kind: str, trained: Run, demo: Manifest
) -> None:
    update_data_set("demo", split_manifest(demo, seed=9)[0])
    network = {"run": trained.id} if kind == "evaluate" else {"model": trained.id}
    run = start(kind, {**network, "manifest": str(demo.path)}, detached=False)
    assert run.status()["state"] == "failed"
    assert "train again" in run.status()["error"]
