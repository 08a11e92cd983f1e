import shutil

import numpy as np
import pytest

from cxr.data import Manifest, split_manifest
from cxr.errors import ManifestError, RecipeError
from cxr.training import load_recipe
from cxr.training.data.stages import check, check_labels, prepare


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
    found = "|".join(sorted(set(manifest.table["source"]) - {""}))
    for stage in (0, 1):
        refusal = rf"stages\.{stage}\.sources: no X-ray is from 'elsewhere'\. Found: .*({found})"
        with pytest.raises(RecipeError, match=refusal):
            prepare(recipe.changed({f"stages.{stage}.sources": ["elsewhere"]}), manifest, quiet)


def test_a_manifest_without_findings_is_refused_with_a_way_out(tiny, recipe):
    manifest = Manifest.load(tiny)
    bare = manifest.with_table(manifest.table.assign(findings=""))
    with pytest.raises(RecipeError, match="data where that column is filled"):
        prepare(recipe, bare, quiet)


def test_a_manifest_without_splits_is_refused_with_the_command_that_makes_them(tiny, recipe):
    with pytest.raises(ManifestError, match=r"`cxr data split \S+manifest.csv --name NEW`"):
        prepare(recipe, Manifest.load(tiny).with_splits({}), quiet)


def test_a_missing_validation_split_is_offered_from_train_and_the_test_split_stays(tiny, recipe):
    manifest = Manifest.load(tiny)
    table = manifest.table.assign(split=manifest.table["split"].replace("val", "train"))
    with pytest.raises(ManifestError, match="0 labelled images in split 'val'") as refused:
        prepare(recipe, manifest.with_table(table), quiet)
    assert "--name NEW --keep test --fraction train=0.9 --fraction val=0.1`" in str(refused.value)
    assert "test stays as it is" in str(refused.value)


def test_a_set_that_is_all_external_is_refused_with_what_it_is_for(tiny, recipe):
    manifest = Manifest.load(tiny)
    external = manifest.with_table(manifest.table.assign(role="external", split=""))
    with pytest.raises(ManifestError, match=r"no X-ray to train on.*roles found: external.*`cxr evaluate`"):
        prepare(recipe, external, quiet)


def test_a_patient_in_two_splits_is_refused(tiny, recipe):
    manifest = Manifest.load(tiny)
    table = manifest.table.copy()
    table.loc[table["split"].isin(["train", "test"]), "patient_id"] = "one"
    with pytest.raises(ManifestError, match=r"patient 'one' is in the splits test and train.*--keep test"):
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


def findings_of(tiny, recipe, findings, **table):
    """The first stage's data where its first images carry these findings."""
    manifest = Manifest.load(tiny)
    changed = manifest.table.copy()
    rows = changed.index[changed["role"] == "intermediate"]
    changed.loc[rows[4 : 4 + len(findings)], "findings"] = findings
    for column, values in table.items():
        changed.loc[rows[4 : 4 + len(values)], column] = values
    ids = changed.loc[rows[4 : 4 + len(findings)], "image_id"].tolist()
    first = prepare(recipe, manifest.with_table(changed), quiet)[0]
    targets = dict(zip(first.train_rows, first.train_targets, strict=True))
    targets |= dict(zip(first.val_rows, first.val_targets, strict=True))
    return first, [targets[first.cache.index(image_id)] for image_id in ids]


def test_no_finding_is_a_class_only_on_request(tiny, recipe):
    first, (healthy,) = findings_of(tiny, recipe.changed({"stages.0.no_finding": False}), ["No Finding"])
    assert first.classes == ("Edema", "Pneumonia")
    assert healthy.tolist() == [0, 0]
    named = recipe.changed({"stages.0.classes": ["Pneumonia", "No Finding"], "stages.0.no_finding": False})
    assert findings_of(tiny, named, ["No Finding"])[1][0].tolist() == [0, 1]


