"""How a picture lies and what it is: the numbers in 16 views, the model on X-rays, the rules, and ages."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr.data.audit.appearance.children import children
from cxr.data.audit.appearance.features import N_FEATURES, VIEWS, View, features, in_views
from cxr.data.audit.appearance.flags import KINDS, FlaggedImage, child_flag, counts_of, flags_of, look_of, ranked
from cxr.data.audit.appearance.model import WEIGHTS, shipped_model
from cxr.data.audit.appearance.picture import look, picture_of
from cxr.data.phantom import make_phantom

LIMITS = shipped_model().thresholds


def kinds(image: np.ndarray) -> set[str]:
    """Return the kinds of flags that a picture gets."""
    picture = picture_of(np.ascontiguousarray(image))
    (appearance,) = shipped_model().look(picture["small"][None])
    return {flag["kind"] for flag in flags_of("a", look_of(picture, appearance), LIMITS)}


def clouds(seed: int = 0, side: int = 64) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (9, 9)).astype(np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def chests() -> list[np.ndarray]:
    """Synthetic X-rays that the model did not learn from."""
    return [make_phantom(500_000 + k, ("normal", "covid19")[k % 2], size=256).image for k in range(8)]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_the_numbers_of_a_view_are_those_of_the_picture_after_its_change_was_undone(view: View):
    image = clouds()
    assert (view.undo(view.do(image)) == image).all()
    numbers = in_views(features(image[None]))[0, VIEWS.index(view)]
    assert numbers.shape == (N_FEATURES,)
    np.testing.assert_allclose(numbers, features(view.undo(image)[None])[0], atol=1e-3)


def test_brightness_and_contrast_change_nothing():
    image = clouds().astype(float)
    np.testing.assert_allclose(
        features(np.asarray(40 + image / 2, np.uint8)[None]), features(np.asarray(image, np.uint8)[None]), atol=0.1
    )


@pytest.mark.parametrize("view", [View(inverted=True), View(90), View(180), View(270), View(0, True)], ids=str)
def test_a_change_is_seen_as_what_it_is_and_an_untouched_chest_as_nothing(chests: list[np.ndarray], view: View):
    expected = "inverted" if view.inverted else "mirrored" if view.mirrored else f"rotated-{view.turned}"
    before = [kinds(image) for image in chests]
    after = [kinds(view.do(image)) for image in chests]
    assert before.count(set()) >= 7, before
    assert after.count({expected}) >= 6, after


def test_turned_and_inverted_are_both_said(chests: list[np.ndarray]):
    both = [kinds(View(90, inverted=True).do(image)) for image in chests]
    assert both.count({"inverted", "rotated-90"}) >= 6, both


def test_turns_are_clockwise(chests: list[np.ndarray]):
    turned = [kinds(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)) for image in chests]
    assert sum("rotated-90" in own for own in turned) >= 6, turned


def test_clouds_and_half_a_chest_are_no_whole_chest(chests: list[np.ndarray]):
    others = {"not-a-chest", "lateral", "cut"}
    assert all(kinds(clouds(k, 256)) & others for k in range(4))
    halves = [kinds(image[:, :128]) for image in chests]
    assert sum("cut" in own for own in halves) >= 6, halves


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (np.full((300, 300), 90, np.uint8), "empty", "differ by 0 of 255"),
        (np.pad(clouds(), 200), "empty", "of the picture is of one grey"),
        (np.pad(clouds(1, 300), ((0, 250), (0, 0))), "cut", "from the bottom"),
        (clouds(2, 600)[:200], "cut", "3.0 times as long as wide"),
        (clouds(2, 600)[:, :200], "cut", "3.0 times as long as wide"),
    ],
)
def test_empty_and_cut_films_are_said_with_what_was_measured(image: np.ndarray, kind: str, words: str):
    picture = picture_of(np.ascontiguousarray(image))
    (appearance,) = shipped_model().look(picture["small"][None])
    flags = flags_of("a", look_of(picture, appearance), LIMITS)
    assert flags[0]["kind"] == kind
    assert words in flags[0]["sentence"]
    assert 0 <= flags[0]["score"] <= 1


def test_a_tiny_picture_is_looked_at_too():
    assert kinds(np.zeros((3, 2), np.uint8)) == {"empty"}


def test_a_colour_png_and_16_bits_appear_as_the_grey_picture(tmp_path: Path, chests: list[np.ndarray]):
    image = chests[0]
    cv2.imwrite(str(tmp_path / "grey.png"), image)
    cv2.imwrite(str(tmp_path / "colour.png"), cv2.merge([image] * 3))
    cv2.imwrite(str(tmp_path / "deep.png"), image.astype(np.uint16) * 257)
    small = [look(tmp_path / f"{name}.png")["small"] for name in ("grey", "colour", "deep")]
    assert (small[0] == small[1]).all()
    assert np.corrcoef(small[0].ravel(), small[2].ravel())[0, 1] > 0.99
    seen = shipped_model().look(np.stack(small))
    assert [appearance["view"] for appearance in seen] == [0, 0, 0]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert look(tmp_path / "broken.png") == "is text, not an image"


def test_children_are_counted_by_label_or_finding_and_only_flagged_among_adults():
    table = pd.DataFrame({"age": [3, 40, 50, 60, np.nan], "label": ["a", "a", "b", "b", "b"], "findings": [""] * 5})
    own = children(table)
    assert (own["children"], own["known"], own["of"], own["flagged"]) == (1, 4, 5, True)
    assert own["by_class"] == {"a": {"children": 1, "known": 2}, "b": {"children": 0, "known": 2}}
    assert own["sentence"] == (
        "1 of 4 X-rays with a known age are of children below 16 years. By class: a 1 of 2, b 0 of 2. "
        "The age of 1 is unknown."
    )
    findings = children(table.assign(label="", findings=["x|y", "x", "", "y", ""]))
    assert findings["by_class"] == {"x": {"children": 1, "known": 2}, "y": {"children": 1, "known": 2}}
    young = children(table.assign(age=[3, 4, 5, 60, np.nan]))
    assert (young["children"], young["flagged"]) == (3, False)
    assert "not flagged one by one" in young["sentence"]
    assert children(table.assign(age=np.nan))["sentence"].startswith("No age is known")


def test_the_highest_score_comes_first_and_children_last():
    flags = [
        FlaggedImage(image_id=i, kind=k, score=s, sentence="") for i, k, s in (("b", "cut", 0.7), ("a", "empty", 0.9))
    ]
    order = ranked([child_flag("c", 0.5), *flags])
    assert [flag["image_id"] for flag in order] == ["a", "b", "c"]
    assert "less than a year old" in order[2]["sentence"]
    assert counts_of(order) == dict.fromkeys(KINDS, 0) | {"cut": 1, "empty": 1, "child": 1}


def test_the_shipped_model_is_small():
    assert WEIGHTS.stat().st_size < 1_000_000


def test_real_x_rays_of_a_hospital_never_seen_are_hardly_flagged_and_turned_ones_are(shared_data: Path):
    table = pd.read_csv(shared_data / "manifest.csv")
    files = table.loc[table["source"] == "montgomery", "image"].iloc[::9]
    images = [look(shared_data / file)["small"] for file in files]
    assert len(images) == 16
    assert sum(bool(kinds(image)) for image in images) <= 2
    assert sum("rotated-180" in kinds(np.rot90(image, 2)) for image in images) >= 14
    assert sum("inverted" in kinds(255 - image) for image in images) >= 14
