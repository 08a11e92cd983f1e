from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from text_drawing import chest_like, write_text

from cxr.text import DetectionStore, TextBox, detect_cached
from cxr.text.detection_store import content_hash

FOUND = [TextBox(1, 2, 30, 14, "AP", 0.9, "word"), TextBox(40, 2, 50, 14)]


def test_the_second_question_about_the_same_pixels_is_answered_from_disk(tmp_path):
    image, asked = chest_like(60, 80), []
    store = DetectionStore(tmp_path)
    for _ in range(3):
        assert store.detect(image.copy(), lambda i: asked.append(i) or FOUND) == FOUND
    assert (len(asked), store.hits, store.misses) == (1, 2, 1)
    assert DetectionStore(tmp_path).get(image) == FOUND


def test_other_pixels_another_shape_or_another_version_are_searched_anew(tmp_path):
    image = chest_like(60, 80)
    store = DetectionStore(tmp_path)
    store.put(image, FOUND)
    other = image.copy()
    other[0, 0] ^= 1
    assert store.get(other) is None
    assert store.get(image.reshape(80, 60)) is None
    assert DetectionStore(tmp_path, version="next").get(image) is None


def test_an_image_without_text_is_remembered_as_such(tmp_path):
    store = DetectionStore(tmp_path)
    store.put(chest_like(40, 40), [])
    assert store.get(chest_like(40, 40)) == []
    assert store.hits == 1


def test_each_operating_point_keeps_its_own_boxes(tmp_path):
    image = chest_like(40, 40)
    DetectionStore(tmp_path).put(image, FOUND)
    every = DetectionStore(tmp_path, operating_point="mask-all")
    assert every.get(image) is None
    every.put(image, FOUND[:1])
    assert DetectionStore(tmp_path).get(image) == FOUND
    assert DetectionStore(tmp_path, operating_point="mask-all").get(image) == FOUND[:1]


def test_a_damaged_file_is_searched_anew_and_mended(tmp_path):
    image = chest_like(60, 80)
    store = DetectionStore(tmp_path)
    store.put(image, FOUND)
    path = store.path(content_hash(image))
    for damage in ("", "[{", '[{"unknown": 1}]', "7"):
        path.write_text(damage)
        assert store.detect(image, lambda _: FOUND) == FOUND
        assert store.get(image) == FOUND


def test_many_threads_may_write_the_same_entry(tmp_path):
    image = chest_like(60, 80)
    store = DetectionStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: store.detect(image, lambda _: FOUND), range(40)))
    assert all(answer == FOUND for answer in answers)
    assert [p.suffix for p in store.path(content_hash(image)).parent.iterdir()] == [".json"]


def test_a_file_and_its_pixels_are_one_entry(tmp_path):
    image, _ = write_text(chest_like(200, 260), "AP ERECT", 120, 20, 22)
    Image.fromarray(image).save(tmp_path / "x.png")
    from_file = detect_cached(tmp_path / "x.png", tmp_path / "cache")
    store = DetectionStore(tmp_path / "cache")
    assert from_file
    assert store.get(np.asarray(image)) == from_file
