import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import SMALL, run, start

from cxr.data import ImageCache, Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.data.phantom import write_demo
from cxr.errors import RecipeError, RunError
from cxr.evaluation.predict import predict
from cxr.networks import load_network
from cxr.runs.folder import Stopped
from cxr.text import DetectionStore, Reviews, TextBox, mask_text
from cxr.text.detection_store import content_hash
from cxr.training import load_recipe
from cxr.training.data import masked_text
from cxr.training.data.stages import prepare

BY_DETECTOR = ("phantom-00000", "phantom-00001")  # nobody has looked at these
NO_TEXT = "phantom-00002"  # by a person's word


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Synthetic X-rays with text; all but two have their true boxes as a person's, and one is said to have no text."""
    folder = tmp_path_factory.mktemp("drawn") / "phantoms"
    manifest = write_demo(folder, n=15, size=160, correlation=1.0, workers=0)
    tokens = pd.read_csv(folder / "tokens.csv")
    for image_id in set(manifest.ids) - set(BY_DETECTOR):
        rows = tokens[tokens["image_id"] == image_id].to_dict("records") if image_id != NO_TEXT else []
        save(manifest, image_id, [TextBox(r["x0"], r["y0"], r["x1"], r["y1"], kind=r["kind"]) for r in rows])
    return folder


@pytest.fixture(scope="module")
def found_once(tmp_path_factory):
    return tmp_path_factory.mktemp("found")


@pytest.fixture(autouse=True)
def searched_once(decoded_once, found_once, monkeypatch):
    """Let the tests of this file share what the detector found."""
    monkeypatch.setenv("CXR_DATA", str(found_once))


@pytest.fixture
def manifest(drawn, tmp_path):
    """A copy whose boxes may be changed."""
    return Manifest.load(shutil.copytree(drawn, tmp_path / "phantoms") / "manifest.csv")


def save(manifest, image_id, boxes):
    image = read_xray(manifest.image_path(image_id))
    Reviews.beside(manifest.path).save(image_id, boxes, shape=image.shape, content_hash=content_hash(image))


def recipe(**text):
    return load_recipe("demo").changed(SMALL | {"text": {"handling": "mask"} | text})


def told(manifest, **text):
    """Prepare the data; return the only stage's, and what was said meanwhile."""
    said = []
    (stage,) = prepare(recipe(**text), manifest, lambda _, message: said.append(message))
    return stage, said


@pytest.mark.slow
def test_a_network_sees_the_files_with_their_boxes_masked_before_they_are_resized(manifest):
    stage, _ = told(manifest, mode="inpaint", margin=0.3)
    plain = ImageCache.build(manifest, 32, workers=0)
    reviews = Reviews.beside(manifest.path)
    seen = set()
    for image_id in stage.cache.ids:
        image = read_xray(manifest.image_path(image_id))
        boxes = DetectionStore().get(image) if image_id in BY_DETECTOR else reviews.get(image_id)
        assert np.array_equal(stage.cache[image_id], fit_square(mask_text(image, boxes, "inpaint", 0.3), 32))
        assert np.array_equal(stage.cache[image_id], plain[image_id]) == (not boxes)
        seen.add(bool(boxes))
    assert seen == {True, False}
    assert stage.text["n_by_hand"] == len(stage.cache) - len(BY_DETECTOR)
    assert stage.text["n_with_text"] == len(stage.cache) - 1


@pytest.mark.slow
def test_masked_and_unmasked_pixels_and_other_ways_of_masking_never_share_a_cache(manifest):
    kept, _ = told(manifest, handling="keep")
    caches = [kept.cache] + [told(manifest, **how)[0].cache for how in ({}, {"mode": "black"}, {"margin": 0.5})]
    assert len({cache.folder for cache in caches}) == 4
    image_id = next(i for i in caches[0].ids if i not in (*BY_DETECTOR, NO_TEXT))
    assert len({cache[image_id].tobytes() for cache in caches}) == 4


@pytest.mark.slow
def test_a_corrected_box_changes_the_pixels_of_its_image_alone(manifest):
    before = told(manifest)[0].cache
    save(manifest, NO_TEXT, [TextBox(40, 40, 90, 70)])
    after = told(manifest)[0].cache
    assert after.key != before.key
    assert [i for i in before.ids if not np.array_equal(before[i], after[i])] == [NO_TEXT]


