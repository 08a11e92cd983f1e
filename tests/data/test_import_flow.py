"""An import is kept whatever becomes of its splits, official splits stay as they are, and equal pictures are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_samples import chest, dicom, save_dicom, write_png
from PIL import Image

from cxr.data import open_data_set
from cxr.data.jobs import SPLITS, Imported, import_data_set, run_import, split_data_set
from cxr.data.library import facts_beside, list_data_sets, resolve_manifest, save_data_set
from cxr.data.settings import ImportParams
from cxr.errors import ManifestError
from cxr.evaluation.selection import select
from cxr.runs.folder import RunFolder

FINDINGS = ("Edema", "Hernia", "No Finding")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures 0.png to 23.png, no two of them alike."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(24):
        write_png(folder / f"{seed}.png", seed, height=40, width=40)
    return folder


@pytest.fixture
def importing(pictures: Path, tmp_path: Path) -> Callable[..., Imported]:
    """Import a table of the pictures; columns are given as lists of equal length."""

    def run(name: str = "mine", splits: str = "make", **columns: Sequence[str]) -> Imported:
        n = len(next(iter(columns.values())))
        table = pd.DataFrame({"image": [str(pictures / f"{i}.png") for i in range(n)]} | columns)
        table.to_csv(tmp_path / "list.csv", index=False)
        return import_data_set("manifest", tmp_path / "list.csv", name, splits=splits, workers=0)

    return run


def montgomery(folder: Path) -> Path:
    for k in range(6):
        write_png(folder / "CXR_png" / f"MCUCXR_000{k}_{k % 2}.png", k)
    return folder


def dicom_folder(folder: Path) -> Path:
    """Thirteen files, of which one class has two patients."""
    for k in range(13):
        label, patient = ("covid", f"A{k % 2}") if k < 5 else ("normal", f"B{k}")
        save_dicom(folder / label / f"{k}.dcm", dicom(chest(k).astype(np.uint16), 8, PatientID=patient))
    return folder


# --- a split that fails ----------------------------------------------------------------------------------------------


def test_a_set_that_is_all_external_is_kept_without_splits_and_measured_as_a_whole(tmp_path: Path) -> None:
    imported = import_data_set("montgomery", montgomery(tmp_path / "m"), "m")
    assert imported.splits is None
    assert "all 6 have the role external" in imported.split_reason
    assert any("No lung mask" in note for note in imported.notes)
    manifest = open_data_set("m")
    assert set(manifest.table["role"]) == {"external"}
    measured = select(manifest, ("normal", "ill")).by_split
    assert {name: len(ids) for name, ids in measured.items()} == {"all": 3}


def test_a_small_dicom_folder_is_kept_with_the_class_that_has_too_few_patients(tmp_path: Path) -> None:
    imported = import_data_set("dicom", dicom_folder(tmp_path / "d"), "d", workers=0)
    assert imported.splits is None
    assert "class 'covid19' has 2 groups" in imported.split_reason
    assert len(open_data_set("d")) == 13


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"label": ["a"] * 2 + ["b"] * 4}, "class 'a' has 2 groups of patients or duplicates, fewer than the 3 splits"),
        ({"label": ["a"] * 6, "patient_id": ["p"] * 6}, "class 'a' has 1 group"),
        ({"label": [""] * 6}, "none has a label"),
        ({"findings": ["Edema", "Hernia"]}, "the data set has 2 groups"),
    ],
)
def test_whatever_keeps_a_split_from_being_made_the_import_stays(importing, columns, reason) -> None:
    imported = importing(**columns)
    assert imported.splits is None
    assert reason in imported.split_reason
    facts = facts_beside(resolve_manifest("mine"))
    assert facts["split_reason"] == imported.split_reason
    assert len(open_data_set("mine")) == len(next(iter(columns.values())))


def test_one_class_alone_is_split_for_it_may_serve_as_a_test_set(importing) -> None:
    assert importing(label=["covid19"] * 8).splits == {"train": 5, "val": 1, "test": 2}


def test_the_command_succeeds_and_says_why_there_are_no_splits(tmp_path: Path, cxr) -> None:
    folder = montgomery(tmp_path / "m")
    code, out, err = cxr("data", "import", "montgomery", folder, "--name", "m")
    assert (code, err) == (0, "")
    assert "kept without splits: no row to split: all 6 have the role external" in out
    code, out, _ = cxr("data", "import", "montgomery", folder, "--name", "m2", "--json")
    told = json.loads(out)
    assert (code, told["splits"], told["n"]) == (0, None, 6)
    assert "role external" in told["split_reason"]
    assert "kept without splits" in cxr("data", "show", "m")[1], "it is told again later"


def test_a_split_that_breaks_down_unforeseen_loses_no_import(importing, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("cxr.data.jobs.split_manifest", broken)
    with pytest.raises(MemoryError):
        importing(label=["a", "b"] * 6)
    assert len(open_data_set("mine")) == 12
    assert facts_beside(resolve_manifest("mine"))["split_reason"]


def test_the_name_is_checked_before_a_file_is_read(importing, monkeypatch: pytest.MonkeyPatch) -> None:
    importing(label=["a"] * 3)
    monkeypatch.setattr("cxr.data.jobs.import_data", lambda *_, **__: pytest.fail("a file was read"))
    with pytest.raises(ManifestError, match="'mine' already exists"):
        importing(label=["a"] * 3)
    with pytest.raises(ManifestError, match="unknown choice of splits 'all'"):
        importing(name="other", splits="all", label=["a"] * 3)


def test_a_name_that_was_taken_while_files_were_read_costs_no_import(importing, monkeypatch, pictures) -> None:
    from cxr.data.importers import importing as module

    def slow(*arguments: Any, **options: Any) -> module.ImportResult:
        result = module.import_data(*arguments, **options)
        save_data_set("mine", result.manifest.select(label="a"))
        return result

    monkeypatch.setattr("cxr.data.jobs.import_data", slow)
    imported = importing(label=["a", "b"] * 6)
    assert imported.name == "mine-2"
    assert any("is called mine-2" in note for note in imported.notes)
    assert [(d.name, d.n) for d in list_data_sets()] == [("mine", 6), ("mine-2", 12)]


def test_an_import_that_was_killed_after_it_was_kept_can_be_resumed(tmp_path: Path, monkeypatch) -> None:
    params = {"kind": "montgomery", "path": str(montgomery(tmp_path / "m")), "name": "m"}
    folder = RunFolder.create(tmp_path / "runs", "import", params)
    with monkeypatch.context() as patch:
        patch.setattr("cxr.data.jobs.split_manifest", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_import(folder, folder.params, lambda *_: None)
    assert len(open_data_set("m")) == 6
    said: list[str] = []
    run_import(folder, folder.params, lambda fraction, text: said.append(text))
    assert "6 X-rays imported, 0 left out; kept without splits: no row to split" in said[-1]
    results = folder.read_json("results.json")
    assert (results["data"], results["images"], results["splits"]) == ("m", 6, None)
    other = RunFolder.create(tmp_path / "runs", "import", params)
    with pytest.raises(ManifestError, match="'m' already exists"):
        run_import(other, other.params, lambda *_: None)


# --- splits that come with the data ----------------------------------------------------------------------------------


def splits_by_row(name: str) -> list[str]:
    table = open_data_set(name).table
    return table.assign(n=table["image"].str.extract(r"(\d+)\.png")[0].astype(int)).sort_values("n")["split"].tolist()


@pytest.mark.parametrize(
    "spelling", [("Train", "valid", "Test"), ("TRAINING", "Validation", "testing"), ("train", "dev", "test")]
)
def test_official_splits_are_used_as_they_are_however_they_are_spelled(importing, spelling) -> None:
    train, val, test = spelling
    column = [train] * 8 + [val] * 2 + [test] * 2
    imported = importing(label=["a", "b"] * 6, patient_id=[f"p{i}" for i in range(12)], split=column)
    assert imported.splits == {"train": 8, "val": 2, "test": 2}
    assert splits_by_row("mine") == ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    assert any("Kept as they were: train, val, test" in note for note in imported.notes)
    assert importing(name="none", splits="none", label=["a"] * 12, split=column).splits is None


def test_validation_is_carved_from_train_by_patient_and_the_test_split_stays(importing, cxr) -> None:
    patients = [f"p{i // 2}" for i in range(24)]
    imported = importing(label=["a", "a", "b", "b"] * 6, patient_id=patients, split=["train"] * 18 + ["test"] * 6)
    (advice,) = [note for note in imported.notes if "no validation split" in note]
    command = advice.split("`")[1]
    assert command == "cxr data split mine --keep test --fraction train=0.9 --fraction val=0.1"
    code, out, _ = cxr(*command.split()[1:], "--json")
    told = json.loads(out)
    assert code == 0
    assert told["splits"]["test"] == 6
    assert splits_by_row("mine")[18:] == ["test"] * 6
    assert set(splits_by_row("mine")[:18]) == {"train", "val"}
    open_data_set("mine").check_splits()
    assert "Kept as it was: test." in told["notes"]


def test_a_patient_of_the_official_test_split_is_taken_out_of_train_and_reported(importing) -> None:
    patients = ["p0", "p1", "p2", "p3", "p4", "p5", "p0", "p7"]
    imported = importing(label=["a", "b"] * 4, patient_id=patients, split=["train"] * 6 + ["test"] * 2)
    assert splits_by_row("mine") == ["", *["train"] * 5, "test", "test"]
    assert any("1 row is in no split" in note and "patient_id 'p0'" in note for note in imported.notes)
    kept = importing(
        name="as-is", splits="keep", label=["a", "b"] * 4, patient_id=patients, split=["train"] * 6 + ["test"] * 2
    )
    assert splits_by_row("as-is") == ["train"] * 6 + ["test"] * 2
    (told,) = [note for note in kept.notes if "in more than one split" in note]
    split_data_set("as-is", keep=("test", "train"))
    assert "--keep train --keep test" in told
    assert splits_by_row("as-is") == splits_by_row("mine")


def test_replacing_the_official_test_split_is_reported(importing, cxr) -> None:
    importing(label=["a", "b"] * 6, split=["train"] * 8 + ["test"] * 4)
    _, out, _ = cxr("data", "split", "mine")
    assert "The test split that came with the data was replaced" in out
    assert facts_beside(resolve_manifest("mine"))["source_splits"] == []
    assert "was replaced" not in cxr("data", "split", "mine", "--seed", "1")[1]


def test_the_lists_of_chestxray14_are_its_splits_and_its_unlabelled_rows_stay_in_them(tmp_path: Path) -> None:
    rows = []
    for k in range(18):
        name = f"000000{k:02d}_000.png"
        write_png(tmp_path / "images" / name, k, height=40, width=40)
        rows.append(
            {"Image Index": name, "Finding Labels": ("No Finding", "Pneumonia", "Hernia")[k % 3], "Patient ID": k}
        )
    pd.DataFrame(rows).to_csv(tmp_path / "Data_Entry_2017.csv", index=False)
    names = [row["Image Index"] for row in rows]
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:12]))
    (tmp_path / "test_list.txt").write_text("\n".join(names[12:]))
    assert import_data_set("nih-chestxray14", tmp_path, "nih", workers=0).splits == {"train": 12, "test": 6}
    divided = split_data_set("nih", keep=["test"], fractions={"train": 0.5, "val": 0.5})
    table = divided.manifest.table
    assert sorted(table.loc[table["split"] == "test", "findings"]) == sorted(["No Finding", "Pneumonia", "Hernia"] * 2)
    without_label = table[(table["findings"] == "Hernia") & (table["split"] != "test")]
    assert set(without_label["split"]) == {"train", "val"}


# --- patients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patients", "says"),
    [
        ([""] * 12, "The patient of all 12 X-rays is unknown"),
        (["", *[f"p{i}" for i in range(11)]], "The patient of 1 of 12 X-rays is unknown"),
        ([f"p{i}" for i in range(12)], ""),
    ],
)
def test_unknown_patients_are_reported_after_the_import_and_after_a_split(importing, cxr, patients, says) -> None:
    imported = importing(label=["a", "b"] * 6, patient_id=patients)
    split = cxr("data", "split", "mine")[1]
    for text in ("\n".join(imported.notes), split):
        assert ("is unknown: each of them counts as a patient of its own" in text) == bool(says)
        assert says in text


def test_after_a_split_groups_missing_classes_and_rows_without_a_split_are_reported(importing) -> None:
    importing(label=["a"] * 5 + ["b"] * 5 + [""] * 2, patient_id=["p0", "p0", *[f"p{i}" for i in range(1, 11)]])
    notes = split_data_set("mine", fractions={"train": 0.6, "test": 0.4}).notes
    assert notes[0].startswith(
        ("X-rays (groups): train 6 (5), test 4 (4).", "X-rays (groups): train 6 (6), test 4 (3).")
    )
    assert "2 of 12 X-rays have no split (no label 2)." in notes
    manifest = open_data_set("mine")
    elsewhere = manifest.table["split"].where(manifest.table["label"] != "b", "test")
    save_data_set("odd", manifest.with_table(manifest.table.assign(split=elsewhere)))
    notes = split_data_set("odd", keep=("train", "test")).notes
    assert any(note.startswith("Split train has no X-ray of b") for note in notes)


def test_a_set_with_findings_alone_is_split_by_patient(importing) -> None:
    findings = [FINDINGS[i % 3] if i % 4 else f"{FINDINGS[i % 2]}|Mass" for i in range(24)]
    imported = importing(findings=findings, patient_id=[f"p{i // 2}" for i in range(24)])
    assert imported.splits is not None
    assert imported.splits.keys() == {"train", "val", "test"}
    open_data_set("mine").check_splits()


# --- the same picture ------------------------------------------------------------------------------------------------


def test_the_same_picture_under_two_labels_is_reported_with_its_files_in_one_split(tmp_path: Path, cxr) -> None:
    for label, first in (("ill", 0), ("well", 10)):
        for k in range(3):
            write_png(tmp_path / "set" / label / f"{k}.png", first + k)
    Image.fromarray(chest(0)).save(tmp_path / "set" / "well" / "copy.bmp")  # the same pixels in another format
    code, out, _ = cxr("data", "import", "image-folder", tmp_path / "set", "--name", "two", "--json")
    told = json.loads(out)
    assert code == 0
    assert [[(row["image"], row["label"]) for row in rows] for rows in told["two_labels"]] == [
        [("ill/0.png", "ill"), ("well/copy.bmp", "well")]
    ]
    (note,) = [note for note in told["notes"] if "two labels" in note]
    assert "ill/0.png (ill) and well/copy.bmp (well)" in note
    table = open_data_set("two").table
    pair = table[table["image"].str.endswith(("ill/0.png", "copy.bmp"))]
    assert (pair["dup_group"].nunique(), pair["split"].nunique()) == (1, 1)
    assert pair["dup_group"].iloc[0]
    assert facts_beside(resolve_manifest("two"))["notes"] == [n for n in told["notes"] if "groups" not in n]
    assert "two labels" in cxr("data", "show", "two")[1]


def test_a_picture_that_is_there_twice_under_one_label_is_counted_and_joined_with_given_groups(
    importing, pictures: Path, tmp_path: Path
) -> None:
    files = [str(pictures / f"{i}.png") for i in (0, 1, 2, 3)]
    (tmp_path / "copy.png").write_bytes(Path(files[0]).read_bytes())
    (tmp_path / "twin.png").write_bytes(Path(files[1]).read_bytes())
    table = pd.DataFrame({"image": [*files, str(tmp_path / "copy.png"), str(tmp_path / "twin.png")], "label": "a"})
    table["dup_group"] = ["g1", "g2", "g2", "", "g3", ""]  # g1 and g3 meet in the copy; g2 takes the twin in
    table.to_csv(tmp_path / "list.csv", index=False)
    imported = import_data_set("manifest", tmp_path / "list.csv", "mine", workers=0)
    assert imported.result.manifest.table["dup_group"].tolist() == ["g1", "g2", "g2", "", "g1", "g2"]
    assert any("2 pictures are there more than once under the same label (4 files)" in note for note in imported.notes)
    assert not imported.as_dict()["two_labels"]


@pytest.mark.parametrize("choice", SPLITS)
def test_each_choice_of_splits_can_be_given_to_a_run_too(tmp_path: Path, choice: str) -> None:
    params = ImportParams.of({"kind": "image-folder", "path": tmp_path, "name": "mine", "splits": choice})
    assert params.stored()["splits"] == choice
