from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_samples import chest, dicom, save_dicom, write_png
from PIL import Image

from cxr.data import SOURCES, ImportResult, Manifest, import_data
from cxr.data.importers.listing import class_of
from cxr.data.importers.public.covid_chestxray import label_of as covid_label
from cxr.data.importers.public.nih import label_of as nih_label
from cxr.data.importers.registry import Options
from cxr.errors import ManifestError


def reasons(result: ImportResult) -> dict[str, str]:
    return dict(result.excluded[["file", "reason"]].itertuples(index=False))


def by_file(result: ImportResult) -> pd.DataFrame:
    return result.manifest.table.set_index("image")


def test_the_covid_set_keeps_frontal_xrays_and_names_all_others(shared_data: Path):
    result = import_data("covid-chestxray", shared_data / "layouts" / "covid-chestxray-dataset")
    table = by_file(result)
    assert table["label"].value_counts().to_dict() == {"covid19": 20, "pneumonia": 5, "normal": 3}
    assert set(table["view"]) == {"PA", "AP", "AP Supine"}
    left_out = reasons(result)
    assert len(left_out) == 8
    assert left_out["images/jkms-35-e79-g001-l-d.jpg"] == "modality CT is not X-ray"
    assert left_out["images/nejmoa2001191_f1-L.jpeg"].startswith("view L is not frontal")
    assert sum(reason == "does not exist" for reason in left_out.values()) == 2
    first = table.loc["images/all14238-fig-0002-m-d.jpg"]
    assert (first["patient_id"], first["sex"], first["age"]) == ("cohen_58", "M", 36.0)
    assert table.loc["images/2168a917.jpg", "licence"] == "CC BY 3.0"
    assert "Taiwan" in table.loc["images/nejmc2001573_f1a.jpeg", "location"]
    assert table["date"].ne("").any()
    for image_id in result.manifest.ids:
        with Image.open(result.manifest.image_path(image_id)) as image:
            assert image.size == tuple(result.manifest.row(image_id)[["width", "height"]])


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("COVID-19", "covid19"),
        ("COVID-19, ARDS", "covid19"),
        ("Pneumonia/Viral/COVID-19", "covid19"),
        ("Pneumonia", "pneumonia"),
        ("Pneumonia/Bacterial/Streptococcus", "pneumonia"),
        ("Pneumonia/Viral/MERS-CoV", "pneumonia"),
        ("Mycoplasma Bacterial Pneumonia", "pneumonia"),
        ("SARS", "pneumonia"),
        ("E.Coli", "pneumonia"),
        ("Lipoid", "pneumonia"),
        ("Chlamydophila", "pneumonia"),
        ("No Finding", "normal"),
        ("ARDS", ""),
        ("Tuberculosis", ""),
        ("Unknown", ""),
        ("todo", ""),
        ("", ""),
    ],
)
def test_covid_findings_of_old_and_new_style_become_classes(finding: str, label: str):
    assert covid_label(finding, Options()) == label


def test_covid_aliases_go_before_our_reading_and_double_and_unnamed_files_are_left_out(tmp_path: Path):
    for name in ("a.png", "b.png", "stray.png"):
        write_png(tmp_path / "images" / name, seed=len(name))
    (tmp_path / "metadata.csv").write_text(
        "patientid,finding,view,modality,filename\n"
        "1,ARDS,PA,X-ray,a.png\n2,COVID-19,AP Erect,X-ray,b.png\n2,COVID-19,PA,X-ray,b.png\n3,COVID-19,PA,X-ray,\n"
    )
    result = import_data("covid-chestxray", tmp_path, aliases={"ARDS": "pneumonia"})
    assert by_file(result)["label"].to_dict() == {"images/a.png": "pneumonia", "images/b.png": "covid19"}
    assert reasons(result) == {
        "images/b.png": "is in row 2 already (this is row 3)",
        "row 4": "names no file",
        "images/stray.png": "has no row in metadata.csv",
    }


