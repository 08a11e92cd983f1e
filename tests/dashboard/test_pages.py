"""Home, Data, Train, Live and Results under AppTest, and every page with nothing to show."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
from apps import codes, open_in_gallery, opened, said, shown_in_gallery
from streamlit.testing.v1 import AppTest

from cxr.data import ImportResult, Manifest, split_manifest
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


@pytest.mark.parametrize("page", ["explorer", "text"])
def test_what_a_page_lacks_is_said_on_the_page_and_not_in_a_popover_that_is_shut(page: str) -> None:
    app = opened(page, model="demo")
    assert not app.exception
    assert "No X-rays yet" in app.info[0].value
    popovers = app.get("popover")
    assert popovers
    assert not any(popover.get("info") for popover in popovers)


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


def test_home_without_synthetic_xrays_makes_them_first_and_then_offers_the_tour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    app = opened("home")
    assert "cxr demo" in codes(app)
    assert not [link for link in app.get("page_link") if "Take the tour" in link.proto.label]
    assert "Train a fresh demo network" not in [b.label for b in app.button]
    button(app, "Make the synthetic X-rays").click().run()
    assert not app.exception
    (run,) = list_runs(kind="demo")
    assert run.params.name == "demo"
    assert "They are being made" in said(app)
    assert "Make the synthetic X-rays" not in [b.label for b in app.button], "once is enough"


def test_home_with_synthetic_xrays_offers_the_tour_and_leads_to_the_import(demo: Manifest) -> None:
    links = {link.proto.label: link.proto.query_string for link in opened("home").get("page_link")}
    assert any(label.startswith("New here? Take the tour") for label in links)
    assert links["Import X-rays"] == "tab=Import"


@pytest.mark.parametrize("tab", ["Synthetic X-rays", "Import"])
def test_data_without_a_set_leads_to_the_tabs_that_make_one_and_says_so_there_alone(tab: str) -> None:
    app = opened("data")
    assert "No data set yet" in app.tabs[0].info[0].value
    assert [len(part.info) for part in app.tabs] == [1, 0, 0]
    assert len(app.info) == 1
    app.button(key=f"data:first:{tab}").click().run()
    assert not app.exception
    assert app.session_state["data:tab"] == tab


def test_data_counts_the_xrays_by_class_split_and_source(demo: Manifest) -> None:
    app = opened("data", look="splits")
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
    app = opened("data", look="splits")
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
    field(app.text_input, "Folder or file on this machine").input(str(folder)).run()
    assert field(app.selectbox, "What it is").value == "image-folder", "guessed from its files"
    next(t for t in app.text_input if t.label == "Name of the data set" and "import" in t.key).input("mine")
    button(app, "Import").click().run()
    assert not app.exception
    assert not app.error
    (run,) = list_runs(kind="import")
    assert run.wait(300)["state"] == "finished", run.status()
    assert len(open_data_set("mine")) == 16
    assert "broken.png" in read_excluded("mine")["file"].tolist()[0]


def class_folders(demo: Manifest, folder: Path, n: int = 3) -> Path:
    """Two folders of n X-rays each, to import."""
    for label, theirs in (("covid19", "COVID"), ("normal", "NORMAL")):
        (folder / theirs).mkdir(parents=True)
        for row in demo.select(label=label).table["image"][:n]:
            (folder / theirs / Path(row).name).symlink_to(demo.root / row)
    return folder


def fill_import(app: AppTest, folder: Path, name: str) -> None:
    field(app.text_input, "Folder or file on this machine").input(str(folder)).run()
    next(t for t in app.text_input if t.label == "Name of the data set" and "import" in t.key).input(name)


def test_data_keeps_an_import_that_is_too_small_to_split_and_offers_to_replace_it(
    demo: Manifest, tmp_path: Path
) -> None:
    folder = class_folders(demo, tmp_path / "mine", n=2)
    app = opened("data")
    fill_import(app, folder, "mine")
    app.run()
    assert list_runs(kind="import") == [], "a field alone imports nothing"
    button(app, "Import").click().run()
    (run,) = list_runs(kind="import")
    assert run.wait(300)["state"] == "finished", run.status()
    assert run.results()["splits"] is None
    app = opened("data", data="mine")
    assert any("Imported without splits: class 'covid19' has 2 groups" in box.value for box in app.info)
    assert "The patient of all 4 X" in said(app) + "".join(text.value for text in app.text)

    fill_import(app, class_folders(demo, tmp_path / "more", n=4), "mine")
    app.run()
    assert "There is a data set mine already." in said(app)
    button(app, "Import").click().run()
    assert "'mine' already exists" in app.error[0].value
    field(app.checkbox, "Replace the data set mine").check().run()
    button(app, "Import").click().run()
    assert not app.error
    assert not next(t for t in app.text_input if t.label == "Folder or file on this machine").value, "the form is empty"
    newest = list_runs(kind="import")[0]
    assert newest.wait(300)["state"] == "finished", newest.status()
    assert len(open_data_set("mine")) == 8


def test_data_forgets_the_kind_when_another_path_is_given_and_shows_the_sets_beside_an_error(
    demo: Manifest, tmp_path: Path
) -> None:
    app = opened("data", data="demo")
    fill_import(app, tmp_path / "nowhere", "mine")
    button(app, "Import").click().run()
    assert "nowhere" in app.error[0].value
    assert metric(app, "X-rays") == "60", "the tab with the data sets is there all the same"
    field(app.selectbox, "What it is").select("montgomery").run()
    assert field(app.text_input, "Folder or file on this machine").value == str(tmp_path / "nowhere")
    folder = class_folders(demo, tmp_path / "mine")
    field(app.text_input, "Folder or file on this machine").input(str(folder)).run()
    assert field(app.selectbox, "What it is").value == "image-folder", "not the kind of another folder"


def test_data_dismisses_an_attempt_that_failed(demo: Manifest, tmp_path: Path) -> None:
    params = {"kind": "montgomery", "path": str(tmp_path), "name": "m"}
    run = start("import", params, name="import m", detached=False)
    assert run.status()["state"] == "failed"
    app = opened("data")
    assert "it has no folder CXR_png" in app.error[0].value
    button(app, "Dismiss").click().run()
    assert list_runs() == []
    assert not opened("data").error


def test_data_lists_splits_in_the_order_of_a_training_and_keeps_an_official_test_split(demo: Manifest) -> None:
    table = demo.table.assign(split=demo.table["split"].replace("val", "train"))
    save_data_set("official", demo.with_table(table), source_splits=["train", "test"])
    app = opened("data", data="official", look="splits")
    assert list(app.dataframe[0].value.columns) == ["train", "test", "all"]
    assert field(app.multiselect, "Splits that stay as they are").value == ["test"]
    assert any("--keep test" in code for code in codes(app))
    button(app, "Split").click().run()
    now = open_data_set("official").table
    assert set(now["split"]) == {"train", "val", "test"}
    assert set(now.loc[now["split"] == "test", "image_id"]) == set(table.loc[table["split"] == "test", "image_id"])
    assert list(opened("data", data="official", look="splits").dataframe[0].value.columns) == [
        "train",
        "val",
        "test",
        "all",
    ]


def test_data_warns_of_patients_in_two_splits_above_the_x_rays_and_tells_the_rest_beside_the_splits(
    demo: Manifest,
) -> None:
    apart = demo.table.assign(patient_id=["p" if k < 60 else f"q{k}" for k in range(len(demo.table))])
    save_data_set("apart", demo.with_table(apart), split_notes=["Each class has as many X-rays."])
    app = opened("data", data="apart")
    assert any("1 patient in more than one split" in box.value for box in app.warning)
    assert "as many X-rays" not in said(app), "the X-rays are on the first screen"
    assert "as many X-rays" in said(opened("data", data="apart", look="splits"))
    assert not any("in more than one split" in box.value for box in opened("data", data="demo").warning)


def test_train_takes_validation_from_train_where_test_came_with_the_data(demo: Manifest) -> None:
    table = demo.table.assign(split=demo.table["split"].replace("val", "train"))
    save_data_set("official", demo.with_table(table))
    app = opened("train", data="official", recipe="demo")
    button(app, "Start training").click().run()
    assert "--keep test --fraction train=0.9 --fraction val=0.1" in app.error[0].value
    button(app, "Take validation from train").click().run()
    assert not app.error
    assert not [b for b in app.button if b.label == "Take validation from train"]
    now = open_data_set("official").table
    assert set(now["split"]) == {"train", "val", "test"}
    assert set(now.loc[now["split"] == "test", "image_id"]) == set(table.loc[table["split"] == "test", "image_id"])


def test_a_data_set_without_splits_can_be_explored(trained: Run, demo: Manifest) -> None:
    save_data_set("whole", demo.with_splits({}))
    app = opened("explorer", model=trained.id, data="whole")
    assert not app.exception
    assert not app.error
    assert "No splits: every X-ray" in said(app)


def test_data_shows_what_the_import_noted(demo: Manifest) -> None:
    notes = ("labels: Covid -> covid19 (3)", "no patient is known: each counts as a patient of its own")
    save_data_set("noted", ImportResult(demo, pd.DataFrame(columns=["file", "reason"]), "manifest", notes))
    app = opened("data", data="noted")
    assert "Notes of the import (2)" in [expander.label for expander in app.expander]
    assert set(notes) <= {text.value for text in app.text}
    assert not [e for e in opened("data", data="demo").expander if e.label.startswith("Notes")]


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
    assert any("size: 64" in code for code in codes(app))
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


@pytest.mark.slow
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
    assert run.wait(300)["state"] == "stopped"
    app = opened("live", run=run.id)
    button(app, "Resume").click().run()
    assert run.active


@pytest.mark.slow
def test_a_press_on_the_page_of_a_deleted_run_touches_no_other_run(demo: Manifest, trained: Run) -> None:
    params = trained.spec["params"] | {"manifest": str(demo.path.with_name("gone.csv"))}
    # Given a hash, nothing is checked before the start: both fail in their own processes.
    failed = start("train", params, name="failed", detached=False, manifest_hash="")
    other = start("train", params, name="other", detached=False, manifest_hash="")
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
    assert metric(app, "X-rays") == str(summary["n"])
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
    assert run.wait(300)["state"] == "finished", run.status()
    app = opened("results", run=run.id, split="test")
    assert not app.exception
    assert metric(app, "Accuracy") == f"{trained.results()['splits']['test']['accuracy']['value']:.1%}".replace(
        "%", " %"
    )


def test_results_of_an_empty_installation_name_the_shipped_network_and_lead_to_x_rays_for_it() -> None:
    app = opened("results")
    assert not app.exception
    assert "The small network demo comes with this tool" in said(app)
    assert [link.proto.page for link in app.main.get("page_link")] == ["data", "train"]
    assert not any(b.label == "Measure" for b in app.button)


def test_results_without_a_run_measure_the_shipped_network(demo: Manifest) -> None:
    app = opened("results")
    assert "it can be measured without a training" in said(app)
    assert "cxr evaluate demo --data demo" in codes(app)
    button(app, "Measure").click().run()
    assert not app.exception
    (run,) = list_runs(kind="evaluate")
    assert run.wait(300)["state"] == "finished", run.status()
    assert metric(opened("results", run=run.id), "Accuracy").endswith("%")


def test_compare_without_predictions_leads_to_where_a_network_is_measured() -> None:
    app = opened("compare")
    assert "Measure a network on the page Results" in said(app)
    assert [link.proto.page for link in app.main.get("page_link")] == ["results"]


@pytest.mark.parametrize("kind", ["evaluate", pytest.param("text-experiment", marks=pytest.mark.slow)])
def test_what_a_network_has_seen_is_reported_once_the_splits_of_its_data_were_made_again(
    kind: str, trained: Run, demo: Manifest
) -> None:
    update_data_set("demo", split_manifest(demo, seed=9)[0])
    network = {"run": trained.id} if kind == "evaluate" else {"model": trained.id}
    run = start(kind, {**network, "manifest": str(demo.path)}, detached=False)
    assert run.status()["state"] == "finished", run.status()
    results = run.results()
    test = results["seen"]["splits"]["test"]
    assert test["trained"] > 0
    assert test["left_out"]
    said = " ".join([results.get("finding") or "", *(results.get("notes") or ())])
    assert f"{test['trained'] + test['chosen']} of {test['of']} X-rays" in said.replace("of the ", "of ")
    assert "not new to the network" in said
    if kind == "evaluate":
        assert results["splits"]["test"]["n"] == test["of"] - test["trained"] - test["chosen"]


def test_data_shows_one_xray_large_with_what_is_known_of_it(demo: Manifest) -> None:
    image_id = demo.ids[3]
    app = opened("data", data="demo", image=image_id)
    assert not app.exception
    assert not app.error
    (known,) = (frame.value for frame in app.dataframe if "value" in frame.value.columns)
    row = demo.row(image_id)
    assert dict(zip(known["column"], known["value"], strict=True))["label"] == row["label"]
    labels = [getattr(element, "label", "") for element in app.main]
    assert labels.index("Close") < labels.index("Look at"), "the X-ray is on the first screen"
    links = [link.proto.query_string for link in app.get("page_link") if link.proto.label == "Explain"]
    assert links == [f"data=demo&image={image_id}&split={row['split']}"]
    next(b for b in app.button if b.label == "Close").click().run()
    assert "image" not in app.query_params
    assert not [frame for frame in app.dataframe if "value" in frame.value.columns]
    open_in_gallery(app, demo.ids[0])
    assert app.query_params["image"] == demo.ids[0]
    assert any("value" in frame.value.columns for frame in app.dataframe)


def test_data_says_which_file_of_a_large_xray_is_missing(demo: Manifest) -> None:
    demo.image_path(demo.ids[0]).unlink()
    app = opened("data", data="demo", image=demo.ids[0])
    assert not app.exception
    assert len(app.error) == 1
    assert demo.image_path(demo.ids[0]).name in app.error[0].value


def test_data_says_how_many_files_of_the_xrays_shown_are_missing(demo: Manifest) -> None:
    app = opened("data", data="demo")
    assert "are missing" not in said(app)
    first, second = (demo.image_path(picture["id"]) for picture in shown_in_gallery(app)[:2])
    first.unlink()
    second.write_bytes(b"no picture")
    app = opened("data", data="demo")
    assert not app.exception
    assert not app.error
    pictures = [picture["url"] for picture in shown_in_gallery(app)]
    assert f"The files of 1 of these {len(pictures)} X-rays are missing" in said(app)
    assert first.name in said(app)
    assert pictures[0] == pictures[1] != pictures[2], "what cannot be read is crossed, not black as an X-ray may be"


def test_a_training_that_failed_before_its_first_step_has_no_empty_charts(demo: Manifest) -> None:
    for image_id in demo.ids:
        demo.image_path(image_id).unlink()
    run = start("train", {"recipe": "demo", "manifest": demo.path, "data_name": "demo"})
    assert run.wait(120)["state"] == "failed"
    app = opened("live", run=run.id)
    assert not app.exception
    assert not app.get("plotly_chart")
    assert "It ended before its first step" in said(app)
    assert "This training failed, so it has no predictions: none of the" in said(opened("results", run=run.id))
