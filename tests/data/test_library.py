from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from data_samples import manifest_of, write_png

from cxr.data import import_data, list_data_sets, open_data_set, resolve_manifest, save_data_set
from cxr.data.library import check_name, proposed_name, read_excluded
from cxr.errors import ManifestError
from cxr.paths import data_root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, seed in (("normal", 1), ("normal", 2), ("covid", 3)):
        write_png(tmp_path / "set" / label / f"{seed}.png", seed)
    (tmp_path / "set" / "normal" / "notes.txt").write_text("hello")
    return tmp_path / "set"


def test_an_imported_data_set_is_listed_and_opened_by_name(folder: Path):
    result = import_data("image-folder", folder)
    saved = save_data_set("mine", result)
    assert saved == data_root() / "mine"
    assert [(d.name, d.n, d.kind) for d in list_data_sets()] == [("mine", 3, "image-folder")]
    opened = open_data_set("mine")
    assert opened.missing_files().empty
    assert opened.hash() == result.manifest.hash()
    assert read_excluded("mine").to_dict("records") == result.excluded.to_dict("records")
    assert resolve_manifest("mine") == resolve_manifest(saved) == resolve_manifest(saved / "manifest.csv")


def test_a_name_is_taken_once_unless_it_may_be_overwritten(folder: Path):
    result = import_data("image-folder", folder)
    save_data_set("mine", result)
    with pytest.raises(ManifestError, match="'mine' already exists"):
        save_data_set("mine", result)
    save_data_set("mine", result.manifest.select(label="normal"), overwrite=True)
    assert [(d.n, d.kind) for d in list_data_sets()] == [(2, "")]


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a b", "x" * 65])
def test_a_name_that_is_no_folder_name_is_refused(folder: Path, name: str):
    with pytest.raises(ManifestError, match="is not a valid name of a data set"):
        save_data_set(name, manifest_of([{"image": "a.png"}], folder))


def test_a_folder_with_a_manifest_is_a_data_set_however_it_came_there(tmp_path: Path):
    by_hand = data_root() / "by-hand"
    manifest_of([{"image": "a.png"}], by_hand).save(by_hand / "manifest.csv")
    (data_root() / "no-manifest").mkdir()
    (by_hand / "data.json").write_text("{broken")
    assert [(d.name, d.n) for d in list_data_sets()] == [("by-hand", 1)]


def test_the_count_follows_an_edit_of_the_manifest(folder: Path):
    saved = save_data_set("mine", import_data("image-folder", folder))
    table = pd.read_csv(saved / "manifest.csv").iloc[:1]
    table.to_csv(saved / "manifest.csv", index=False)
    os.utime(saved / "manifest.csv", (1000, 1000))
    assert json.loads((saved / "data.json").read_text())["n"] == 3
    assert list_data_sets()[0].n == 1


def test_an_unknown_name_is_answered_with_the_names_there_are(folder: Path):
    with pytest.raises(ManifestError, match=r"'yours' is neither a data set \(none yet\)"):
        resolve_manifest("yours")
    save_data_set("mine", import_data("image-folder", folder))
    with pytest.raises(ManifestError, match=r"'yours' is neither a data set \(mine\)"):
        open_data_set("yours")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("covid-chestxray", "covid-chestxray"),
        ("My X-rays (2024)", "My-X-rays-2024"),
        ("Röntgen Köln", "Rontgen-Koln"),
        (".hidden_", "hidden"),
        ("胸部", ""),
        ("x" * 80, "x" * 64),
    ],
)
def test_a_folder_s_name_is_proposed_as_far_as_it_is_a_valid_one(folder: str, name: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "films.csv").write_text("image")
    for source in (tmp_path / folder, tmp_path / folder / "films.csv"):
        assert proposed_name(source) == name
    assert not name or check_name(name) == name
    assert proposed_name(Path("/")) == ""


@pytest.mark.parametrize("name", ["films", "x" * 64])
def test_a_name_that_is_taken_is_proposed_with_a_number(name: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    for taken in (name, f"{name[:62]}-2"):
        save_data_set(taken, manifest_of([{"image": "a.png"}], folder))
    assert proposed_name(tmp_path / name) == check_name(f"{name[:62]}-3")