def test_nih_images_carry_all_their_findings(shared_data: Path):
    result = import_data("nih-chestxray14", shared_data / "layouts" / "nih-chestxray14")
    table = by_file(result)
    assert len(table) == 30
    assert result.excluded.empty
    row = table.loc["images/00001968_000.png"]
    assert (row["findings"], row["label"], row["patient_id"], row["sex"], row["age"], row["view"]) == (
        *("Pneumothorax", "", "nih_00001968", "F", 43.0, "PA"),
    )
    assert (table.loc[table["findings"] == "No Finding", "label"] == "normal").all()
    assert (table["width"] == 1024).all()


@pytest.mark.parametrize(
    ("findings", "label"),
    [("No Finding", "normal"), ("Pneumonia", "pneumonia"), ("Edema|Pneumonia", "pneumonia"), ("Edema", ""), ("", "")],
)
def test_nih_findings_become_classes(findings: str, label: str):
    assert nih_label(findings, Options()) == label


def test_nih_in_its_numbered_folders_with_its_lists_and_an_impossible_age(tmp_path: Path):
    write_png(tmp_path / "images_001" / "images" / "00000001_000.png", 1)
    write_png(tmp_path / "images_002" / "images" / "00000002_000.png", 2)
    write_png(tmp_path / "images_002" / "images" / "00000009_000.png", 3)
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n")
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\n"
        "00000001_000.png,Hernia,0,1,058Y,M,PA,\n00000002_000.png,No Finding,0,2,414,F,AP,\n"
        "00000003_000.png,Edema,0,3,20,F,AP,\n"
    )
    result = import_data("nih-chestxray14", tmp_path)
    table = result.manifest.table
    assert table["official_list"].tolist() == ["train_val", "test"]
    assert table["age"].tolist()[0] == 58
    assert np.isnan(table["age"].tolist()[1])
    assert reasons(result)["00000003_000.png"].startswith("has a row, but no image")
    assert "has no row" in reasons(result)["images_002/images/00000009_000.png"]


def test_montgomery_is_external_with_lung_masks_and_tuberculosis_has_no_label(shared_data: Path):
    result = import_data("montgomery", shared_data / "layouts" / "montgomery")
    table = by_file(result)
    assert table["label"].value_counts().to_dict() == {"normal": 5, "": 5}
    assert set(table["findings"]) == {"normal", "tuberculosis"}
    assert set(table["role"]) == {"external"}
    for image_id in result.manifest.ids:
        mask = result.manifest.mask_path(image_id, "lung")
        with Image.open(mask) as lungs, Image.open(result.manifest.image_path(image_id)) as image:
            assert lungs.size == image.size
    assert result.manifest.row(result.manifest.ids[0])["patient_id"] == "montgomery_0001"


def test_montgomery_as_published_joins_left_and_right_masks_and_reads_sex_and_age(tmp_path: Path):
    root = tmp_path / "download" / "MontgomerySet"
    write_png(root / "CXR_png" / "MCUCXR_0001_0.png")
    (root / "CXR_png" / "Thumbs.db").write_bytes(b"\0")
    for side, columns in (("leftMask", slice(0, 10)), ("rightMask", slice(30, 40))):
        mask = np.zeros((60, 48), np.uint8)
        mask[10:50, columns] = 255
        (root / "ManualMask" / side).mkdir(parents=True)
        Image.fromarray(mask).convert("1").save(root / "ManualMask" / side / "MCUCXR_0001_0.png")
    (root / "ClinicalReadings").mkdir()
    (root / "ClinicalReadings" / "MCUCXR_0001_0.txt").write_text("Patient's Sex: F\nPatient's Age: 027Y\nnormal\n")
    result = import_data("montgomery", tmp_path / "download")
    row = result.manifest.table.iloc[0]
    assert (row["sex"], row["age"], row["reading"]) == ("F", 27.0, "normal")
    lungs = np.asarray(Image.open(result.manifest.mask_path(row["image_id"], "lung")))
    assert (lungs > 0).sum() == 2 * 40 * 10
    assert reasons(result) == {"CXR_png/Thumbs.db": "is not called MCUCXR_<number>_<0 or 1>.png"}


