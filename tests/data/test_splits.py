from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cxr.data import Manifest, split_manifest
from cxr.data.splits import connected_groups, in_order
from cxr.errors import ManifestError

ROOT = Path("/x")


def rows_of(labels: list[str], **columns: list[str]) -> Manifest:
    return Manifest.from_table(
        pd.DataFrame({"image": [f"{i}.png" for i in range(len(labels))], "label": labels} | columns), ROOT
    )


def test_the_real_set_is_split_by_patient_and_duplicate_with_the_fractions_of_each_class(shared_data: Path):
    manifest, aside = split_manifest(Manifest.load(shared_data / "manifest.csv"))
    manifest.check_splits()
    table = manifest.table
    counts = pd.crosstab(table["label"], table["split"])
    for label in ("covid19", "normal", "pneumonia"):
        share = counts.loc[label, ["train", "val", "test"]] / counts.loc[label, ["train", "val", "test"]].sum()
        assert np.allclose(share, [0.7, 0.1, 0.2], atol=0.01), label
    assert (table.loc[table["role"] == "intermediate", "split"] == "").all()
    assert (table["split"] == "external").sum() == 138
    assert (table["split"] == "probe").sum() + len(aside) == 79


def test_the_split_depends_on_the_seed_but_not_on_the_order_of_the_rows():
    manifest = rows_of(["a", "b"] * 40, patient_id=[str(i // 3) for i in range(80)])
    shuffled = manifest.with_table(manifest.table.sample(frac=1, random_state=5))
    same, other = split_manifest(shuffled, seed=3)[0], split_manifest(manifest, seed=4)[0]
    assert split_manifest(manifest, seed=3)[0].split_hash() == same.split_hash() != other.split_hash()


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c", "d"]])
def test_the_largest_patients_are_in_test_for_some_seeds_and_the_splits_keep_their_shares(classes: list[str]):
    sizes = [8, 7, 6, *([2] * 30), *([1] * 60)]
    patients = [f"{name}{k}" for name in classes for k, size in enumerate(sizes) for _ in range(size)]
    manifest = rows_of([patient[0] for patient in patients], patient_id=patients)
    largest = {name: set() for name in classes}
    for seed in range(20):
        table = split_manifest(manifest, seed=seed)[0].table
        share = pd.crosstab(table["label"], table["split"], normalize="index")[["train", "val", "test"]]
        assert np.allclose(share, [0.7, 0.1, 0.2], atol=1 / sum(sizes)), seed
        for name in classes:
            largest[name] |= set(table.loc[table["patient_id"] == f"{name}0", "split"])
    assert all({"train", "test"} <= splits for splits in largest.values())


def test_a_patient_is_at_most_half_of_a_class_of_a_split_where_there_are_others():
    patients = ["large"] * 12 + [f"p{k}" for k in range(108)]
    for seed in range(20):
        table = split_manifest(rows_of(["a"] * 60 + ["b"] * 60, patient_id=patients), seed=seed)[0].table
        assert set(table.loc[table["patient_id"] == "large", "split"]) == {"train"}, "val has 6 of a, test 12"


def test_images_linked_through_a_patient_and_then_a_duplicate_stay_together():
    table = pd.DataFrame({"patient_id": ["p", "p", "q", "", ""], "dup_group": ["", "1", "1", "", "2"]})
    groups = connected_groups(table, ("patient_id", "dup_group"))
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4]}) == 3


def test_five_groups_per_class_still_reach_every_split():
    manifest, _ = split_manifest(rows_of(["a"] * 5 + ["b"] * 5))
    counts = pd.crosstab(manifest.table["label"], manifest.table["split"])
    assert counts["train"].tolist() == [3, 3]
    assert (counts > 0).all().all()


def test_three_groups_per_class_one_of_them_large_reach_every_split():
    manifest, _ = split_manifest(rows_of(["a"] * 22 + ["b"] * 3, patient_id=["p"] * 20 + list("qrstu")))
    counts = pd.crosstab(manifest.table["label"], manifest.table["split"])
    assert (counts > 0).all().all()
    assert counts.loc["a", "train"] == 20


