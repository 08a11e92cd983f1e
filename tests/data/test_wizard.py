"""What a folder is guessed to be, what an import would give, and how a data set is deleted and handed on."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_samples import chest, dicom, save_dicom, write_png
from typer.testing import CliRunner

from cxr.cli import app
from cxr.data import open_data_set
from cxr.data.dry_run import dry_run
from cxr.data.exporting import export_data_set, manifest_zip
from cxr.data.importers.guessing import guess
from cxr.data.importers.previews import previews_of, varied
from cxr.data.importers.rows import Row
from cxr.data.jobs import import_data_set, split_data_set
from cxr.data.library import list_data_sets, proposed_name
from cxr.data.phantom import write_demo
from cxr.data.removing import delete_data_set, what_would_be_lost
from cxr.errors import CxrError, ManifestError
from cxr.paths import data_root, runs_root

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr.data.images.pool.default_workers", lambda: 0)  # a dozen images need none


def invoke(*words: object) -> dict:
    done = CliRunner().invoke(app, ["data", *map(str, words), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def class_folders(root: Path) -> Path:
    for k in range(12):
        write_png(root / ("Hernia" if k % 2 else "No_findings") / f"patient{k // 2}_{k}.png", k, height=40, width=40)
    return root


def table_of_findings(root: Path) -> Path:
    """A table of several findings with columns of unusual names, one image of which is not there."""
    rows = []
    for k in range(12):
        write_png(root / "films" / f"{k}.png", k, height=40, width=40)
        rows.append({"film": f"films/{k}.png", "findings": "Mass|Nodule" if k % 2 else "Mass", "subject": f"s{k // 2}"})
    rows.append({"film": "films/gone.png", "findings": "Mass", "subject": "s9"})
    pd.DataFrame(rows).rename(columns={"film": "File Name"}).to_csv(root / "films.csv", index=False)
    return root


def dicom_files(root: Path) -> Path:
    for k in range(4):
        save_dicom(root / "edema" / f"{k}.dcm", dicom(chest(k).astype(np.uint16), 8, PatientID=f"P{k}"))
    return root


def montgomery(root: Path) -> Path:
    for k in range(6):
        write_png(root / "CXR_png" / f"MCUCXR_000{k}_{k % 2}.png", k)
    return root


@pytest.mark.parametrize(
    ("layout", "kind", "n", "labels"),
    [
        (class_folders, "image-folder", 12, {("Hernia", "Hernia"), ("No_findings", "normal")}),
        (table_of_findings, "manifest", 12, {("", "")}),
        (dicom_files, "dicom", 4, {("", "")}),
        (montgomery, "montgomery", 6, {("normal", "normal"), ("", "")}),
    ],
)
def test_the_importer_that_fits_a_folder_is_guessed_from_its_files(
    layout: Callable[[Path], Path], kind: str, n: int, labels: set[tuple[str, str]], tmp_path: Path
) -> None:
    best = guess(layout(tmp_path / "set")).guesses[0]
    assert (best.kind, best.n) == (kind, n)
    assert {(found["label"], found["becomes"]) for found in best.labels} == labels
    assert len(best.previews) == min(n, 10)
    assert all(Path(preview["image"]).is_file() for preview in best.previews)
    imported = import_data_set(best.kind, best.path, "mine", workers=0)  # what is guessed can be imported as it is
    assert len(imported.result.manifest) == n


def test_columns_of_a_table_are_guessed_with_their_values(tmp_path: Path) -> None:
    best = guess(table_of_findings(tmp_path)).guesses[0]
    assert best.mapping == {"image": "File Name", "findings": "findings", "patient_id": "subject"}
    assert best.columns[0]["examples"] == ["films/0.png", "films/1.png", "films/2.png"]
    assert best.left_out == 1


def test_each_of_several_tables_is_a_guess_and_what_does_not_fit_says_why(tmp_path: Path) -> None:
    table_of_findings(tmp_path)
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "other.csv", index=False)
    guesses = guess(tmp_path)
    assert [Path(made.path).name for made in guesses.guesses if made.kind == "manifest"] == ["films.csv"]
    assert "no column 'image'" in guesses.refused["other.csv"]
    with pytest.raises(ManifestError, match="does not exist"):
        guess(tmp_path / "gone")
    assert guess(tmp_path / "films.csv").guesses[0].n == 12


def test_previews_are_of_as_many_classes_and_sources_as_fit_and_always_the_same(tmp_path: Path) -> None:
    rows = [Row(f"{k:03}.png", label="hernia", source="ab"[k > 400]) for k in range(500)]
    rows += [Row("x.png", label="flu", source="c", patient_id="p1"), Row("y.png", findings="mass", view="PA")]
    chosen = varied(rows, 10)
    assert chosen == varied(rows, 10)
    assert chosen == sorted(chosen, key=rows.index)
    assert Counter((row.label or row.findings, row.source) for row in chosen) == {
        ("hernia", "a"): 4,
        ("hernia", "b"): 4,
        ("flu", "c"): 1,
        ("mass", ""): 1,
    }
    assert varied(rows[:3], 10) == rows[:3]
    assert varied([], 10) == []
    ages = [dataclasses.replace(rows[-1], age=age) for age in ("55.0", "0.5", "045Y", "nan", "")]
    assert [preview["known"].get("age") for preview in previews_of(ages)] == ["55", "0.5", "45", None, None]
    assert previews_of(rows[-2:])[0] == {"image": "x.png", "label": "flu", "known": {"patient_id": "p1", "source": "c"}}
    for k in range(40):  # sorted by class, as folders are: the first ten are of one
        write_png(tmp_path / ("a" if k < 38 else "b") / f"{k:02}.png", k)
    labels = [preview["label"] for preview in guess(tmp_path).guesses[0].previews]
    assert (labels.count("a"), labels.count("b")) == (8, 2)


def test_a_table_of_words_or_of_files_that_are_elsewhere_is_none_of_x_rays(tmp_path: Path) -> None:
    table_of_findings(tmp_path)
    words = [{"image": f"films/{k}.png", "x0": word, "text": "PA"} for k in range(12) for word in range(3)]
    pd.DataFrame(words).to_csv(tmp_path / "tokens.csv", index=False)
    pd.DataFrame({"image": ["of", "another", "place"], "label": "x"}).to_csv(tmp_path / "moved.csv", index=False)
    pd.DataFrame({"Film": [f"films/{k}.png" for k in range(5)]}).to_csv(tmp_path / "odd.csv", index=False)
    pd.DataFrame({"image": ["films/0.png"], "label": "x"}).to_csv(tmp_path / "few.csv", index=False)
    half = [f"films/{k}.png" for k in range(12)] + [f"gone/g{k}.png" for k in range(12)]
    pd.DataFrame({"image": half, "label": "x"}).to_csv(tmp_path / "a_half.csv", index=False)
    guesses = guess(tmp_path)
    ranked = [(made.kind, Path(made.path).name) for made in guesses.guesses]
    assert ranked == [
        ("manifest", "films.csv"),
        ("manifest", "a_half.csv"),
        ("image-folder", tmp_path.name),
        ("manifest", "few.csv"),
    ]
    assert [round(made.resolved, 2) for made in guesses.guesses if made.resolved is not None] == [0.92, 0.5, 1.0]
    refused = guesses.refused_tables
    assert set(refused) == {"tokens.csv", "moved.csv", "odd.csv"}
    assert "36 rows on 12 images and no column of labels" in refused["tokens.csv"]
    assert refused["moved.csv"] == "column 'image' names 3 images: 0 are here"
    assert "column 'Film' names images: --column image='Film'" in refused["odd.csv"]
    done = CliRunner().invoke(app, ["data", "guess", str(tmp_path)])
    assert "not tokens.csv: 36 rows on 12 images" in done.stdout
    assert f"--name {proposed_name(tmp_path)} --dry-run" in " ".join(done.stdout.split())
    named = guess(tmp_path / "tokens.csv").guesses  # what a user names is taken
    assert [made.n for made in named] == [12]


def test_a_folder_without_x_rays_has_no_guess(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing")
    assert guess(tmp_path).guesses == ()
    done = CliRunner().invoke(app, ["data", "guess", str(tmp_path)])
    assert "No importer fits" in done.stdout


@pytest.mark.parametrize("layout", [class_folders, table_of_findings, dicom_files, montgomery])
def test_a_dry_run_finds_what_the_import_then_gives_and_keeps_nothing(
    layout: Callable[[Path], Path], tmp_path: Path
) -> None:
    best = guess(layout(tmp_path / "set")).guesses[0]
    told = dry_run(best.kind, best.path, checked=None, workers=0)
    assert list_data_sets() == []
    imported = import_data_set(best.kind, best.path, "mine", workers=0)
    assert told.n == len(imported.result.manifest)
    assert told.splits == (imported.splits or {})
    assert told.split_reason == imported.split_reason
    assert [list(row) for row in told.excluded] == imported.result.excluded.to_numpy().tolist()


def test_a_dry_run_of_some_images_counts_all_and_says_how_many_it_decoded(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "Hernia" / "0.png").write_text("no image")
    value = invoke("import", "image-folder", tmp_path, "--name", "mine", "--dry-run", "--checked", 4)
    assert (value["checked"], value["dry_run"], value["n"] + value["unreadable"]) == (4, True, 13)
    value = invoke("import", "image-folder", tmp_path, "--name", "mine", "--dry-run", "--checked", 0)
    assert value["counts"] == {"Hernia": 6, "normal": 6}
    assert [reason["n"] for reason in value["left_out"]] == [1]
    assert value["left_out"][0]["first"] == "Hernia/0.png"
    shown = CliRunner().invoke(app, ["data", "import", "image-folder", str(tmp_path), "--name", "x", "--dry-run"])
    assert "nothing is kept: 12 X-rays of 6 patients" in shown.stdout
    assert list_data_sets() == []


def test_a_dry_run_refuses_what_an_import_refuses(tmp_path: Path) -> None:
    (tmp_path / "edema").mkdir()
    (tmp_path / "edema" / "a.png").write_text("no image")
    with pytest.raises(ManifestError, match="no usable X-ray"):
        dry_run("image-folder", tmp_path, workers=0)
    words = ["data", "import", "image-folder", str(tmp_path), "--name", "x", "--dry-run", "--detach"]
    assert "--dry-run works here and now" in str(CliRunner().invoke(app, words).exception)


@pytest.mark.parametrize(
    ("splits", "made", "reason"),
    [("make", True, ""), ("keep", False, "none come with the data"), ("new", True, ""), ("none", False, "none were")],
)
def test_a_dry_run_says_which_splits_there_would_be(splits: str, made: bool, reason: str, tmp_path: Path) -> None:
    told = dry_run("image-folder", class_folders(tmp_path), splits=splits, checked=0, workers=0)
    assert bool(told.splits) is made
    assert told.split_reason.startswith(reason)


# --- deleting and handing on -----------------------------------------------------------------------------------------


def a_run_on(manifest: Path, kind: str, name: str) -> None:
    folder = runs_root() / name
    folder.mkdir(parents=True)
    spec = {"id": name, "kind": kind, "name": name, "created": 1738333435.5, "manifest_hash": "ab" * 32}
    params = {"manifest": str(manifest), "recipe": {"stages": [{"data": str(manifest)}]}}
    (folder / "spec.json").write_text(json.dumps({**spec, "params": params, "versions": {"cxr": "0.1.0"}}))
    status = {"state": "finished", "progress": 1.0, "message": "", "eta_s": None, "pid": 4, "pid_started": 1.0}
    status |= {"heartbeat": 2.0, "error": None, "launched": 1.0, "started": 1.0, "ended": 3.0, "resumes": 0}
    (folder / "status.json").write_text(json.dumps(status | {"metrics_generation": 0, "host": None, "job": None}))
    (folder / "log.txt").touch()


def test_deleting_says_first_which_runs_and_files_would_be_lost(tmp_path: Path) -> None:
    import_data_set("image-folder", class_folders(tmp_path / "set"), "mine", workers=0)
    manifest = open_data_set("mine").path
    (manifest.parent / "manifest.csv.text.json").write_text("{}")
    a_run_on(manifest, "train", "20260101-000000-a-0001")
    a_run_on(tmp_path / "elsewhere" / "manifest.csv", "train", "20260101-000000-b-0002")
    value = invoke("delete", "mine")
    assert [run["id"] for run in value["runs"]] == ["20260101-000000-a-0001"]
    assert value["files"] == ["manifest.csv.text.json"]
    assert (value["images"], value["images_deleted"], value["deleted"]) == (12, 0, False)
    shown = CliRunner().invoke(app, ["data", "delete", "mine"]).stdout
    assert "1 run (train) points at it" in shown
    assert "12 images elsewhere stay where they are" in shown
    assert [own.name for own in list_data_sets()] == ["mine"]
    assert invoke("delete", "mine", "--yes")["deleted"]
    assert list_data_sets() == []
    assert not manifest.parent.exists()
    assert len(list((tmp_path / "set").rglob("*.png"))) == 12
    with pytest.raises(CxrError, match="neither a data set"):
        delete_data_set("mine")


def test_images_in_the_folder_of_a_data_set_are_said_to_be_lost(tmp_path: Path) -> None:
    write_demo(data_root() / "demo", n=12, size=96, workers=0)
    loss = what_would_be_lost("demo")
    assert loss.images == 12
    assert loss.in_words()[0].startswith("12 images in its folder will be deleted")
    assert loss.files == ("tokens.csv", "masks/ (36 files)")


def test_a_data_set_whose_images_another_one_shows_is_not_deleted_before_that_one(tmp_path: Path) -> None:
    write_demo(data_root() / "demo", n=12, size=96, workers=0)
    split_data_set("demo", name="other-splits")
    loss = what_would_be_lost("demo")
    assert loss.needed_by == ("other-splits",)
    said = "images of 'other-splits' lie in its folder. Delete that data set first."
    assert loss.in_words()[0] == f"It cannot be deleted: {said}"
    with pytest.raises(CxrError, match="lie in its folder"):
        delete_data_set("demo")
    assert open_data_set("other-splits").image_paths()
    assert what_would_be_lost("other-splits").needed_by == ()
    delete_data_set("other-splits")
    delete_data_set("demo")
    assert list_data_sets() == []


@pytest.mark.parametrize("packed", [False, True])
def test_an_exported_data_set_is_imported_elsewhere_as_it_was(packed: bool, tmp_path: Path) -> None:
    import_data_set("manifest", table_of_findings(tmp_path / "set") / "films.csv", "mine", workers=0)
    out = tmp_path / ("out.zip" if packed else "out")
    value = invoke("export", "mine", out, "--images")
    assert (value["n"], value["copied"], value["missing"]) == (12, 12, [])
    folder = out
    if packed:
        zipfile.ZipFile(out).extractall(tmp_path / "unpacked")
        folder = tmp_path / "unpacked" / "out"
    folder = folder.rename(folder.with_name("moved"))
    for file in (tmp_path / "set" / "films").glob("*.png"):
        file.unlink()
    again = import_data_set("manifest", folder, "again", workers=0).result.manifest
    assert again.hash() == open_data_set("mine").hash()
    assert (folder / "excluded.csv").is_file()


def test_an_export_never_writes_over_anything_and_names_what_is_not_there(tmp_path: Path) -> None:
    import_data_set("image-folder", class_folders(tmp_path / "set"), "mine", workers=0)
    next((tmp_path / "set" / "Hernia").glob("*.png")).unlink()
    exported = export_data_set("mine", tmp_path / "out", images=True)
    assert (exported.copied, len(exported.missing)) == (11, 1)
    with pytest.raises(CxrError, match="exists already"):
        export_data_set("mine", tmp_path / "out")
    words = ["data", "export", "mine", str(tmp_path / "a.csv")]
    assert "ends in .zip" in str(CliRunner().invoke(app, words).exception)
    (tmp_path / "mine.zip").write_bytes(manifest_zip("mine"))
    assert {"manifest.csv", "data.json", "excluded.csv"} == set(zipfile.ZipFile(tmp_path / "mine.zip").namelist())