def test_shenzhen_reads_its_masks_and_clinical_readings(tmp_path: Path):
    write_png(tmp_path / "CXR_png" / "CHNCXR_0001_0.png", 1)
    write_png(tmp_path / "CXR_png" / "CHNCXR_0327_1.png", 2)
    write_png(tmp_path / "mask" / "CHNCXR_0001_0_mask.png", 3)
    (tmp_path / "ClinicalReadings").mkdir()
    (tmp_path / "ClinicalReadings" / "CHNCXR_0001_0.txt").write_text("male 45yrs\nnormal")
    (tmp_path / "ClinicalReadings" / "CHNCXR_0327_1.txt").write_text("female, 8 months\nPTB in the right upper field")
    table = by_file(import_data("shenzhen", tmp_path))
    assert table["lung_mask"].tolist() == ["mask/CHNCXR_0001_0_mask.png", ""]
    assert table["sex"].tolist() == ["M", "F"]
    assert table["age"].round(2).tolist() == [45.0, 0.67]
    assert table["reading"].tolist()[1] == "PTB in the right upper field"
    assert table["label"].tolist() == ["normal", ""]


def test_class_folders_become_classes(shared_data: Path):
    result = import_data("image-folder", shared_data / "layouts" / "image-folder")
    table = by_file(result)
    assert table["label"].value_counts().to_dict() == {"covid19": 5, "normal": 5, "pneumonia": 5}
    assert table.loc["Pneumonia/00003064_026.png", "patient_id"] == "nih_00003064"
    assert table.loc["Covid-19/covid-19-pneumonia-24-day12.jpg", "patient_id"] == ""


def test_split_folders_above_or_below_the_class_become_splits_and_masks_are_paired(tmp_path: Path):
    write_png(tmp_path / "train" / "NORMAL" / "a.png", 1)
    write_png(tmp_path / "Validation" / "COVID" / "b.png", 2)
    write_png(tmp_path / "Effusion" / "test" / "c.png", 3)
    write_png(tmp_path / "Viral Pneumonia" / "images" / "d.png", 4)
    write_png(tmp_path / "Viral Pneumonia" / "masks" / "d.png", 5)
    write_png(tmp_path / "loose.png", 6)
    (tmp_path / "train" / "NORMAL" / "readme.txt").write_text("text")
    (tmp_path / "train" / ".git").mkdir()
    (tmp_path / "train" / "again").symlink_to(tmp_path / "train")
    result = import_data("image-folder", tmp_path)
    table = by_file(result)[["label", "split", "lung_mask"]]
    assert table.to_dict("index") == {
        "train/NORMAL/a.png": {"label": "normal", "split": "train", "lung_mask": ""},
        "Validation/COVID/b.png": {"label": "covid19", "split": "val", "lung_mask": ""},
        "Effusion/test/c.png": {"label": "Effusion", "split": "test", "lung_mask": ""},
        "Viral Pneumonia/images/d.png": {"label": "pneumonia", "split": "", "lung_mask": "Viral Pneumonia/masks/d.png"},
    }
    assert reasons(result) == {
        "loose.png": "is not in a class folder (one folder per class is needed)",
        "train/NORMAL/readme.txt": "is not an image by its ending '.txt'",
        "train/.git": "is hidden",
        "train/again": "is a link to a folder that was read already",
        "Viral Pneumonia/masks/d.png": "lies in a folder of masks",
    }


@pytest.mark.parametrize("masks", ["lung masks", "Infection_Masks", "leftMask", "mask"])
def test_a_folder_of_masks_of_any_name_holds_no_xrays(tmp_path: Path, masks: str):
    for n, name in enumerate(("Silicosis", "Asbestosis")):
        write_png(tmp_path / "Train" / name / "images" / f"{n}.png", n)
        write_png(tmp_path / "Train" / name / masks / f"{n}.png", n + 4)
    result = import_data("image-folder", tmp_path, workers=0)
    assert sorted(result.manifest.table["label"]) == ["Asbestosis", "Silicosis"]
    assert set(reasons(result).values()) == {"lies in a folder of masks"}


