"""The audit of a data set: what tells its classes apart, as a run, on the command line and as a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from cxr.cli import app
from cxr.data import Manifest, read_xray
from cxr.data.audit import properties as measuring
from cxr.errors import CxrError
from cxr.evaluation.intervals import Jackknife
from cxr.experiments.data_audit import job
from cxr.experiments.data_audit.classes import Classes, classes_of
from cxr.experiments.data_audit.job import KIND, MEASURED
from cxr.experiments.data_audit.predictability import Units, fold_area
from cxr.experiments.data_audit.property_values import Property, manifest_properties, missing_by_class, text_properties
from cxr.experiments.data_audit.results import associations, entry_cells, finding, flat, missing_cells
from cxr.experiments.data_audit.settings import AuditParams
from cxr.reports import data_audit as report
from cxr.runs import Run, RunFolder, start
from cxr.runs.shards.folders import shards_of
from cxr.text import DetectionStore, TextBox
from tests.configurations import CONFIGURATIONS, ODD, TWO, Configuration, write_xrays
from tests.spoiled import settle, spoil

MULTI = Configuration(1, "multi-label", TWO)


def units(n_patients: int, per_patient: int = 3, names: tuple[str, ...] = TWO, seed: int = 0) -> tuple:
    """Return images and classes of patients who each have one class."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), per_patient)
    images = pd.DataFrame(
        {"image_id": [f"i{k}" for k in range(len(patient))], "patient_id": [f"p{p}" for p in patient]}
    )
    label = rng.permutation(np.arange(n_patients) % len(names))[patient]
    return images, Classes(names, np.eye(len(names))[label], "single-label"), label, patient


def column(name: str, values: object) -> Property:
    return Property(name, "manifest", name.capitalize(), pd.Series(values))


def by_name(entries: list) -> dict:
    return {entry["name"]: entry for entry in entries}


# figures


