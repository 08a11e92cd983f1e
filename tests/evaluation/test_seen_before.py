"""X-rays that a network was trained or chosen on, under other names, in other files and other data sets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from configurations import CONFIGURATIONS, every_configuration, make_network, write_network, write_xrays
from PIL import Image

from cxr.data import ImageCache, Manifest
from cxr.data.fingerprints import WIDTH, Match
from cxr.data.phantom.demo import write_demo
from cxr.evaluation.job import evaluate
from cxr.evaluation.results import EvaluationResults, SeenRecord
from cxr.evaluation.seen import comparing, marked, marked_in_words, measured_rows, seen_among, seen_in_words
from cxr.models import save_model
from cxr.models.export import export
from cxr.models.imports.conversion import import_weights
from cxr.models.seen_images import Seen, SeenImages, sorted_digests
from cxr.models.weights import load_model, read_seen
from cxr.paths import runs_root, shipped_weights
from cxr.runs import list_runs
from cxr.runs.folder import RunFolder
from cxr.training.data.stages import StageData
from cxr.training.seen_in_stage import seen_in_stage
from tests.typed_results import misfits

SIZE = 64


def entry(cache: ImageCache, ids: list[str], use: str = "trained", **values) -> SeenImages:
    files, pictures = cache.digests(np.array([cache.index(i) for i in ids], np.int64))
    facts = {"run": "20261128-a", "stage": "only", "use": use, "n": len(ids), "form": cache.form} | values
    return SeenImages(**facts, files=sorted_digests(files), pictures=sorted_digests(pictures))


def network_that_saw(path: Path, configuration, data: Manifest, trained: list[str], chosen: list[str] = ()) -> Path:
    cache = ImageCache.build(data, SIZE, workers=0)
    seen = Seen((entry(cache, trained), entry(cache, list(chosen), "chosen")))
    return save_model(make_network(configuration, SIZE), path, seen)


def elsewhere(data: Manifest, folder: Path, suffix: str, split: str = "test") -> Manifest:
    """The same X-rays in another data set: other names, patients, sources and split, other kinds of files."""
    folder.mkdir()
    rows = data.table.assign(split=split, source="C", patient_id=[f"new-{k}" for k in range(len(data))], dup_group="")
    names = [f"renamed {len(data) - k}{suffix}" for k in range(len(data))]
    for name, path in zip(names, data.image_paths().values(), strict=True):
        Image.open(path).save(folder / name)
    columns = ["label", "findings", "split", "source", "patient_id"]
    rows[columns].assign(image=names).to_csv(folder / "manifest.csv", index=False)
    return Manifest.load(folder / "manifest.csv")


def measure(network: Path, data: Manifest, **params) -> RunFolder:
    folder = RunFolder.create(runs_root(), "evaluate", {"weights": str(network), "manifest": str(data.path), **params})
    evaluate(folder, folder.params)
    return folder


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".png"])
@every_configuration
def test_the_same_pictures_in_another_data_set_are_named_counted_and_left_out(tmp_path, configuration, suffix):
    data = Manifest.load(write_xrays(tmp_path / "xrays", configuration, split="train"))
    network = network_that_saw(tmp_path / "net.safetensors", configuration, data, data.ids[:6], data.ids[6:9])
    copy = elsewhere(data, tmp_path / "copy", suffix)
    folder = measure(network, copy)
    results, table = folder.read_json("results.json"), folder.predictions()
    assert list(misfits(results, EvaluationResults)) == []
    counts = results["seen"]["splits"]["test"]
    assert (counts["of"], counts["trained"], counts["chosen"], counts["left_out"]) == (12, 6, 3, True)
    assert {row["use"]: row["ids"] for row in results["seen"]["images"]} == {
        "trained": copy.ids[:6],
        "chosen": copy.ids[6:9],
    }
    assert results["seen"]["images"][0]["stages"] == ["trained on in stage only of run 20261128-a"]
    assert results["splits"]["test"]["n"] == results["measured"]["splits"]["test"] == 3
    assert results["left_out"]["by_reason"]["seen"] == 9
    assert counts["with_them"]["n"] == len(table) == 12
    assert table["seen"].tolist() == ["trained"] * 6 + ["chosen"] * 3 + [""] * 3
    assert measured_rows(table, results)["image_id"].tolist() == copy.ids[9:]
    line = next(note for note in results["notes"] if "not new to the network" in note)
    assert "9 of the 12 X-rays of split test are not new to the network (6 trained on, 3 chosen on)" in line
    assert ("With them: mean AUC" if configuration.multi_label else "With them: accuracy") in line


@pytest.mark.parametrize("configuration", CONFIGURATIONS[3:5], ids=str)
def test_those_that_were_seen_are_measured_where_somebody_asks_for_it_and_marked(tmp_path, configuration):
    data = Manifest.load(write_xrays(tmp_path / "xrays", configuration))
    network = network_that_saw(tmp_path / "net.safetensors", configuration, data, data.ids[:6])
    results = measure(network, data, include_seen=True).read_json("results.json")
    assert list(misfits(results, EvaluationResults)) == []
    counts = results["seen"]["splits"]["test"]
    assert results["splits"]["test"]["n"] == 12
    assert (counts["left_out"], counts["why"], counts["without_them"]["n"]) == (False, "included", 6)
    assert any("its figures are not those of new X-rays. Without them:" in note for note in results["notes"])


def test_a_split_of_nothing_else_is_measured_and_marked(tmp_path):
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0], split="train"))
    network = network_that_saw(tmp_path / "net.safetensors", CONFIGURATIONS[0], data, data.ids)
    results = measure(network, data, splits=["train"]).read_json("results.json")
    assert results["splits"]["train"]["n"] == 12
    assert results["seen"]["splits"]["train"]["why"] == "all-seen"
    assert any("All 12 X-rays of split train are not new to the network (12 trained on)" in n for n in results["notes"])


@pytest.mark.slow
def test_the_command_says_it_in_one_line_and_its_results_name_them(tmp_path):
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    network = network_that_saw(tmp_path / "net.safetensors", CONFIGURATIONS[0], data, data.ids[:9])
    copy = elsewhere(data, tmp_path / "copy", ".png")

    line = [sys.executable, "-m", "cxr", "evaluate", network, "--data", copy.path, "--device", "cpu", "--include-seen"]
    out = subprocess.run(line, check=True, capture_output=True, text=True, timeout=120).stdout
    assert (
        sum("9 of the 12 X-rays of split test are not new to the network (9 trained on)" in s for s in out.split("\n"))
        == 1
    )
    (run,) = list_runs(kind="evaluate")
    results = run.results()
    assert results["seen"]["images"][0]["ids"] == copy.ids[:9]
    assert results["splits"]["test"]["n"] == 12


def test_a_network_without_a_list_is_measured_and_what_is_not_known_is_said(tmp_path):
    network = write_network(CONFIGURATIONS[0], tmp_path / "net.safetensors")
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    assert read_seen(network) is None
    results = measure(network, data).read_json("results.json")
    assert results["splits"]["test"]["n"] == 12
    assert results["seen"]["unknown"] == ["what this network was trained on"]
    assert any(note.startswith("Not known: what this network was trained on.") for note in results["notes"])


def test_a_list_that_is_damaged_counts_as_none(tmp_path, caplog):
    model = make_network(CONFIGURATIONS[0])

    class Damaged(Seen):
        def to_text(self) -> str:
            return '{"version": 1, "unknown": [], "images": [{"files": "%"}]}'

    path = save_model(model, tmp_path / "net.safetensors", Damaged())
    assert read_seen(path) is None
    assert "cannot be read" in caplog.text
    assert load_model(path).classes == model.classes


def test_different_pictures_are_never_the_same(tmp_path):
    folder = tmp_path / "near"
    folder.mkdir()
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    for k in range(40):
        image = first.copy()
        image[k, k] ^= 1  # a single grey level of one pixel
        cv2.imwrite(str(folder / f"{k}.png"), image)
    pd.DataFrame({"image": [f"{k}.png" for k in range(40)], "split": "test"}).to_csv(folder / "m.csv", index=False)
    data = Manifest.load(folder / "m.csv")
    cache = ImageCache.build(data, SIZE, workers=0)
    among = seen_among(Seen((entry(cache, data.ids[:20]),)), data, cache)
    assert set(among.use) == set(data.ids[:20])


def test_blank_pictures_are_nobodys_and_are_counted(tmp_path):
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    for k in (0, 1, 5):
        cv2.imwrite(str(data.root / f"{k}.png"), np.full((96, 96), 255 * (k == 5), np.uint8))
    seen = Seen((entry(ImageCache.build(data, SIZE, workers=0), data.ids[:4]),))
    told = marked(seen, data, SIZE)
    assert [row["ids"] for row in told["images"]] == [data.ids[2:4]]
    assert told["blank"] == 3
    assert any("Not compared: 3 of a single grey value" in line for line in seen_in_words(told))


def test_a_picture_that_an_earlier_network_saw_at_another_size_is_found_in_another_kind_of_file(tmp_path):
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    small = ImageCache.build(data, 48, workers=0)
    seen = Seen((entry(small, data.ids[:5], run="earlier"), entry(ImageCache.build(data, SIZE), data.ids[5:7])))
    copy = elsewhere(data, tmp_path / "copy", ".tiff")
    told = marked(seen, copy, SIZE)
    assert {row["stages"][0]: len(row["ids"]) for row in told["images"]} == {
        "trained on in stage only of run earlier": 5,
        "trained on in stage only of run 20261128-a": 2,
    }
    assert marked_in_words(told) == "7 of the 12 X-rays are not new to the network (7 trained on)."


def test_pictures_of_another_version_are_compared_by_their_files_and_that_is_said(tmp_path):
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    cache = ImageCache.build(data, SIZE, workers=0)
    seen = Seen((entry(cache, data.ids[:5], form="64-stretch-v0.0"),))
    told = marked(seen, data, SIZE)
    assert told["splits"]["test"]["trained"] == 5
    (unknown,) = told["unknown"]
    assert "only files were compared" in unknown


def test_none_seen_is_said_with_what_was_compared(tmp_path):
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    cache = ImageCache.build(data, SIZE, workers=0)
    few = data.select(ids=data.ids[6:])
    told = marked(Seen((entry(cache, data.ids[:4]), entry(cache, data.ids[4:6], "chosen"))), few, SIZE)
    assert seen_in_words(told)[:1] == [
        "None of the 6 X-rays is one of the 6 that the network was trained or selected on (compared by file and by "
        "picture)."
    ]
    assert marked_in_words(told) == ""


def test_an_export_to_timm_carries_the_list_and_an_import_takes_it_back(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    seen = Seen(seen_in_stage("20261128-a", "only", stage_data(data, data.ids[:6], data.ids[6:8])))
    network = save_model(make_network(CONFIGURATIONS[0], SIZE), tmp_path / "net.safetensors", seen)
    done = export(load_model(network), tmp_path / "timm", "timm", seen=read_seen(network))
    path, _ = import_weights(done.path)
    again = read_seen(path)
    assert again.to_text() == read_seen(network).to_text()
    assert again.count() == 8
    assert [len(entry.fingerprints) for entry in again.images] == [6, 2]
    assert [len(entry.patients) for entry in again.images] == [6, 2]  # of two sources each


def change_picture(path: Path, change: str) -> None:
    """Change a picture as people do who pass it on."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    height, width = image.shape
    if change == "rescaled":
        image = cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    elif change == "cropped":
        image = image[height // 20 : -height // 20, width // 20 : -width // 20]
    elif change == "brighter":
        image = np.clip(image.astype(np.int16) + 25, 0, 255).astype(np.uint8)
    kind, quality = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 80]) if change == "jpeg" else (".png", [])
    path.write_bytes(cv2.imencode(kind, image, quality)[1].tobytes())


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    """Return the manifest of forty drawn X-rays."""
    return write_demo(tmp_path_factory.mktemp("phantoms"), n=40, seed=5, size=160, workers=0).path


