"""Boxes corrected by hand: kept beside the manifest, safe for two writers, and not used for other pixels."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from text_drawing import chest_like

from cxr.errors import TextError
from cxr.text import DetectionStore, Reviews, TextBox, tokens_of
from cxr.text.corrections import FileTokens, tokens_of_file
from cxr.text.detection_store import content_hash

WORD = TextBox(3, 4, 40, 17, "SEDUTO", 1.0, "word")
ELSEWHERE = TextBox(50, 30, 60, 44, "L", 0.7, "letter")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "set" / "manifest.csv"
    path.parent.mkdir()
    path.write_text("image,label\na.png,normal\n")
    return path


def save(reviews: Reviews, image_id: str, boxes: list[TextBox], image: np.ndarray) -> Path:
    return reviews.save(image_id, boxes, shape=image.shape, content_hash=content_hash(image))


def test_saved_boxes_lie_beside_the_manifest_and_are_read_by_others(manifest):
    image = chest_like(60, 80)
    assert Reviews.beside(manifest).get("a") is None
    file = save(Reviews.beside(manifest), "a", [WORD, ELSEWHERE], image)
    save(Reviews.beside(manifest), "b", [], image)
    assert file == manifest.parent / "manifest.csv.boxes.json"
    others = Reviews.beside(manifest)
    assert (others.get("a"), others.get("b"), others.get("c")) == ([WORD, ELSEWHERE], [], None)
    assert others.reviewed == {"a", "b"}


def test_a_reader_sees_what_another_one_saved_in_the_meantime(manifest):
    image = chest_like(60, 80)
    reader, writer = Reviews.beside(manifest), Reviews.beside(manifest)
    save(writer, "a", [WORD], image)
    assert reader.get("a") == [WORD]
    save(writer, "a", [ELSEWHERE], image)
    assert reader.get("a") == [ELSEWHERE]
    assert writer.remove("a")
    assert reader.get("a") is None
    assert not reader.remove("a")


def test_many_writers_lose_none_of_their_boxes(manifest):
    image = chest_like(60, 80)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: save(Reviews.beside(manifest), f"x{n}", [WORD], image), range(24)))
    assert Reviews.beside(manifest).reviewed == {f"x{n}" for n in range(24)}
    left = {p.name for p in manifest.parent.iterdir() if not p.name.endswith(".lock")}
    assert left == {"manifest.csv", "manifest.csv.boxes.json"}, "nothing temporary stays behind"


@pytest.mark.parametrize(
    ("box", "told"),
    [
        (TextBox(3, 4, 81, 17), "3, 4, 81, 17 is not a box within the 80 x 60 pixels"),
        (TextBox(-1, 4, 10, 17), "-1, 4, 10, 17"),
        (TextBox(10, 4, 10, 17), "10, 4, 10, 17"),
        (TextBox(1, 50, 10, 61), "1, 50, 10, 61"),
        (TextBox(1, 5, 10, 6, kind="comma"), "unknown kind 'comma'. Available: word"),
    ],
)
def test_a_box_that_is_none_is_refused_with_its_number_and_nothing_is_lost(manifest, box, told):
    reviews, image = Reviews.beside(manifest), chest_like(60, 80)
    save(reviews, "a", [WORD], image)
    with pytest.raises(TextError, match="box 2") as error:
        save(reviews, "a", [WORD, box], image)
    assert told in str(error.value)
    assert reviews.get("a") == [WORD]


@pytest.mark.parametrize("damage", ["", "[]", '{"format": 2, "images": {}}', '{"format": 1, "images": {"a": {}}}'])
def test_a_damaged_file_is_named_and_never_overwritten(manifest, damage):
    file = manifest.with_name("manifest.csv.boxes.json")
    file.write_text(damage)
    with pytest.raises(TextError, match=r"manifest\.csv\.boxes\.json"):
        Reviews.beside(manifest).get("a")
    with pytest.raises(TextError, match=r"manifest\.csv\.boxes\.json"):
        save(Reviews.beside(manifest), "b", [WORD], chest_like(60, 80))
    assert file.read_text() == damage


def test_without_the_right_to_write_boxes_go_to_the_folder_of_data_and_begin_with_those_shipped(
    manifest, tmp_path, monkeypatch
):
    image = chest_like(60, 80)
    save(Reviews.beside(manifest), "shipped", [WORD], image)
    monkeypatch.setattr("cxr.text.corrections.os.access", lambda folder, mode: False)  # tests may run as root
    reviews = Reviews.beside(manifest)
    assert reviews.get("shipped") == [WORD]
    file = save(reviews, "mine", [ELSEWHERE], image)
    assert file.is_relative_to(tmp_path / "data" / ".reviews")
    assert Reviews.beside(manifest).reviewed == {"shipped", "mine"}
    monkeypatch.undo()
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "data"))
    assert json.loads(manifest.with_name("manifest.csv.boxes.json").read_text())["images"].keys() == {"shipped"}
    assert Reviews.beside(manifest).reviewed == {"shipped", "mine"}, "a right that comes back loses nobody's work"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    reviews = Reviews(tmp_path / "file" / "manifest.csv.boxes.json")
    with pytest.raises(
        TextError, match=r"cannot be saved in .*manifest\.csv\.boxes\.json: (File exists|Not a directory)"
    ):
        save(reviews, "a", [WORD], chest_like(60, 80))


def test_a_review_goes_before_the_detector_as_long_as_the_pixels_are_the_same(manifest):
    image = chest_like(60, 80)
    reviews = Reviews.beside(manifest)
    save(reviews, "a", [WORD], image)
    save(reviews, "none", [], image)
    assert tokens_of(image, "a", reviews, lambda _: [ELSEWHERE]) == ([WORD], True)
    assert tokens_of(image, "none", reviews, lambda _: [ELSEWHERE]) == ([], True)
    assert tokens_of(image, "unseen", reviews, lambda _: [ELSEWHERE]) == ([ELSEWHERE], False)
    assert tokens_of(image, "a", None, lambda _: [ELSEWHERE]) == ([ELSEWHERE], False)
    other = image.copy()
    other[0, 0] ^= 1
    assert tokens_of(other, "a", reviews, lambda _: [ELSEWHERE]) == ([ELSEWHERE], False)
    assert tokens_of(image.T.copy(), "a", reviews, lambda _: [ELSEWHERE]) == ([ELSEWHERE], False)
    assert reviews.get("a") == [WORD], "what was saved for the other pixels is kept"


def test_tokens_of_a_file_come_from_its_review_else_from_the_store(manifest):
    image, path = chest_like(60, 80), manifest.parent / "a.png"
    Image.fromarray(image).save(path)
    DetectionStore().put(image, [ELSEWHERE])
    reviews = Reviews.beside(manifest)
    assert tokens_of_file((path, None)) == FileTokens([ELSEWHERE], (60, 80), False)
    save(reviews, "a", [WORD], image)
    assert tokens_of_file((path, reviews.entry("a"))) == FileTokens([WORD], (60, 80), True)
    path.write_bytes(b"no picture")
    assert "a.png" in tokens_of_file((path, None))
