import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.data import Manifest
from cxr.errors import RecipeError, RunError
from cxr.machine import cores
from cxr.models import build, load_model, save_model
from cxr.models.weights import read_card
from cxr.networks import load_network, resolve_device
from cxr.runs.folder import RunFolder, Stopped
from cxr.training import checkpoint, engine, train
from cxr.training.results import TrainingResults
from tests.training.running import (
    SMALL,
    STEPS,
    StopsAt,
    assert_same,
    best,
    change_last_state,
    interrupted,
    last,
    last_state,
    rows,
    run,
    start,
)
from tests.typed_results import misfits

PROJECT = Path(__file__).resolve().parents[2]


class Killed(BaseException):
    """A death at a chosen moment; nothing in between may catch it."""


@pytest.fixture(scope="module")
def whole(tiny, tiny_cache, tmp_path_factory):
    """A run that was never disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(tiny_cache))
        patch.setenv("CXR_RUNS", str(tmp_path_factory.mktemp("runs")))
        return run(start(tiny))


def test_a_run_leaves_metrics_predictions_results_and_a_loadable_best_network(whole, tiny):
    told = rows(whole)
    assert [r["step"] for r in told if r["kind"] == "step"] == list(range(1, 3 * STEPS + 1))
    epochs = [r for r in told if r["kind"] == "epoch"]
    assert [r["epoch"] for r in epochs] == [1, 2, 3]
    assert {"stage", "stage_index", "train_loss", "val_loss", "val_accuracy", "val_macro_f1"} <= epochs[0].keys()
    first = next(r for r in whole.metrics()[0] if r["kind"] == "step")
    assert {"loss", "lr", "images_per_s", "wait_s", "time"} <= first.keys()
    results = whole.read_json("results.json")
    assert {name: s["n"] for name, s in results["splits"].items()} == {"val": 9, "test": 12, "probe": 4}
    assert sorted(whole.predictions()["split"].unique()) == ["probe", "test", "val"]
    best_epoch = min(epochs, key=lambda r: r["val_loss"])
    assert results["best"] == {"stage": "final", "epoch": best_epoch["epoch"], "val_loss": best_epoch["val_loss"]}
    model, description = load_network(whole.path)
    assert model.card.metrics["test"]["n"] == 12
    assert model.card.trained_on == "30 X-rays of tiny"
    assert model.card.recipe["seed"] == 0
    assert "tiny" in description
    assert len(model.card.manifest_hash) == len(model.card.split_hash) == 32


def test_training_loss_is_the_mean_over_the_epochs_images(whole):
    told = rows(whole)
    for epoch in (r for r in told if r["kind"] == "epoch"):
        losses = [r["loss"] for r in told if r["kind"] == "step" and r["epoch"] == epoch["epoch"]]
        assert epoch["train_loss"] == pytest.approx(np.average(losses, weights=[8, 8, 7, 7]), rel=1e-5)


def test_old_checkpoints_are_deleted(whole):
    names = sorted(p.name for p in whole.checkpoints.iterdir() if not p.name.startswith("."))
    assert len([n for n in names if n.startswith("step-")]) == 1
    assert len([n for n in names if n.startswith("best-")]) == 2  # weights and card
    assert {"best.json", "best.safetensors", "last.json"} <= set(names)


@pytest.mark.parametrize("looks", [1, 2, 4, 5, 7, 11])
def test_a_run_stopped_at_any_step_and_resumed_equals_one_that_ran_through(whole, tiny, looks):
    folder = interrupted(start(tiny), looks)
    assert len(folder.metrics()[0]) < len(whole.metrics()[0])
    assert folder.read_json("results.json") is None
    assert_same(run(folder), whole)


def test_a_run_stopped_many_times_equals_one_that_ran_through(whole, tiny):
    folder = start(tiny)
    for _ in range(30):
        stopping = StopsAt(folder.path)
        stopping.looks_left = 4
        torch.rand(3)  # what else happens in the process does not matter
        try:
            train(stopping, folder.params)
            break
        except Stopped:
            continue
    assert_same(folder, whole)


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("save_model", 1),  # before the first checkpoint: begins anew
        ("save_model", 2),
        ("save_model", 5),
        ("torch.save", 1),
        ("torch.save", 3),
        ("write_json", 1),  # all is written but the pointer
        ("write_json", 4),
        ("Checkpoints._publish_best", 3),  # the pointer is replaced, nothing is cleaned up
        ("Checkpoints._delete_all_but", 2),
    ],
)
def test_a_run_killed_between_any_two_files_of_a_checkpoint_loses_and_doubles_nothing(
    whole, tiny, monkeypatch, where, call
):
    folder = start(tiny, changes={"checkpoint_every_steps": 3})
    holder, _, name = where.rpartition(".")
    target = {"": checkpoint, "torch": torch, "Checkpoints": checkpoint.Checkpoints}[holder]
    real, calls = getattr(target, name), []

    def dies(*args, **options):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, dies)
        with pytest.raises(Killed):
            run(folder)
    folder.append_metrics([{"kind": "step", "step": 999}])  # what was told after the last checkpoint
    assert_same(run(folder), whole)
    assert not list(folder.checkpoints.rglob("*.tmp"))


def test_a_training_goes_on_with_the_threads_that_it_began_with_whatever_the_process_has_now(tiny, monkeypatch, caplog):
    """Where OMP_NUM_THREADS or the number of cores is another when a run is resumed: see _default_threads."""
    before = torch.get_num_threads()
    monkeypatch.setattr(engine, "_threads", 2)
    caplog.set_level(logging.INFO, logger="cxr")
    try:
        unbroken, folder = run(start(tiny)), interrupted(start(tiny), 7)
        monkeypatch.setattr(engine, "_threads", 1)
        assert_same(run(folder), unbroken)
        assert torch.get_num_threads() == 2
        other = run(start(tiny))
    finally:
        torch.set_num_threads(before)
    assert "going on with 2 threads, as before (1 here)" in caplog.text
    assert folder.read_json("results.json")["arithmetic"] == {
        "device": "cpu",
        "threads": 2,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    assert other.read_json("results.json")["arithmetic"]["threads"] == 1
    ours, theirs = last(unbroken), last(other)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours), "threads do not matter: say so in the docs"


def test_a_checkpoint_that_records_no_threads_is_resumed_with_those_of_now(tiny):
    unbroken, folder = run(start(tiny)), interrupted(start(tiny), 7)
    assert last_state(folder)["arithmetic"]["threads"] == torch.get_num_threads()
    change_last_state(folder, lambda state: state.pop("arithmetic"))
    assert_same(run(folder), unbroken)


def test_another_processor_is_said_when_a_training_goes_on(tiny, caplog):
    folder = interrupted(start(tiny), 7)
    change_last_state(folder, lambda state: state["arithmetic"].update(instructions="ANOTHER"))
    run(folder)
    assert "another processor" in caplog.text
    assert "before ANOTHER" in caplog.text


def test_more_threads_than_cores_are_said(caplog):
    before = torch.get_num_threads()
    try:
        engine.Arithmetic(cores() + 1, torch.backends.cpu.get_cpu_capability()).go_on()
        assert torch.get_num_threads() == cores() + 1
    finally:
        torch.set_num_threads(before)
    assert f"{cores() + 1} threads share {cores()} cores" in caplog.text


@pytest.mark.slow
def test_one_recipe_with_its_threads_named_gives_the_same_weights_whatever_the_process_inherits(tiny, tmp_path):
    """Hash seeds, OMP_NUM_THREADS, and a cache that is made or found decide nothing."""
    code = (
        "import sys; from pathlib import Path; from tests.training.running import run, start; "
        "print(run(start(Path(sys.argv[1]), changes={'threads': 2, 'stages.0.epochs': 1})).path)"
    )
    folders = []
    for number, threads in enumerate(("1", "2", "3")):
        environment = os.environ | {
            "PYTHONHASHSEED": str(number),
            "OMP_NUM_THREADS": threads,
            "CXR_DATA": str(tmp_path / ("cold" if number == 1 else "found")),
            "CXR_RUNS": str(tmp_path / "runs"),
        }
        command = [sys.executable, "-c", code, str(tiny)]
        done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        folders.append(RunFolder(done.stdout.splitlines()[-1]))
    assert_same(folders[1], folders[0])
    assert_same(folders[2], folders[0])


def test_how_often_it_is_saved_changes_nothing(whole, tiny):
    assert_same(run(start(tiny, changes={"checkpoint_every_steps": 1})), whole)


def test_a_finished_run_measures_again_and_trains_no_further(whole, tiny):
    folder = run(start(tiny))
    before = best(folder)
    assert_same(run(folder), whole)
    assert all(torch.equal(before[n], t) for n, t in best(folder).items())


def test_another_seed_gives_other_weights(whole, tiny):
    other = best(run(start(tiny, changes={"seed": 1, "stages.0.epochs": 1})))
    assert any(not torch.equal(other[n], t) for n, t in best(whole).items())


def test_a_stop_requested_before_the_first_step_is_obeyed(tiny):
    folder = start(tiny)
    folder.request_stop()
    with pytest.raises(Stopped):
        run(folder)
    assert not [r for r in rows(folder) if r["kind"] == "step"]


def test_progress_rises_to_one_and_tells_epoch_step_and_speed(tiny):
    told = []
    run(start(tiny), progress=lambda fraction, message: told.append((fraction, message)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any("epoch 2/3, step 3/4, " in message and "images/s" in message for _, message in told)


def test_twice_keep_trains_findings_then_keeps_the_neurons_it_names(tiny, caplog):
    caplog.set_level(logging.INFO)
    folder = run(start(tiny, "twice-keep", {"stages.*.epochs": 2}))
    results = folder.read_json("results.json")
    assert list(misfits(results, TrainingResults)) == []
    assert results["kept_neurons"] == {"final": {"normal": "No Finding", "pneumonia": "Pneumonia"}}
    assert results["classes"] == ["covid19", "normal", "pneumonia"]
    assert [r["stage"] for r in rows(folder) if r["kind"] == "epoch"] == ["findings"] * 2 + ["final"] * 2
    first = load_model(folder.checkpoints / "stage-0-findings.safetensors")
    assert (first.classes, first.card.task) == (("Edema", "No Finding", "Pneumonia"), "multi-label")
    assert "4 of 24 images left out" in caplog.text


@pytest.mark.parametrize("looks", [3, 6, 8, 11])
def test_a_run_of_two_stages_resumes_exactly_in_either(tiny, looks):
    changes = {"stages.*.epochs": 2}
    through = run(start(tiny, "twice-keep", changes))
    assert_same(run(interrupted(start(tiny, "twice-keep", changes), looks)), through)


def test_a_run_from_before_there_was_a_choice_of_padding_resumes_with_its_black_borders(tiny):
    changes = {"stages.0.epochs": 1, "stages.0.augment": {"rotate": 30}}
    black = run(start(tiny, changes=changes | {"stages.0.augment.padding": "black"}))
    older = start(tiny, changes=changes)
    spec = older.spec
    for stage in spec["params"]["recipe"]["stages"]:
        del stage["augment"]["padding"]
    older.write_json("spec.json", spec)
    older = RunFolder(older.path)
    assert "padding" not in older.spec["params"]["recipe"]["stages"][0]["augment"]
    assert_same(run(interrupted(older, 2)), black)
    reflected = run(start(tiny, changes=changes))
    assert rows(reflected) != rows(black)


def test_kept_neurons_start_the_last_stage_bit_for_bit(tiny, monkeypatch):
    seen = {}
    from cxr.training import job

    class Spy(job.StageLoop):
        def run(self, hooks):
            head = self.model.network.classifier
            seen[self.stage.name] = (self.model.classes, head.weight.detach().clone(), head.bias.detach().clone())
            super().run(hooks)

    monkeypatch.setattr(job, "StageLoop", Spy)
    folder = run(start(tiny, "twice-keep", {"stages.*.epochs": 1}))
    trained = load_model(folder.checkpoints / "stage-0-findings.safetensors")
    classes, weight, bias = seen["final"]
    for new, old in (("normal", "No Finding"), ("pneumonia", "Pneumonia")):
        was, now = trained.classes.index(old), classes.index(new)
        assert torch.equal(weight[now], trained.network.classifier.weight[was])
        assert torch.equal(bias[now], trained.network.classifier.bias[was])


def test_weights_of_a_run_start_another_and_keep_its_neurons(tiny, whole):
    changes = {
        "weights": str(whole.checkpoints / "best.safetensors"),
        "stages.0.keep_neurons": True,
        "stages.0.epochs": 1,
    }
    results = run(start(tiny, changes=changes)).read_json("results.json")
    assert results["kept_neurons"]["final"] == {c: c for c in ("covid19", "normal", "pneumonia")}


@pytest.mark.parametrize("keep", [True, False])
def test_a_network_trained_from_others_carries_their_licence_and_origin_beside_that_of_its_data(tiny, tmp_path, keep):
    theirs = build("densenet-small", ("covid19", "effusion"), size=32, backbone_args=SMALL["backbone_args"])
    theirs.card = dataclasses.replace(theirs.card, licence="GPL-3.0", origin="github.com/somebody/something")
    path = save_model(theirs, tmp_path / "theirs.safetensors")
    changes = {"weights": str(path), "stages.0.keep_neurons": keep, "stages.0.epochs": 1}
    card = read_card(run(start(tiny, changes=changes)).checkpoints / "best.safetensors")
    licences = card.licence.split("; ")
    assert licences[0] == "GPL-3.0"
    assert set(licences[1:]) == set(Manifest.load(tiny).table["licence"]) - {""}
    assert card.origin == "github.com/somebody/something"


def test_a_stage_with_nothing_in_common_is_refused_where_neurons_should_be_kept(tiny):
    with pytest.raises(RecipeError, match=r"stages\.1\.keep_neurons: .* have no class in common"):
        run(start(tiny, "twice-keep", {"stages.1.aliases": {}, "stages.*.epochs": 1}))


def test_a_manifest_that_changed_meanwhile_is_refused(tiny, tmp_path):
    copy = tmp_path / "copy.csv"
    manifest = Manifest.load(tiny)
    manifest.save(copy)
    folder = start(copy, changes={"stages.0.epochs": 1})
    run(folder)
    manifest.with_table(manifest.table.iloc[1:]).save(copy)
    with pytest.raises(RunError, match="the manifest has changed since the run began"):
        run(folder)


def test_a_loss_that_explodes_fails_with_advice_and_keeps_the_last_good_checkpoint(tiny):
    folder = start(tiny, changes={"stages.0.optimiser": {"name": "sgd", "lr": 100}, "stages.0.epochs": 40})
    with pytest.raises(RunError, match=r"(loss|outputs) became .* step \d+.*smaller optimiser\.lr"):
        run(folder)
    assert all(r["loss"] is not None for r in rows(folder, "step")[:-1])


def test_findings_whose_logits_explode_fail_with_the_same_advice(tiny):
    changes = {"stages.0.optimiser": {"name": "sgd", "lr": 100}, "stages.0.epochs": 40}
    with pytest.raises(RunError, match=r"became .* step \d+.*smaller optimiser\.lr"):
        run(start(tiny, "twice-keep", changes | {"stages.0.clip_gradients": None}))


def test_a_device_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(RecipeError, match=r"device: 'cuda:99' is not on this machine\. Allowed: auto, cpu"):
        resolve_device("cuda:99")


def test_half_precision_is_refused_on_a_processor(tiny):
    with pytest.raises(RecipeError, match="precision: '16-mixed' needs a GPU"):
        run(start(tiny, changes={"precision": "16-mixed"}))


def test_a_network_learns_the_tiny_set(tiny):
    changes = {"stages.0.epochs": 20, "stages.0.augment": {}, "backbone_args": {"block_config": [1, 1, 1, 1]}}
    results = run(start(tiny, changes=changes)).read_json("results.json")
    assert results["splits"]["test"]["accuracy"]["value"] > 0.7
