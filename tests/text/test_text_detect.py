import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pandas as pd
import psutil
import pytest
from text_drawing import chest_like, write_text
from typer.testing import CliRunner

from cxr.cli.text import app
from cxr.data import read_xray
from cxr.errors import MissingPackageError, TextError
from cxr.text import detect_boxes, detect_text
from cxr.text.boxes import TextBox, iou
from cxr.text.detection import detector
from cxr.text.detection.detector import MAX_AREA, OPERATING_POINTS, Detector, _worth_a_second_search
from cxr.text.detection.elsewhere import DetectorElsewhere
from cxr.text.detection.ocr import Engine, give_back_idle
from cxr.text.detection.shared import shared_detector
from cxr.text.detection.views import VIEWS


@pytest.mark.parametrize(("height", "width", "size"), [(256, 320, 22), (900, 700, 40), (1200, 1500, 60)])
def test_boxes_are_in_pixels_of_the_given_image_at_every_size(height, width, size):
    image, ink = write_text(chest_like(height, width), "PORTABLE", round(0.55 * width), round(0.06 * height), size)
    found = detect_text(image)
    best = max(found, key=lambda box: iou(box, TextBox(*ink)))
    assert iou(best, TextBox(*ink)) > 0.4
    assert best.text.upper() == "PORTABLE"
    assert best.kind == "word"
    assert all(0 <= b.x0 < b.x1 <= width and 0 <= b.y0 < b.y1 <= height for b in found)


def test_every_view_maps_its_pixels_back_to_the_same_place_of_the_image():
    image = np.zeros((400, 600), dtype=np.uint8)
    image[30:50, 20:60] = 255  # in the top strip and in the left one
    for name, views in VIEWS.items():
        seen = 0
        for view in views(image):
            y, x = np.nonzero(view.pixels > 128)
            if not len(x):
                continue
            seen += 1
            corners = np.array([[[x.min(), y.min()], [x.max() + 1, y.max() + 1]]], dtype=float)
            back = np.sort(view.to_image(corners)[0], axis=0)
            assert np.abs(back - [[20, 30], [60, 50]]).max() < 2.5, name
        assert seen >= 1, name


def test_finding_without_reading_gives_the_same_boxes_before_and_after_a_full_pass():
    image, _ = write_text(chest_like(220, 260), "SUPINE 2020", 120, 12, 18)
    first = detect_boxes(image)
    read = detect_text(image)
    again = detect_boxes(image)
    assert first == again
    assert [(b.x0, b.y0, b.x1, b.y1) for b in first] == [(b.x0, b.y0, b.x1, b.y1) for b in read]
    assert {b.text for b in first} == {""}
    assert any(b.text for b in read)


def test_flags_that_another_call_left_behind_in_the_engine_do_no_harm():
    image, _ = write_text(chest_like(220, 260), "SUPINE 2020", 120, 12, 18)
    before = detect_text(image)
    engine = shared_detector()._engine._loaded()
    engine(np.repeat(image[..., None], 3, axis=2), use_det=False, use_cls=True, use_rec=True)
    assert detect_text(image) == before


def test_a_process_has_one_engine_however_it_asks_for_a_detector():
    detectors = [shared_detector(), shared_detector(None), shared_detector(operating_point="careful")]
    assert len({id(detector) for detector in detectors}) == 1
    engines = {id(shared_detector(operating_point=point)._engine) for point in OPERATING_POINTS}
    assert engines == {id(detectors[0]._engine)}
    assert shared_detector(1)._engine is not detectors[0]._engine  # so many cores a call


def test_an_engine_that_gave_its_memory_back_finds_the_same():
    image, _ = write_text(chest_like(220, 260), "SUPINE 2020", 120, 12, 18)
    engine = shared_detector()._engine
    before = detect_text(image)
    assert not give_back_idle(buffers_for_s=60, models_for_s=60)  # just used
    assert give_back_idle(buffers_for_s=0, models_for_s=60)
    assert not give_back_idle(buffers_for_s=0, models_for_s=60)  # nothing is left to give back
    assert engine._engine is not None
    assert detect_text(image) == before
    assert give_back_idle(buffers_for_s=0, models_for_s=0)
    assert engine._engine is None
    assert not give_back_idle(buffers_for_s=0, models_for_s=0)
    assert detect_text(image) == before


def test_an_engine_that_has_only_read_gives_its_memory_back_too():
    engine = Engine(threads=1)
    image, ink = write_text(chest_like(220, 260), "SUPINE", 120, 12, 18)
    box = TextBox(*ink)
    before = engine.read(image, [box])
    assert not engine.give_back(buffers_for_s=0, models_for_s=60)
    assert engine.give_back(buffers_for_s=0, models_for_s=0)
    assert engine.read(image, [box]) == before