def test_a_class_with_fewer_groups_than_splits_is_an_error_that_counts_them():
    manifest = rows_of(["a"] * 9 + ["b"] * 9, patient_id=["p"] * 5 + ["q"] * 4 + [str(i) for i in range(9)])
    with pytest.raises(ManifestError, match=r"class 'a' has 2 groups .* fewer than the 3 splits"):
        split_manifest(manifest)


@pytest.mark.parametrize(
    ("fractions", "says"),
    [
        ({"train": 0.7, "test": 0.2}, "add up to 0.9, not to 1"),
        ({"train": 1.2, "test": -0.2}, "fraction 1.2 of split 'train'"),
        ({"train": 1.0, "val": 0.0}, "fraction 0.0 of split 'val'"),
        ({"train": 0.5, "probe": 0.5}, "split 'probe' cannot be requested"),
        ({"train": float("nan")}, "fraction nan"),
        ({}, "add up to 0"),
    ],
)
def test_impossible_fractions_are_refused(fractions: dict[str, float], says: str):
    with pytest.raises(ManifestError, match=says):
        split_manifest(rows_of(["a"] * 9), fractions)


def test_probe_rows_that_share_a_patient_with_a_trainable_row_are_set_aside_with_a_reason():
    manifest = rows_of(
        ["a"] * 10,
        role=["train"] * 7 + ["probe", "probe", "external"],
        patient_id=["0", "1", "2", "3", "4", "5", "6", "0", "7", "8"],
    )
    split, aside = split_manifest(manifest)
    ids = manifest.ids
    assert aside["image_id"].tolist() == [ids[7]]
    assert aside["reason"][0] == "probe row that shares a patient or duplicate (patient_id '0') with a train row"
    assert [split.row(i)["split"] for i in ids[7:]] == ["", "probe", "external"]
    split.check_splits()


def test_unlabelled_and_intermediate_rows_get_no_split():
    split, _ = split_manifest(rows_of(["a"] * 6 + ["", "a"], role=[""] * 7 + ["intermediate"]))
    assert split.table["split"].tolist()[6:] == ["", ""]
    with pytest.raises(ManifestError, match="no row to split"):
        split_manifest(rows_of(["", ""]))