def with_labels(data: Manifest, configuration) -> Manifest:
    names = configuration.classes
    values = [names[k % len(names)] for k in range(len(data))]
    kind = {"label": "", "findings": values} if configuration.multi_label else {"label": values, "findings": ""}
    return data.with_table(data.table.assign(**kind))


def stage_data(data: Manifest, trained: list[str], chosen: list[str]) -> StageData:
    cache = ImageCache.build(data, SIZE, workers=0)
    train, val = (np.array([cache.index(i) for i in ids], np.int64) for ids in (trained, chosen))
    return StageData(data, cache, ("a", "b"), train, val, np.zeros(len(train)), np.zeros(len(val)), ())


@pytest.mark.parametrize(
    ("change", "configuration"),
    [
        ("rescaled", CONFIGURATIONS[1]),
        ("jpeg", CONFIGURATIONS[3]),
        ("cropped", CONFIGURATIONS[4]),
        ("brighter", CONFIGURATIONS[0]),
    ],
    ids=str,
)
def test_near_duplicates_in_another_data_set_are_found_and_others_are_not(tmp_path, phantoms, configuration, change):
    data = with_labels(Manifest.load(phantoms), configuration)
    trained, chosen = data.ids[:16], data.ids[16:20]
    seen = Seen(seen_in_stage("20261128-a", "only", stage_data(data, trained, chosen)))
    network = save_model(make_network(configuration, SIZE), tmp_path / "net.safetensors", seen)
    copy = elsewhere(data, tmp_path / "copy", ".png")
    for path in copy.image_paths().values():
        change_picture(path, change)
    results = measure(network, copy).read_json("results.json")
    assert list(misfits(results, EvaluationResults)) == []
    counts = results["seen"]["splits"]["test"]
    copy_of = dict(zip(copy.table["image_id"], data.table["image_id"], strict=True))
    named = {copy_of[i] for row in results["seen"]["images"] for i in row["ids"]}
    patient_of = dict(zip(data.table["image_id"], data.table["patient_id"], strict=True))
    assert len(named & {*trained, *chosen}) >= 19
    # Two drawn X-rays of one patient may be alike to the details; no other patient's is named.
    assert {patient_of[i] for i in named} <= {patient_of[i] for i in (*trained, *chosen)}
    assert counts["near"] == len(named)
    assert results["splits"]["test"]["n"] == 40 - len(named)
    stages = {stage for row in results["seen"]["images"] for stage in row["stages"]}
    assert stages == {f"a near-duplicate: {use} on in stage only of run 20261128-a" for use in ("trained", "chosen")}
    assert any(f"; {len(named)} of them as near-duplicates" in note for note in results["notes"])


