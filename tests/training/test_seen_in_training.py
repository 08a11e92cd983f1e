"""What a training notes of the X-rays that it has seen: every stage, the networks before it, resumed and old runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from running import StopsAt, run, start

from cxr.data import ImageCache, Manifest, read_xray
from cxr.errors import ManifestError
from cxr.evaluation.job import evaluate
from cxr.models import save_model
from cxr.models.weights import load_model, read_seen
from cxr.networks import seen_by
from cxr.paths import runs_root
from cxr.runs.folder import RunFolder, Stopped
from cxr.text import Reviews, TextBox
from cxr.text.detection_store import content_hash
from cxr.training import train

BEST = "best.safetensors"
ONE = {"stages.*.epochs": 1}


@pytest.fixture(scope="module")
def twice(tiny: Path, tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory):
    """A run of two stages (findings, then classes) on pictures of three channels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(tiny_cache))
        patch.setenv("CXR_RUNS", str(tmp_path_factory.mktemp("runs")))
        return run(start(tiny, "twice-keep", ONE | {"channels": 3}))


def measure(network, data: Path, **params) -> dict:
    folder = RunFolder.create(runs_root(), "evaluate", {"weights": str(network), "manifest": str(data), **params})
    evaluate(folder, folder.params)
    return folder.read_json("results.json")


def resplit(tiny: Path, folder: Path, suffix: str = ".png") -> Path:
    """The same pictures as a new data set: 9 of 16 test X-rays were trained on, 2 chosen on, 2 seen in stage one."""
    folder.mkdir()
    table = pd.read_csv(tiny, dtype=str, keep_default_na=False)
    of = {name: table.index[(table["split"] == name) & (table["label"] != "")] for name in ("train", "val", "test")}
    intermediate = table.index[table["role"] == "intermediate"][4:]
    chosen = [*of["train"][:9], *of["val"][:2], *of["test"][:3], *intermediate[:2]]
    rows = table.loc[chosen].assign(split="test", role="", source="new", findings="")
    rows["label"] = rows["label"].where(rows["label"] != "", "normal")
    rows["image"] = [f"x{k}{suffix}" for k in range(len(rows))]
    rows["patient_id"] = [f"new-{k}" for k in range(len(rows))]
    for old, new in zip(table.loc[chosen, "image"], rows["image"], strict=True):
        Image.open(tiny.parent / old).save(folder / new)
    rows[["image", "label", "patient_id", "source", "split"]].to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_split_made_again_elsewhere_shows_what_both_stages_have_seen(tmp_path, tiny, twice, suffix):
    results = measure(twice.checkpoints / BEST, resplit(tiny, tmp_path / "again", suffix))
    counts = results["seen"]["splits"]["test"]
    assert (counts["of"], counts["trained"] + counts["chosen"]) == (16, 13)
    assert results["splits"]["test"]["n"] == 3
    stages = {stage for row in results["seen"]["images"] for stage in row["stages"]}
    assert {stage.split(" of run")[0] for stage in stages} >= {
        "trained on in stage findings",
        "trained on in stage final",
        "chosen on in stage final",
    }
    assert all(twice.id in stage for stage in stages)


def test_its_own_held_out_splits_hold_nothing_seen_but_what_they_are_for(tiny, twice):
    results = twice.read_json("results.json")
    splits = results["seen"]["splits"]
    assert splits["test"] == {"of": 12, "trained": 0, "chosen": 0, "left_out": False}
    assert splits["val"] == {"of": 9, "trained": 0, "chosen": 9, "left_out": False, "why": "all-seen"}
    assert {name: summary["n"] for name, summary in results["splits"].items()} == {"probe": 4, "test": 12, "val": 9}
    train = measure(twice.checkpoints / BEST, tiny, splits=["train"])
    assert train["splits"]["train"]["n"] == train["seen"]["splits"]["train"]["trained"] == 30
    assert any("All 30 X-rays of split train are not new" in note for note in train["notes"])


def test_a_picture_that_stands_in_train_and_test_of_its_own_data_is_left_out_of_the_test(tmp_path, tiny):
    folder = tmp_path / "doubled"
    shutil.copytree(tiny.parent, folder)
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    first, tested = table["image"][0], table.index[table["split"] == "test"][0]
    shutil.copy(folder / first, folder / table["image"][tested])
    results = run(start(folder / "manifest.csv", changes=ONE)).read_json("results.json")
    assert results["seen"]["splits"]["test"]["trained"] == 1
    assert results["splits"]["test"]["n"] == 11
    named = {row["split"]: row["ids"] for row in results["seen"]["images"]}
    assert named["test"] == [Manifest.load(folder / "manifest.csv").ids[tested]]