def test_splits_that_are_kept_stay_and_the_others_are_placed_by_patient():
    patients = [str(i // 2) for i in range(40)]
    manifest = rows_of(["a", "a", "b", "b"] * 10, patient_id=patients, split=["train"] * 28 + ["test"] * 12)
    split, aside = split_manifest(manifest, {"train": 0.75, "val": 0.25}, keep=["test"])
    assert split.table["split"].tolist()[28:] == ["test"] * 12
    assert set(split.table["split"][:28]) == {"train", "val"}
    assert aside.empty
    split.check_splits()
    kept_all, _ = split_manifest(manifest, keep=["train", "test"])
    assert kept_all.split_hash() == manifest.split_hash()


def test_a_patient_of_several_kept_splits_stays_in_test_and_of_the_others_in_val():
    manifest = rows_of(
        ["a"] * 7,
        patient_id=["p", "p", "p", "q", "q", "r", "s"],
        split=["train", "val", "test", "train", "val", "train", ""],
    )
    split, aside = split_manifest(manifest, {}, keep=["train", "val", "test"])
    assert split.table["split"].tolist() == ["", "", "test", "", "val", "train", ""]
    assert (
        aside["reason"]
        .tolist()[0]
        .endswith("row that shares a patient or duplicate (patient_id 'p') with a test row that is kept")
    )
    assert sorted(aside["image"]) == ["0.png", "1.png", "3.png"]


def test_the_rows_of_a_kept_split_stay_in_it_without_a_label_and_with_any_role():
    manifest = rows_of(
        ["a"] * 6 + ["", "a"],
        role=[""] * 6 + ["", "external"],
        split=["train"] * 6 + ["test", "test"],
        findings=["Edema"] * 8,
    )
    split, _ = split_manifest(manifest, {"train": 0.5, "val": 0.5}, keep=["test"])
    assert split.table["split"].tolist()[6:] == ["test", "test"]


@pytest.mark.parametrize(
    ("fractions", "keep", "says"),
    [
        (None, ["test"], r"split 'test' cannot be kept: .* Found: train, val"),
        ({"train": 0.5, "val": 0.5}, ["val"], "split 'val' is to be kept and to get the share 0.5"),
        ({"test": 1.0}, ["train", "val"], "no row to split: every row is in a split that is kept"),
    ],
)
def test_what_cannot_be_kept_is_refused(fractions, keep, says: str):
    with pytest.raises(ManifestError, match=says):
        split_manifest(rows_of(["a"] * 6, split=["train"] * 4 + ["val"] * 2), fractions, keep=keep)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_kept_test_split_never_changes_and_nothing_of_its_patients_is_learnt_from(data: st.DataObject):
    n = data.draw(st.integers(12, 40))
    columns = {
        "patient_id": [data.draw(st.sampled_from(["", *(str(i) for i in range(25))])) for _ in range(n)],
        "dup_group": [data.draw(st.sampled_from(["", "", "", "g", "h"])) for _ in range(n)],
        "split": [data.draw(st.sampled_from(["", "train", "train", "val", "test"])) for _ in range(n)],
    }
    manifest = rows_of([data.draw(st.sampled_from(["a", "b"])) for _ in range(n)], **columns)
    assume("test" in columns["split"])
    try:
        split, aside = split_manifest(manifest, keep=["test"], seed=data.draw(st.integers(0, 9)))
    except ManifestError:
        assume(False)
    was, is_ = manifest.table["split"] == "test", split.table["split"] == "test"
    assert was.equals(is_)
    split.check_splits()
    assert set(aside["image_id"]) == set(split.table.loc[split.table["split"] == "", "image_id"])


def test_where_no_row_has_a_label_the_findings_are_spread_over_the_splits():
    findings = ["Edema|Hernia", "No Finding", "?Edema|Mass", "Mass"] * 10
    manifest = rows_of([""] * 40, findings=findings, patient_id=[str(i // 2) for i in range(40)])
    split, _ = split_manifest(manifest)
    split.check_splits()
    assert set(split.table["split"]) == {"train", "val", "test"}
    test = split.table[split.table["split"] == "test"]
    assert {name for text in test["findings"] for name in text.split("|")} >= {"Edema", "No Finding", "Mass"}


@pytest.mark.parametrize("rare", [["Hernia"], ["Hernia", "Nodule", "Mass"], ["Mass > 3 cm", "ünklar"]])
def test_as_few_groups_as_splits_are_enough_for_findings_however_rare(rare: list[str]):
    findings = [*rare, *["Edema|Effusion"] * (3 - len(rare))]
    split, _ = split_manifest(rows_of([""] * 3, findings=findings, patient_id=["p0", "p1", "p2"]))
    assert sorted(split.table["split"]) == ["test", "train", "val"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_three_groups_of_findings_always_reach_three_splits(data: st.DataObject):
    names = st.sets(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1)
    n = data.draw(st.integers(3, 9))
    findings = ["|".join(sorted(data.draw(names))) for _ in range(n)]
    patients = [str(min(i, 2)) if data.draw(st.booleans()) or i < 3 else f"more {i}" for i in range(n)]
    manifest = rows_of([""] * n, findings=findings, patient_id=patients)
    split, _ = split_manifest(manifest, seed=data.draw(st.integers(0, 9)))
    assert set(split.table["split"]) == {"train", "val", "test"}


def test_splits_are_listed_in_the_order_of_a_training():
    names = ["", "test", "fold", "val", "probe", "train", "external"]
    assert in_order(names) == ["train", "val", "test", "external", "probe", "fold", ""]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_group_ever_straddles_and_every_class_is_in_every_split(data: st.DataObject):
    n = data.draw(st.integers(12, 60))
    labels = [data.draw(st.sampled_from(["a", "b", "c"])) for _ in range(n)]
    patients = [data.draw(st.sampled_from(["", *(str(i) for i in range(30))])) for _ in range(n)]
    groups = [data.draw(st.sampled_from(["", "", "", "g", "h", "k"])) for _ in range(n)]
    manifest = rows_of(labels, patient_id=patients, dup_group=groups)
    try:
        split, _ = split_manifest(manifest, seed=data.draw(st.integers(0, 9)))
    except ManifestError:
        assume(False)  # too few groups of a class, which has a test of its own
    split.check_splits()
    assert (pd.crosstab(split.table["label"], split.table["split"]) > 0).all().all()
    assert (split.table["split"] != "").all()
