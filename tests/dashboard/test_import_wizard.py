"""The import on the Data page: what a folder is, its columns and labels, the try that keeps nothing; and deleting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from apps import codes, opened, said
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.data.jobs import import_data_set
from cxr.data.library import add_facts, list_data_sets
from cxr.runs import Run, list_runs


def field(elements: Any, label: str) -> Any:
    return next(element for element in elements if element.label == label)


def give(app: AppTest, path: Path) -> AppTest:
    app.text_input(key="import:0:path").input(str(path)).run()
    assert not app.exception
    return app


@pytest.fixture
def table(demo: Manifest, tmp_path: Path) -> Path:
    """Ten X-rays in a table with labels of their own, a column of unusual name, and one image that is not there."""
    rows = [
        {"File Name": str(path), "Reading": "hernia" if k % 2 else "clear", "subject": f"s{k // 2}"}
        for k, path in enumerate(list(demo.image_paths().values())[:10])
    ]
    rows.append({"File Name": "gone.png", "Reading": "hernia", "subject": "s9"})
    folder = tmp_path / "films"
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "films.csv", index=False)
    return folder


def test_a_folder_s_importer_pictures_columns_and_labels_are_shown_and_what_is_mapped_is_imported(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    app = give(opened("data", tab="Import"), table)
    kind = field(app.selectbox, "What it is")
    assert kind.value == f"manifest:{table / 'films.csv'}"
    assert "films.csv is a table of X-rays" in said(app)
    patients = [text.value for text in app.caption if text.value.startswith("patient s")]
    assert len(patients) == 10
    assert len(set(patients)) == 5
    assert field(app.selectbox, "image").value == "File Name"
    assert field(app.selectbox, "patient_id").value == "subject"
    assert field(app.selectbox, "label").value == ""
    field(app.selectbox, "label").select("Reading").run()
    app.text_input(key="import:0:name").input("films").run()
    field(app.button, "Try it, keep nothing").click().run()
    assert not app.exception
    shown = next(box.value for box in app.dataframe if "class" in box.value)
    assert dict(zip(shown["class"], shown["X-rays"], strict=True)) == {"clear": 5, "hernia": 5}
    assert field(app.metric, "Left out").value == "1"
    assert list_data_sets()[0].name == "demo"
    assert len(list_data_sets()) == 1, "nothing was kept"
    field(app.button, "Import").click().run()
    (run,) = list_runs(kind="import")
    assert run.params.options["columns"] == {"label": "Reading"}
    assert run.params.path == table / "films.csv"


def test_the_folder_s_name_is_proposed_until_the_user_types_another(table: Path, tmp_path: Path) -> None:
    def name() -> str:
        return app.text_input(key="import:0:name").value

    app = give(opened("data", tab="Import"), table)
    assert name() == "films"
    assert any("--name films" in code for code in codes(app))
    app = give(app, tmp_path / "data" / "demo")
    assert name() == "demo-2", "demo is taken"
    app = give(app, tmp_path / "nowhere")
    assert name() == ""
    app = give(app, table)
    app.text_input(key="import:0:name").input("mine").run()
    app = give(app, tmp_path / "data" / "demo")
    assert name() == "mine"


def test_a_label_is_mapped_to_another_class(demo: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    for k, path in enumerate(list(demo.image_paths().values())[:6]):
        folder = tmp_path / "in" / ("Hernia" if k % 2 else "Rib fracture")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).symlink_to(path)
    app = give(opened("data", tab="Import"), tmp_path / "in")
    field(app.text_input, "Class of Rib fracture").input("fracture").run()
    app.text_input(key="import:0:name").input("bones").run()
    assert any("--alias 'Rib fracture=fracture'" in code for code in codes(app))
    field(app.button, "Try it, keep nothing").click().run()
    shown = next(box.value for box in app.dataframe if "class" in box.value)
    assert set(shown["class"]) == {"Hernia", "fracture"}
    field(app.button, "Import").click().run()
    assert list_runs(kind="import")[0].params.options["aliases"] == {"Rib fracture": "fracture"}


def test_a_folder_without_x_rays_says_so_and_a_try_of_nothing_asks_for_a_path(demo: Manifest, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.md").write_text("x")
    app = give(opened("data", tab="Import"), tmp_path / "empty")
    assert "Nothing here is known as X-rays" in said(app)
    field(app.button, "Try it, keep nothing").click().run()
    assert len(app.error) == 1
    app.text_input(key="import:0:path").input("").run()
    field(app.button, "Try it, keep nothing").click().run()
    assert "no folder or file given" in app.error[0].value.lower()


def test_a_data_set_is_deleted_once_its_name_is_typed_and_its_runs_are_named(trained: Run) -> None:
    app = opened("data", data="demo", look="splits")
    field(app.toggle, "Delete this data set").set_value(True).run()
    assert "60 images in its folder will be deleted" in said(app)
    assert "1 run (train) points at it" in said(app)
    assert field(app.button, "Delete for good").disabled
    field(app.text_input, "Type its name to delete it").input("demo").run()
    field(app.button, "Delete for good").click().run()
    assert not app.exception
    assert list_data_sets() == []
    assert "No data set yet" in said(app)


def test_an_import_that_did_not_come_to_its_end_is_told_above_the_data_set(demo: Manifest) -> None:
    add_facts("demo", unfinished="The search has not come to its end: `cxr runs resume x` goes on.")
    assert "`cxr runs resume x`" in said(opened("data", data="demo"))


def test_one_expander_has_the_commands_of_what_they_seem(demo: Manifest) -> None:
    app = opened("data", data="demo", look="check")
    titles = [box.label for box in app.expander if box.label == "The same on the command line"]
    here = codes(app)
    assert {"cxr data check demo", "cxr data duplicates demo", "cxr data show demo"} <= set(here)
    assert len(titles) == 3, "one of each tab: the sets, the import, the synthetic ones"


def test_tables_of_a_data_set_imported_are_offered_as_zip(demo: Manifest, tmp_path: Path) -> None:
    import_data_set("manifest", demo.path, "copy", workers=0)
    app = opened("data", data="copy", look="splits")
    assert any(button.label == "Tables as ZIP" for button in app.get("download_button"))


def test_a_path_that_is_not_there_is_named_before_anything_is_pressed() -> None:
    app = opened("data", tab="Import")
    assert not app.warning
    field(app.text_input, "Folder or file on this machine").input("/nowhere/at-all").run()
    assert not app.exception
    assert "There is no file or folder /nowhere/at-all on this machine." in said(app)