def folder_import(root: Path, *files: str, **options: object) -> ImportResult:
    """Write X-rays of these names and import their folders."""
    for seed, file in enumerate(files):
        write_png(root / file, seed)
    return import_data("image-folder", root, workers=0, **options)


def labels_and_patients(result: ImportResult) -> list[tuple[str, str]]:
    return list(result.manifest.table[["label", "patient_id"]].itertuples(index=False, name=None))


def test_folders_below_a_class_are_patients_and_not_classes(tmp_path: Path):
    files = [f"{label}/patient{n}/study1/view1.png" for label in ("COVID", "Normal") for n in range(2)]
    result = folder_import(tmp_path, *files)
    assert labels_and_patients(result) == [
        ("covid19", "patient0"),
        ("covid19", "patient1"),
        ("normal", "patient0"),
        ("normal", "patient1"),
    ]
    notes = "\n".join(result.notes)
    assert "classes: the folders COVID, Normal" in notes
    assert "patient_id: from the folder below the class for 4 X-rays" in notes
    assert "2 folders of one name are in several classes ('patient0', 'patient1'); taken as the same patients" in notes


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        # Names that nobody knows: the outermost folder below a split, with a folder around the splits.
        (("set/train/Hernia/p1/a.png", "set/train/Edema/p2/b.png", "set/val/Edema/p3/c.png"), ["Hernia", "Edema"]),
        (("Hernia/train/p1/a.png", "Edema/test/p2/b.png"), ["Edema", "Hernia"]),
        (("Hernia/left/a.png", "Edema/right/b.png"), ["Edema", "Hernia"]),
        # The innermost name that is known, and others on its level.
        (
            ("siteA/COVID/1/a.png", "siteB/Normal/b.png", "siteB/Lung_Opacity/c.png"),
            ["Lung_Opacity", "covid19", "normal"],
        ),
        (("archive/0/a.png", "archive/1/b.png"), ["0", "1"]),
        (("archive/Hernia/images/a.png", "archive/Edema/images/b.png"), ["Edema", "Hernia"]),
    ],
)
def test_the_class_is_the_innermost_known_folder_or_the_outermost_one(
    tmp_path: Path, files: tuple[str, ...], labels: list[str]
):
    assert sorted(set(folder_import(tmp_path, *files).manifest.classes)) == sorted(labels)


def test_folders_that_could_be_classes_too_are_named_with_the_way_to_take_them(tmp_path: Path):
    files = ("north/Hernia/a.png", "south/Edema/b.png", "south/Hernia/c.png")
    result = folder_import(tmp_path, *files)
    assert result.manifest.classes == ("north", "south")
    assert any("not the folders below them (Edema, Hernia)" in note for note in result.notes)
    result = import_data("image-folder", tmp_path, aliases={"Hernia": "Hernia", "Edema": "Edema"}, workers=0)
    assert result.manifest.classes == ("Edema", "Hernia")


def test_split_folders_of_any_spelling_are_kept_and_reported(tmp_path: Path):
    result = folder_import(tmp_path, "Training/a/1.png", "valid/a/2.png", "TEST/b/3.png", "dev/b/4.png")
    assert sorted(result.manifest.table["split"]) == ["test", "train", "val", "val"]
    assert any(note.startswith("split: folders") and "valid -> val (1)" in note for note in result.notes)


def test_the_source_of_a_folder_is_unknown_unless_it_is_named(tmp_path: Path):
    result = folder_import(tmp_path, "COVID/a.png", "Normal/b.png")
    assert set(result.manifest.table["source"]) == {""}
    assert any(note.startswith("The source of all 2 X-rays is unknown") for note in result.notes)
    named = import_data("image-folder", tmp_path, source="Clinic A", workers=0)
    assert set(named.manifest.table["source"]) == {"Clinic A"}
    assert not any(note.startswith("The source") for note in named.notes)


