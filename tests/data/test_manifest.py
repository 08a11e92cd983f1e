from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr.data import CLASSES, Manifest
from cxr.data.manifest import COLUMNS, TEXT_COLUMNS, default_image_id
from cxr.errors import ManifestError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_real_manifest_is_read_unchanged(shared_data: Path):
    manifest = Manifest.load(shared_data / "manifest.csv", classes=CLASSES)
    assert len(manifest) == 2259
    assert manifest.classes == CLASSES
    assert manifest.table["label"].value_counts().to_dict() == {
        "": 757,
        "normal": 582,
        "pneumonia": 577,
        "covid19": 343,
    }
    assert manifest.table["age"].isna().sum() == 186
    assert manifest.row(manifest.ids[0])["dup_group"] == "17148"
    assert manifest.missing_files().empty
    assert manifest.mask_path(manifest.ids[0], "lung").is_file()
    assert manifest.mask_path(manifest.ids[0], "token") is None


def test_every_column_is_there_and_unknown_text_is_empty_never_nan(tmp_path: Path):
    manifest = Manifest.load(write(tmp_path / "m.csv", "image,sex,age,extra\na.png,,,7\nb.png,F,63.5,\n"))
    assert list(manifest.table.columns) == [*COLUMNS, "extra"]
    assert not manifest.table[list(TEXT_COLUMNS)].isna().any().any()
    assert manifest.table["sex"].tolist() == ["", "F"]
    assert manifest.table["extra"].tolist() == ["7", ""]
    assert manifest.table["age"].tolist()[1] == 63.5
    assert manifest.ids == [default_image_id("a.png"), default_image_id("b.png")]


def test_an_image_has_the_same_id_by_its_relative_and_its_absolute_path(tmp_path: Path):
    relative = Manifest.from_table(pd.DataFrame({"image": ["x/a.png"]}), tmp_path)
    absolute = Manifest.from_table(pd.DataFrame({"image": [f"{tmp_path}/x/a.png"]}), tmp_path)
    assert relative.ids == absolute.ids


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_saved_manifest_comes_back_equal_and_finds_its_images_from_another_folder(tmp_path: Path, ending: str):
    rows = {"image": ["sub/a.png", "b.png"], "dup_group": ["17", ""], "age": [41.0, None], "label": ["x", ""]}
    manifest = Manifest.from_table(pd.DataFrame(rows), tmp_path / "data")
    saved = manifest.save(tmp_path / "data" / "sub" / f"m.{ending}")
    again = Manifest.load(tmp_path / "data" / "sub" / f"m.{ending}")
    assert again.table["image"].tolist() == ["a.png", f"{tmp_path}/data/b.png"]
    assert [again.image_path(i) for i in again.ids] == [manifest.image_path(i) for i in manifest.ids]
    assert again.hash() == manifest.hash() == saved.hash()
    pd.testing.assert_frame_equal(again.table, saved.table)


def test_foreign_columns_and_labels_are_mapped(tmp_path: Path):
    file = write(tmp_path / "m.csv", "file;diagnosis;pat\na.png;COVID;7\nb.png;Healthy;8\n")
    manifest = Manifest.load(
        file,
        columns={"image": "file", "label": "diagnosis", "patient_id": "pat"},
        aliases={"covid": "covid19", "Healthy": "normal"},
        classes=CLASSES,
    )
    assert manifest.table["label"].tolist() == ["covid19", "normal"]
    assert manifest.table["patient_id"].tolist() == ["7", "8"]
    assert "diagnosis" not in manifest.table


def test_whole_numbers_in_a_parquet_file_stay_whole_beside_a_missing_one(tmp_path: Path):
    pd.DataFrame({"image": ["a", "b"], "patient_id": [12.0, None]}).to_parquet(tmp_path / "m.parquet")
    assert Manifest.load(tmp_path / "m.parquet").table["patient_id"].tolist() == ["12", ""]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,label\na,covid19\nb,covid\n", "row 2: label 'covid' is not one of covid19, normal, pneumonia (add it"),
        ("file,label\na,normal\n", "no column 'image'. Found: file, label (map one with columns={'image'"),
        ("image\na\nb\na\n", "rows 1 and 3: image_id"),
        ("image_id,image\ni,a\ni,b\n", "rows 1 and 2: image_id 'i' occurs twice (images 'a' and 'b')"),
        ("image,label\na,normal\n,normal\n", "row 2: `image` is empty"),
        ("image,role\na,trian\n", "row 1: role 'trian' is not one of train, probe, external, intermediate"),
        ("image,label\n", "has no rows below its header"),
        ("", "cannot be read as a table"),
    ],
)
def test_a_fault_is_named_in_one_line_with_its_row(tmp_path: Path, text: str, says: str):
    with pytest.raises(ManifestError) as caught:
        Manifest.load(write(tmp_path / "m.csv", text), classes=CLASSES)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("age", "says"),
    [("young", "row 2: age 'young' is not a number"), (414.0, "row 2: age 414 is not between 0 and 130")],
)
def test_a_table_of_ours_with_a_wrong_age_is_refused(tmp_path: Path, age: object, says: str):
    with pytest.raises(ManifestError, match=says):
        Manifest.from_table(pd.DataFrame({"image": ["a", "b"], "age": [50.0, age]}), tmp_path)


FOREIGN = (
    "image,label,split,age,sex,patient_id,view\n"
    "img\\a.png,Covid,Train,>89,Male,1000.0,lateral\n"
    "b.png,NA,valid,045Y,f,None,PA\n"
    "c.png,covid,Testing,old,?,,\n"
)