def test_the_area_is_scikit_learn_s_over_the_pairs_of_each_fold():
    rng = np.random.default_rng(0)
    n, folds, values = 400, 4, 5
    code, fold, truth = rng.integers(0, values, n), rng.integers(0, folds, n), rng.random(n) < 0.4
    truth |= code == 3
    area = fold_area(truth, ~truth, fold * values + code, (folds, values))
    own, pairs = [], []
    for k in range(folds):
        learned = pd.Series(truth[fold != k]).groupby(code[fold != k])
        prior = truth[fold != k].mean()
        score = ((learned.sum() + 2 * prior) / (learned.count() + 2)).loc[code[fold == k]]
        own.append(roc_auc_score(truth[fold == k], score))
        pairs.append(truth[fold == k].sum() * (~truth[fold == k]).sum())
    weights = np.stack([np.ones(n), np.repeat([1.0, 0.0], n // 2)])
    assert area(weights)[0] == pytest.approx(np.average(own, weights=pairs))
    assert area(weights)[1] != area(weights)[0]


def test_the_mean_area_is_as_uncertain_of_its_variance_as_the_areas_of_its_classes(monkeypatch: pytest.MonkeyPatch):
    images, classes, label, _ = units(60, names=("a", "b", "c"))
    codes = (label == 2).astype(np.int64)  # gives c away without an error
    facts = Units(images, classes)
    by_class, mean = facts.association(codes, 1).by_class, facts.association(codes, 1).mean
    assert by_class["c"]["value"] == 1
    monkeypatch.setattr(Jackknife, "with_means", lambda self, parts, patients: self)
    plain = facts.association(codes, 1)
    assert plain.by_class == by_class
    assert plain.mean["value"] == mean["value"]
    assert mean["low"] is not None
    assert plain.mean["low"] is not None
    assert mean["low"] < plain.mean["low"]


def test_a_value_that_only_one_patient_has_tells_nothing_of_other_patients():
    images, classes, _, patient = units(60)
    (entry,) = associations([column("room", [f"room {p}" for p in patient])], images, classes)
    assert entry["auc"]["value"] == pytest.approx(0.5, abs=0.1)
    assert not entry["shown"]


@pytest.mark.parametrize("names", [TWO, ("a", "b", "c"), ODD])
def test_what_gives_the_class_away_is_shown_first_and_chance_is_not(names: tuple[str, ...]):
    images, classes, label, _ = units(120, names=names)
    rng = np.random.default_rng(1)
    properties = [
        column("noise", rng.normal(size=len(label))),
        column("camera", [f"camera {k}" for k in label]),
        column("dose", label + rng.normal(0, 0.4, len(label))),
        column("same", ["x"] * len(label)),
        column("nothing", [""] * len(label)),
    ]
    entries = associations(properties, images, classes)
    named = by_name(entries)
    assert [entry["name"] for entry in entries][:2] == ["camera", "dose"]
    assert [entry["name"] for entry in entries if entry["shown"]] == ["camera", "dose"]
    assert named["camera"]["auc"]["value"] == 1 > named["camera"]["auc"]["low"] > 0.9
    assert named["camera"]["v"] == pytest.approx(1)
    assert named["camera"]["bits"] == pytest.approx(np.log2(len(names)), abs=0.05)
    assert named["camera"]["sentence"].startswith("Camera alone tells ")
    assert named["noise"]["sentence"] == ""
    assert (named["same"]["reason"], named["nothing"]["reason"]) == (
        "the same for every X-ray",
        "unknown for every X-ray",
    )
    assert finding(entries, images, classes).startswith("2 of 3 properties predict the class")
    assert set(flat(entries).columns) >= {f"auc of {name}" for name in names}
    counts = {name: {"missing": 0, "of": 1} for name in names}
    assert len(missing_cells({"title": "x", "missing": 0, "of": 1, "by_class": counts})) == len(names) + 2


def test_few_patients_give_a_reason_and_no_area_however_many_images_they_have():
    images, classes, label, _ = units(8, per_patient=20)
    (entry,) = associations([column("camera", [f"camera {k}" for k in label])], images, classes)
    assert entry["auc"] == {"value": None, "low": None, "high": None}
    assert "too few patients: at most 4" in entry["reason"]
    assert entry_cells(entry)["mean AUC"] == "–"


def test_each_finding_is_compared_by_itself_and_unknown_ones_do_not_count():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (300, 3)).astype(float)
    camera = targets[:, 1].copy()
    targets[::5, 1] = np.nan
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(300)], "patient_id": ""})
    classes = Classes(("Mass", "Edema", "Hernia"), targets, "multi-label")
    (entry,) = associations([column("camera", np.where(camera == 1, "new", "old"))], images, classes)
    assert (entry["shown"], entry["best"]) == (True, "Edema")
    assert entry["by_class"]["Edema"]["value"] == 1
    assert entry["by_class"]["Mass"]["value"] == pytest.approx(0.5, abs=0.12)
    assert "Edema from X-rays without it" in entry["sentence"]


def test_patients_stay_together_in_folds_and_count_once_in_tables():
    images, classes, _, patient = units(30, per_patient=4)
    own = Units(images, classes)
    assert pd.Series(own.folds).groupby(patient).nunique().max() == 1
    assert (own.n_drawn, len(np.unique(own.folds))) == (30, 5)


# what is compared


def test_columns_of_the_class_of_files_and_of_names_are_no_properties(tmp_path: Path):
    manifest = Manifest.load(write_xrays(tmp_path, CONFIGURATIONS[0], n=40))
    table = manifest.table.assign(
        diagnosis=manifest.table["label"],
        file_path=manifest.table["image"],
        technician=[f"name {k}" for k in range(40)],
        kvp=np.linspace(60, 120, 40).astype(str),
        ward=["A", "B"] * 20,
        age=[30.0, np.nan] * 20,
    )
    names = [own.name for own in manifest_properties(table)]
    assert names == ["source", "view", "sex", "age", "age known", "kvp", "ward"]
    kvp = next(own for own in manifest_properties(table) if own.name == "kvp")
    assert kvp.is_number
    assert len(np.unique(kvp.codes(500))) == 10
    assert len(np.unique(kvp.codes(20))) == 2