def measured_copy(data: Manifest, folder: Path, change: str) -> Manifest:
    copy = elsewhere(data, folder, ".png")
    for path in copy.image_paths().values():
        change_picture(path, change)
    return copy


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[2], CONFIGURATIONS[4]], ids=str)
def test_near_duplicates_are_confirmed_on_the_x_rays_of_the_training_while_these_are_at_hand(
    tmp_path, phantoms, monkeypatch, configuration
):
    shutil.copytree(phantoms.parent, tmp_path / "own")
    table = with_labels(Manifest.load(phantoms), configuration).table.drop(columns=["findings", "label"])
    values = with_labels(Manifest.load(phantoms), configuration).table[["label", "findings"]]
    table.assign(**values).to_csv(tmp_path / "own" / phantoms.name, index=False)
    data = Manifest.load(tmp_path / "own" / phantoms.name)
    run = RunFolder.create(runs_root(), "train", {"manifest": str(data.path), "recipe": {}})
    seen = Seen(seen_in_stage(run.id, "only", stage_data(data, data.ids[:16], data.ids[16:20])))
    copy = measured_copy(data, tmp_path / "copy", "jpeg")
    told = marked(seen, copy, SIZE)
    counts = told["splits"]["test"]
    assert list(misfits(told, SeenRecord)) == []
    assert counts["near"] == counts["confirmed"] >= 19
    assert "near-duplicates, confirmed on the X-rays of the training" in marked_in_words(told)
    # A fingerprint that agrees by chance: the X-rays themselves tell the two apart, once they are gone nothing does.
    innocent = copy.ids[39]

    def all_the_same(pictures, listed, progress=None):
        return [Match(0, 0.9) for _ in pictures]

    monkeypatch.setattr(comparing, "nearest_fingerprints", all_the_same)
    told = marked(seen, copy.select(ids=[innocent]), SIZE)
    assert (told["splits"]["test"]["trained"], told["splits"]["test"].get("near")) == (0, None)
    shutil.rmtree(tmp_path / "own")
    told = marked(seen, copy.select(ids=[innocent]), SIZE)
    assert (told["splits"]["test"]["near"], told["splits"]["test"]["confirmed"]) == (1, 0)
    assert "1 of them as near-duplicates, by their fingerprints alone" in marked_in_words(told)