def test_a_finding_with_a_question_mark_is_unknown(tiny, recipe):
    first, (one, other) = findings_of(tiny, recipe, ["?Pneumonia|Edema", "Pneumonia"])
    assert first.classes == ("Edema", "No Finding", "Pneumonia")
    assert np.array_equal(one, [1, 0, np.nan], equal_nan=True)
    assert other.tolist() == [0, 0, 1]


def test_what_a_source_does_not_label_is_unknown_there(tiny, recipe):
    changes = {"stages.0.annotated": {"xrays": ["Edema"]}, "stages.0.sources": ["nih", "xrays"]}
    _, (one, other) = findings_of(tiny, recipe.changed(changes), ["Edema", "Edema"], source=["xrays", "nih"])
    assert np.array_equal(one, [1, np.nan, np.nan], equal_nan=True)
    assert other.tolist() == [1, 0, 0]


def test_a_finding_that_no_training_image_is_known_to_show_is_said(tiny, recipe, caplog):
    manifest = Manifest.load(tiny)
    table = manifest.table.copy()
    table["findings"] = table["findings"].str.replace("Edema", "?Edema")
    strange = manifest.with_table(table)
    balanced = recipe.changed({"stages.0.class_weights": "balanced"})
    said = "stage findings: no training image that is known to show 'Edema', so the network cannot learn it; "
    assert check(balanced, strange) == [f"{said}its weight in the loss is 0"]
    assert check(balanced.changed({"stages.0.class_weights": "none"}), strange) == [
        f"{said}its weight is as in the recipe"
    ]
    prepare(balanced, strange, quiet)
    assert said in caplog.text


def test_a_class_whose_training_images_cannot_be_read_is_said(tiny, recipe, tmp_path, caplog):
    folder = shutil.copytree(tiny.parent, tmp_path / "broken")
    manifest = Manifest.load(folder / tiny.name)
    train = manifest.table[(manifest.table["split"] == "train") & (manifest.table["label"] == "covid19")]
    for image in train["image"]:
        (folder / image).write_bytes(b"no picture")
    last = prepare(recipe, manifest, quiet)[-1]
    assert 0 not in last.train_targets
    assert "no training image of 'covid19', so the network cannot learn it" in caplog.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"stages.0.annotated": {"nih": ["Flu"]}},
            r"stages\.0\.annotated\.nih: 'Flu' is not a class\. Allowed: Edema",
        ),
        ({"stages.1.class_weights": {"flu": 2}}, r"stages\.1\.class_weights: 'flu' is not a class\. Allowed: covid19"),
        ({"stages.1.accumulate": 16, "stages.1.batch": 64, "devices": 2}, r"30 images to train .* Allowed: 32 or more"),
    ],
)
def test_names_and_parts_that_do_not_fit_the_data_are_refused(tiny, recipe, changes, error):
    with pytest.raises(RecipeError, match=error):
        prepare(recipe.changed(changes), Manifest.load(tiny), quiet)


def test_a_stage_of_its_own_validates_on_someone_whoever_is_drawn_first(tiny, recipe):
    manifest = Manifest.load(tiny)
    table = manifest.table.copy()
    rows = table.index[table["role"] == "intermediate"][4:]
    table.loc[rows[:12], "patient_id"] = "large"  # of 20 images, of which 2 validate
    for seed in range(8):
        first = prepare(recipe.changed({"seed": seed}), manifest.with_table(table), quiet)[0]
        assert 1 <= len(first.val_rows) <= 2