def test_folders_whose_names_differ_in_spelling_are_one_class(tmp_path: Path):
    result = folder_import(
        tmp_path, "train/Covid/a.png", "test/COVID-19/b.png", "train/Hernia/c.png", "test/hernia/d.png"
    )
    assert len(result.manifest.classes) == 2
    assert "covid19" in result.manifest.classes
    kept = import_data("image-folder", tmp_path, keep_labels=True, workers=0)
    assert kept.manifest.classes == ("COVID-19", "Covid", "Hernia", "hernia")


def test_links_to_files_inside_and_outside_are_followed(tmp_path: Path):
    outside = write_png(tmp_path / "outside" / "a.png", 1)
    inside = write_png(tmp_path / "set" / "normal" / "b.png", 2)
    (inside.parent / "outside.png").symlink_to(outside)
    (inside.parent / "inside.png").symlink_to(inside)
    table = by_file(import_data("image-folder", tmp_path / "set"))
    assert set(table.index) == {"normal/b.png", "normal/inside.png", "normal/outside.png"}
    assert table.loc["normal/b.png", "dup_group"] == table.loc["normal/inside.png", "dup_group"] != ""
    assert table.loc["normal/outside.png", "dup_group"] == ""


def test_a_mapped_table_is_imported_with_its_broken_rows_and_masks_named(tmp_path: Path):
    write_png(tmp_path / "a.png", 1)
    write_png(tmp_path / "b.png", 1)
    write_png(tmp_path / "c.png", 2)
    (tmp_path / "list.csv").write_text(
        "path,dx,mask,grp\na.png,sick,m.png,g2\nb.png,sick,,g1\nc.png,well,,g2\ngone.png,well,,\n"
    )
    columns = {"image": "path", "label": "dx", "lung_mask": "mask", "dup_group": "grp"}
    result = import_data("manifest", tmp_path / "list.csv", columns=columns, aliases={"sick": "pneumonia"})
    table = by_file(result)
    assert table["label"].tolist() == ["pneumonia", "pneumonia", "well"]
    assert table["dup_group"].tolist() == ["g1", "g1", "g1"], "a and b have the same bytes, a and c the same group"
    assert reasons(result) == {
        "m.png": "is named as a mask, but does not exist; its X-ray is kept without it",
        "gone.png": "does not exist",
    }


def test_a_folder_of_dicom_files_gives_its_frontal_chest_xrays(tmp_path: Path):
    def write(name: str, seed: int, compressed: str = "", **attributes: object) -> None:
        save_dicom(tmp_path / name, dicom(chest(seed).astype(np.uint16) * 16, 16, **attributes), compressed)

    write("covid/deep/a.dcm", 1, "rle", PatientID="P7", PatientSex="F", PatientAge="045Y", BodyPartExamined="CHEST")
    write("b", 2, "jpeg2000", ViewPosition="AP", PatientAge="006M", PatientSex="O", Modality="DX")
    write("silent.dcm", 3, ViewPosition="")
    write("lateral.dcm", 4, ViewPosition="LL")
    write("ct.dcm", 5, Modality="CT")
    write("hand.dcm", 6, BodyPartExamined="HAND")
    no_pixels = dicom(chest(7), 8)
    del no_pixels.PixelData
    save_dicom(tmp_path / "report.dcm", no_pixels)
    (tmp_path / "notes.txt").write_text("notes")
    result = import_data("dicom", tmp_path)
    table = by_file(result)[["label", "patient_id", "view", "sex", "age"]]
    assert table.loc["covid/deep/a.dcm"].tolist() == ["covid19", "P7", "PA", "F", 45.0]
    assert table.loc["b"].tolist() == ["", "P1", "AP", "", 0.5]
    assert len(table) == 3
    assert reasons(result) == {
        "lateral.dcm": "view LL is not frontal (PA or AP)",
        "ct.dcm": "modality CT is not CR, DX, DR, RG or XR",
        "hand.dcm": "body part HAND is not the chest",
        "report.dcm": "has no pixels (PixelData is missing)",
        "notes.txt": "is not a DICOM file",
    }


