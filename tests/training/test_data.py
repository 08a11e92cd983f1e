import numpy as np
import pytest

from cxr.data import Manifest, split_manifest
from cxr.errors import ManifestError, RecipeError
from cxr.training import load_recipe
from cxr.training.data import prepare


def quiet(_fraction, _message):
    pass


@pytest.fixture
def recipe():
    return load_recipe("twice").changed({"size": 32, "weights": None, "backbone": "densenet-small"})


def test_the_findings_stage_leaves_out_patients_that_are_held_out_later(tiny, recipe):
    manifest = Manifest.load(tiny)
    first, last = prepare(recipe, manifest, quiet)
    patients = manifest.table.set_index("image_id")["patient_id"]
    seen = {patients[first.cache.ids[r]] for r in np.r_[first.train_rows, first.val_rows]}
    assert len(seen) == 20
    assert not seen & {"p30", "p39", "p45", "p51"}
    assert not set(first.train_rows) & set(first.val_rows)
    assert first.classes == ("Edema", "No Finding", "Pneumonia")
    assert (len(last.train_rows), len(last.val_rows)) == (30, 9)


def test_targets_stand_beside_their_own_image(tiny, recipe):
    manifest = Manifest.load(tiny)
    first, last = prepare(recipe, manifest, quiet)
    rows = manifest.table.set_index("image_id")
    for row, target in zip(first.train_rows, first.train_targets, strict=True):
        names = rows.at[first.cache.ids[row], "findings"].split("|")
        assert target.tolist() == [float(c in names) for c in first.classes]
    for row, target in zip(last.val_rows, last.val_targets, strict=True):
        assert rows.at[last.cache.ids[row], "label"] == last.classes[target]


def test_a_duplicate_of_a_held_out_image_is_left_out_too(tiny, recipe):
    manifest = Manifest.load(tiny)
    table = manifest.table.copy()
    intermediate = table.index[table["role"] == "intermediate"]
    table.loc[[intermediate[-1], table.index[table["split"] == "test"][0]], "dup_group"] = "same"
    first, _ = prepare(recipe, manifest.with_table(table), quiet)
    assert len(first.train_rows) + len(first.val_rows) == 19


def test_named_sources_choose_the_rows_of_the_findings_stage(tiny, recipe):
    manifest = Manifest.load(tiny)
    with pytest.raises(
        RecipeError, match=r"stages\.0\.label: 'findings' finds nothing to learn from in .*manifest\.csv"
    ):
        prepare(recipe.changed({"stages.0.sources": ["elsewhere"]}), manifest, quiet)


def test_a_manifest_without_findings_is_refused_with_a_way_out(tiny, recipe):
    manifest = Manifest.load(tiny)
    bare = manifest.with_table(manifest.table.assign(findings=""))
    with pytest.raises(RecipeError, match="whose column `findings` is filled"):
        prepare(recipe, bare, quiet)


def test_a_manifest_without_splits_is_refused_with_the_command_that_makes_them(tiny, recipe):
    with pytest.raises(ManifestError, match="`cxr data split`"):
        prepare(recipe, Manifest.load(tiny).with_splits({}), quiet)


def test_a_patient_in_two_splits_is_refused(tiny, recipe):
    manifest = Manifest.load(tiny)
    table = manifest.table.copy()
    table.loc[table["split"].isin(["train", "test"]), "patient_id"] = "one"
    with pytest.raises(ManifestError, match="patient 'one' is in the splits"):
        prepare(recipe, manifest.with_table(table), quiet)


def test_a_class_without_images_is_named(tiny, recipe):
    with pytest.raises(RecipeError, match=r"stages\.1\.classes: no image to train is 'flu'\. Found: covid19"):
        prepare(recipe.changed({"stages.1.classes": ["normal", "flu"]}), Manifest.load(tiny), quiet)


def test_the_real_findings_serve_as_an_intermediate_stage(shared_data, recipe):
    full, _ = split_manifest(Manifest.load(shared_data / "manifest.csv"))
    intermediate = full.table[full.table["role"] == "intermediate"]
    held_out = full.table[full.table["split"].isin(["val", "test", "probe", "external"])]
    common = sorted(set(intermediate["patient_id"]) & set(held_out["patient_id"]))[:10]
    assert common
    few = full.with_table(full.table[(full.table.index % 8 == 0) | full.table["patient_id"].isin(common)])
    first, last = prepare(recipe, few, quiet)
    seen = few.select(ids=[first.cache.ids[r] for r in np.r_[first.train_rows, first.val_rows]]).table
    assert set(seen["source"]) == {"nih"}
    assert not set(seen["patient_id"]) & set(held_out["patient_id"])
    assert "No Finding" in first.classes
    assert last.classes == ("covid19", "normal", "pneumonia")
