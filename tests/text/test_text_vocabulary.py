"""The vocabulary: how tokens are normalised, counted over patients, and held against chance."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import binom, contingency, fisher_exact, hypergeom
from sklearn.metrics import mutual_info_score
from spoiled import settle, spoil
from text_drawing import chest_like, write_text

from cxr.data import Manifest
from cxr.errors import TextError
from cxr.experiments.vocabulary.association import (
    exact_p,
    exact_p_of_strata,
    expected_information,
    is_informative,
    mutual_information,
    odds_ratio,
    odds_ratio_of_strata,
)
from cxr.experiments.vocabulary.count import (
    UNREAD,
    boxes_with,
    finding,
    flat,
    joined_spellings,
    odds_in_words,
    one_per_patient,
    place_of,
    points_in_words,
    tokens_in,
    vocabulary,
)
from cxr.experiments.vocabulary.entries import VocabularyResults
from cxr.experiments.vocabulary.job import read_tables, run, search_shard, tables
from cxr.experiments.vocabulary.within_sources import in_words
from cxr.runs import list_runs
from cxr.runs.folder import RunFolder
from cxr.runs.shards.folders import shards_of
from cxr.runs.storage import to_json
from cxr.text import DetectionStore, Reviews, TextBox
from cxr.text.detection_store import content_hash
from cxr.text.search import images_of, search
from cxr.text.searched import read_searched
from tests.typed_results import misfits


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Dx", ["DX"]),
        ("SEDUTO.", ["SEDUTO"]),
        ("12.03.2020 10:33", ["<date>", "<time>"]),
        ("2020-03-12", ["<date>"]),
        ("20200312", ["<date>"]),
        ("12 MAR 2020", ["<date>"]),
        ("10:33:05 PM", ["<time>"]),
        ("80 kV, 2.5", ["<number>", "KV", "<number>"]),
        ("120kV", ["#KV"]),
        ("A1204B33", ["A#B#"]),
        ("->", ["->"]),
        ("", [UNREAD]),
        ("  ", [UNREAD]),
        ("ＡＰ", ["AP"]),
    ],
)
def test_transcriptions_become_tokens(text, tokens):
    assert tokens_in(text) == tokens


def test_only_spellings_that_lack_a_letter_or_look_alike_are_joined_and_the_commoner_gives_the_name():
    counts = {
        "PORTABLE": 40,
        "PORTABL": 3,
        "ORTABLE": 2,
        "P#RTABLE": 1,
        "SUPINE": 9,
        "SUPINO": 8,
        "ERECT": 5,
        "LEFT": 7,
    }
    assert joined_spellings(counts | {"LEF": 2, "<date>": 50}) == {
        "PORTABL": "PORTABLE",
        "ORTABLE": "PORTABLE",
        "P#RTABLE": "PORTABLE",
    }
    assert joined_spellings({"CLINICA": 5, "GLINICA": 1, "GLINIGA": 1}) == dict.fromkeys(
        ["GLINICA", "GLINIGA"], "CLINICA"
    )
    assert joined_spellings({"PORTABL": 5, "PORTABLE": 2}) == {"PORTABLE": "PORTABL"}


def test_places_are_thirds_of_the_picture_as_one_looks_at_it():
    shape = (300, 600)
    assert place_of(TextBox(0, 0, 20, 20), shape) == "upper left"
    assert place_of(TextBox(580, 0, 600, 20), shape) == "upper right"
    assert place_of(TextBox(290, 140, 310, 160), shape) == "middle centre"
    assert place_of(TextBox(580, 280, 600, 300), shape) == "lower right"


# --- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells", [(300, 500, 200, 1000), (9, 12, 2, 28), (1, 40, 30, 60), (9, 12, 0, 28), (0, 7, 5, 9)]
)
def test_odds_ratios_and_their_limits_are_scipy_s_exact_ones(cells):
    with_in, n_in, with_out, n_out = cells
    expected = contingency.odds_ratio([[with_in, with_out], [n_in - with_in, n_out - with_out]])
    interval = expected.confidence_interval(0.95)
    assert odds_ratio(*cells) == pytest.approx((expected.statistic, interval.low, interval.high), rel=1e-4)


@pytest.mark.parametrize("cells", [(0, 12, 0, 28), (12, 12, 28, 28), (0, 0, 3, 9)])
def test_where_nothing_is_known_the_interval_holds_every_ratio(cells):
    value, low, high = odds_ratio(*cells)
    assert np.isnan(value)
    assert (low, high, exact_p(*cells)) == (0.0, np.inf, 1.0)


@pytest.mark.parametrize("n_in", [5, 20, 60])
def test_the_interval_covers_95_percent_whatever_share_has_the_word_and_agrees_with_the_test(n_in):
    n_out = 40
    for share, ratio in [(0.01, 1.0), (0.02, 6.0), (0.5, 3.0), (0.97, 0.2), (0.99, 1.0)]:
        odds = ratio * share / (1 - share)
        covered = 0.0
        for with_in in range(n_in + 1):
            for with_out in range(n_out + 1):
                chance = binom.pmf(with_in, n_in, odds / (1 + odds)) * binom.pmf(with_out, n_out, share)
                if chance > 1e-6:
                    _, low, high = odds_ratio(with_in, n_in, with_out, n_out)
                    covered += chance * (low <= ratio <= high)
                    assert (exact_p(with_in, n_in, with_out, n_out) < 0.05) == (not low <= 1 <= high)
        assert covered >= 0.95 - 1e-3, (share, ratio)


def test_the_exact_p_is_twice_fisher_s_smaller_tail_and_has_no_floor():
    table = [[9, 3], [3, 12]]
    tails = [fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert exact_p(9, 12, 3, 15) == pytest.approx(2 * min(tails))
    assert exact_p(40, 50, 0, 100) == pytest.approx(2 * hypergeom(150, 50, 40).pmf(40))


def test_mutual_information_agrees_with_scikit_learn():
    present, totals = np.array([30, 5, 0]), np.array([60, 50, 40])
    labels = np.repeat(np.arange(3), totals)
    carried = np.concatenate([np.arange(n) < k for k, n in zip(present, totals, strict=True)])
    assert mutual_information(present, totals) == pytest.approx(mutual_info_score(labels, carried) / np.log(2))
    assert mutual_information(np.array([10, 10]), np.array([20, 20])) == pytest.approx(0)
    assert mutual_information(np.array([20, 0]), np.array([20, 20])) == pytest.approx(1)


def test_the_information_of_chance_is_the_mean_over_all_ways_to_deal_the_word_out():
    totals = np.array([12, 28])
    every = np.array([mutual_information(np.array([k, 9 - k]), totals) for k in range(10)])
    assert expected_information(9, (12, 28)) == pytest.approx(hypergeom(40, 12, 9).pmf(np.arange(10)) @ every)
    drawn = np.random.default_rng(0).multivariate_hypergeometric((12, 28, 10), 9, size=4000)
    mean = np.mean([mutual_information(counts, np.array([12, 28, 10])) for counts in drawn])
    assert expected_information(9, (12, 28, 10)) == pytest.approx(mean, rel=0.05)


def made(rows):
    """Tables of images given as (id, label, patient, source, texts)."""
    images = pd.DataFrame(
        [{"image_id": i, "label": c, "patient_id": p, "source": s} for i, c, p, s, _ in rows],
    )
    tokens = pd.DataFrame(
        [
            {"image_id": i, "text": t, "kind": "word", "place": "upper left"}
            for i, _, _, _, texts in rows
            for t in texts
        ],
        columns=["image_id", "text", "kind", "place"],
    )
    return images, tokens


def images_with(tokens, group, token, join=False):
    return boxes_with(tokens, group, token, join)["image_id"].unique().tolist()


def of(entries, token, group="token"):
    (entry,) = [e for e in entries if (e["group"], e["token"]) == (group, token)]
    return entry


@pytest.fixture(scope="module")
def italian():
    """60 X-rays: SEDUTO on 18 of 20 covid19, AP on half of all, the rest clean."""
    rows = []
    for i in range(60):
        covid = i < 20
        texts = (["Seduto"] if i < 10 else ["SEDUTO", "SEDUTO"]) if i < 18 else []
        texts += ["AP"] if i % 2 else []
        rows.append((f"x{i}", "covid19" if covid else "normal", f"p{i}", "web" if covid else "nih", texts))
    return made(rows)


def test_the_token_that_gives_a_class_away_stands_first(italian):
    entries = vocabulary(*italian)
    words = [e for e in entries if e["group"] == "token"]
    assert [e["token"] for e in words] == ["SEDUTO", "AP"]
    seduto, ap = words
    assert (seduto["times"], seduto["images"], seduto["patients"]) == (26, 18, 18)
    assert seduto["spellings"] == {"SEDUTO": 16, "Seduto": 10}
    assert seduto["by_class"]["covid19"] | {"images": 18, "units": 18, "of": 20} == seduto["by_class"]["covid19"]
    assert seduto["by_class"]["normal"]["units"] == 0
    assert seduto["by_source"] == {"web": 18}
    assert seduto["points_to"] == "covid19"
    assert seduto["by_class"]["covid19"]["low"] > 1 > seduto["by_class"]["normal"]["high"]
    assert seduto["q"] < 0.01
    assert ap["q"] > 0.3
    assert ap["bits"] - ap["chance"] < 0.01
    told = finding(*italian, entries)
    assert (
        "SEDUTO predicts the class best: it is on 18 of 20 patients of class covid19 and on 0 of the 40 others"
    ) in told


def test_rare_tokens_are_left_out_and_images_can_be_found_again(italian):
    assert not [e for e in vocabulary(*italian, min_images=19) if e["token"] == "SEDUTO"]
    assert images_with(italian[1], "token", "SEDUTO") == [f"x{i}" for i in range(18)]
    assert images_with(italian[1], "kind", "any text") == [f"x{i}" for i in range(60) if i < 18 or i % 2]


def test_many_images_of_one_patient_are_one_witness():
    copies = [(f"c{i}", "covid19", "same", "web", ["SEDUTO"]) for i in range(20)]
    others = [(f"n{i}", "normal", f"p{i}", "nih", []) for i in range(20)]
    more = [(f"m{i}", "covid19", f"q{i}", "web", []) for i in range(20)]
    entry = of(vocabulary(*made(copies + others + more)), "SEDUTO")
    assert (entry["images"], entry["patients"]) == (20, 1)
    assert entry["by_class"]["covid19"]["units"] == 1
    assert entry["by_class"]["covid19"]["of"] == 21
    assert entry["p"] > 0.3, "one patient proves nothing, however many images"
    unknown = [(i, c, "", s, t) for i, c, _, s, t in copies + others + more]
    entry = of(vocabulary(*made(unknown)), "SEDUTO")
    assert entry["by_class"]["covid19"]["units"] == 20
    assert entry["p"] < 0.001


def test_a_patient_of_two_classes_counts_once():
    rows = [(f"x{i}{c}", c, f"p{i}", "s", ["AP"] if i < 9 else []) for i in range(30) for c in ("a", "b", "c")]
    images, tokens = made(rows)
    entry = of(vocabulary(images, tokens), "AP")
    assert sum(c["of"] for c in entry["by_class"].values()) == 30
    assert sum(c["units"] for c in entry["by_class"].values()) == 9
    assert (entry["images"], entry["patients"]) == (27, 9)
    backwards = of(vocabulary(images[::-1].reset_index(drop=True), tokens[::-1].reset_index(drop=True)), "AP")
    assert backwards["by_class"] == entry["by_class"], "the lot does not depend on the order of the rows"
    assert "Each patient is counted with one randomly drawn X-ray" in finding(
        *made(told_apart()), vocabulary(*made(told_apart()))
    )


def told_apart():
    """30 patients of two X-rays in two classes, one of which has a word on every X-ray."""
    return [(f"x{i}{k}", "ab"[i % 2], f"p{i}", "s", ["AP"] if i % 2 else []) for i in range(30) for k in range(2)]


def test_only_labelled_images_are_drawn_one_of_each_patient():
    facts = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "label": ["x", "", "x", "y", "y", ""],
            "patient_id": ["p", "p", "", "", "q", "r"],
        }
    )
    assert one_per_patient(facts).tolist() == [True, False, True, True, True, False]


def test_more_images_of_one_class_s_patients_give_a_word_no_more_chances():
    rng = np.random.default_rng(1)
    rows = [
        (f"x{i}-{k}", "ill" if i < 60 else "well", f"p{i}", "s", ["AP"] if rng.random() < 0.2 else [])
        for i in range(160)
        for k in range(8 if i < 60 else 1)
    ]
    assert of(vocabulary(*made(rows)), "AP")["p"] > 0.05


def test_among_500_words_the_one_that_only_one_class_has_is_shown():
    rng = np.random.default_rng(0)
    rows = []
    for i in range(150):
        covid = i < 50
        texts = [f"W{chr(97 + j // 26)}{chr(97 + j % 26)}" for j in np.flatnonzero(rng.random(499) < 0.05)]
        rows.append((f"x{i}", "covid19" if covid else "normal", f"p{i}", "s", texts + ["DX"] * (i < 40)))
    entries = vocabulary(*made(rows))
    words = [e for e in entries if e["group"] == "token"]
    assert len(words) > 400
    assert words[0]["token"] == "DX"
    assert words[0]["q"] < 1e-20
    assert (
        "DX predicts the class best: it is on 40 of 50 patients of class covid19 and on 0 of the 100 others"
    ) in finding(*made(rows), entries)


@pytest.mark.parametrize("classes", ["ab", "abcd"])
def test_labels_dealt_out_at_random_are_seldom_called_significant(classes):
    rng = np.random.default_rng(0)
    words = [f"W{chr(65 + i)}" for i in range(20)]
    shown = 0
    for _ in range(20):
        rows = [
            (f"x{i}", str(rng.choice(list(classes))), f"p{i}", "s", [w for w in words if rng.random() < 0.2])
            for i in range(80)
        ]
        shown += any(e["q"] < 0.05 for e in vocabulary(*made(rows)))
    assert shown <= 2


def test_a_word_that_one_of_several_classes_lacks_points_away_from_it():
    rows = [(f"x{i}", "abc"[i % 3], f"p{i}", "s", ["AP"] if i % 3 else []) for i in range(60)]
    entries = vocabulary(*made(rows))
    entry = of(entries, "AP")
    assert (entry["points_to"], points_in_words(entry)) == ("a", "not a")
    assert points_in_words(entry | {"q": 0.2}) == "not a ?"
    assert entry["p"] == pytest.approx(3 * entry["by_class"]["a"]["p"])
    assert "it is on 0 of 20 patients of class a and on 40 of the 40 others" in finding(*made(rows), entries)


def test_the_interval_of_the_word_that_is_spoken_of_allows_for_its_being_chosen(italian):
    entries = vocabulary(*italian)
    alone = of(entries, "SEDUTO")["by_class"]["covid19"]
    assert alone["high"] == np.inf
    text = finding(*italian, entries)
    low = float(text.split("(odds ratio ∞ [")[1].split(",")[0])
    assert 1 < low < alone["low"]


def test_few_patients_are_said_to_be_too_few():
    rows = [(f"x{i}", "ab"[i % 2], f"p{i}", "s", ["AP"] if i % 2 else []) for i in range(6)]
    told = finding(*made(rows), vocabulary(*made(rows)))
    assert "too few patients to decide whether a token predicts the class (3 a, 3 b)" in told


def test_infinite_limits_survive_the_results_file(italian):
    read = json.loads(to_json(vocabulary(*italian)))
    entry = of(read, "SEDUTO")
    assert entry["by_class"]["covid19"]["high"] is None
    assert odds_in_words(entry["by_class"]["covid19"]).startswith("∞ [")
    assert odds_in_words(entry["by_class"]["covid19"]).endswith(", ∞]")
    assert odds_in_words(entry["by_class"]["normal"]).startswith("0 [0, 0.0")
    assert flat(read).set_index(["group", "token"]).loc[("token", "SEDUTO"), "high covid19"] == np.inf


def test_results_of_the_version_before_are_still_read():
    before = {"images": 9, "units": 9, "of": 12, "odds_ratio": 154.71, "low": 7.36, "high": 3255.4}
    other = {"images": 0, "units": 0, "of": 28, "odds_ratio": 0.0065, "low": 0.0003, "high": 0.14}
    entry = {"points_to": "a", "by_class": {"a": before, "b": other}}
    assert (points_in_words(entry), odds_in_words(before)) == ("a", "155 [7.4, 3,255]")


def test_images_without_a_label_are_counted_but_tell_nothing():
    rows = [(f"x{i}", "covid19" if i < 4 else "", f"p{i}", "", ["DX"]) for i in range(8)]
    entry = of(vocabulary(*made(rows)), "DX")
    assert entry["images"] == 8
    assert entry["p"] is None
    assert entry["q"] is None
    assert "Fewer than two classes" in finding(*made(rows), vocabulary(*made(rows)))


def test_joining_adds_the_images_of_the_rarer_spelling():
    rows = [(f"x{i}", "ab"[i % 2], f"p{i}", "s", ["PORTABLE" if i < 8 else "PORTABL"]) for i in range(12)]
    assert of(vocabulary(*made(rows)), "PORTABLE")["images"] == 8
    joined = of(vocabulary(*made(rows), join=True), "PORTABLE")
    assert joined["images"] == 12
    assert joined["spellings"] == {"PORTABLE": 8, "PORTABL": 4}
    assert images_with(made(rows)[1], "token", "PORTABLE", join=True) == [f"x{i}" for i in range(12)]


def test_the_flat_table_holds_every_number(italian):
    table = flat(vocabulary(*italian)).set_index(["group", "token"])
    row = table.loc[("token", "SEDUTO")]
    assert row["units covid19"] == 18
    assert row["of covid19"] == 20
    assert row["source web"] == 18
    assert row["source nih"] == 0
    assert (row["odds_ratio covid19"], row["high covid19"]) == (np.inf, np.inf)
    assert row["low covid19"] > 10
    assert row["spellings"] == "SEDUTO (16), Seduto (10)"
    assert flat([]).empty


# --- the run -------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path):
    """Five pictures, two with a word that OCR reads, one corrected by hand, and a broken file."""
    folder = tmp_path / "xrays"
    folder.mkdir()
    rows = []
    for i in range(5):
        image = chest_like(220, 260, seed=i)
        if i < 2:
            image, _ = write_text(image, "SEDUTO", 130, 15, 22)
        Image.fromarray(image).save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "label": "ab"[i // 3], "split": "test", "patient_id": f"p{i}"})
    (folder / "broken.png").write_bytes(b"no picture")
    rows.append({"image": "broken.png", "label": "a", "split": "test", "patient_id": "p9"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    manifest = Manifest.load(folder / "manifest.csv")
    third = np.asarray(Image.open(folder / "2.png"))
    box = TextBox(5, 6, 60, 30, "Seduto", 1.0, "word")
    Reviews.beside(manifest.path).save(manifest.ids[2], [box], shape=third.shape, content_hash=content_hash(third))
    return manifest


def test_a_run_searches_every_image_uses_corrected_boxes_and_names_what_it_left_out(data, tmp_path):
    params = {"manifest": str(data.path), "split": "test", "min_images": 2, "workers": 0}
    folder = RunFolder.create(tmp_path / "runs", "text-vocabulary", params)
    told = []
    run(folder, folder.params, lambda fraction, text="": told.append((fraction, text)))
    results = json.loads((folder.path / "results.json").read_text())
    assert list(misfits(results, VocabularyResults)) == []
    images, tokens = read_tables(folder.path)
    assert results["n_images"] == len(images) == 5
    assert results["n_reviewed"] == 1
    assert [left["image_id"] for left in results["left_out"]] == [data.ids[5]]
    assert of(results["vocabulary"], "SEDUTO")["by_class"]["a"]["images"] == 3
    assert tokens.query("text == 'Seduto'").iloc[0][["x0", "y0", "x1", "y1"]].tolist() == [5, 6, 60, 30]
    assert told[-1][0] == 1.0
    assert [f for f, _ in told] == sorted(f for f, _ in told)


def search_in_shards(data, tmp_path, shards):
    params = {"manifest": str(data.path), "split": "test", "min_images": 2, "workers": 0}
    folder = RunFolder.create(tmp_path / "runs", "text-vocabulary", params, shards=shards)
    for shard in shards_of(folder):
        shard.path.mkdir(parents=True)
        search_shard(shard, shard.params, lambda fraction, text="": None)
        shard.update_status(state="finished")
    return folder


def count_in_one_piece(data, tmp_path):
    params = {"manifest": str(data.path), "split": "test", "min_images": 2, "workers": 0}
    folder = RunFolder.create(tmp_path / "runs", "text-vocabulary", params)
    run(folder, folder.params, lambda fraction, text="": None)
    return folder


def check_same(folder, expected):
    for table, other in zip(read_tables(folder.path), read_tables(expected.path), strict=True):
        pd.testing.assert_frame_equal(table, other)
    results = [of_run.read_json("results.json") for of_run in (folder, expected)]
    for record in results:
        record["provenance"].pop("date")
    assert results[0] == results[1]


@pytest.mark.parametrize("shards", [2, 7])  # seven of six images: one shard is empty, one has only a broken file
def test_the_run_counts_what_shards_found_without_opening_an_image(data, tmp_path, shards):
    settle(data.path.parent)
    whole = count_in_one_piece(data, tmp_path)
    shutil.rmtree(DetectionStore().folder)
    folder = search_in_shards(data, tmp_path, shards)
    shutil.rmtree(DetectionStore().folder)
    spoil(data.path.parent)
    run(folder, folder.params, lambda fraction, text="": None)
    check_same(folder, whole)


def test_boxes_saved_or_removed_since_and_changed_files_count_as_they_are_now(data, tmp_path):
    folder = search_in_shards(data, tmp_path, 3)
    reviews = Reviews.beside(data.path)
    second = np.asarray(Image.open(data.image_path(data.ids[1])))
    reviews.save(data.ids[1], [], shape=second.shape, content_hash=content_hash(second))
    assert reviews.remove(data.ids[2])
    data.image_path(data.ids[3]).write_bytes(data.image_path(data.ids[0]).read_bytes())
    data.image_path(data.ids[4]).unlink()
    run(folder, folder.params, lambda fraction, text="": None)
    check_same(folder, count_in_one_piece(data, tmp_path))


def test_what_another_detector_found_is_searched_again(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("cxr.text.searched._VERSIONS", "decoder 0, detector of before")
        folder = search_in_shards(data, tmp_path, 2)
    assert read_searched((shard.path for shard in shards_of(folder)), data) == {}
    run(folder, folder.params, lambda fraction, text="": None)
    check_same(folder, count_in_one_piece(data, tmp_path))


def test_a_shard_that_was_stopped_goes_on_without_opening_what_it_had_searched(data, tmp_path):
    settle(data.path.parent)
    params = {"manifest": str(data.path), "split": "test", "workers": 0}
    shard = shards_of(RunFolder.create(tmp_path / "runs", "text-vocabulary", params, shards=2))[0]
    shard.path.mkdir(parents=True)
    search_shard(shard, shard.params, lambda fraction, text="": shard.request_stop() if "2 of 3" in text else None)
    assert list(read_searched([shard.path], data)) == data.ids[:2]
    shard.clear_stop()
    for image_id in data.ids[:2]:
        spoil(data.image_path(image_id).parent, data.image_path(image_id).name)
    search_shard(shard, shard.params, lambda fraction, text="": None)
    results = read_searched([shard.path], data)
    assert list(results) == data.ids[:3]
    assert not any(isinstance(result, str) for result in results.values())


def test_a_stop_keeps_what_was_found(data):
    asked = iter([False, True])
    found, _ = search(data, stopped=lambda: next(asked), workers=0)
    assert list(found) == data.ids[:2]
    for image_id in data.ids[:2]:
        image = np.asarray(Image.open(data.image_path(image_id)))
        assert DetectionStore().get(image) == found[image_id].boxes
    images, tokens = tables(data, found)
    assert images["image_id"].tolist() == data.ids[:2]
    assert set(tokens["image_id"]) <= set(data.ids[:2])


def test_an_unknown_split_is_named_with_those_there_are(data):
    with pytest.raises(TextError, match=r"unknown split 'tset'\. Available: test"):
        images_of(str(data.path), "tset")


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_prints_the_table_and_writes_it(data, tmp_path, cxr):
    code, out, err = cxr("text", "vocabulary", data.path, "--min-images", 2, "--csv", tmp_path / "v.csv", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["n_images"] == 5
    written = pd.read_csv(tmp_path / "v.csv").set_index(["group", "token"])
    assert written.loc[("token", "SEDUTO"), "images a"] == of(told["vocabulary"], "SEDUTO")["by_class"]["a"]["images"]
    assert len(written) == len(told["vocabulary"])


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["--split", "tset"], "unknown split 'tset'. Available: test", 2),
        (["--csv", "/nowhere/v.csv"], "the folder /nowhere does not exist", 1),
        (["--csv", "v.csv", "--detach"], "give only one of them", 2),
    ],
)
def test_wrong_use_is_one_line_before_anything_is_started(data, cxr, arguments, message, exit_code):
    code, _, err = cxr("text", "vocabulary", data.path, *arguments)
    assert code == exit_code
    assert message in err
    assert err.count("\n") == 1
    assert not list_runs()


# --- within sources -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_exact_test_of_strata_is_that_of_a_sum_of_hypergeometric_numbers(seed):
    rng = np.random.default_rng(seed)
    strata = []
    for _ in range(3):
        n_in, n_out = (int(n) for n in rng.integers(1, 12, 2))
        strata.append((int(rng.integers(0, n_in + 1)), n_in, int(rng.integers(0, n_out + 1)), n_out))
    chance = np.ones(1)
    for with_in, n_in, with_out, n_out in strata:
        of_one = hypergeom(n_in + n_out, with_in + with_out, n_in).pmf(np.arange(n_in + 1))
        chance = np.convolve(chance, of_one)
    k = sum(stratum[0] for stratum in strata)
    expected = min(1.0, 2 * min(chance[: k + 1].sum(), chance[k:].sum()))
    assert exact_p_of_strata(tuple(strata)) == pytest.approx(expected, rel=1e-9)
    one = strata[0]
    assert exact_p_of_strata((one,)) == exact_p(*one)
    assert odds_ratio_of_strata((one,)) == pytest.approx(odds_ratio(*one), nan_ok=True)
    telling = tuple(stratum for stratum in strata if is_informative(stratum))
    assert exact_p_of_strata(telling) == pytest.approx(exact_p_of_strata(tuple(strata)))


def test_the_common_odds_ratio_is_near_that_of_mantel_and_haenszel_and_its_interval_agrees_with_p():
    strata = ((30, 60, 20, 80), (9, 20, 10, 50), (45, 90, 15, 60))
    up = sum(a * (m - c) / (n + m) for a, n, c, m in strata)
    down = sum(c * (n - a) / (n + m) for a, n, c, m in strata)
    value, low, high = odds_ratio_of_strata(strata)
    assert value == pytest.approx(up / down, rel=0.02)
    assert low < up / down < high
    assert (exact_p_of_strata(strata) < 0.05) == (low > 1 or high < 1)


def test_large_strata_have_a_p_that_no_float_would_underflow():
    strata = ((1900, 2000, 100, 2000),) * 3
    assert 0 <= exact_p_of_strata(strata) < 1e-300
    value, low, high = odds_ratio_of_strata(strata)
    assert low < value < high
    assert value == pytest.approx(361, rel=0.02)


def of_sources(rng, tells_class):
    """Images of two hospitals, one with mostly class a, and a word that is the hospital's, or that of class a."""
    images, tokens = [], []
    for k in range(240):
        source = "north" if k % 2 else "south"
        label = "a" if rng.random() < (0.85 if source == "north" else 0.15) else "b"
        images.append({"image_id": f"x{k}", "label": label, "source": source, "patient_id": f"p{k}"})
        likely = label == "a" if tells_class else source == "north"
        if rng.random() < (0.8 if likely else 0.1):
            tokens.append({"image_id": f"x{k}", "text": "DX", "kind": "word", "place": "upper left"})
    return pd.DataFrame(images), pd.DataFrame(tokens)


