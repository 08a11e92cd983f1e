"""Options of the engine: parts of a batch, mean of the weights, early stopping, unfreezing, precision, compiling."""

import shutil

import numpy as np
import pytest
import torch

from cxr.errors import RecipeError, RunError
from cxr.models import load_model
from cxr.networks import resolve_device
from cxr.training import load_recipe
from cxr.training.engine import numerics
from tests.training.running import (
    STEPS,
    assert_same,
    best,
    furthest,
    interrupted,
    last,
    last_state,
    rows,
    run,
    start,
)

STILL = {"backbone_args": {"block_config": [1, 1, 1, 1]}, "stages.*.augment": {"rotate": 5, "noise": 0.05}}


def test_a_batch_computed_in_parts_gives_the_steps_of_the_whole(tiny):
    # Batch norms take statistics of what they are given at once; here they hold still.
    changes = STILL | {"stages.0.train": "head", "stages.0.class_weights": "balanced"}
    whole = run(start(tiny, changes=changes))
    parts = run(start(tiny, changes=changes | {"stages.0.accumulate": 4}))
    assert furthest(last(parts), last(whole)) < 1e-5
    losses = [[r["loss"] for r in rows(folder, "step")] for folder in (parts, whole)]
    assert np.allclose(*losses, rtol=1e-5)
    assert len(losses[0]) == 3 * STEPS


def test_the_mean_of_the_weights_is_kept_and_the_training_below_it_is_not_disturbed(tiny):
    changes = {"stages.0.epochs": 3, "stages.0.optimiser": {"lr": 0.003}}
    plain = run(start(tiny, changes=changes))
    averaged = run(start(tiny, changes=changes | {"stages.0.ema": 0.9}))
    ours, theirs = last(averaged), last(plain)
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)
    mean = last_state(averaged)["loop"]["average"]
    assert furthest(mean, ours) > 1e-3
    if averaged.read_json("results.json")["best"]["epoch"] == 3:
        assert all(torch.equal(best(averaged)[n], mean[n]) for n in mean)
    else:
        assert furthest(best(averaged), best(plain)) > 1e-3
    losses = [[r["val_loss"] for r in rows(folder, "epoch")] for folder in (averaged, plain)]
    assert losses[0] != losses[1]


def test_the_mean_of_the_weights_follows_its_definition(tiny):
    """Every step's weights, saved by as many stopped runs, averaged by hand with the warmed-up decay."""
    changes = {"stages.0.epochs": 1, "stages.0.ema": 0.6}
    weights = [last(interrupted(start(tiny, changes=changes), k)) for k in range(STEPS)]  # after k steps
    folder = run(start(tiny, changes=changes))
    weights.append(last(folder))
    name = "classifier.weight"
    mean = weights[0][name]
    for step in range(1, STEPS + 1):
        decay = min(0.6, 1 - step ** (-2 / 3)) if step > 1 else 0.0
        mean = decay * mean + (1 - decay) * weights[step][name]
    assert torch.allclose(last_state(folder)["loop"]["average"][name], mean, atol=1e-6)


@pytest.mark.parametrize("looks", [2, 6, 10])
def test_mean_unfreezing_parts_and_patience_resume_exactly(tiny, looks):
    changes = {
        "stages.0.ema": 0.8,
        "stages.0.train": "head",
        "stages.0.unfreeze": {2: "block-3", 3: "all"},
        "stages.0.accumulate": 2,
        "stages.0.early_stop": 5,
    }
    assert_same(run(interrupted(start(tiny, changes=changes), looks)), run(start(tiny, changes=changes)))


def test_what_is_frozen_thaws_at_its_epoch(tiny):
    changes = {"stages.0.train": "head", "stages.0.unfreeze": {2: "block-4", 3: "all"}}
    untouched = last(interrupted(start(tiny, changes=changes), 0))
    after = [last(interrupted(start(tiny, changes=changes), epochs * STEPS)) for epochs in (1, 2)]
    after.append(last(run(start(tiny, changes=changes))))

    def moved(now):
        return {n for n, t in now.items() if not torch.equal(t, untouched[n])}

    assert moved(after[0]) == {"classifier.weight", "classifier.bias"}
    second = moved(after[1]) - moved(after[0])
    assert second
    assert all(n.startswith(("features.denseblock4", "features.norm5")) for n in second)
    assert "features.conv0.weight" in moved(after[2])