def test_a_number_that_many_x_rays_have_is_a_range_of_its_own():
    values = np.r_[np.full(100, 1024.0), np.arange(2000, 2100)]
    codes = column("width", values).codes(500)
    assert len(set(codes[:100])) == 1
    assert codes[0] not in codes[100:]


def test_missing_metadata_are_counted_by_class(tmp_path: Path):
    manifest = Manifest.load(write_xrays(tmp_path, CONFIGURATIONS[1], n=12))
    table = manifest.table.assign(sex=["F", ""] * 6)
    classes = classes_of(table)
    rows = {row["column"]: row for row in missing_by_class(table, classes.targets, classes.names)}
    assert (rows["sex"]["missing"], rows["view"]["missing"], rows["source"]["missing"]) == (6, 12, 0)
    counts = [rows["sex"]["by_class"][name]["missing"] for name in TWO]
    assert sorted(counts) == [0, 6]


def test_words_are_properties_where_enough_x_rays_carry_them():
    words = {f"i{k}": [["PORTABLE"]] * (k < 4) + [["<date>", "R"]] * (k < 5) + [["RARE"]] * (k < 2) for k in range(8)}
    named = {own.name: own for own in text_properties(words, [*words, "not searched"])}
    assert list(named) == ["text", "tokens", "word <date>", "word R", "word PORTABLE"]
    assert named["tokens"].values.dropna().tolist() == [3, 3, 2, 2, 1, 0, 0, 0]
    assert named["text"].values.tolist() == ["yes"] * 5 + ["no"] * 3 + [""]
    assert named["word <date>"].title == "Whether a date is burned in"


def test_one_label_alone_is_refused_in_one_line(tmp_path: Path):
    manifest = write_xrays(tmp_path, CONFIGURATIONS[0], n=9)
    table = pd.read_csv(manifest).assign(label="normal")
    table.to_csv(manifest, index=False)
    with pytest.raises(CxrError, match="one label, 'normal': an audit compares two classes or more"):
        start(KIND, {"manifest": manifest})


# the run