@pytest.mark.parametrize("tells_class", [True, False])
def test_a_word_of_a_hospital_is_told_from_a_word_of_a_class(tells_class):
    images, tokens = of_sources(np.random.default_rng(3), tells_class)
    entries = vocabulary(images, tokens)
    (word,) = [entry for entry in entries if entry["token"] == "DX"]
    assert word["points_to"] == "a"
    assert word["q"] < 0.001
    within = word["within_sources"]
    assert within["sources"] == ["north", "south"]
    said = finding(images, tokens, entries)
    if tells_class:
        assert within["q"] < 0.001
        assert in_words(word) in ("a", "not b")
        assert "It does so among X-rays of the same source, too (north, south: odds ratio" in said
    else:
        assert within["q"] >= 0.05
        assert in_words(word).endswith(" ?")
        assert "Among X-rays of the same source (north, south) this is not shown" in said
    table = flat(entries)
    assert {"q within sources", "odds_ratio within sources", "sources that tell"} <= set(table.columns)


def test_where_every_source_has_one_class_nothing_can_be_told_within_them_and_one_source_is_not_asked():
    images, tokens = of_sources(np.random.default_rng(3), True)
    alone = images.assign(source=images["label"])
    (word,) = [entry for entry in vocabulary(alone, tokens) if entry["token"] == "DX"]
    assert word["within_sources"] == {"points_to": None, "p": None, "q": None, "sources": []}
    assert in_words(word) == "cannot be told"
    said = finding(alone, tokens, vocabulary(alone, tokens))
    assert "whether it says more than where an X-ray comes from cannot be told" in said
    same = images.assign(source="north")
    assert all("within_sources" not in entry for entry in vocabulary(same, tokens))


def test_words_that_say_nothing_within_sources_are_claimed_within_them_in_few_sets():
    claimed = 0
    for seed in range(40):
        images, tokens = of_sources(np.random.default_rng(100 + seed), False)
        claimed += any((entry["within_sources"]["q"] or 1) < 0.05 for entry in vocabulary(images, tokens))
    assert claimed <= 5  # of 40 sets at 5 % there would be more in 1.4 % of all seeds