def test_a_training_in_the_measured_data_set_is_at_hand_without_its_run(tmp_path, phantoms):
    data = Manifest.load(phantoms)
    folder = tmp_path / "both"
    copy = measured_copy(data.select(ids=data.ids[:6]), folder, "brighter")
    for name, path in data.image_paths().items():
        shutil.copy(path, folder / f"{name}.png")
    own = pd.DataFrame({"image": [f"{name}.png" for name in data.ids], "split": "train"})
    pd.concat([own, copy.table[["image", "split"]]]).to_csv(folder / "both.csv", index=False)
    both = Manifest.load(folder / "both.csv")
    trained = both.ids[: len(data)]
    seen = Seen(seen_in_stage("20261128-gone", "only", stage_data(both, trained, [])))
    told = marked(seen, both.select("test"), SIZE)
    assert told["splits"]["test"]["near"] == told["splits"]["test"]["confirmed"] == 6
    mixed = {"of": 9, "trained": 5, "chosen": 0, "near": 3, "confirmed": 1, "left_out": True}
    words = marked_in_words(told | {"splits": {"test": mixed}})
    assert "3 of them as near-duplicates, 1 confirmed on the X-rays of the training, 2 by their fingerprints" in words


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[0], CONFIGURATIONS[4]], ids=str)
def test_another_x_ray_of_a_patient_of_the_training_is_left_out_for_its_own_reason(tmp_path, configuration):
    file = write_xrays(tmp_path / "xrays", configuration)  # X-rays 2k and 2k + 1 are of one patient
    table = pd.read_csv(file, dtype=str, keep_default_na=False).assign(source="clinic")
    table.to_csv(file, index=False)
    data = Manifest.load(file)
    trained = [data.ids[k] for k in (0, 2, 4)]
    seen = Seen(seen_in_stage("20261128-a", "only", stage_data(data, trained, [])))
    network = save_model(make_network(configuration, SIZE), tmp_path / "net.safetensors", seen)
    rest = data.select(ids=[i for i in data.ids if i not in trained])
    table[~table.index.isin([0, 2, 4])].to_csv(file.with_name("rest.csv"), index=False)
    rest = Manifest.load(file.with_name("rest.csv"))
    results = measure(network, rest).read_json("results.json")
    assert list(misfits(results, EvaluationResults)) == []
    counts = results["seen"]["splits"]["test"]
    assert (counts["trained"], counts["patients"], counts["left_out"]) == (0, 3, True)
    assert results["left_out"]["by_reason"]["seen-patient"] == 3
    assert "seen" not in results["left_out"]["by_reason"]
    assert results["splits"]["test"]["n"] == 6
    assert results["seen"]["images"][0]["stages"] == ["its patient: trained on in stage only of run 20261128-a"]
    both = measure(network, rest, include_seen=True).read_json("results.json")
    assert (both["splits"]["test"]["n"], both["seen"]["splits"]["test"]["without_them"]["n"]) == (9, 6)
    other = rest.with_table(rest.table.assign(source="another clinic"))  # the same ids are those of other people
    assert marked(seen, other, SIZE)["splits"]["test"].get("patients", 0) == 0
    unknown = marked(seen, rest.with_table(rest.table.assign(source="")), SIZE)
    assert unknown["no_patient"] == 9
    assert any("Patients were not compared for 9 X-rays" in line for line in seen_in_words(unknown))