def test_splits_of_its_own_are_taken_as_they_are_and_refused_with_the_patients_who_are_held_out(tiny, recipe):
    manifest = Manifest.load(tiny)
    table = manifest.table.copy()
    rows = table.index[table["role"] == "intermediate"]
    own = table.loc[rows[4:]].assign(split=["val"] * 5 + ["train"] * 15)
    path = tiny.parent / "own.csv"
    Manifest.load(tiny).with_table(own).save(path)
    chosen = recipe.changed({"stages.0.data": str(path), "stages.0.use_splits": True})
    first = prepare(chosen, manifest, quiet)[0]
    assert (len(first.train_rows), len(first.val_rows)) == (15, 5)

    Manifest.load(tiny).with_table(own.assign(patient_id=["p30", "p45", *own["patient_id"][2:]])).save(path)
    with pytest.raises(RecipeError, match=r"use_splits: 2 images .* holds out: p30, p45\. Allowed: false"):
        prepare(chosen, manifest, quiet)
    left_out = prepare(chosen.changed({"stages.0.use_splits": False}), manifest, quiet)[0]
    patients = Manifest.load(path).table.set_index("image_id")["patient_id"]
    seen = {patients[left_out.cache.ids[r]] for r in np.r_[left_out.train_rows, left_out.val_rows]}
    assert not seen & {"p30", "p45"}
    path.unlink()


def test_a_held_out_image_that_another_manifest_has_under_another_name_is_left_out(tiny, recipe, tmp_path):
    manifest = Manifest.load(tiny)
    table = manifest.table
    other = shutil.copytree(tiny.parent, tmp_path / "other")
    held_out = table[table["split"] == "test"].iloc[0]
    rows = table[table["role"] == "intermediate"].iloc[4:].assign(split="")
    shutil.copyfile(tiny.parent / held_out["image"], other / rows.iloc[0]["image"])
    rows.to_csv(other / "other.csv", index=False)
    first = prepare(recipe.changed({"stages.0.data": str(other / "other.csv")}), manifest, quiet)[0]
    ids = {first.cache.ids[r] for r in np.r_[first.train_rows, first.val_rows]}
    assert len(ids) == 19
    assert Manifest.load(other / "other.csv").ids[0] not in ids


@pytest.fixture
def strange(tiny):
    """The tiny set with a class that train lacks in val and test, and without images of one that the recipe names."""
    table = Manifest.load(tiny).table
    rows = table["split"].isin(["val", "test"]) & (table["label"] == "pneumonia")
    return Manifest.load(tiny).with_table(table.assign(label=table["label"].mask(rows, "tuberculosis")))


def test_held_out_images_of_a_class_that_train_lacks_are_counted_by_label_and_split(strange, recipe):
    left_out = {"val": {"tuberculosis": 3}, "test": {"tuberculosis": 4}}
    last = prepare(recipe, strange, quiet)[-1]
    assert last.left_out == left_out
    assert len(last.val_rows) == 6
    said = check(recipe, strange)
    assert said == check_labels(recipe, strange)
    assert "split test: 4 X-rays are left out, their label is none of the classes" in said[1]
    assert said[1].endswith("tuberculosis 4")


def test_images_of_a_class_that_the_recipe_leaves_out_are_counted_in_train_too(tiny, recipe):
    two = recipe.changed({"stages.-1.classes": ["covid19", "normal"]})
    (_, last) = prepare(two, Manifest.load(tiny), quiet)
    assert last.left_out == {"train": {"pneumonia": 10}, "val": {"pneumonia": 3}, "test": {"pneumonia": 4}}


def test_findings_that_are_no_class_are_counted_and_their_images_stay(tiny, recipe):
    two = recipe.changed({"stages.0.classes": ["Edema", "No Finding"]})
    (all_of_them, _), (first, _) = (prepare(r, Manifest.load(tiny), quiet) for r in (recipe, two))
    assert first.left_out["train"].keys() == {"Pneumonia"}
    assert len(first.train_rows) == len(all_of_them.train_rows)
    assert any("findings are left out" in line for line in check(two, Manifest.load(tiny)))


def test_where_every_label_is_a_class_nothing_is_said(tiny, recipe):
    assert check(recipe, Manifest.load(tiny)) == []
    assert all(stage.left_out == {} for stage in prepare(recipe, Manifest.load(tiny), quiet))