def test_training_stops_early_when_it_gets_no_better_and_says_so(tiny, caplog):
    caplog.set_level("INFO")
    changes = {"stages.0.epochs": 30, "stages.0.early_stop": 2, "stages.0.optimiser": {"lr": 1e-7}}
    changes |= {"stages.0.monitor": "val_accuracy", "stages.0.schedule": {"name": "constant"}}
    folder = run(start(tiny, changes=changes))
    epochs = rows(folder, "epoch")
    best_epoch = folder.read_json("results.json")["best"]["epoch"]
    assert len(epochs) == best_epoch + 2 < 30
    assert "stopped early: 2 epochs without a better value" in caplog.text
    assert_same(run(interrupted(start(tiny, changes=changes), STEPS + 1)), folder)
    assert_same(run(folder), folder)  # a run that stopped early is at its end, resuming trains no further
    assert rows(folder, "epoch") == epochs


def test_a_stage_that_stops_early_hands_over_to_the_next(tiny):
    changes = {"stages.0.epochs": 30, "stages.0.early_stop": 1, "stages.0.optimiser": {"lr": 1e-7}}
    changes |= {"stages.1.epochs": 1, "stages.0.monitor": "val_macro_f1"}
    folder = run(start(tiny, "twice-keep", changes))
    stages = folder.read_json("results.json")["stages"]
    assert stages[0]["epochs"] == stages[0]["best"]["epoch"] + 1 < 30
    assert rows(folder, "epoch")[-1]["stage"] == "final"


def test_bfloat16_trains_on_a_processor_and_resumes_exactly(tiny):
    changes = {"precision": "bf16-mixed", "stages.0.epochs": 2}
    whole = run(start(tiny, changes=changes))
    assert {t.dtype for t in best(whole).values() if t.is_floating_point()} == {torch.float32}
    assert furthest(last(whole), last(run(start(tiny, changes={"stages.0.epochs": 2})))) > 1e-5
    assert_same(run(interrupted(start(tiny, changes=changes), 5)), whole)


@pytest.mark.slow
def test_a_compiled_network_trains_as_one_that_is_not(tiny):
    changes = STILL | {"stages.0.epochs": 1, "backbone_args": {"block_config": [1, 1], "growth_rate": 4}}
    changes |= {"stages.0.optimiser": {"name": "sgd", "lr": 0.05}}  # Adam would enlarge what is rounding
    changes |= {"stages.0.batch": 15}  # batches of one size are compiled once; those of validation have another
    changes |= {"seed": 1}  # with 0 two pixels under a max pool are nearly alike, and rounding decides
    plain, compiled = (run(start(tiny, changes=changes | {"compile": on})) for on in (False, True))
    assert furthest(last(compiled), last(plain)) < 1e-4
    assert load_model(compiled.checkpoints / "best.safetensors").classes == ("covid19", "normal", "pneumonia")


def test_compiling_without_a_compiler_is_refused_before_anything_starts(tiny, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RecipeError, match=r"compile: true needs a C.. compiler, and 'no-such-compiler'"):
        run(start(tiny, changes={"compile": True}))


def test_the_network_is_validated_before_its_first_step_and_reported_once(tiny):
    folder = run(interrupted(start(tiny, "twice-keep", {"stages.*.epochs": 1}), 0))
    told = rows(folder, "start")
    assert [(r["stage"], r["epoch"]) for r in told] == [("findings", 0), ("final", 0)]
    assert all(r["val_loss"] > 0 for r in told)
    assert {"val_accuracy", "val_macro_f1"} <= told[1].keys()
    kinds = [r["kind"] for r in rows(folder)]
    assert kinds.index("start") < kinds.index("step")


