"""The Data page says which X-rays are there more than once, and an import from it looks for them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from apps import codes, opened, said, shown_in_gallery
from PIL import Image
from streamlit.testing.v1 import AppTest

from cxr.data import import_data, open_data_set, save_data_set
from cxr.data.audit.duplicates.data_set import search_data_set
from cxr.data.library import update_data_set
from cxr.experiments.duplicates.job import run as search_run
from cxr.experiments.duplicates.results import KIND
from cxr.runs import RunFolder, list_runs
from tests.dashboard.conftest import DASHBOARD

from sections.data.duplicates import groups_of  # isort: skip  - found through the path that conftest sets

assert DASHBOARD


def films(folder: Path, channels: int) -> Path:
    """Four X-rays in two classes; the last one of the second class is the first one of the first class, inverted."""
    rng = np.random.default_rng(0)
    images = [cv2.resize(rng.integers(0, 255, (40, 40), np.uint8), (160, 160)) for _ in range(3)]
    for k, image in enumerate([*images, 255 - images[0]]):
        path = folder / ("Größe" if k < 2 else "well") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([image] * 3, axis=-1) if channels == 3 else image).save(path)
    return folder


def commands(app: AppTest) -> list[str]:
    return codes(app)


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label.startswith(label)).click().run()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_page_looks_for_them_shows_them_and_keeps_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    def work(folder: RunFolder) -> None:
        search_run(folder, folder.params, lambda share, text="": None)
        folder.end_status(state="finished", progress=1.0)

    monkeypatch.setattr("cxr.runs.starting.launch", work)
    save_data_set("films", import_data("image-folder", films(tmp_path / "in", channels)))
    app = opened("data", data="films", look="check")
    assert "Not looked for yet" in said(app)
    assert "cxr data duplicates films" in commands(app)
    app = press(app, "Look for duplicates among these 4 X-rays")
    assert not app.exception
    assert [run.params.group for run in list_runs(kind=KIND)] == [False]
    assert "2 of 4 X-rays are here more than once: 1 pair in 1 group, 0 with the same pixels." in said(app)
    pictures = shown_in_gallery(app)
    assert [picture["caption"].split(" · ")[:2] for picture in pictures] == [["group 1", "Größe"], ["group 1", "well"]]
    beyond = opened("data", data="films", look="check", **{"pairs-page": "2"})
    assert "page of the duplicates '2'" in beyond.error[0].value
    (pairs,) = (frame.value for frame in app.dataframe if "agreement" in frame.value.columns)
    assert pairs[["label", "how b differs from a"]].to_numpy().tolist() == [["Größe / well", "inverted"]]
    assert "cxr data duplicates films --group" in commands(app)
    app = press(app, "Keep them together in new splits")
    assert not app.exception
    assert "New splits keep each group together." in said(app)
    assert open_data_set("films").table["dup_group"].nunique() == 2  # and none
    search_data_set("films")  # which looks again and changes nothing
    app = opened("data", data="films", look="check")
    assert "New splits keep each group together." in said(app)
    assert "cxr data duplicates films" in commands(app)


def test_pictures_of_a_group_follow_each_other_also_where_a_late_pair_joins_two() -> None:
    assert groups_of([("a", "b"), ("x", "y"), ("c", "d"), ("d", "b")]) == [["c", "d", "a", "b"], ["x", "y"]]


def test_groups_that_stand_in_two_splits_are_named_and_a_stopped_search_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: folder.end_status(state="stopped", progress=0.5))
    save_data_set("films", import_data("image-folder", films(tmp_path / "in", 1)))
    search_data_set("films", group=True)
    data = open_data_set("films")
    update_data_set("films", data.with_table(data.table.assign(split=["train", "train", "train", "test"])))
    app = opened("data", data="films", look="check")
    assert "1 group is in more than one split" in " ".join(warning.value for warning in app.warning)
    app = press(app, "Look for duplicates again")
    assert not app.exception
    assert any(button.label == "Resume" for button in app.button)


def test_an_import_looks_for_them_if_it_is_ticked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    app = opened("data")
    app.text_input(key="import:0:path").set_value(str(films(tmp_path / "in", 1)))
    app.text_input(key="import:0:name").set_value("films").run()
    next(box for box in app.checkbox if str(box.key).endswith(":duplicates")).check().run()
    assert any("--find-duplicates" in command for command in commands(app))
    next(button for button in app.button if button.label == "Import").click().run()
    assert not app.exception
    (run,) = list_runs(kind="import")
    assert run.params.find_duplicates