def test_every_importer_says_what_it_misses_in_a_folder_that_is_not_its_own(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for kind, source in SOURCES.items():
        assert source.title
        assert source.description
        for path in (tmp_path / "empty", tmp_path / "absent"):
            with pytest.raises(ManifestError) as caught:
                import_data(kind, path)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(ManifestError, match="unknown kind of data set 'zip'"):
        import_data("zip", tmp_path)
    with pytest.raises(ManifestError, match="kind 'dicom' has no option 'columns'"):
        import_data("dicom", tmp_path, columns={"image": "file"})


def test_an_import_without_a_usable_image_names_the_count_and_the_first_reasons(tmp_path: Path):
    (tmp_path / "normal").mkdir()
    for name in "abcd":
        (tmp_path / "normal" / f"{name}.png").write_text("text")
    with pytest.raises(ManifestError, match=r"4 left out, first: normal/a.png is text, not an image; normal/b.png"):
        import_data("image-folder", tmp_path)


def test_names_in_any_script_are_imported(tmp_path: Path):
    names = ["胸部\u3000正面.png", "صدر.png", "é — à.png", " spaces .png"]
    for seed, name in enumerate(names):
        write_png(tmp_path / "normal" / name, seed)
    manifest = import_data("image-folder", tmp_path).manifest.save(tmp_path / "m.csv")
    assert sorted(manifest.table["image"]) == sorted(f"normal/{name}" for name in names)
    assert Manifest.load(tmp_path / "m.csv").missing_files().empty


def test_a_blank_image_is_left_out(tmp_path: Path):
    write_png(tmp_path / "normal" / "a.png")
    Image.new("L", (50, 50), 7).save(tmp_path / "normal" / "blank.png")
    assert reasons(import_data("image-folder", tmp_path)) == {"normal/blank.png": "is blank (every pixel is 7)"}


def test_the_real_manifest_imports_whole_and_splits(shared_data: Path, tmp_path: Path):
    whole = Manifest.load(shared_data / "manifest.csv")
    part = whole.with_table(whole.table.iloc[::30])
    part.save(tmp_path / "part.csv")
    calls: list[tuple[int, int]] = []
    result = import_data("manifest", tmp_path / "part.csv", progress=lambda done, total: calls.append((done, total)))
    assert len(result.manifest) == len(part)
    assert calls[-1] == (len(part), len(part))
    assert result.manifest.table["image_id"].tolist() == part.table["image_id"].tolist()
    assert (result.manifest.table["width"].to_numpy() == part.table["width"].to_numpy()).all()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Covid-19", "covid19"),
        ("COVID", "covid19"),
        ("No_findings", "normal"),
        ("NORMAL", "normal"),
        ("Edema", "Edema"),
    ],
)
def test_usual_folder_names_become_classes_and_others_stand_for_themselves(name: str, label: str):
    assert class_of(name, {}) == label
    assert class_of(name, {name.upper(): "mine"}) == "mine"


@pytest.mark.parametrize("classes", [("COVID", "Normal"), ("Silicosis", "Sarcoidosis")])
@pytest.mark.parametrize("patient", ["patient{:03d}", "p{:03d}", "{:08d}"])
def test_patients_above_the_class_folders_are_the_patients(tmp_path: Path, classes: tuple[str, str], patient: str):
    for n in range(6):
        for view in range(2):
            write_png(tmp_path / patient.format(n) / classes[n % 2] / f"{view}.png", 10 * n + view)
    table = import_data("image-folder", tmp_path, keep_labels=True).manifest.table
    assert set(table["label"]) == set(classes)
    assert sorted(set(table["patient_id"])) == [patient.format(n) for n in range(6)]
    assert (table.groupby("patient_id").size() == 2).all()


def test_hospitals_above_the_class_folders_are_no_patients(tmp_path: Path):
    for hospital in ("hospital1", "hospital2"):
        for label in ("COVID", "Normal"):
            for n in range(5):
                write_png(tmp_path / hospital / label / f"{n}.png", len(hospital + label) * 100 + n + int(hospital[-1]))
    table = import_data("image-folder", tmp_path).manifest.table
    assert set(table["label"]) == {"covid19", "normal"}
    assert set(table["patient_id"]) == {""}