def test_an_engine_at_work_is_left_alone():
    engine = shared_detector()._engine
    detect_text(write_text(chest_like(220, 260), "SUPINE 2020", 120, 12, 18)[0])
    with engine._lock, ThreadPoolExecutor(1) as another:  # a call holds the lock as long as it lasts
        assert not another.submit(give_back_idle, 0, 0).result()
    assert engine._engine is not None


def test_threads_share_one_detector_and_get_the_boxes_of_one_after_the_other():
    images = [write_text(chest_like(200, 260, seed=i), f"ROOM {i}{i}", 120, 20, 24)[0] for i in range(2)]
    alone = [detect_text(image) for image in images]
    together = [None] * 2
    threads = [threading.Thread(target=lambda i=i: together.__setitem__(i, detect_text(images[i]))) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_vertical_word_is_found():
    image, ink = write_text(chest_like(350, 250), "ERECT POSITION", 15, 125, 18)
    turned = np.ascontiguousarray(np.rot90(image))
    height = turned.shape[0]
    truth = TextBox(ink[1], height - ink[2], ink[3], height - ink[0])
    assert max(iou(box, truth) for box in detect_boxes(turned)) > 0.4


def test_a_picture_without_text_has_no_boxes_and_no_box_covers_much():
    assert detect_text(chest_like(200, 200)) == []
    page = np.full((200, 200), 255, np.uint8)
    cv2.putText(page, "W", (10, 190), cv2.FONT_HERSHEY_SIMPLEX, 8, 0, 20)
    assert all(box.area <= MAX_AREA * page.size for box in detect_text(page))


def test_a_box_over_a_large_part_is_searched_again_within():
    image, ink = write_text(chest_like(900, 900), "PORTABLE", 560, 40, 34)
    large = TextBox(450, 0, 900, 300, score=0.9)
    within = shared_detector()._searched_within(image, large)
    assert max(iou(box, TextBox(*ink)) for box in within) > 0.4
    whole, doubted = TextBox(0, 0, 900, 900, score=0.9), TextBox(0, 300, 300, 900, score=0.4)
    assert _worth_a_second_search([whole, large, doubted, TextBox(*ink)], MAX_AREA * image.size) == [large]
    page = chest_like(600, 600)
    cv2.putText(page, "SUPINE", (10, 340), cv2.FONT_HERSHEY_SIMPLEX, 4.6, 250, 16)  # a quarter of the picture
    assert all(box.area <= MAX_AREA * page.size for box in detect_text(page))


@pytest.mark.parametrize(
    ("tail", "head"), [((320, 350), (380, 300)), ((500, 420), (440, 380)), ((250, 430), (380, 400))]
)
def test_an_arrow_has_its_kind_and_no_text_however_long_it_is(tail, head):
    empty = chest_like(700, 700)
    image = cv2.arrowedLine(empty.copy(), tail, head, 250, 4, cv2.LINE_AA, tipLength=0.3)
    y, x = np.nonzero(image != empty)
    ink = TextBox(x.min(), y.min(), x.max() + 1, y.max() + 1)
    (arrow,) = (box for box in detect_text(image) if iou(box, ink) > 0.4)
    assert (arrow.kind, arrow.text) == ("arrow", "")


def test_an_arrow_whose_box_would_swallow_anatomy_is_refused(monkeypatch):
    image = chest_like(700, 500)
    cv2.arrowedLine(image, (120, 200), (262, 342), 250, 4, cv2.LINE_AA, tipLength=0.3)
    assert detect_boxes(image) == []
    monkeypatch.setattr(detector, "MAX_AREA", 0.08)
    assert [box.kind for box in detect_boxes(image)] == ["arrow"]


def test_what_is_too_long_for_a_glyph_and_no_arrow_is_no_token():
    image = chest_like(700, 700)
    cv2.ellipse(image, (330, 380), (60, 45), 20, 0, 200, 250, 3, cv2.LINE_AA)  # a wire
    image[500:630, 300:308] = 250
    assert detect_boxes(image) == []


def test_mask_all_keeps_every_token_that_careful_keeps_and_asks_less_of_candidates():
    image, _ = write_text(chest_like(500, 500), "ERECT", 300, 20, 20)
    careful, every = (Detector(1, operating_point=name).detect_boxes(image) for name in OPERATING_POINTS)
    assert careful
    assert all(max(iou(box, other) for other in every) > 0.3 for box in careful)
    strict, loose = OPERATING_POINTS.values()
    assert strict.min_mean > loose.min_mean
    assert strict.alone > loose.alone


def test_unknown_views_and_operating_points_are_refused_by_name():
    with pytest.raises(TextError, match=r"'all'.*careful, mask-all"):
        Detector(operating_point="all")
    with pytest.raises(TextError, match=r"'strips'.*whole"):
        Detector(views=("strips",))


def test_the_command_line_takes_an_operating_point(tmp_path):
    image, _ = write_text(chest_like(300, 300), "SUPINE", 120, 20, 24)
    cv2.imwrite(str(tmp_path / "x.png"), image)
    told = CliRunner().invoke(app, ["detect", str(tmp_path / "x.png"), "--operating-point", "mask-all", "--json"])
    (entry,) = json.loads(told.output)
    assert [box["text"] for box in entry["boxes"] if box["kind"] == "word"] == ["SUPINE"]
    wrong = CliRunner().invoke(app, ["detect", str(tmp_path / "x.png"), "--operating-point", "all"])
    assert isinstance(wrong.exception, TextError)


def test_tiny_pictures_and_flat_ones_have_no_text():
    assert detect_text(np.zeros((1, 1), np.uint8)) == []
    assert detect_text(np.full((6, 400), 7, np.uint8)) == []


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)]
)
def test_other_arrays_are_refused_with_their_type_and_shape(wrong):
    with pytest.raises(TextError, match=rf"{wrong.dtype} of shape"):
        detect_text(wrong)