def test_how_far_kept_and_new_neurons_move_is_reported_each_epoch(tiny):
    folder = run(start(tiny, "twice-keep", {"stages.*.epochs": 2}))
    told = [r for r in rows(folder, "neurons") if r["stage"] == "final"]
    assert [r["epoch"] for r in told] == [1, 2]
    neurons = told[-1]["neurons"]
    assert {name: n["kept"] for name, n in neurons.items()} == {
        "covid19": None,
        "normal": "No Finding",
        "pneumonia": "Pneumonia",
    }
    first = load_model(folder.checkpoints / "stage-0-findings.safetensors")
    end = last(folder)
    was = first.network.classifier.weight[first.classes.index("No Finding")].detach()
    now = end["classifier.weight"][1]
    assert neurons["normal"]["change"] == pytest.approx(((now - was).norm() / was.norm()).item(), rel=1e-3)
    assert neurons["normal"]["cosine"] == pytest.approx(torch.cosine_similarity(now, was, dim=0).item(), abs=1e-4)
    moved = end["classifier.bias"][1] - first.network.classifier.bias[first.classes.index("No Finding")].detach()
    assert neurons["normal"]["bias"] == pytest.approx(moved.item(), abs=1e-5)


def test_results_and_card_tell_what_each_stage_was_and_achieved(tiny):
    folder = run(start(tiny, "twice-keep", {"stages.*.epochs": 1}))
    first, second = folder.read_json("results.json")["stages"]
    assert (first["task"], second["task"]) == ("multi-label", "single-label")
    auc = first["validation"]["per_class"]["Pneumonia"]["auc"]
    assert auc.keys() == {"value", "low", "high"}
    assert second["kept_neurons"] == {"normal": "No Finding", "pneumonia": "Pneumonia"}
    assert second["validation"]["n"] == 9
    card = load_model(folder.checkpoints / "best.safetensors").card
    assert [stage["name"] for stage in card.stages] == ["findings", "final"]
    kept = load_model(folder.checkpoints / "stage-0-findings.safetensors").card
    assert kept.metrics["val"]["n"] == first["n_val"]
    assert kept.stages == []


def test_images_that_vanished_since_the_beginning_are_named_and_resuming_works_once_they_are_back(tiny, tmp_path):
    folder = shutil.copytree(tiny.parent, tmp_path / "copy")
    changes = {"stages.0.epochs": 1}
    training = interrupted(start(folder / "manifest.csv", changes=changes), 2)
    gone = (folder / "003.png").rename(folder / "away")
    with pytest.raises(RunError, match=r"cannot be read now \(.*copy/003\.png\): put them back, then resume"):
        run(training)
    gone.rename(folder / "003.png")
    assert run(training).read_json("results.json")["splits"]["test"]["n"] == 12


def test_images_that_changed_since_the_beginning_are_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny.parent, tmp_path / "copy")
    training = interrupted(start(folder / "manifest.csv", changes={"stages.0.epochs": 1}), 2)
    shutil.copyfile(folder / "004.png", folder / "003.png")
    with pytest.raises(RunError, match="the images or the labels have changed since the run began"):
        run(training)


@pytest.mark.parametrize("wanted", [True, False])
def test_determinism_is_switched_for_the_training_alone(wanted):
    before = torch.are_deterministic_algorithms_enabled()
    with numerics(wanted):
        assert torch.are_deterministic_algorithms_enabled() is wanted
        assert torch.backends.cudnn.benchmark is not wanted
    assert torch.are_deterministic_algorithms_enabled() is before


def test_auto_takes_the_device_that_the_queue_chose(monkeypatch):
    monkeypatch.setenv("CXR_DEVICE", "cpu")
    assert resolve_device("auto").type == "cpu"


def test_neurons_are_kept_from_one_label_to_findings_and_back(tiny):
    base = load_recipe("twice-keep").model_dump(mode="json")
    findings, final = base["stages"]
    there = findings | {"keep_neurons": True, "aliases": final["aliases"]}
    recipe = base | {"stages": [final | {"name": "before", "keep_neurons": False}, there, final]}
    folder = run(start(tiny, recipe, {"stages.*.epochs": 1}))
    kept = folder.read_json("results.json")["kept_neurons"]
    assert kept["findings"] == {"No Finding": "normal", "Pneumonia": "pneumonia"}
    assert kept["final"] == {"normal": "No Finding", "pneumonia": "Pneumonia"}
    told = rows(folder, "neurons")
    assert [r["stage"] for r in told] == ["before", "findings", "final"]
    assert told[1]["neurons"]["Edema"]["kept"] is None
