"""Tables as people write them: columns, labels, paths and rows are read as ours, and every change is told."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from data_samples import write_png

from cxr.data import ImportResult, Manifest, import_data, save_data_set
from cxr.data.library import read_notes
from cxr.errors import ManifestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n in range(6):
        write_png(tmp_path / "img" / f"x{n}.png", n)
    return tmp_path


def read(folder: Path, text: str, **options: object) -> ImportResult:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return import_data("manifest", folder / "t.csv", workers=0, **options)


def column(result: ImportResult, name: str) -> list:
    return result.manifest.table[name].tolist()


def has(result: ImportResult, words: str) -> bool:
    return any(words in note for note in result.notes)


def reasons(result: ImportResult) -> dict[str, str]:
    return dict(result.excluded[["file", "reason"]].itertuples(index=False))


def test_usual_columns_labels_splits_ages_and_missing_values_are_known_and_reported(folder: Path):
    result = read(
        folder,
        "File Name,Diagnosis,Patient ID,Gender,Age,Set\n"
        "img/x0.png,COVID-19,007,Female,>89,Training\n"
        "img/x1.png,none,NA,male,045Y,VALID\n"
        "img/x2.png,Healthy,None,?,about 50,testing\n",
    )
    assert column(result, "label") == ["covid19", "", "normal"]
    assert column(result, "split") == ["train", "val", "test"]
    assert column(result, "patient_id") == ["007", "", ""]
    assert column(result, "sex") == ["F", "M", ""]
    assert column(result, "age")[:2] == [89, 45]
    for words in (
        "columns: image from 'File Name', label from 'Diagnosis', patient_id from 'Patient ID'",
        "labels: COVID-19 -> covid19 (1), Healthy -> normal (1)",
        "labels: 1 missing (written none)",
        "split: Training -> train (1), VALID -> val (1), testing -> test (1)",
        "patient_id: 2 missing (written NA, None)",
        "age: '>89' read as 89 (1)",
        "age: 1 unknown (written 'about 50')",
        "The patient of 2 of 3 X-rays is unknown: each of them counts as a patient of its own",
        "The source of all 3 X-rays is unknown",
    ):
        assert has(result, words), (words, result.notes)


def test_labels_can_be_kept_and_an_alias_goes_first(folder: Path):
    text = "image,label\nimg/x0.png,Covid\nimg/x1.png,covid\nimg/x2.png,none\n"
    assert column(read(folder, text), "label") == ["covid19", "covid19", ""]
    assert column(read(folder, text, keep_labels=True), "label") == ["Covid", "covid", ""]
    assert column(read(folder, text, aliases={"none": "none", "covid": "flu"}), "label") == ["flu", "flu", "none"]


def test_a_class_kept_on_purpose_survives_the_import_of_our_own_manifest(folder: Path):
    kept = read(folder, "image,label,split\nimg/x0.png,Covid,train\nimg/x1.png,covid,test\n", keep_labels=True)
    kept.manifest.save(folder / "own.csv")
    again = import_data("manifest", folder / "own.csv", workers=0)
    assert again.manifest.classes == ("Covid", "covid")
    assert again.manifest.ids == kept.manifest.ids


@pytest.mark.parametrize(
    "path",
    ["img\\{}", "./img/{}", ".\\img\\{}", "C:\\set\\img\\{}", "/home/someone/set/img/{}", "IMG/{}", "{}", " img/{} "],
)
def test_files_are_found_however_their_paths_are_written(folder: Path, path: str):
    rows = "".join(f"{path.format(f'x{n}.png')},{'ab'[n % 2]}\n" for n in range(4))
    result = read(folder, f"image,label\n{rows}")
    assert column(result, "image") == [f"img/x{n}.png" for n in range(4)]
    assert has(result, "paths: 4 found") or path == "./img/{}"


def test_files_are_found_in_the_other_unicode_form_and_without_their_ending(folder: Path):
    write_png(folder / "img" / unicodedata.normalize("NFD", "é.png"), 20)
    write_png(folder / "img" / unicodedata.normalize("NFC", "ü.png"), 21)
    result = read(folder, f"image,label\nimg/é.png,a\nimg/{unicodedata.normalize('NFD', 'ü')}.png,a\nx1,b\n")
    assert len(result.manifest) == 3
    assert result.manifest.missing_files().empty


def test_a_file_of_the_same_name_in_another_folder_is_not_taken(folder: Path):
    write_png(folder / "normal" / "1.png", 9)
    result = read(folder, "image,label\nnormal/1.png,normal\ncovid/1.png,covid\n")
    assert column(result, "image") == ["normal/1.png"]
    assert "does not exist" in reasons(result)["covid/1.png"]
    write_png(folder / "patient1" / "view1_frontal.png", 10)
    two = "patient1/view1_frontal.png,a\npatient2/view1_frontal.png,b\n"
    assert column(read(folder, f"image,label\n{two}"), "image") == ["patient1/view1_frontal.png"]
    write_png(folder / "view1_frontal.png", 11)
    assert column(read(folder, f"image,label\n{two}"), "image") == ["patient1/view1_frontal.png"]
    (folder / "view1_frontal.png").unlink()
    once = read(folder, "image,label\nelsewhere/view1_frontal.png,a\n")
    assert column(once, "image") == ["patient1/view1_frontal.png"]
    assert has(once, "paths: 1 found by their names")


def test_equal_rows_are_one_and_rows_of_one_image_are_joined_where_they_agree(folder: Path):
    result = read(
        folder,
        "image,label,patient_id,findings,x\n"
        "img/x0.png,covid,p0,Edema,1\nimg/x0.png,covid,p0,Edema,1\nimg/x0.png,covid,p0,Edema,1\n"
        "img/x1.png,Covid,p1,Edema,1\nimg/x1.png,covid,,Mass,2\n"
        "img/x2.png,covid,p2,,\nimg/x2.png,normal,p2,,\n"
        "img/x3.png,normal,p3,,\nimg/x3.png,normal,p4,,\n",
    )
    table = result.manifest.table.set_index("image")
    assert table["label"].to_dict() == {"img/x0.png": "covid19", "img/x1.png": "covid19"}
    assert table.loc["img/x1.png", ["patient_id", "findings", "x"]].tolist() == ["p1", "Edema|Mass", "1|2"]
    assert reasons(result) == {
        "img/x2.png": "has 2 rows that disagree: label 'covid19' and 'normal'",
        "img/x3.png": "has 2 rows that disagree: patient_id 'p3' and 'p4'",
    }
    assert has(result, "rows: 2 equal to an earlier row, joined with it")
    assert has(result, "rows: 2 rows of 1 images that have several, joined to one each")


def test_a_column_of_one_finding_becomes_two_classes_and_several_findings_stay_findings(folder: Path):
    text = "image,Hernia\nimg/x0.png,1.0\nimg/x1.png,0.0\nimg/x2.png,-1.0\nimg/x3.png,\n"
    assert column(read(folder, text, columns={"label": "Hernia"}), "label") == ["Hernia", "no Hernia", "", ""]
    several = read(folder, "image,Finding Labels\nimg/x0.png,Edema|Pneumonia\nimg/x1.png,No finding\n")
    assert column(several, "findings") == ["Edema|Pneumonia", "No Finding"]
    assert column(several, "label") == ["pneumonia", "normal"]


def test_columns_of_findings_without_a_label_are_findings(folder: Path):
    text = "image,Hernia,Pleural_Thickening,Pneumonia\nimg/x0.png,1,1,0\nimg/x1.png,0,0,1\nimg/x2.png,0,-1,0\n"
    result = read(folder, text + "img/x3.png,0,0,0\n")
    assert column(result, "findings") == ["Hernia|Pleural_Thickening", "Pneumonia", "?Pleural_Thickening", "No Finding"]
    assert column(result, "label") == ["", "pneumonia", "", ""], "all 0 is not called normal"
    assert has(result, "findings: from the columns Hernia, Pleural_Thickening, Pneumonia of 1 and 0")
    one = read(folder, "image,tuberculosis\nimg/x0.png,1\nimg/x1.png,0\n")
    assert column(one, "label") == ["tuberculosis", "no tuberculosis"]


def test_of_one_column_per_class_the_normal_ones_keep_their_label(folder: Path):
    rows = "img/x0.png,1,0,0\nimg/x1.png,0,1,0\nimg/x2.png,0,0,1\nimg/x3.png,0,0,0\n"
    result = read(folder, f"image,COVID,Normal,Pneumonia\n{rows}")
    assert column(result, "label") == ["covid19", "normal", "pneumonia", ""]


@pytest.mark.parametrize(("yes", "no"), [("Y", "N"), ("T", "F"), ("pos", "neg"), ("Present", "Absent")])
def test_columns_of_findings_say_yes_and_no_in_the_usual_words(folder: Path, yes: str, no: str):
    result = read(folder, f"image,Edema,Mass\nimg/x0.png,{yes},{no}\nimg/x1.png,{no},{no}\nimg/x2.png,{yes},{yes}\n")
    assert column(result, "findings") == ["Edema", "No Finding", "Edema|Mass"]


def test_numbers_for_classes_and_no_column_for_them_are_reported(folder: Path):
    assert has(read(folder, "path,class\nimg/x0.png,0\nimg/x1.png,1\n"), "labels are numbers (0, 1): name the classes")
    assert has(read(folder, "path,colour\nimg/x0.png,red\n"), "labels: no column holds them; columns:")


def test_lateral_views_are_left_out_by_name(folder: Path):
    result = read(folder, "image,label,view\nimg/x0.png,a,Lateral\nimg/x1.png,b,pa\nimg/x2.png,b,\n")
    assert column(result, "view") == ["PA", ""]
    assert reasons(result) == {"img/x0.png": "view L is not frontal"}


def test_a_source_is_unknown_unless_it_is_named(folder: Path):
    text = "image,label,source\nimg/x0.png,a,north\nimg/x1.png,b,NA\n"
    assert column(read(folder, text), "source") == ["north", ""]
    assert column(read(folder, text, source="south"), "source") == ["north", "south"]
    assert not has(read(folder, text, source="south"), "The source of")


def test_notes_are_kept_with_the_data_set(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXR_DATA", str(folder / "library"))
    result = read(folder, "image,label\nimg/x0.png,Covid\nimg/x1.png,normal\n")
    save_data_set("mine", result)
    assert read_notes("mine") == list(result.notes)
    assert "labels: Covid -> covid19 (1)" in result.notes
    assert read_notes("nothing") == []


def test_a_folder_with_several_tables_names_them(folder: Path):
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("image,label\nimg/x0.png,a\n")
    with pytest.raises(ManifestError, match=r"it has a\.csv, b\.csv; give the path of the table itself"):
        import_data("manifest", folder)
    (folder / "b.csv").unlink()
    assert len(import_data("manifest", folder, workers=0).manifest) == 1


def test_a_table_used_directly_and_imported_have_the_same_splits_patients_and_ages(folder: Path):
    result = read(folder, "image,label,split,patient_id,age\nimg/x0.png,a,Train,1.0,045Y\nimg/x1.png,a,valid,NA,>89\n")
    direct = Manifest.load(folder / "t.csv").table
    columns = ["split", "patient_id", "age", "label"]
    pd.testing.assert_frame_equal(direct[columns], result.manifest.table[columns])


@pytest.mark.parametrize("name", ["dataset", "group", "usage", "Mode", "subset"])
def test_a_column_of_split_names_is_the_split_whatever_it_is_called(folder: Path, name: str):
    result = read(folder, f"id,class,{name}\nx0,ill,Train\nx1,well,Val\nx2,ill,Test\n".replace("x", "img/x"))
    assert column(result, "split") == ["train", "val", "test"]
    assert column(result, "source") == ["", "", ""]
    assert column(result, "label") == ["ill", "well", "ill"]


def test_a_column_dataset_of_hospitals_is_the_source(folder: Path):
    result = read(folder, "image,label,dataset\nimg/x0.png,ill,Basel\nimg/x1.png,well,Train\n")
    assert column(result, "source") == ["Basel", "Train"]
    assert column(result, "split") == ["", ""]


def test_one_column_for_each_class_is_the_label_also_where_only_one_name_is_known(folder: Path):
    rows = "".join(f"img/x{n}.png,{int(n % 3 == 0)},{int(n % 3 == 1)},{int(n % 3 == 2)}\n" for n in range(6))
    result = read(folder, f"image,silicosis,asbestosis,healthy\n{rows}")
    assert column(result, "label") == ["silicosis", "asbestosis", "normal"] * 2
    assert has(result, "labels: from the columns silicosis, asbestosis, healthy, of which each row has exactly one")


def test_columns_that_exclude_each_other_and_are_no_findings_are_no_classes(folder: Path):
    rows = "".join(f"img/x{n}.png,{n % 2},{1 - n % 2}\n" for n in range(6))
    assert column(read(folder, f"image,male,female\n{rows}"), "label") == [""] * 6