@pytest.fixture(scope="module")
def confounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 48 pictures of 24 patients whose source gives the class away, one file of them broken."""
    folder = tmp_path_factory.mktemp("confounded") / "xrays"
    manifest = write_xrays(folder, Configuration(1, "single-label", TWO), n=48, side=64)
    table = pd.read_csv(manifest)
    table["label"] = [TWO[k // 2 % 2] for k in range(48)]
    table["source"] = table["label"].map({TWO[0]: "<b>north</b>", TWO[1]: "south"})
    table.to_csv(manifest, index=False)
    (folder / "47.png").write_bytes(b"no picture")
    return manifest


@pytest.fixture(scope="module")
def audited(confounded: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished audit of it, made by the command."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_RUNS", str(root))
        printed = CliRunner().invoke(app, ["data", "audit", str(confounded), "--no-text", "--json"])
    assert printed.exit_code == 0, printed.output
    return Run(RunFolder(root / json.loads(printed.stdout)["run"]).path)


def test_the_command_names_the_source_and_what_it_could_not_read(audited: Run):
    results = audited.results()
    source = by_name(results["properties"])["source"]
    assert (results["properties"][0]["name"], source["auc"]["value"], source["shown"]) == ("source", 1, True)
    assert f"Source alone tells {TWO[0]} from {TWO[1]} with AUC 1.00" in results["finding"]
    assert [row["reason"] for row in results["left_out"]] == ["is text, not an image"]
    assert (results["n_images"], results["by_class"][TWO[0]]) == (47, {"images": 24, "patients": 12})
    assert len(pd.read_parquet(audited.folder.path / MEASURED)) == 47
    assert pd.read_csv(audited.folder.path / "properties.csv")["name"][0] == "source"


def test_the_report_says_the_same_and_names_of_the_data_stay_text(audited: Run, tmp_path: Path):
    page = report.write(audited, tmp_path / "audit.html").read_text()
    assert f"Source alone tells {TWO[0]} from {TWO[1]} with AUC 1.00" in page
    assert "<b>north</b>" not in page
    assert len(pd.read_csv(report.write(audited, tmp_path / "audit.csv"))) == len(audited.results()["properties"])
    assert report.write(audited, tmp_path / "audit.png").read_bytes()[:4] == b"\x89PNG"
    for name, line in (("audit.doc", "no known report format"), ("none/audit.html", "does not exist")):
        with pytest.raises(CxrError, match=line):
            report.write(audited, tmp_path / name)


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[2], MULTI], ids=str)
def test_a_stopped_audit_goes_on_where_it_was_and_finds_the_same(
    configuration: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = write_xrays(tmp_path / "xrays", configuration, n=42, side=64, words=True)
    params = AuditParams.of({"manifest": manifest, "text": False, "workers": 0})
    whole, halved = (RunFolder.create(tmp_path / "runs", KIND, params.stored()) for _ in range(2))
    job.run(whole, params, lambda fraction, message: None)
    measured: list[Path] = []
    monkeypatch.setattr(job, "measure", lambda path: measured.append(path) or measuring.measure(path))

    def stop_at_ten(fraction: float, message: str) -> None:
        if message.startswith("10 of"):
            halved.request_stop()

    job.run(halved, params, stop_at_ten)
    assert (len(measured), halved.read_json("results.json")) == (10, None)
    with (halved.path / "measured.jsonl").open("a") as lines:
        lines.write('["half a li')  # as a process that was killed leaves it
    halved.clear_stop()
    job.run(halved, params, lambda fraction, message: None)
    assert sorted(measured) == sorted(set(measured))
    first, second = (folder.read_json("results.json") for folder in (whole, halved))
    assert len(measured) == 42
    assert first["task"] == configuration.task
    assert first["properties"] == second["properties"]
    assert first["finding"] == second["finding"]


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[2], MULTI], ids=str)
def test_shards_find_what_one_piece_finds_and_the_merge_opens_no_image(configuration: Configuration, tmp_path: Path):
    folder = tmp_path / "xrays"
    manifest = write_xrays(folder, configuration, n=42, side=64, words=True)
    settle(folder)
    params = AuditParams.of({"manifest": manifest, "workers": 0, "text": configuration == MULTI})
    whole = RunFolder.create(tmp_path / "runs", KIND, params.stored())
    cut = RunFolder.create(tmp_path / "runs", KIND, params.stored(), shards=3)
    job.run(whole, params, lambda fraction, message: None)
    for shard in shards_of(cut):
        shard.path.mkdir(parents=True)
        job.audit_shard(shard, params, lambda fraction, message: None)
        shard.update_status(state="finished")
    spoil(folder)
    job.run(cut, params, lambda fraction, message: None)
    one, merged = (of_run.read_json("results.json") for of_run in (whole, cut))
    for results in (one, merged):
        results["provenance"].pop("date")
    assert one == merged
    tables = [pd.read_parquet(of_run.path / MEASURED) for of_run in (whole, cut)]
    pd.testing.assert_frame_equal(*tables)


def test_text_that_goes_with_the_class_is_named_and_nothing_is_searched_twice(tmp_path: Path):
    manifest = write_xrays(tmp_path / "xrays", Configuration(1, "single-label", TWO), n=24, side=64)
    table = pd.read_csv(manifest).assign(patient_id="")
    table.to_csv(manifest, index=False)
    store = DetectionStore()
    for path, label in zip(table["image"], table["label"], strict=True):
        box = TextBox(2, 2, 20, 10, "Portable 12.03.2020", 0.9, "word")
        store.put(read_xray(manifest.parent / path), [box] * (label == TWO[0]))
    params = AuditParams.of({"manifest": manifest, "workers": 0})
    folder = RunFolder.create(tmp_path / "runs", KIND, params.stored())
    job.run(folder, params, lambda fraction, message: None)
    named = by_name(folder.read_json("results.json")["properties"])
    assert (named["text"]["shown"], named["text"]["auc"]["value"]) == (True, 1)
    assert named["text"]["sentence"].startswith(f"Whether there is burned-in text tells {TWO[0]} from {TWO[1]}")
    assert {"tokens", "word PORTABLE", "word <date>"} < named.keys()