def test_a_table_of_others_is_read_as_an_import_reads_it_and_each_change_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    table = Manifest.load(write(tmp_path / "m.csv", FOREIGN)).table
    assert table["split"].tolist() == ["train", "val", "test"]
    assert table["age"].tolist()[:2] == [89.0, 45.0]
    assert table["age"].isna().tolist() == [False, False, True]
    assert table["sex"].tolist() == ["M", "F", ""]
    assert table["patient_id"].tolist() == ["1000", "", ""]
    assert table["view"].tolist() == ["L", "PA", ""]
    assert table["image"].tolist() == ["img/a.png", "b.png", "c.png"]
    assert table["label"].tolist() == ["Covid", "", "covid"], "labels are joined by an import alone"
    for words in (
        "Train -> train (1)",
        "'>89' read as 89 (1)",
        "(written 'old')",
        "'1000.0' read as '1000'",
        "Covid -> covid19 (1), covid -> covid19 (1) by `cxr data import manifest`, not here",
        "labels: 1 missing (written NA)",
        "paths: 1 written with back slashes",
    ):
        assert words in caplog.text


def test_what_we_saved_is_read_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    rows = {"image": ["a.png", "b.png"], "label": ["Covid", "none"], "split": ["Train", "valid"], "view": ["LL", "-"]}
    Manifest.from_table(pd.DataFrame(rows), tmp_path).save(tmp_path / "m.csv")
    again = Manifest.load(tmp_path / "m.csv").table
    assert {column: again[column].tolist() for column in rows} == rows
    assert not caplog.text


def test_a_mapping_to_something_unknown_is_refused(tmp_path: Path):
    file = write(tmp_path / "m.csv", "file\na\n")
    with pytest.raises(ManifestError, match=r"unknown column in the mapping 'img'. Available: image_id, image"):
        Manifest.load(file, columns={"img": "file"})
    with pytest.raises(ManifestError, match=r"has no column 'path'.*Found: file"):
        Manifest.load(file, columns={"image": "path"})


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0", b"\xff\xfe\x00a", b"PAR1 not a parquet"])
def test_a_file_that_is_no_table_is_an_error_for_people(tmp_path: Path, content: bytes):
    for name in ("m.csv", "m.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ManifestError):
            Manifest.load(tmp_path / name)
    with pytest.raises(ManifestError, match="not there"):
        Manifest.load(tmp_path / "absent.csv")
    with pytest.raises(ManifestError, match="a folder"):
        Manifest.load(tmp_path)


def test_rows_are_selected_by_split_label_role_and_ids_in_the_order_requested(tmp_path: Path):
    rows = {"image": list("abcd"), "split": ["train", "test", "test", ""], "label": ["x", "x", "y", "y"]}
    manifest = Manifest.from_table(pd.DataFrame(rows), tmp_path)
    a, b, c, _ = manifest.ids
    assert manifest.select(split="test").ids == [b, c]
    assert manifest.select(split=["train", "test"], label="x").ids == [a, b]
    assert manifest.select(ids=[c, a]).ids == [c, a]
    assert manifest.select(ids=[c, a], split="test").ids == [c]
    assert len(manifest.select(split="val")) == 0
    with pytest.raises(ManifestError, match="'zzz' is not in the manifest"):
        manifest.select(ids=["zzz"])


def test_hashes_ignore_the_order_of_rows_and_notice_labels_and_splits(tmp_path: Path):
    table = pd.DataFrame({"image": list("abc"), "label": list("xyx"), "split": ["train", "", "test"]})
    manifest = Manifest.from_table(table, tmp_path)
    assert Manifest.from_table(table.iloc[::-1], tmp_path).hash() == manifest.hash()
    relabelled = Manifest.from_table(table.assign(label=list("xxx")), tmp_path)
    assert relabelled.hash() != manifest.hash()
    assert relabelled.split_hash() == manifest.split_hash()
    assert Manifest.from_table(table.assign(split="train"), tmp_path).split_hash() != manifest.split_hash()


def test_a_patient_or_duplicate_in_two_splits_is_named(tmp_path: Path):
    rows = {"image": list("abc"), "patient_id": ["p", "p", ""], "dup_group": ["1", "", "1"]}
    table = pd.DataFrame(rows)
    with pytest.raises(ManifestError, match="patient 'p' is in the splits test and train"):
        Manifest.from_table(table.assign(split=["train", "test", "train"]), tmp_path).check_splits()
    with pytest.raises(ManifestError, match="duplicate group '1' is in the splits train and val"):
        Manifest.from_table(table.assign(split=["train", "train", "val"]), tmp_path).check_splits()
    Manifest.from_table(table.assign(split=["train", "", ""]), tmp_path).check_splits()


names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(names, min_size=1, max_size=6, unique=True), st.data())
def test_any_names_and_labels_survive_a_csv(tmp_path: Path, images: list[str], data: st.DataObject):
    unusual = {"nan", "NaN", "NAN", "<NA>"}
    images = [image for image in images if image not in unusual] or ["a"]
    labels = [data.draw(names.filter(lambda name: name not in unusual)) for _ in images]
    manifest = Manifest.from_table(pd.DataFrame({"image": images, "label": labels}), tmp_path)
    manifest.save(tmp_path / "m.csv")
    again = Manifest.load(tmp_path / "m.csv")
    assert again.table["label"].tolist() == labels
    assert again.hash() == manifest.hash()


def test_spaces_around_a_file_name_belong_to_it(tmp_path: Path):
    manifest = Manifest.load(write(tmp_path / "m.csv", "image,label\n odd folder/a.png , normal \n"))
    assert manifest.image_path(manifest.ids[0]) == tmp_path / " odd folder" / "a.png "
    assert manifest.table["label"].tolist() == ["normal"]