def test_the_stages_file_and_a_network_that_begins_with_it_carry_what_came_before(tmp_path, tiny, twice):
    first = read_seen(next(twice.checkpoints.glob("stage-0-*.safetensors")))
    assert [(entry.stage, entry.use) for entry in first.images] == [("findings", "trained"), ("findings", "chosen")]
    changes = {**ONE, "weights": str(twice.checkpoints / BEST), "channels": 3}
    child = seen_by(run(start(tiny, changes=changes)).id)
    assert child.unknown == ()
    assert [entry.run for entry in child.images[:4]] == [twice.id] * 4
    assert len(child.images) == 6
    first, now = read_seen(twice.checkpoints / BEST), child.images[:4]
    assert all(np.array_equal(a.fingerprints, b.fingerprints) for a, b in zip(first.images, now, strict=True))
    assert all(len(entry.fingerprints) == entry.n for entry in child.images)


def test_weights_without_a_list_are_named_as_what_is_not_known(tmp_path, tiny, twice):
    stranger = save_model(load_model(twice.checkpoints / BEST), tmp_path / "stranger.safetensors")
    folder = run(start(tiny, changes={**ONE, "weights": str(stranger), "channels": 3}))
    unknown = "the weights stranger.safetensors, from which the training started"
    assert seen_by(folder.id).unknown == (unknown,)
    assert (
        f"Not known: {unknown}. X-rays that it has seen may be among those measured."
        in folder.read_json("results.json")["notes"]
    )


@pytest.mark.parametrize("forgets", [False, True])
def test_a_resumed_run_has_the_same_list_also_if_its_checkpoint_is_older(tiny, forgets):
    folder = start(tiny, "twice-keep", ONE | {"checkpoint_every_steps": 1})
    stopping = StopsAt(folder.path)
    stopping.looks_left = 7
    with pytest.raises(Stopped):
        train(stopping, folder.params)
    (last,) = folder.checkpoints.glob("step-*/last.safetensors")
    assert read_seen(last) is not None
    if forgets:
        save_model(load_model(last), last)
    run(folder)
    seen = seen_by(folder.id)
    assert [(e.stage, e.use) for e in seen.images] == [
        (s, u) for s in ("findings", "final") for u in ("trained", "chosen")
    ]
    assert [e.n for e in seen.images][2:] == [30, 9]
    assert [len(e.fingerprints) for e in seen.images][2:] == [30, 9]


def test_splits_made_again_on_its_own_file_are_measured_if_the_run_knows_what_it_saw(tmp_path, tiny):
    folder = tmp_path / "own"
    shutil.copytree(tiny.parent, folder)
    file = folder / "manifest.csv"
    trained = run(start(file, changes=ONE))
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    table["split"] = table["split"].replace({"train": "test", "test": "train"})
    table.to_csv(file, index=False)
    results = measure(trained.checkpoints / BEST, file)
    assert results["seen"]["splits"]["test"]["why"] == "all-seen"
    save_model(load_model(trained.checkpoints / BEST), trained.checkpoints / BEST)
    with pytest.raises(ManifestError, match="it may have seen the images of its present test split"):
        measure(trained.checkpoints / BEST, file)


def test_a_training_on_masked_text_has_seen_the_pictures_with_their_text(tmp_path, tiny):
    """A measure takes the pictures as their files show them."""
    copy = tmp_path / "boxed"
    shutil.copytree(tiny.parent, copy)
    table = pd.read_csv(copy / "manifest.csv", dtype=str, keep_default_na=False)
    few = table[(table["label"] != "")].groupby("split").head(3)
    few[few["split"].isin(["train", "val"])].to_csv(copy / "manifest.csv", index=False)
    data = Manifest.load(copy / "manifest.csv")
    for image_id, path in data.image_paths().items():  # by hand, so that nothing is searched
        image = read_xray(path)
        box = TextBox(2, 2, 20, 9)
        Reviews.beside(data.path).save(image_id, [box], shape=image.shape, content_hash=content_hash(image))
    changes = {**ONE, "text": {"handling": "mask", "mode": "black"}, "stages.0.batch": 3}
    seen = seen_by(run(start(data.path, changes=changes)).id)
    cache = ImageCache.build(data, 32)
    pictures = cache.digests(np.arange(len(cache)))[1]
    assert [np.isin(entry.pictures, pictures).sum() for entry in seen.images] == [3, 3]
