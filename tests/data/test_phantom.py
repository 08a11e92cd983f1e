from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from cxr.data.manifest import Manifest
from cxr.data.phantom import CLASSES, FONTS, TOKEN_SETS, demo_phantom, make_phantom, write_demo
from cxr.data.phantom.token_sets import choose_token_set, glyphs
from cxr.errors import CxrError

SIZE = 160
SAMPLE = range(12)


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(i, CLASSES[i % 3], size=SIZE) for i in range(24)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return write_demo(folder, n=30, correlation=0.5, seed=5, size=128, workers=0)


def _boxes(phantom):
    mask = np.zeros_like(phantom.token_mask)
    for token in phantom.tokens:
        mask[token["y0"] : token["y1"], token["x0"] : token["x1"]] = 255
    return mask


def test_the_same_seed_gives_the_same_pixels_masks_and_words():
    first, second = (make_phantom(7, "covid19", size=SIZE, correlation=0.4) for _ in range(2))
    for name in ("image", "lung_mask", "lesion_mask", "token_mask"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.tokens == second.tokens
    assert not np.array_equal(first.image, make_phantom(8, "covid19", size=SIZE).image)


@pytest.mark.parametrize("size", [96, 161, 256])
def test_images_and_masks_have_the_size_requested_and_masks_are_0_or_255(size):
    phantom = make_phantom(1, "pneumonia", size=size)
    for array in (phantom.image, phantom.lung_mask, phantom.lesion_mask, phantom.token_mask):
        assert array.shape == (size, size)
        assert array.dtype == np.uint8
    for mask in (phantom.lung_mask, phantom.lesion_mask, phantom.token_mask):
        assert set(np.unique(mask)) == {0, 255}


def test_lungs_cover_a_plausible_share_on_both_sides_and_are_darker_than_the_rest_of_the_chest(phantoms):
    for phantom in phantoms:
        lungs = phantom.lung_mask > 0
        assert 0.15 < lungs.mean() < 0.5
        left, right = lungs[:, : SIZE // 2].sum(), lungs[:, SIZE // 2 :].sum()
        assert 0.4 < left / right < 3
        middle = phantom.image[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4]
        inside = lungs[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4]
        assert middle[inside].mean() < middle[~inside].mean() - 15


def test_the_heart_lies_mostly_on_the_right_of_the_image(phantoms):
    lower = slice(SIZE // 2, int(SIZE * 0.68))
    mirrored = sum(
        (p.lung_mask[lower, : SIZE // 2] > 0).mean() < (p.lung_mask[lower, SIZE // 2 :] > 0).mean() for p in phantoms
    )
    assert mirrored <= len(phantoms) // 6


def test_lesions_lie_inside_the_lungs_and_only_where_there_is_a_disease(phantoms):
    for phantom in phantoms:
        lesion, lung = phantom.lesion_mask > 0, phantom.lung_mask > 0
        assert not (lesion & ~lung).any()
        assert lesion.any() == (phantom.label != "normal")


def test_pneumonia_is_in_one_lung_and_covid19_in_both():
    for seed in range(8):
        halves = {}
        for label in ("pneumonia", "covid19"):
            lesion = make_phantom(seed, label, size=SIZE, tokens=False).lesion_mask > 0
            parts, labels = cv2.connectedComponents(make_phantom(seed, label, size=SIZE).lung_mask)
            big = [k for k in range(1, parts) if (labels == k).mean() > 0.03]
            halves[label] = sum((lesion & (labels == k)).any() for k in big)
        assert halves == {"pneumonia": 1, "covid19": 2}


def test_ground_glass_lies_nearer_to_the_pleura_than_the_lungs_average():
    for seed in range(6):
        phantom = make_phantom(seed, "covid19", size=SIZE, tokens=False)
        lung, lesion = phantom.lung_mask > 0, phantom.lesion_mask > 0
        columns = np.arange(SIZE)[None].repeat(SIZE, 0)
        distance = abs(columns - columns[lung].mean())
        assert distance[lesion].mean() > distance[lung].mean() + 0.05 * SIZE


def test_a_lesion_brightens_what_its_mask_covers_and_hardly_anything_else():
    for label in ("pneumonia", "covid19"):
        for seed in range(6):
            sick = make_phantom(seed, label, size=SIZE, tokens=False)
            well = make_phantom(seed, "normal", size=SIZE, tokens=False)
            change = sick.image.astype(float) - well.image
            inside = sick.lesion_mask > 0
            assert change[inside].mean() > 4
            near = cv2.dilate(sick.lesion_mask, np.ones((31, 31), np.uint8)) > 0
            assert abs(change[~near]).mean() < 1.5


def test_the_token_mask_is_the_union_of_the_boxes(phantoms):
    for phantom in phantoms:
        np.testing.assert_array_equal(phantom.token_mask, _boxes(phantom))
        for token in phantom.tokens:
            assert 0 <= token["x0"] < token["x1"] <= SIZE
            assert 0 <= token["y0"] < token["y1"] <= SIZE


def test_without_tokens_only_pixels_in_the_token_mask_differ(phantoms):
    for i, phantom in enumerate(phantoms):
        bare = make_phantom(i, phantom.label, size=SIZE, tokens=False)
        changed = bare.image != phantom.image
        assert not (changed & (phantom.token_mask == 0)).any()
        assert changed.sum() > 100
        assert bare.tokens == []
        assert not bare.token_mask.any()
        assert bare.token_set is None


def test_each_word_is_visible_against_what_was_there(phantoms):
    for i, phantom in enumerate(phantoms):
        bare = make_phantom(i, phantom.label, size=SIZE, tokens=False).image.astype(int)
        for t in phantom.tokens:
            box = (slice(t["y0"], t["y1"]), slice(t["x0"], t["x1"]))
            ink = phantom.image[box].astype(int)
            assert np.percentile(abs(ink - bare[box]), 95) > 25 or np.ptp(ink) > 60, t


def test_kinds_of_words_are_letter_word_and_number(phantoms):
    for token in (t for p in phantoms for t in p.tokens):
        digits = any(c.isdigit() for c in token["text"])
        assert token["kind"] == ("number" if digits else "letter" if len(token["text"]) == 1 else "word")
        assert token["text"] in token["phrase"].split()


def test_the_mark_and_the_hospital_of_the_set_are_always_written(phantoms):
    for phantom in phantoms:
        phrases = {t["phrase"] for t in phantom.tokens}
        assert {phantom.token_set.mark, phantom.token_set.hospital} <= phrases


def test_laterality_letters_stand_on_the_patients_side_nearly_always():
    right_way, wrong_way = 0, 0
    for seed in range(60):
        for t in make_phantom(seed, "normal", size=96).tokens:
            if t["phrase"] in ("L", "R"):
                on_right_half = (t["x0"] + t["x1"]) / 2 > 48
                right_way += on_right_half == (t["phrase"] == "L")
                wrong_way += on_right_half != (t["phrase"] == "L")
    assert right_way > 40
    assert wrong_way <= 5


def _sets_by_class(correlation, n=3000):
    counts = np.zeros((3, 3), int)
    for i in range(n):
        label = TOKEN_SETS[i % 3].label
        chosen = choose_token_set(label, correlation, np.random.default_rng([1, i]))
        counts[i % 3, TOKEN_SETS.index(chosen)] += 1
    return counts


def test_at_correlation_0_the_token_sets_are_independent_of_the_class():
    assert chi2_contingency(_sets_by_class(0.0)).pvalue > 0.01


def test_at_correlation_1_the_token_set_always_tells_the_class():
    assert (_sets_by_class(1.0) == np.diag([1000] * 3)).all()
    for i in SAMPLE:
        phantom = make_phantom(i, CLASSES[i % 3], size=96, correlation=1.0)
        assert phantom.token_set.label == phantom.label


def test_in_between_the_mixture_is_as_documented():
    share = np.diag(_sets_by_class(0.4)).sum() / 3000
    assert share == pytest.approx(0.4 + 0.6 / 3, abs=0.03)


def test_number_and_places_of_tokens_do_not_depend_on_the_class():
    for seed in SAMPLE:
        a, b = (make_phantom(seed, label, size=SIZE, token_set="b") for label in ("normal", "pneumonia"))
        assert [(t["text"], t["x0"], t["y0"]) for t in a.tokens] == [(t["text"], t["x0"], t["y0"]) for t in b.tokens]


def test_the_correlation_changes_nothing_but_the_text():
    for seed in SAMPLE:
        a, b = (make_phantom(seed, "normal", size=96, correlation=c) for c in (0.0, 1.0))
        same = (a.token_mask == 0) & (b.token_mask == 0)
        np.testing.assert_array_equal(a.image[same], b.image[same])
        np.testing.assert_array_equal(a.lung_mask, b.lung_mask)


def test_exposure_and_anatomy_outside_the_lungs_do_not_tell_the_class():
    means = {label: [] for label in CLASSES}
    for seed in range(20):
        lungs = [make_phantom(seed, label, size=96, tokens=False) for label in CLASSES]
        np.testing.assert_array_equal(lungs[0].lung_mask, lungs[1].lung_mask)
        for phantom in lungs:
            means[phantom.label].append(phantom.image[phantom.lung_mask == 0].mean())
    table = np.array([means[label] for label in CLASSES])
    # The same seeds: what is left is the lesion's soft edge and scattered radiation, against a spread of many levels.
    assert np.ptp(table.mean(axis=1)) < 0.1 * table.std(axis=1).min()


def test_every_font_renders_every_character_that_is_written():
    for font in FONTS:
        for character in "ABCDEFGHIJKLMNOPQRSTUVZ0123456789":
            ink = glyphs(character, font, 12)
            assert 9 <= ink.shape[0] <= 18, (font, character, ink.shape)
            assert ink.max() > 0.6
    assert len({glyphs("R", font, 14).tobytes() for font in FONTS}) == len(FONTS)


def test_a_second_xray_of_a_patient_has_the_same_anatomy_in_another_pose():
    first, second = (make_phantom(s, "normal", size=96, patient=99, tokens=False) for s in (1, 2))
    assert (first.sex, first.age) == (second.sex, second.age)
    assert not np.array_equal(first.lung_mask, second.lung_mask)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "covid"}, "'covid'"),
        ({"size": 20}, "20"),
        ({"correlation": 1.5}, "1.5"),
        ({"correlation": float("nan")}, "nan"),
        ({"token_set": "z"}, "'z'"),
    ],
)
def test_a_wrong_choice_is_named_in_one_line(options, words):
    with pytest.raises(CxrError) as caught:
        make_phantom(0, **{"label": "normal"} | options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_demo_has_balanced_classes_patients_in_one_split_and_files_that_exist(demo):
    table = demo.table
    assert len(demo) == 30
    assert table["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 10)
    assert set(table["split"]) == {"train", "val", "test"}
    demo.check_splits()
    assert table["patient_id"].value_counts().max() == 2
    assert (table.groupby("patient_id")[["sex", "age", "label"]].nunique() == 1).all(axis=None)
    assert demo.missing_files().empty
    again = Manifest.load(demo.path, classes=CLASSES)
    pd.testing.assert_frame_equal(again.table, table, check_dtype=False)
    assert set(table["licence"]) == {"CC0-1.0 synthetic"}


def test_the_demo_on_disk_equals_the_phantoms_in_memory(demo):
    words = pd.read_csv(demo.root / "tokens.csv")
    for index in (0, 7, 28):
        phantom = demo_phantom(index, seed=5, size=128, correlation=0.5)
        row = demo.row(f"phantom-{index:05d}")
        for column in ("image", "lung_mask", "lesion_mask", "token_mask"):
            pixels = cv2.imread(str(demo.root / row[column]), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(pixels, getattr(phantom, column))
        assert row["source"] == phantom.token_set.source
        assert row["view"] == phantom.token_set.view
        mine = words[words["image_id"] == row["image_id"]]
        assert mine["text"].astype(str).tolist() == [t["text"] for t in phantom.tokens]
        assert mine["x0"].tolist() == [t["x0"] for t in phantom.tokens]


def test_an_image_is_the_same_whatever_the_number_of_images_and_of_processes(demo, tmp_path):
    calls = []
    other = write_demo(
        tmp_path, n=18, seed=5, size=128, workers=2, progress=lambda done, total: calls.append((done, total))
    )
    for image_id in other.ids:
        assert other.image_path(image_id).read_bytes() == demo.image_path(image_id).read_bytes()
    assert calls[-1] == (18, 18)


def test_too_few_images_or_an_unusable_folder_are_named(tmp_path):
    with pytest.raises(CxrError, match="5 synthetic"):
        write_demo(tmp_path, n=5)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CxrError, match="file"):
        write_demo(tmp_path / "file", n=12, size=96, workers=0)
