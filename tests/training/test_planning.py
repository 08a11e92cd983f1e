"""A training is planned in numbers, and tried for one step, before it is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from configurations import CONFIGURATIONS, TINY, Configuration, write_xrays

from cxr.data import Manifest
from cxr.errors import RunError
from cxr.training import Recipe, load_recipe
from cxr.training.planning.plan import StagePlan, changes_from, in_words, plan_stages
from cxr.training.planning.trial import Trial, try_step

SINGLE_LABEL = [entry for entry in CONFIGURATIONS if not entry.multi_label]


def recipe_of(configuration: Configuration, **more: object) -> Recipe:
    """Return a recipe of one small stage."""
    stage = {"epochs": 3, "batch": 4}
    network = {"backbone": "densenet-small", "backbone_args": dict(TINY), "channels": configuration.channels}
    return load_recipe({**network, "size": 32, "device": "cpu", "stages": [stage], **more})


def split_in_halves(path: Path) -> Manifest:
    data = Manifest.load(path)
    return data.with_table(data.table.assign(split=["train" if k // 2 % 2 else "val" for k in range(len(data))]))


@pytest.mark.parametrize("configuration", SINGLE_LABEL, ids=str)
def test_a_plan_counts_what_the_training_will_see(configuration: Configuration, tmp_path: Path):
    data = split_in_halves(write_xrays(tmp_path, configuration, n=60))
    (plan,) = plan_stages(recipe_of(configuration), data)
    n_train = int((data.table["split"] == "train").sum())
    assert (plan.task, set(plan.classes)) == (configuration.task, set(configuration.classes))
    assert (plan.train_images, plan.val_images) == (n_train, len(data) - n_train)
    assert plan.steps == 3 * -(-n_train // 4)
    assert f"{n_train} X-rays seen 3 times in {plan.steps} steps" in in_words([plan])


def test_a_plan_of_two_stages_has_the_findings_of_the_first(tiny: Path):
    recipe = load_recipe("twice-keep").changed({"stages.0.sources": ["nih"], "stages.0.epochs": 1})
    first, last = plan_stages(recipe, Manifest.load(tiny))
    assert (first.task, last.task) == ("multi-label", "single-label")
    assert first.train_images > first.val_images > 0
    assert f"Stage 1, {first.name}: {len(first.classes)} findings" in in_words([first, last])


@pytest.mark.parametrize("channels", [1, 3])
def test_one_step_is_measured_in_a_process_of_its_own(channels: int):
    measured = try_step(recipe_of(Configuration(channels, "single-label", ("a", "b"))), 2)
    assert measured.device == "the processor"
    assert 0 < measured.seconds_per_image < 10
    assert 100 * 2**20 < measured.peak_bytes < 20 * 2**30


def test_a_step_that_cannot_be_done_is_told_in_one_line():
    recipe = recipe_of(Configuration(1, "single-label", ("a", "b")))
    stage = recipe.stages[0].model_copy(update={"train": "block-9"})
    with pytest.raises(RunError, match=r"the trial step failed: .*block-9") as caught:
        try_step(recipe.model_copy(update={"stages": [stage]}), 2)
    assert "\n" not in str(caught.value)


def test_time_is_that_of_training_and_a_third_for_validation():
    plan = StagePlan("final", "single-label", ("a", "b"), epochs=10, steps=50, train_images=90, val_images=30)
    trial = Trial(seconds_per_image=0.5, peak_bytes=3 * 2**30, device="the processor")
    assert plan.seconds(trial) == 10 * (90 + 10) * 0.5
    first = StagePlan("nih", "multi-label", ("c", "d", "e"), epochs=1, steps=5, train_images=20, val_images=0)
    said = in_words([first, plan], trial)
    assert "Stage 1, nih: 3 findings, 20 X-rays seen once in 5 steps" in said
    assert "About 8 min on the processor at 2 images/s, and 3.0 GiB of memory" in said


def test_what_differs_from_a_preset_is_named():
    base = load_recipe("demo")
    assert changes_from(base, base) == []
    changed = base.changed({"size": 64, "stages.0.optimiser.lr": 0.5})
    assert changes_from(changed, base) == [
        f"size: {base.size} -> 64",
        f"stages.0.optimiser.lr: {base.stages[0].optimiser.lr} -> 0.5",
    ]
    assert "stages: 1 of them -> 2 of them" in changes_from(load_recipe("twice-keep"), base)
    many = base.changed({f"stages.0.augment.{name}": 0.4 for name in ("translate", "scale", "brightness", "contrast")})
    many = many.changed({"seed": 7, "size": 64, "compile": True, "deterministic": True, "stages.0.epochs": 3})
    many = many.changed({"stages.0.batch": 8, "stages.0.ema": 0.9, "stages.0.early_stop": 2, "precision": "32-true"})
    many = many.changed({"stages.0.label_smoothing": 0.2})
    assert len(changes_from(many, base)) == 13
    assert changes_from(many, base)[-1] == "2 more"


def test_the_command_says_it_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from cxr.cli.training import show_plan
    from cxr.runs import list_runs

    configuration = Configuration(1, "single-label", ("a", "b"))
    data = split_in_halves(write_xrays(tmp_path, configuration))
    data.save(tmp_path / "halves.csv")
    show_plan(recipe_of(configuration).model_dump(mode="json"), str(tmp_path / "halves.csv"), True)
    values = json.loads(capsys.readouterr().out)
    assert values["stages"][0]["classes"] == ["a", "b"]
    assert values["seconds"] > 0
    assert list_runs() == []