def test_tokens_of_real_xrays_are_found_and_a_clean_one_stays_clean(shared_data):
    table = pd.read_csv(shared_data / "text" / "boxes.csv")
    names = [
        "images/cohen__pneumococcal-pneumonia-day35.jpg",
        "images/cohen__covid-19-pneumonia-49-day4.jpg",
        "images/covidcxnet__443-.png",
        "images/cohen__16660_2_1.jpg",
    ]
    found = wanted = 0
    for name in names:
        tokens = table[(table["image"] == name) & table["x0"].notna() & (table["difficult"] != 1)]
        boxes = detect_boxes(read_xray(shared_data / "text" / name))
        if tokens.empty:
            assert boxes == [], name
        for token in tokens[tokens["kind"] != "arrow"].itertuples():
            x, y = (token.x0 + token.x1) / 2, (token.y0 + token.y1) / 2
            wanted += 1
            found += any(b.x0 <= x < b.x1 and b.y0 <= y < b.y1 for b in boxes)
    assert wanted >= 6
    assert found / wanted >= 0.8


def test_a_process_of_its_own_finds_and_reads_the_same_and_ends_when_nobody_asks():
    image, ink = write_text(chest_like(220, 260), "SUPINE 2020", 120, 12, 18)
    here, elsewhere = Detector(threads=1), DetectorElsewhere(threads=1)
    assert not elsewhere.give_back(buffers_for_s=0, models_for_s=0), "nobody has asked"
    boxes = [TextBox(*ink), *here.detect_boxes(image)]
    assert elsewhere.detect_boxes(image) == here.detect_boxes(image)
    assert elsewhere.recognise(image, boxes) == here.recognise(image, boxes)
    assert elsewhere.reading_scores(image, boxes) == here.reading_scores(image, boxes)
    assert elsewhere(image) == here(image)
    process = psutil.Process(elsewhere._worker.pid)
    assert not elsewhere.give_back(buffers_for_s=0, models_for_s=60), "just used"
    assert give_back_idle(buffers_for_s=0, models_for_s=0)
    assert not process.is_running()
    with pytest.raises(TextError, match="uint8"):
        elsewhere(image.astype(float))


def test_a_process_that_was_killed_is_named_and_the_next_question_starts_another():
    image, _ = write_text(chest_like(220, 260), "SUPINE 2020", 120, 12, 18)
    elsewhere = DetectorElsewhere(threads=1)
    found = elsewhere(image)
    psutil.Process(elsewhere._worker.pid).kill()
    with pytest.raises(TextError, match="ended without an answer"):
        elsewhere(image)
    assert elsewhere(image) == found
    elsewhere.give_back(0, 0)


def test_a_missing_library_is_named_before_a_process_is_started_for_it(monkeypatch):
    monkeypatch.setattr("cxr.errors.importlib.util.find_spec", lambda name: None)
    elsewhere = DetectorElsewhere(threads=1)
    with pytest.raises(MissingPackageError, match="rapidocr is not installed"):
        elsewhere(chest_like(220, 260))
    assert elsewhere._worker is None


def test_a_server_reads_elsewhere_and_other_programs_here():
    program = "from cxr.text.detection import ELSEWHERE; from cxr.text.detection.shared import shared_detector\n"
    program += "print(type(shared_detector()).__name__); ELSEWHERE.set(); print(type(shared_detector()).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Detector", "DetectorElsewhere"]
