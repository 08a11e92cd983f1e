"""Looks at held-out X-rays are counted and said beside every figure; a locked split is left alone."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from configurations import CONFIGURATIONS, every_configuration, write_network, write_xrays

from cxr.data import Manifest
from cxr.data.library import add_facts, save_data_set
from cxr.data.openings import (
    held_out_ids,
    ids_of_split,
    in_words,
    locked_splits,
    note_opening,
    openings_of,
    set_locked,
)
from cxr.evaluation.job import evaluate
from cxr.evaluation.provenance import in_words as provenance_in_words
from cxr.experiments.masking.job import run as mask
from cxr.explain.job import explain_run
from cxr.paths import data_root, runs_root
from cxr.runs import start
from cxr.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("wide_terminal")


def xrays_in_splits(folder, configuration):
    """Write X-rays of which half are in test and the rest in ``other``."""
    file = write_xrays(folder, configuration, n=28)
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    table["split"] = ["test", "test", "other", "other"] * 7
    table.to_csv(file, index=False)
    return Manifest.load(file)


def measured(network, manifest, **params):
    folder = RunFolder.create(runs_root(), "evaluate", {"weights": str(network), "manifest": str(manifest), **params})
    evaluate(folder, folder.params)
    return folder


@every_configuration
def test_each_run_that_measures_a_split_is_counted_once_and_its_results_say_so(tmp_path, cxr, configuration):
    network = write_network(configuration, tmp_path / "net.safetensors")
    data = write_xrays(tmp_path / "xrays", configuration)
    manifest = Manifest.load(data)
    first = measured(network, data)
    second = measured(network, data)
    evaluate(first, first.params)  # a resumed run does not count again
    ids = ids_of_split(manifest, "test")
    assert [opening.run for opening in openings_of(manifest, ids).earlier] == [first.id, second.id]
    assert "looked at for the first time" in first.read_json("results.json")["provenance"]["opened"]
    said = provenance_in_words(second.read_json("results.json")["provenance"])
    assert f"Split test ({len(ids)} X-rays): looked at for the 2nd time" in said
    code, out, _ = cxr("data", "openings", data, "--json")
    assert code == 0
    (entry,) = [entry for entry in json.loads(out) if entry["split"] == "test"]
    assert (entry["openings"], entry["networks"], entry["locked"]) == (2, 1, False)
    assert [run["kind"] for run in entry["runs"]] == ["evaluate"] * 2


def test_held_out_splits_are_listed_in_order_and_those_without_a_split_last_and_by_that_name(tmp_path):
    manifest = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    table = manifest.table.copy()
    table["split"] = (["probe", "", "external", "test", "train"] * len(table))[: len(table)]
    mixed = Manifest.from_table(table, manifest.root)
    groups = held_out_ids(mixed, mixed.ids)
    assert list(groups) == ["test", "external", "probe", "all"]
    n = (table["split"] == "").sum()
    assert in_words(openings_of(mixed, groups["all"], "all")) == f"{n} X-rays without a split: not looked at yet."


def test_new_names_of_data_set_and_split_hide_no_look_and_other_x_rays_have_none(tmp_path):
    data = write_xrays(tmp_path / "xrays", CONFIGURATIONS[0])
    manifest = Manifest.load(data)
    test = ids_of_split(manifest, "test")
    note_opening(manifest, manifest.ids, run="a", kind="evaluate", network="x")
    table = manifest.table.copy()
    table["split"] = table["split"].replace({"test": "hospital"})
    table["image_id"] = "new-" + table["image_id"]
    renamed = Manifest.from_table(table, manifest.root)
    half = [f"new-{image_id}" for image_id in test[: len(test) // 2]]
    assert openings_of(renamed, half).shared == (len(half),)
    others = Manifest.load(write_xrays(tmp_path / "others", CONFIGURATIONS[0], split="train"))
    assert note_opening(others, others.ids, run="b", kind="evaluate", network="x") == {}
    assert openings_of(others, others.ids).earlier == ()


def test_a_look_at_some_of_the_x_rays_says_at_how_many(tmp_path):
    manifest = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    ids = ids_of_split(manifest, "test")
    note_opening(manifest, ids[:2], run="a", kind="explain", network="x")
    said = note_opening(manifest, ids, run="b", kind="evaluate", network="y")["opened"]
    assert "for the 2nd time, up to 2 of them" in said
    assert "2 networks" in said
    third = openings_of(manifest, ids, "test", until="a")
    assert in_words(third).endswith("looked at for the first time.")


def test_a_line_that_a_crash_cut_off_spoils_no_other(tmp_path):
    manifest = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    ids = ids_of_split(manifest, "test")
    note_opening(manifest, ids, run="a", kind="evaluate", network="x")
    ledger = data_root() / ".openings" / "openings.jsonl"
    ledger.write_text(ledger.read_text() + '{"date": "2026-')
    note_opening(manifest, ids, run="b", kind="evaluate", network="x")
    assert [opening.run for opening in openings_of(manifest, ids).earlier] == ["a", "b"]


def test_where_nothing_can_be_noted_the_figures_are_given_all_the_same(tmp_path):
    network = write_network(CONFIGURATIONS[0], tmp_path / "net.safetensors")
    data = write_xrays(tmp_path / "xrays", CONFIGURATIONS[0])
    data_root().mkdir(parents=True, exist_ok=True)
    (data_root() / ".openings").write_text("a file where a folder is needed")
    results = measured(network, data).read_json("results.json")
    assert results["splits"]["test"]["n"] > 0
    assert "opened" not in results["provenance"]


@every_configuration
def test_a_locked_split_is_left_alone_until_it_is_opened(tmp_path, cxr, configuration):
    network = write_network(configuration, tmp_path / "net.safetensors")
    source = xrays_in_splits(tmp_path / "xrays", configuration)
    save_data_set("own", source)
    assert cxr("data", "lock", "own") == (0, "locked: test\n", "")
    manifest = data_root() / "own" / "manifest.csv"
    by_default = measured(network, manifest).read_json("results.json")
    assert "test" not in by_default["splits"]
    assert by_default["left_out"]["by_split"]["test"] == len(ids_of_split(source, "test"))
    assert "test" not in measured(network, manifest, splits=["all"]).read_json("results.json")["measured"]["splits"]
    code, _, err = cxr("evaluate", network, "--data", "own", "--split", "test")
    assert code == 2
    assert "split 'test' of own is locked: --open-locked looks at it, which is counted" in err
    code, _, err = cxr("evaluate", network, "--data", "own", "--split", "test", "--open-locked")
    assert code == 0, err
    assert len(openings_of(Manifest.load(manifest), ids_of_split(source, "test")).earlier) == 1
    assert cxr("data", "unlock", "own") == (0, "locked: none\n", "")
    assert "test" in measured(network, manifest).read_json("results.json")["splits"]


@pytest.mark.parametrize("kind", ["text-experiment", "text-stamping", "explain"])
def test_experiments_refuse_a_locked_split_before_they_start(tmp_path, kind):
    from cxr.errors import ManifestError

    network = write_network(CONFIGURATIONS[0], tmp_path / "net.safetensors")
    save_data_set("own", Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0])))
    set_locked("own", ["test"])
    more = {"word": "DX"} if kind == "text-stamping" else {}
    for split in ("test", ""):
        with pytest.raises(ManifestError, match="is locked"):
            start(kind, {"model": str(network), "manifest": "own", "split": split, **more})


def test_experiments_count_their_looks(tmp_path):
    configuration = CONFIGURATIONS[0]
    network = write_network(configuration, tmp_path / "net.safetensors")
    data = write_xrays(tmp_path / "xrays", configuration)
    params = {"model": str(network), "manifest": str(data), "split": "test"}
    explained = RunFolder.create(runs_root(), "explain", {**params, "n": 2, "previews": 0})
    explain_run(explained, explained.params, lambda fraction, text="": None)
    masked = RunFolder.create(runs_root(), "text-experiment", {**params, "explained": 0, "draws": 1})
    mask(masked, masked.params, lambda fraction, text="": None)
    assert "looked at for the first time" in explained.read_json("results.json")["provenance"]["opened"]
    assert "for the 2nd time, up to 2 of them" in masked.read_json("results.json")["provenance"]["opened"]


def test_new_splits_keep_the_lock_and_a_split_that_is_gone_is_not_locked(tmp_path):
    manifest = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    save_data_set("own", manifest)
    set_locked("own", ["test"])
    add_facts("own", notes=["another fact"])
    assert locked_splits(Manifest.load(data_root() / "own" / "manifest.csv")) == ("test",)
    table = pd.read_csv(data_root() / "own" / "manifest.csv", dtype=str, keep_default_na=False)
    table["split"] = table["split"].replace({"test": "train"})
    table.to_csv(data_root() / "own" / "manifest.csv", index=False)
    assert locked_splits(Manifest.load(data_root() / "own" / "manifest.csv")) == ()


def test_a_training_leaves_a_locked_split_alone(tmp_path):
    from cxr.training import load_recipe, train

    classes = CONFIGURATIONS[0].classes
    table = pd.read_csv(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0], n=24), dtype=str, keep_default_na=False)
    table["split"] = (["train"] * 12 + ["val"] * 6 + ["test"] * 6)[: len(table)]
    save_data_set("own", Manifest.from_table(table, tmp_path / "xrays"))
    set_locked("own", ["test"])
    tiny = {"backbone_args": {"block_config": [1, 1, 1, 1]}, "size": 32, "weights": None, "device": "cpu"}
    tiny |= {"stages.*.epochs": 1, "stages.*.batch": 6, "stages.*.classes": list(classes)}
    recipe = load_recipe("demo").changed(tiny).model_dump(mode="json")
    folder = RunFolder.create(runs_root(), "train", {"recipe": recipe, "manifest": "own", "data_name": "own"})
    train(folder, folder.params)
    results = folder.read_json("results.json")
    assert list(results["splits"]) == ["val"]
    assert results["left_out"]["by_split"]["test"] == 6
    manifest = Manifest.load(data_root() / "own" / "manifest.csv")
    assert openings_of(manifest, ids_of_split(manifest, "test")).earlier == ()


def test_where_every_x_ray_is_locked_the_error_says_so(tmp_path, cxr):
    network = write_network(CONFIGURATIONS[0], tmp_path / "net.safetensors")
    save_data_set("own", Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0])))
    set_locked("own", ["test"])
    code, _, err = cxr("evaluate", network, "--data", "own")
    assert code == 1
    assert "every X-ray that could be measured is in a locked split (test)" in err


def test_unknown_splits_are_wrong_use(tmp_path, cxr):
    manifest = Manifest.load(write_xrays(tmp_path / "xrays", CONFIGURATIONS[0]))
    save_data_set("own", manifest)
    for command in (("openings",), ("lock",)):
        code, _, err = cxr("data", *command, "own", "--split", "nope")
        assert code == 2
        assert "'nope'" in err
    shutil.rmtree(data_root() / "own")
    assert cxr("data", "lock", "own")[0] == 2
