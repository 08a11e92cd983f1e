"""Public data sets in their own layouts: patients, splits, findings and views come out, uncertain ones by choice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_samples import chest, dicom, save_dicom, write_png
from PIL import Image

from cxr.data import ImportResult, import_data
from cxr.errors import ManifestError


def read(kind: str, path: Path, **options: object) -> ImportResult:
    return import_data(kind, path, workers=0, **options)


def rows(result: ImportResult, *columns: str) -> dict[str, tuple]:
    """Return ``{name of the file without its ending: values}``."""
    table = result.manifest.table
    return {Path(row.image).stem: tuple(getattr(row, c) for c in columns) for row in table.itertuples()}


def reasons(result: ImportResult) -> dict[str, str]:
    return {Path(row.file).name: row.reason for row in result.excluded.itertuples()}


def has(result: ImportResult, words: str) -> bool:
    return any(words in note for note in result.notes)


@pytest.fixture
def chexpert(tmp_path: Path) -> Path:
    root = tmp_path / "CheXpert-v1.0-small"
    findings = ["No Finding", "Edema", "Pneumonia", "Support Devices"]

    def row(n: int, split: str, view: str, values: str, sex: str = "Male", age: int = 50) -> dict[str, object]:
        path = f"CheXpert-v1.0-small/{split}/patient{n:05d}/study1/view{n}_{view.lower()}.jpg"
        write_png(tmp_path / path, n)
        facts = {"Path": path, "Sex": sex, "Age": age, "Frontal/Lateral": view, "AP/PA": "AP" if n % 2 else "PA"}
        return facts | dict(zip(findings, values.split(","), strict=True))

    train = [
        row(1, "train", "Frontal", "1.0,,,1.0"),
        row(2, "train", "Frontal", ",1.0,-1.0,", "Female", 90),
        row(3, "train", "Frontal", ",0.0,1.0,", "Unknown"),
        row(4, "train", "Lateral", ",0.0,1.0,"),
        row(5, "train", "Frontal", ",-1.0,0.0,"),
        row(6, "train", "Frontal", "1.0,,,"),
    ]
    pd.DataFrame(train).to_csv(root / "train.csv", index=False)
    pd.DataFrame([row(64540, "valid", "Frontal", ",0.0,0.0,0.0")]).to_csv(root / "valid.csv", index=False)
    return tmp_path


def test_chexpert_gives_patients_from_paths_findings_and_the_official_split(chexpert: Path):
    result = read("chexpert", chexpert)
    assert rows(result, "patient_id", "findings", "label", "split", "view", "sex", "age") == {
        "view1_frontal": ("chexpert_00001", "Support Devices", "", "train", "AP", "M", 50),
        "view2_frontal": ("chexpert_00002", "Edema|?Pneumonia", "", "train", "PA", "F", 90),
        "view3_frontal": ("chexpert_00003", "Pneumonia", "pneumonia", "train", "AP", "", 50),
        "view5_frontal": ("chexpert_00005", "?Edema", "", "train", "AP", "M", 50),
        "view6_frontal": ("chexpert_00006", "No Finding", "normal", "train", "PA", "M", 50),
        "view64540_frontal": ("chexpert_64540", "No Finding", "", "val", "PA", "M", 50),
    }
    assert reasons(result) == {"view4_lateral.jpg": "view L is not frontal"}
    assert has(result, "findings: 2 uncertain, taken as unknown")
    assert set(result.manifest.table["source"]) == {"chexpert"}


@pytest.mark.parametrize(
    ("uncertain", "findings"),
    [("positive", ("Edema|Pneumonia", "Edema")), ("negative", ("Edema", "No Finding"))],
)
def test_uncertain_findings_are_what_the_user_says(chexpert: Path, uncertain: str, findings: tuple[str, str]):
    told = rows(read("chexpert", chexpert, uncertain=uncertain), "findings")
    assert (told["view2_frontal"][0], told["view5_frontal"][0]) == findings
    with pytest.raises(ManifestError, match="unknown value of `uncertain` 'maybe'"):
        read("chexpert", chexpert, uncertain="maybe")


def test_one_finding_of_chexpert_can_be_the_label(chexpert: Path):
    table = chexpert / "CheXpert-v1.0-small" / "train.csv"
    result = read("manifest", table, columns={"image": "Path", "label": "Pneumonia"})
    assert rows(result, "label", "patient_id") == {
        "view1_frontal": ("no pneumonia", "chexpert_00001"),
        "view3_frontal": ("pneumonia", "chexpert_00003"),
        "view5_frontal": ("no pneumonia", "chexpert_00005"),
        "view6_frontal": ("no pneumonia", "chexpert_00006"),
    }
    assert reasons(result)["view2_frontal.jpg"] == "Pneumonia is uncertain"
    assert has(result, "columns of CheXpert (Stanford): read as kind `chexpert`")
    assert result.manifest.splits == (), "the official train split alone divides nothing"
    assert has(result, "one official split 'train'")
    with pytest.raises(ManifestError, match="CheXpert has no column 'Scar'"):
        read("chexpert", chexpert, columns={"label": "Scar"})


def test_an_xray_that_is_not_there_is_never_that_of_another_patient(chexpert: Path):
    train = chexpert / "CheXpert-v1.0-small" / "train"
    (train / "patient00001" / "study1" / "view1_frontal.jpg").unlink()
    (train / "patient00002" / "study1" / "view2_frontal.jpg").rename(
        train / "patient00002" / "study1" / "view1_frontal.jpg"
    )
    result = read("chexpert", chexpert)
    assert not {"chexpert_00001", "chexpert_00002"} & set(result.manifest.table["patient_id"])


def test_a_label_of_chexpert_that_is_not_mentioned_is_left_out(chexpert: Path):
    result = read("chexpert", chexpert, columns={"label": "Support Devices"})
    assert rows(result, "label") == {
        "view1_frontal": ("Support Devices",),
        "view64540_frontal": ("no Support Devices",),
    }
    assert reasons(result)["view6_frontal.jpg"] == "Support Devices is not mentioned"


@pytest.fixture
def mimic(tmp_path: Path) -> Path:
    images, studies, splits = [], [], []
    findings = [{"No Finding": "1.0"}, {"Pneumonia": "1.0", "Edema": "-1.0"}, {"Edema": "1.0"}]
    for n, name in enumerate(("train", "validate", "test")):
        subject, study = f"1{n}000032", f"5041426{n}"
        for view in ("PA", "LATERAL", ""):
            image = f"{n}a7f-{view.lower() or 'none'}"
            write_png(tmp_path / f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg", n)
            images.append(
                {"dicom_id": image, "subject_id": subject, "study_id": study, "ViewPosition": view, "StudyDate": "2180"}
            )
            splits.append({"dicom_id": image, "study_id": study, "subject_id": subject, "split": name})
        blank = dict.fromkeys(("No Finding", "Edema", "Pneumonia", "Lung Opacity", "Fracture"), "")
        studies.append({"subject_id": subject, "study_id": study} | blank | findings[n])
    for table, name in ((images, "metadata"), (studies, "chexpert"), (splits, "split")):
        pd.DataFrame(table).to_csv(tmp_path / f"mimic-cxr-2.0.0-{name}.csv.gz", index=False)
    return tmp_path


@pytest.mark.parametrize("name", ["", "mimic-cxr-2.0.0-metadata.csv.gz", "mimic-cxr-2.0.0-chexpert.csv.gz"])
@pytest.mark.parametrize("kind", ["mimic-cxr", "manifest"])
def test_mimic_cxr_joins_its_tables(mimic: Path, kind: str, name: str):
    result = read(kind, mimic / name)
    assert rows(result, "patient_id", "findings", "label", "split", "view") == {
        "0a7f-pa": ("mimic_10000032", "No Finding", "normal", "train", "PA"),
        "1a7f-pa": ("mimic_11000032", "Pneumonia|?Edema", "pneumonia", "val", "PA"),
        "2a7f-pa": ("mimic_12000032", "Edema", "", "test", "PA"),
    }
    assert reasons(result)["0a7f-lateral.jpg"] == "view LATERAL is not frontal"
    assert reasons(result)["0a7f-none.jpg"] == "view unknown is not frontal"
    assert has(result, "split: validate -> val (1)")


def test_padchest_reads_lists_ages_projections_and_16_bits(tmp_path: Path):
    cases = [
        ("['normal']", "PA"),
        ("['pneumonia ', 'pleural effusion']", "AP_horizontal"),
        ("['COVID 19']", "AP"),
        ("['unchanged']", "PA"),
        ("['normal']", "L"),
        ("['exclude']", "PA"),
    ]
    table = []
    for n, (labels, projection) in enumerate(cases):
        name, folder = f"21684_0{n}-094-102.png", tmp_path / str(n % 2)
        folder.mkdir(exist_ok=True)
        Image.fromarray(chest(n).astype(np.uint16) * 200).save(folder / name)
        facts = {"ImageID": name, "ImageDir": n % 2, "StudyDate_DICOM": 20140915, "PatientID": f"84{n}"}
        facts |= {"PatientBirth": 1950.0 if n else None, "PatientSex_DICOM": "MF"[n % 2]}
        table.append(facts | {"Projection": projection, "Labels": labels})
    pd.DataFrame(table).to_csv(tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv")
    result = read("padchest", tmp_path)
    told = rows(result, "patient_id", "findings", "label", "view", "sex", "age")
    assert told.pop("21684_00-094-102")[:5] == ("padchest_840", "No Finding", "normal", "PA", "M")
    assert told == {
        "21684_01-094-102": ("padchest_841", "pneumonia|pleural effusion", "pneumonia", "AP Supine", "F", 64),
        "21684_02-094-102": ("padchest_842", "COVID 19", "covid19", "AP", "M", 64),
        "21684_03-094-102": ("padchest_843", "", "", "PA", "F", 64),
    }
    assert reasons(result) == {
        "21684_04-094-102.png": "view L is not frontal",
        "21684_05-094-102.png": "is labelled 'exclude' by PadChest",
    }
    one = read("padchest", tmp_path, columns={"label": "pleural effusion"})
    assert rows(one, "label") == {
        "21684_00-094-102": ("no pleural effusion",),
        "21684_01-094-102": ("pleural effusion",),
        "21684_02-094-102": ("no pleural effusion",),
    }


@pytest.fixture
def vindr(tmp_path: Path) -> Path:
    """Four images of three readers: all saw nothing, all one thing, one alone another, two of three pneumonia."""
    said = [
        ["No finding"] * 3,
        ["Cardiomegaly"] * 3,
        ["Nodule/Mass", "No finding", "No finding"],
        ["Pneumonia", "Pneumonia", "Infiltration"],
    ]
    boxes = []
    for n, names in enumerate(said):
        pixels = chest(n).astype(np.uint16) * 16
        save_dicom(tmp_path / "train" / f"{n:08x}.dicom", dicom(pixels, 12, PatientSex="F", PatientAge="050Y"))
        boxes += [(f"{n:08x}", name, f"R{reader}", 1, 2, 3, 4) for reader, name in enumerate(names)]
    boxes.append(("00000001", "Cardiomegaly", "R0", 5, 6, 7, 8))
    columns = ["image_id", "class_name", "rad_id", "x_min", "y_min", "x_max", "y_max"]
    pd.DataFrame(boxes, columns=columns).to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(("kind", "name"), [("vindr", ""), ("manifest", "train.csv")])
def test_vindr_takes_what_most_readers_saw_and_the_rest_as_uncertain(vindr: Path, kind: str, name: str):
    result = read(kind, vindr / name)
    assert rows(result, "findings", "label", "patient_id", "sex", "age") == {
        "00000000": ("No Finding", "normal", "", "F", 50),
        "00000001": ("Cardiomegaly", "", "", "F", 50),
        "00000002": ("?Nodule/Mass", "", "", "F", 50),
        "00000003": ("Pneumonia|?Infiltration", "pneumonia", "", "F", 50),
    }
    assert has(result, "rows: 13 rows of 4 X-rays")
    assert has(result, "The patient of all 4 X-rays is unknown")
    union = rows(read(kind, vindr / name, uncertain="positive"), "findings")
    assert (union["00000002"], union["00000003"]) == (("Nodule/Mass",), ("Pneumonia|Infiltration",))
    majority = rows(read(kind, vindr / name, uncertain="negative"), "findings")
    assert (majority["00000002"], majority["00000003"]) == (("No Finding",), ("Pneumonia",))


def test_vindr_in_its_official_folders_keeps_train_and_test(tmp_path: Path):
    for n in range(3):
        write_png(tmp_path / ("test" if n == 2 else "train") / f"{n:08x}.png", n)
    (tmp_path / "annotations").mkdir()
    train = [
        {"image_id": f"{n:08x}", "rad_id": f"R{r}", "Edema": int(n == 1), "No finding": int(n == 0)}
        for n in range(2)
        for r in range(3)
    ]
    pd.DataFrame(train).to_csv(tmp_path / "annotations" / "image_labels_train.csv", index=False)
    test = [{"image_id": "00000002", "Edema": 1, "No finding": 0}]
    pd.DataFrame(test).to_csv(tmp_path / "annotations" / "image_labels_test.csv", index=False)
    assert rows(read("vindr", tmp_path), "findings", "split") == {
        "00000000": ("No Finding", "train"),
        "00000001": ("Edema", "train"),
        "00000002": ("Edema", "test"),
    }
    one = rows(read("vindr", tmp_path, columns={"label": "Edema"}), "label")
    assert one == {"00000000": ("no Edema",), "00000001": ("Edema",), "00000002": ("Edema",)}


@pytest.fixture
def rsna(tmp_path: Path) -> Path:
    classes = ("Normal", "Lung Opacity", "No Lung Opacity / Not Normal")
    boxes, details = [], []
    for n, name in enumerate((*classes, "Lung Opacity")):
        image = f"{n}-a1b2-c3"
        facts = {"PatientID": image, "PatientSex": "F", "PatientAge": "051Y", "ViewPosition": "AP"}
        save_dicom(tmp_path / "stage_2_train_images" / f"{image}.dcm", dicom(chest(n), 8, **facts))
        for box in range(2 if n == 1 else 1):
            boxes.append((image, box, box, 4, 4, int(name == "Lung Opacity")))
            details.append((image, name))
    boxes.append(("3-a1b2-c3", "", "", "", "", 0))
    pd.DataFrame(boxes, columns=["patientId", "x", "y", "width", "height", "Target"]).to_csv(
        tmp_path / "stage_2_train_labels.csv", index=False
    )
    pd.DataFrame(details, columns=["patientId", "class"]).to_csv(
        tmp_path / "stage_2_detailed_class_info.csv", index=False
    )
    return tmp_path


def test_rsna_joins_boxes_and_names_the_image_whose_rows_disagree(rsna: Path):
    result = read("rsna", rsna)
    assert rows(result, "label", "findings", "patient_id", "view", "sex", "age") == {
        "0-a1b2-c3": ("normal", "No Finding", "", "AP", "F", 51),
        "1-a1b2-c3": ("pneumonia", "Pneumonia", "", "AP", "F", 51),
        "2-a1b2-c3": ("", "Not Normal", "", "AP", "F", 51),
    }
    assert reasons(result) == {"3-a1b2-c3": "has rows that disagree: Target '0' and '1'"}
    assert has(result, "rows: 6 rows of 4 X-rays")
    assert has(result, "patientId names the image")


def test_rsna_by_its_boxes_alone_is_pneumonia_or_not(rsna: Path):
    columns = {"image": "patientId", "label": "Target"}
    by_columns = read("manifest", rsna / "stage_2_train_labels.csv", columns=columns)
    wanted = {"0-a1b2-c3": ("no pneumonia",), "1-a1b2-c3": ("pneumonia",), "2-a1b2-c3": ("no pneumonia",)}
    assert rows(by_columns, "label") == wanted
    (rsna / "stage_2_detailed_class_info.csv").unlink()
    assert rows(read("rsna", rsna), "label") == wanted


def test_rsna_knows_nih_patients_from_the_table_of_names(rsna: Path):
    names = [{"subset_img_id": f"{n}-a1b2-c3", "img_id": f"0000000{n // 2}_00{n}.png"} for n in range(3)]
    (rsna / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(names))
    told = rows(read("rsna", rsna), "patient_id")
    assert told == {
        "0-a1b2-c3": ("nih_00000000",),
        "1-a1b2-c3": ("nih_00000000",),
        "2-a1b2-c3": ("nih_00000001",),
    }


@pytest.mark.parametrize("kind", ["chexpert", "mimic-cxr", "padchest", "vindr", "rsna"])
def test_a_table_of_something_else_is_refused_in_one_line(tmp_path: Path, kind: str):
    (tmp_path / "train.csv").write_text("image,label\na.png,b\n")
    for path in (tmp_path, tmp_path / "train.csv"):
        with pytest.raises(ManifestError) as caught:
            read(kind, path)
        assert "\n" not in str(caught.value)
