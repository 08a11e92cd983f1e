"""The shipped segmentation finds lungs, says where it does not, and is not asked twice about a picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr.data import Manifest, read_xray
from cxr.data.phantom import make_phantom
from cxr.paths import cache_root
from cxr.regions import lungs_in, lungs_many, lungs_of
from cxr.regions.lung_store import LungStore
from cxr.regions.lungs import read_mask
from cxr.regions.segmentation import lung_segmentation
from cxr.regions.segmentation.lung_segmentation import WEIGHTS, facts, lung_probability
from cxr.regions.segmentation.picture import SIDE, mask_of, picture_of


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def answer(*pieces: tuple[int, int, int, int], sure: int = 255) -> np.ndarray:
    """Return an answer that marks rectangles given as x0, y0, x1, y1 in 144ths of the picture."""
    probability = np.zeros((SIDE, SIDE), np.uint8)
    for piece in pieces:
        x0, y0, x1, y1 = (round(value * SIDE / 144) for value in piece)
        probability[y0:y1, x0:x1] = sure
    return probability


RIGHT, LEFT = (20, 20, 60, 110), (84, 20, 124, 110)


@pytest.mark.parametrize("label", ["normal", "pneumonia", "covid19"])
def test_lungs_of_synthetic_xrays_that_were_not_trained_on_are_found_at_any_proportions(label: str):
    phantom = make_phantom(987_654, label, size=260)
    cut = np.s_[10:, 20:240]
    lungs = lungs_of(phantom.image[cut])
    assert lungs.source == "segmentation"
    assert lungs.mask.shape == (250, 220)
    assert dice(lungs.mask, phantom.lung_mask[cut] > 127) > 0.85


def test_held_out_xrays_of_the_shipped_file_are_segmented_as_by_hand(shared_data: Path):
    manifest = Manifest.load(shared_data / "manifest.csv")
    held_out = facts()["held_out"].split()
    assert len(held_out) == 40
    ids = {
        manifest.image_path(name).name: name for name in manifest.ids if manifest.row(name)["source"] == "montgomery"
    }
    scores = []
    for file in held_out[:5]:
        image, mask_file = read_xray(manifest.image_path(ids[file])), manifest.mask_path(ids[file])
        assert mask_file is not None
        lungs = lungs_of(image)
        assert lungs.source == "segmentation"
        scores.append(dice(lungs.mask, read_mask(mask_file, (image.shape[0], image.shape[1]))))
    assert np.mean(scores) > 0.93


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((200, 300), np.uint8),
        np.full((64, 64), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (120, 90)).astype(np.uint8),
    ],
    ids=["black", "white", "noise"],
)
def test_a_picture_without_lungs_gets_boxes(image: np.ndarray):
    lungs = lungs_of(image)
    assert lungs.source == "box"
    assert lungs.mask.any()


def test_two_lungs_are_kept_whole_and_specks_are_dropped():
    probability = answer(RIGHT, LEFT, (2, 130, 8, 136))
    probability[60:64, 30:34] = 0  # a hole
    mask = mask_of(probability, (SIDE, SIDE))
    assert mask is not None
    assert (mask == (answer(RIGHT, LEFT) > 127)).all()
    larger = mask_of(probability, (300, 500))
    assert larger is not None
    assert larger.shape == (300, 500)
    assert abs(larger.mean() - mask.mean()) < 0.01


@pytest.mark.parametrize(
    "probability",
    [
        answer(),
        answer(RIGHT),
        answer(RIGHT, (84, 20, 90, 50)),  # one of the two is a sliver
        answer((20, 20, 40, 35), (84, 20, 104, 35)),  # both are
        answer((0, 0, 70, 144), (74, 0, 144, 144)),
        answer(RIGHT, LEFT, sure=140),
    ],
    ids=["nothing", "one lung", "a sliver", "too small", "too large", "unsure"],
)
def test_an_answer_that_cannot_be_two_lungs_is_implausible(probability: np.ndarray):
    assert mask_of(probability, (SIDE, SIDE)) is None


def test_the_network_is_given_nearly_the_same_picture_of_a_faint_and_of_a_strong_exposure():
    image = make_phantom(5, "normal", size=144).image
    faint = (image * 0.6).astype(np.uint8)
    alike = np.corrcoef(picture_of(image).ravel(), picture_of(faint).ravel())[0, 1]
    assert picture_of(image).mean() == pytest.approx(0, abs=1e-4)
    assert picture_of(faint).std() == pytest.approx(picture_of(image).std(), rel=0.01)
    assert alike > 0.9
    assert np.isfinite(picture_of(np.zeros((40, 40), np.uint8))).all()


def test_an_xray_of_a_data_set_is_segmented_once_and_a_broken_answer_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    image = make_phantom(11, "normal", size=128).image
    Image.fromarray(image).save(tmp_path / "a.png")
    manifest = Manifest.from_table(pd.DataFrame({"image_id": ["a"], "image": ["a.png"], "label": ["cats"]}), tmp_path)
    store = LungStore(tmp_path / "kept")
    first = store.probability(image)
    assert (first == lung_probability(image)).all()
    asked: list[int] = []
    network = lung_segmentation.lung_probability
    monkeypatch.setattr("cxr.regions.lung_store.lung_probability", lambda xray: asked.append(1) or network(xray))
    assert (store.probability(image) == first).all()
    assert not asked
    store.path(image).write_bytes(b"torn")
    assert (store.probability(image) == first).all()
    assert len(asked) == 1
    shutil.rmtree(cache_root() / "lungs", ignore_errors=True)
    lungs = lungs_in(manifest, "a", image)
    assert len(asked) == 2
    ((name, many),) = lungs_many(manifest, workers=0)
    assert len(asked) == 2
    assert name == "a"
    assert (many.mask == lungs.mask).all()


def test_the_shipped_file_is_small_and_says_how_it_was_made():
    assert WEIGHTS.stat().st_size < 2_000_000
    known = facts()
    assert known["source"] == "montgomery"
    assert int(known["trained_on"]) + len(known["held_out"].split()) == 138
    assert cv2.resize(lung_probability(np.zeros((99, 77), np.uint8)), (9, 9)).shape == (9, 9)
