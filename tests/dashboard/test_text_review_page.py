"""Correcting boxes on the text page, and boxes on their way between the file, the canvas and the table."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from apps import opened, said
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest, read_xray
from cxr.errors import TextError
from cxr.runs import Run
from cxr.text import Reviews, TextBox, detect_cached
from cxr.text.detection_store import content_hash

SHAPE = (2048, 411)  # taller than any page


@pytest.fixture
def boxes():
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 380, 40), rng.integers(0, 2000, 40)
    return [
        TextBox(int(a), int(b), int(a + rng.integers(2, 30)), int(b + rng.integers(2, 40)), "TOKEN", 0.5, "word")
        for a, b in zip(x, y, strict=True)
    ]


@pytest.mark.parametrize("zoom", [1.0, 1.5, 2.0, 3.0])
def test_boxes_that_nobody_moved_come_back_from_the_canvas_to_the_pixel(boxes, zoom):
    from services.box_coordinates import canvas_size, from_canvas, to_canvas

    size = canvas_size(SHAPE, zoom)
    drawn = [
        {k: round(v, 4) if isinstance(v, float) else v for k, v in b.items()} for b in to_canvas(boxes, SHAPE, size)
    ]
    assert from_canvas(drawn[::-1], boxes, SHAPE, size) == boxes[::-1], "the canvas rounds to four digits"


def test_a_box_drawn_on_the_canvas_is_in_pixels_of_the_file_and_cut_to_it():
    from services.box_coordinates import canvas_size, from_canvas

    size = canvas_size(SHAPE)
    scale = SHAPE[0] / size[1]
    new = {"label": "", "left": 10.0, "top": 400.0, "width": 20.0, "height": 500.0}
    (box,) = from_canvas([new], [], SHAPE, size)
    assert (box.y0, box.y1) == (round(400 * scale), 2048)
    assert (box.x0, box.x1) == (round(10 * SHAPE[1] / size[0]), round(30 * SHAPE[1] / size[0]))
    assert (box.text, box.kind, box.score) == ("", "symbol", 1.0)
    assert from_canvas([{**new, "top": 600.0}], [], SHAPE, size) == [], "what lies off the image is no box"
    (typed,) = from_canvas([{**new, "label": "SEDUTO"}], [], SHAPE, size)
    assert (typed.text, typed.kind) == ("SEDUTO", "word")


def test_a_table_keeps_scores_takes_new_rows_and_names_what_is_wrong(boxes):
    from services.box_coordinates import from_table, to_table

    table = to_table(boxes[:2])
    assert from_table(table, boxes[:2], SHAPE) == boxes[:2]
    table.loc[0, "text"] = "PORTABLE"
    table.loc[1, ["text", "kind"]] = ["L", "arrow"]
    new = pd.DataFrame([{"box": None, "text": "12", "kind": None, "x0": 1, "y0": 2, "x1": 9, "y1": 8}])
    found = from_table(pd.concat([table, new], ignore_index=True), boxes[:2], SHAPE)
    assert (found[0].text, found[0].score, found[0].x0) == ("PORTABLE", 0.5, boxes[0].x0)
    assert (found[1].text, found[1].kind) == ("L", "arrow")
    assert from_table(table.assign(text="12"), boxes[:2], SHAPE)[0].kind == "number", "the kind follows the text"
    assert found[2] == TextBox(1, 2, 9, 8, "12", 1.0, "number")
    with pytest.raises(TextError, match="row 3 lacks x1"):
        from_table(pd.concat([table, new.assign(x1=None)], ignore_index=True), boxes[:2], SHAPE)
    with pytest.raises(TextError, match=r"box 3: .* is not a box within the 411 x 2048 pixels"):
        from_table(pd.concat([table, new.assign(x1=412)], ignore_index=True), boxes[:2], SHAPE)


def test_the_next_image_to_review_begins_again_at_the_end():
    from sections.text.review_queue import next_open

    assert next_open(["a", "b", "c"], "b", frozenset("b")) == "c"
    assert next_open(["a", "b", "c"], "c", frozenset("c")) == "a"
    assert next_open(["a", "b", "c"], "c", frozenset("ab")) is None


# --- the page ------------------------------------------------------------------------------------------------------


def section(**query: str) -> AppTest:
    app = opened("text", **query)
    app = app.segmented_control(key="text:section").set_value("Correct boxes").run()
    assert not app.exception, app.exception
    return app


@pytest.fixture
def split(demo: Manifest) -> list[str]:
    return demo.select(split="test").ids


@pytest.fixture
def file(demo: Manifest) -> Path:
    return demo.path.with_name("manifest.csv.boxes.json")


def test_detected_boxes_are_saved_as_they_are_and_counted(trained: Run, demo: Manifest, split: list[str], file: Path):
    app = section(image=split[0], split="test")
    assert "as detected" in said(app)
    assert not app.error
    app.button(key="reviewing:save").click().run()
    assert not app.exception, app.exception
    found = detect_cached(demo.image_path(split[0]))
    assert found
    assert Reviews.beside(demo.path).get(split[0]) == found
    assert "Somebody else" not in said(app)
    assert str(file) in said(app)
    assert app.selectbox(key="pick:image").options[0].startswith("✓")
    assert sum(label.startswith("✓") for label in app.selectbox(key="pick:image").options) == 1


def test_no_text_and_back_to_detected(trained: Run, demo: Manifest, split: list[str]):
    app = section(image=split[0], split="test")
    app.button(key="reviewing:none").click().run()
    assert Reviews.beside(demo.path).get(split[0]) == []
    assert "no text, saved" in said(app)
    app.button(key="reviewing:back").click().run()
    assert not app.exception, app.exception
    assert Reviews.beside(demo.path).get(split[0]) is None
    assert "as detected" in said(app)


def test_save_and_next_leads_through_the_images_that_are_not_reviewed(trained: Run, demo: Manifest, split: list[str]):
    app = section(image=split[1], split="test")
    app.segmented_control(key="reviewing:filter").set_value("not reviewed").run()
    app.button(key="reviewing:save-next").click().run()
    assert not app.exception, app.exception
    assert app.selectbox(key="pick:image").value == split[2]
    app.button(key="reviewing:next").click().run()
    assert app.selectbox(key="pick:image").value == split[3]
    app.segmented_control(key="reviewing:filter").set_value("reviewed").run()
    assert app.selectbox(key="pick:image").value == split[1]
    assert Reviews.beside(demo.path).reviewed == {split[1]}


OTHERS = [TextBox(4, 4, 20, 12, "PORTABLE", 1.0, "word")]


def save_as_somebody_else(demo: Manifest, image_id: str) -> None:
    shape = read_xray(demo.image_path(image_id)).shape
    Reviews.beside(demo.path).save(image_id, OTHERS, shape=shape, content_hash="")


@pytest.mark.parametrize("button", ["save", "save-next", "none"])
def test_what_somebody_else_saved_meanwhile_is_shown_before_anything_is_saved_over_it(
    button: str, trained: Run, demo: Manifest, split: list[str]
):
    app = section(image=split[0], split="test")
    save_as_somebody_else(demo, split[0])
    app.button(key=f"reviewing:{button}").click().run()
    assert not app.exception, app.exception
    assert Reviews.beside(demo.path).get(split[0]) == OTHERS, "what was pressed was about other boxes"
    assert "Somebody else has changed the boxes of this X-ray since you opened it. They are shown now." in said(app)

    app.button(key="reviewing:none").click().run()
    assert Reviews.beside(demo.path).get(split[0]) == []
    assert "Somebody else" not in said(app)


def test_back_to_detected_leaves_boxes_that_somebody_else_saved_meanwhile(
    trained: Run, demo: Manifest, split: list[str]
):
    app = section(image=split[0], split="test")
    app.button(key="reviewing:none").click().run()
    save_as_somebody_else(demo, split[0])
    app.button(key="reviewing:back").click().run()
    assert Reviews.beside(demo.path).get(split[0]) == OTHERS
    app.button(key="reviewing:back").click().run()
    assert Reviews.beside(demo.path).get(split[0]) is None
    assert "Somebody else" not in said(app)
    assert not app.exception


def test_a_changed_file_says_that_its_boxes_are_not_used(trained: Run, demo: Manifest, split: list[str]):
    image = read_xray(demo.image_path(split[0]))
    word = TextBox(1, 2, 30, 20, "SEDUTO", 1.0, "word")
    Reviews.beside(demo.path).save(split[0], [word], shape=image.shape, content_hash=content_hash(image))
    app = section(image=split[0], split="test")
    assert "1 box, saved" in said(app)
    assert app.dataframe[0].value["text"].tolist() == ["SEDUTO"]
    cv2.imwrite(str(demo.image_path(split[0])), 255 - image)
    app = section(image=split[0], split="test")
    assert "has changed since its boxes were corrected" in said(app)
    assert "SEDUTO" not in app.dataframe[0].value["text"].tolist()


def test_a_damaged_file_of_reviews_is_reported_in_one_line(trained: Run, split: list[str], file: Path):
    file.write_text("{}")
    app = section(image=split[0], split="test")
    assert str(file) in app.error[0].value
    assert json.loads(file.read_text()) == {}