@pytest.mark.slow
def test_text_is_searched_once_with_its_progress_reported_and_a_stop_loses_nothing(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "data"))

    def stop(_, message):
        if message.startswith("text searched on 2 of "):
            raise Stopped

    with pytest.raises(Stopped):
        prepare(recipe(), manifest, stop)
    files = {path: path.stat().st_mtime_ns for path in DetectionStore().folder.glob("??/*.json")}
    assert files
    stage, said = told(manifest)
    n = len(stage.cache)
    assert f"text searched on {n} of {n} images" in said
    assert {path: path.stat().st_mtime_ns for path in files} == files
    _, said = told(manifest, mode="noise")
    assert not [message for message in said if message.startswith("text searched")]


def test_pixels_of_another_decoder_are_searched_anew(manifest, monkeypatch):
    before = masked_text._key(manifest)
    assert masked_text._key(manifest) == before
    monkeypatch.setattr(masked_text, "DECODER_VERSION", masked_text.DECODER_VERSION + 1)
    assert masked_text._key(manifest) != before


@pytest.mark.slow
def test_a_run_says_that_its_network_never_saw_the_text(manifest):
    folder = run(start(manifest.path, "demo", {"text": "mask", "stages.*.epochs": 1}))
    model, description = load_network(folder.path)
    assert "their text masked (inpaint)" in description
    assert "their text masked (inpaint)" in model.card.to_markdown()
    results = folder.read_json("results.json")
    assert results["text"] == results["stages"][0]["text"]
    assert results["text"]["mode"] == "inpaint"
    assert results["text"]["n_with_text"] == results["text"]["n_images"] - 1


@pytest.mark.slow
def test_no_stage_sees_text(manifest):
    """The network that a last stage starts from has not seen it either."""
    named = manifest.table["label"].map({"pneumonia": "Pneumonia"}).fillna("No Finding")
    manifest.table.assign(findings=named).to_csv(manifest.path, index=False)
    manifest = Manifest.load(manifest.path)
    twice = load_recipe("twice-keep").changed(SMALL | {"text": "mask"})
    stages = prepare(twice, manifest, lambda *_: None)
    plain = ImageCache.build(manifest, 32, workers=0)
    assert len(stages) == 2
    for stage in stages:
        used = stage.cache.ids
        assert used
        unmasked = [i for i in used if np.array_equal(stage.cache[i], plain[i])]
        assert set(unmasked) <= {NO_TEXT}
        assert stage.text["mode"] == "inpaint"


@pytest.mark.slow
@pytest.mark.parametrize("measure_on", ["masked", "unmasked"])
def test_results_are_of_the_images_that_the_recipe_names(manifest, measure_on):
    changes = {"text": {"handling": "mask", "measure_on": measure_on}, "stages.*.epochs": 1}
    folder = run(start(manifest.path, "demo", changes))
    model, _ = load_network(folder.path)
    table = folder.predictions()
    masked, unmasked = told(manifest)[0].cache, ImageCache.build(manifest, 32, workers=0)
    ids = table["image_id"].tolist()
    logits = {name: predict(model, cache, ids) for name, cache in (("masked", masked), ("unmasked", unmasked))}
    assert not np.allclose(logits["masked"], logits["unmasked"], atol=1e-4)
    ours = table[[f"logit_{name}" for name in model.classes]].to_numpy()
    assert np.allclose(ours, logits[measure_on], atol=1e-5)


def test_a_run_does_not_go_on_with_other_boxes(manifest):
    folder = run(start(manifest.path, "demo", {"text": "mask", "stages.*.epochs": 1}))
    save(manifest, NO_TEXT, [TextBox(40, 40, 90, 70)])
    with pytest.raises(RunError, match="the images or the labels have changed"):
        run(folder)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("blur", r"text\.handling: 'blur' is not allowed\. Allowed: keep, mask"),
        ({"mode": "whiteout"}, r"text\.mode: unknown mask mode 'whiteout'\. Available: black"),
        ({"margin": -1}, r"text\.margin: -1 is not allowed\. Allowed: 0\S* to 100"),
    ],
)
def test_an_impossible_way_is_refused_with_what_is_possible(value, line):
    with pytest.raises(RecipeError, match=line):
        load_recipe("demo").changed({"text": value})


def test_the_short_form_survives_a_file(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(load_recipe("demo").changed({"text": "mask"}).to_yaml(), encoding="utf-8")
    assert load_recipe(path).text.is_masked
    assert not load_recipe("demo").text.is_masked