def test_lists_of_older_versions_are_read_and_what_they_lack_is_said(tmp_path):
    data = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    (new, _) = seen_in_stage("a", "only", stage_data(data, data.ids[:4], []))
    stored = json.loads(Seen((new,)).to_text())
    again = Seen.from_text(json.dumps(stored)).images[0]
    assert np.array_equal(again.fingerprints, new.fingerprints)
    assert again.fingerprints.shape == (4, WIDTH)
    assert np.array_equal(again.patients, new.patients)
    for key in ("patients", "fingerprints"):
        del stored["images"][0][key]
    record = marked(Seen.from_text(json.dumps(stored)), data, SIZE)
    assert record["splits"]["test"]["trained"] == 4
    assert record["no_near"] == ["stage only of run a"]
    assert record["no_patient"] == 8


def test_the_shipped_network_knows_what_it_has_seen():
    seen = read_seen(shipped_weights() / "demo.safetensors")
    assert [(entry.use, entry.n) for entry in seen.images] == [("trained", 1680), ("chosen", 240)]
    assert seen.count() == 1920
    assert not seen.unknown


def test_the_shipped_network_says_on_how_many_x_rays_it_was_trained_as_pages_write_counts():
    file = shipped_weights() / "demo.safetensors"
    said = [load_model(file).card.trained_on, json.loads(file.with_suffix(".json").read_text())["trained_on"]]
    assert said == [f"{read_seen(file).images[0].n:,} X-rays of demo-training"] * 2
