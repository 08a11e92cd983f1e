"""An importer is one file and one line: its rows are typed, its options declared, its splits used or declined."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_samples import chest, dicom, save_dicom, write_png
from typer.testing import CliRunner

from cxr.cli import app
from cxr.data import import_data
from cxr.data.importers.import_options import Options, all_declarations, option, read_options
from cxr.data.importers.listing import Listing, Source
from cxr.data.importers.registry import SOURCES
from cxr.data.importers.rows import ROW_FIELDS, Row, row_of
from cxr.data.jobs import import_data_set, split_data_set
from cxr.data.library import open_data_set
from cxr.data.manifest import COLUMNS, SIZE_COLUMNS
from cxr.errors import ManifestError


# The whole of a new importer: what would be one file.
@dataclass(frozen=True)
class SideOptions(Options):
    side: str = option("choice", "--side", "Side", "The side that is read.", choices=("left", "right"))


def read_side(path: Path, options: SideOptions) -> Listing:
    found = Listing(path)
    for file in sorted((path / options.side).iterdir()):
        label, number = file.stem.split("-")
        found.rows.append(Row(str(file), label=label, patient_id=number, extra={"side": options.side}))
    return found


TOY = Source("toy", "Toy", "left/ and right/", read_side, SideOptions)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from cxr.cli import data as data_commands

    for n, side in enumerate(("left", "right", "right")):
        write_png(tmp_path / "toy" / side / f"{'ab'[n % 2]}-{n}.png", n)
    monkeypatch.setitem(SOURCES, "toy", TOY)  # the one line
    data_commands._import_parameters.cache_clear()
    yield tmp_path / "toy"
    data_commands._import_parameters.cache_clear()


def test_a_new_importer_is_one_file_and_one_line_with_its_options_on_the_command_line(
    toy: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CXR_DATA", str(toy.parent / "library"))
    words = ["data", "import", "toy", str(toy), "--name", "t", "--side", "right", "--splits", "none", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    table = open_data_set("t").table
    assert set(table["side"]) == {"right"}
    assert sorted(table["label"]) == ["a", "b"]
    result = CliRunner().invoke(app, ["data", "import", "image-folder", str(toy), "--name", "u", "--side", "right"])
    assert isinstance(result.exception, ManifestError)
    assert str(result.exception) == (
        "kind 'image-folder' has no option 'side'. Its options: aliases (--alias), source (--source), keep_labels "
        "(--keep-labels)"
    )
    with pytest.raises(ManifestError, match=r"unknown value of `side` 'top'\. Available: left, right"):
        import_data("toy", toy, side="top", workers=0)


def test_a_misspelt_column_is_an_error_and_other_columns_go_through_one_field():
    with pytest.raises(TypeError, match="pateint_id"):
        Row("a.png", pateint_id="1")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="column 'label' is a field of its own"):
        Row("a.png", extra={"label": "x"})
    row = row_of({"image": "a.png", "label": "x", "room": "3"})
    assert (row.label, dict(row.extra)) == ("x", {"room": "3"})
    assert {*ROW_FIELDS} == {*COLUMNS, "file_notes"} - {*SIZE_COLUMNS}
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.label = "y"  # type: ignore[misc]


@pytest.mark.parametrize("kind", list(SOURCES))
def test_every_importer_declares_options_with_help_and_refuses_others(kind: str):
    for name, (declaration, _) in all_declarations({kind: SOURCES[kind].options}).items():
        assert declaration.help.endswith(".")
        assert declaration.title
        assert getattr(read_options(kind, SOURCES[kind].options, {name: None}), name) == declaration.default
    with pytest.raises(ManifestError, match=rf"kind '{kind}' has no option 'colour'\. Its options: aliases"):
        read_options(kind, SOURCES[kind].options, {"colour": "red"})


def test_one_flag_is_one_option_in_all_importers():
    @dataclass(frozen=True)
    class Other(Options):
        where: str = option("text", "--source", "Where", "Where.")

    with pytest.raises(ValueError, match="declared otherwise"):
        all_declarations({"a": Options, "b": Other})
    assert all_declarations({kind: source.options for kind, source in SOURCES.items()})


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "library"))
    for split, n in (("train", 6), ("test", 4)):
        for label in ("silicosis", "healthy"):
            for i in range(n):
                write_png(tmp_path / "set" / split / label / f"{split}{label}{i}.png", 10 * len(label) + i + 50 * n)
    return tmp_path / "set"


@pytest.mark.parametrize(("choice", "used"), [("make", True), ("keep", True), ("new", False), ("none", False)])
def test_splits_of_a_source_are_used_or_declined_and_never_lost(kaggle: Path, choice: str, used: bool):
    imported = import_data_set("image-folder", kaggle, "k", splits=choice, workers=0)
    table = open_data_set("k").table
    folder = table["image"].str.extract(r"/set/(\w+)/")[0]
    assert table["source_split"].tolist() == folder.tolist()
    assert (table["split"].tolist() == folder.tolist()) is used
    assert imported.as_dict()["source_splits"] == {"train": 12, "test": 8}
    said = f"train 12, test 8; {'used' if used else 'declined'} (--splits {choice})"
    assert sum(said in note for note in imported.notes) == 1
    assert (imported.splits is None) is (choice == "none")
    if used:
        split_data_set("k", seed=3)
        assert open_data_set("k").table["source_split"].tolist() == folder.tolist()


def test_a_set_without_splits_has_no_column_for_them(kaggle: Path):
    table = import_data("image-folder", kaggle / "train", workers=0).manifest.table
    assert "source_split" not in table


def test_covidx_lists_give_patients_classes_origins_and_splits(tmp_path: Path):
    for n, name in enumerate(("train/a.png", "train/b (1) c.png", "test/d.jpg")):
        write_png(tmp_path / name, n)
    (tmp_path / "train.txt").write_text(
        "3 a.png positive cohen\n4 b (1) c.png negative rsna\n5 gone.png negative rsna\nx\n"
    )
    (tmp_path / "test.txt").write_text("3 d.jpg positive sirm\n")
    result = import_data("covidx", tmp_path, workers=0)
    columns = ["label", "patient_id", "source", "split"]
    assert result.manifest.table.sort_values("image")[columns].values.tolist() == [
        ["covid19", "sirm_3", "sirm", "test"],
        ["covid19", "cohen_3", "cohen", "train"],
        ["no covid19", "rsna_4", "rsna", "train"],
    ]
    reasons = dict(result.excluded.itertuples(index=False))
    assert reasons["gone.png"] == "has a line in train.txt, but does not exist"
    assert reasons["train.txt, line 4"].startswith("is not of the form")


def test_covidx_lists_of_three_classes_without_origins(tmp_path: Path):
    for n, label in enumerate(("normal", "pneumonia", "COVID-19")):
        write_png(tmp_path / "test" / f"{n}.png", n)
        with (tmp_path / "test_COVIDx3.txt").open("a") as lines:
            lines.write(f"{n} {n}.png {label}\n")
    table = import_data("covidx", tmp_path, workers=0).manifest.table.sort_values("image")
    assert table["label"].tolist() == ["normal", "pneumonia", "covid19"]
    assert set(table["split"]) == {"test"}


@pytest.mark.parametrize("kind", ["brax", "manifest"])
def test_brax_gives_findings_patients_and_views(tmp_path: Path, kind: str):
    rows = []
    for n, (view, pneumonia, age) in enumerate((("PA", "1", "50"), ("AP", "-1", "85 or more"), ("L", "1", "20"))):
        name = f"images/id_{n}/Study_{n}/Series_1/image-{n}.png"
        write_png(tmp_path / name, n)
        facts = {"DicomPath": f"Anonymized_DICOMs/{n}.dcm", "PngPath": name, "PatientID": f"id_{n}", "PatientSex": "F"}
        rows.append(facts | {"PatientAge": age, "No Finding": "", "Pneumonia": pneumonia, "ViewPosition": view})
    pd.DataFrame(rows).to_csv(tmp_path / "master_spreadsheet_update.csv", index=False)
    result = import_data(kind, tmp_path, workers=0)
    columns = ["patient_id", "findings", "label", "view", "age", "source"]
    assert result.manifest.table.sort_values("image")[columns].values.tolist() == [
        ["brax_id_0", "Pneumonia", "pneumonia", "PA", 50.0, "brax"],
        ["brax_id_1", "?Pneumonia", "", "AP", 85.0, "brax"],
    ]
    assert result.excluded["reason"].tolist() == ["view L is not frontal"]


def test_chexpert_in_the_batch_folders_of_the_full_download(tmp_path: Path):
    first = "CheXpert-v1.0 batch 1 (validate & csv)"
    places = {"train/patient00001": "CheXpert-v1.0 batch 2 (train 1)/patient00001"}
    places |= {"train/patient00002": "CheXpert-v1.0 batch 3 (train 2)/patient00002"}
    places |= {"valid/patient64541": f"{first}/valid/patient64541"}
    rows = []
    for n, (named, lies) in enumerate(places.items()):
        write_png(tmp_path / lies / "study1/view1_frontal.jpg", n)
        path = f"CheXpert-v1.0/{named}/study1/view1_frontal.jpg"
        rows.append({"Path": path, "Frontal/Lateral": "Frontal", "AP/PA": "PA", "Pneumonia": "1.0"})
    pd.DataFrame(rows[:2]).to_csv(tmp_path / first / "train.csv", index=False)
    pd.DataFrame(rows[2:]).to_csv(tmp_path / first / "valid.csv", index=False)
    for path in (tmp_path, tmp_path / first):
        table = import_data("chexpert", path, workers=0).manifest.table
        assert dict(zip(table["patient_id"], table["split"], strict=True)) == {
            "chexpert_00001": "train",
            "chexpert_00002": "train",
            "chexpert_64541": "val",
        }


def test_patients_that_a_spreadsheet_rounded_or_padded_are_warned_of(tmp_path: Path):
    for n in range(4):
        write_png(tmp_path / f"{n}.png", n)
    (tmp_path / "t.csv").write_text("image,label,patient\n0.png,a,1.00E+03\n1.png,b,1.00E+03\n2.png,a,001\n3.png,b,1\n")
    result = import_data("manifest", tmp_path / "t.csv", workers=0)
    assert any("2 written as a spreadsheet rounds numbers ('1.00E+03')" in note for note in result.notes)
    assert any("'001' and '1' differ by leading zeros alone" in note for note in result.notes)
    assert result.manifest.table["patient_id"].tolist() == ["1.00E+03", "1.00E+03", "001", "1"]
    (tmp_path / "t.csv").write_text("image,label,patient\n0.png,a,10\n1.png,b,002\n2.png,a,001\n3.png,b,E12\n")
    assert not any(
        note.startswith("patient_id") and "unknown" not in note
        for note in import_data("manifest", tmp_path / "t.csv", workers=0).notes
    )


def test_a_semicolon_table_with_more_commas_in_its_header_is_read(tmp_path: Path):
    for n in range(2):
        write_png(tmp_path / f"{n}.png", n)
    (tmp_path / "t.csv").write_text("image;label;notes (place, room, shelf, year)\n0.png;a;x\n1.png;b;1,5\n")
    assert import_data("manifest", tmp_path / "t.csv", workers=0).manifest.table["label"].tolist() == ["a", "b"]


def test_folders_of_splits_count_for_tables_and_dicom_files_that_name_none(tmp_path: Path):
    names = ["train/0", "train/1", "test/2"]
    for n, name in enumerate(names):
        write_png(tmp_path / "png" / f"{name}.png", n)
        save_dicom(tmp_path / "dcm" / f"{name}.dcm", dicom(chest(n).astype(np.uint16), 8, PatientID=f"p{n}"))
    (tmp_path / "png" / "t.csv").write_text("image,label\n" + "".join(f"{name}.png,a\n" for name in names))
    for kind, path in (("manifest", tmp_path / "png"), ("dicom", tmp_path / "dcm")):
        result = import_data(kind, path, workers=0)
        assert sorted(result.manifest.table["split"]) == ["test", "train", "train"]
        assert "split: from the folders that the images lie in" in result.notes
    (tmp_path / "png" / "t.csv").write_text("image,label,split\ntrain/0.png,a,val\ntest/2.png,a,train\n")
    assert sorted(import_data("manifest", tmp_path / "png", workers=0).manifest.table["split"]) == ["train", "val"]
    (tmp_path / "png" / "t.csv").write_text("image,label\ntrain/0.png,a\ntrain/1.png,a\n")
    assert import_data("manifest", tmp_path / "png", workers=0).manifest.splits == ()
