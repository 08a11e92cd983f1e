# ruff: noqa: E501

import pytest

from cxr.errors import RecipeError
from cxr.training import PRESETS, Recipe, load_recipe


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads_says_whose_values_it_holds_and_survives_yaml(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert "this project's defaults, not the paper's" in recipe.description
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml") == recipe
    assert load_recipe(recipe.model_dump()) == recipe


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_mirrors_images_because_of_laterality(name):
    assert not any(stage.augment.hflip for stage in load_recipe(name).stages)
    assert not Recipe().stages[0].augment.hflip


def test_twice_keep_is_twice_with_output_neuron_keeping():
    twice, keep = load_recipe("twice"), load_recipe("twice-keep")
    assert [stage.keep_neurons for stage in twice.stages] == [False, False]
    assert [stage.keep_neurons for stage in keep.stages] == [False, True]
    assert keep.stages[1].aliases == {"No Finding": "normal", "Pneumonia": "pneumonia"}
    same = {"name": "", "description": "", "stages.1.keep_neurons": False}
    assert keep.changed(same | {"name": "x"}) == twice.changed(same | {"name": "x"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages.0.optimiser.name": "adamx"}, "stages.0.optimiser.name: 'adamx' is not allowed. Allowed: adam, adamw, sgd"),
        ({"stages.0.monitor": "val_auc"}, "stages.0: monitor 'val_auc' does not fit task 'single-label'. Allowed: val_loss, val_accuracy,"),
        ({"stages.0.label": "findings", "stages.0.task": "multi-label", "stages.0.monitor": "val_accuracy"}, "stages.0: monitor 'val_accuracy' does not fit task 'multi-label'. Allowed: val_loss, val_auc,"),
        ({"stages.0.epoch": 3}, "stages.0.epoch: unknown key (did you mean 'epochs'?)"),
        ({"stages.0.augment.vflip": True}, "stages.0.augment.vflip: unknown key (did you mean 'hflip'?)"),
        ({"stages.0.augment.padding": "white"}, "stages.0.augment.padding: 'white' is not allowed. Allowed: reflection, edge, black"),
        ({"zzzzzz": 1}, "zzzzzz: unknown key (known keys: name, "),
        ({"size": 0}, "size: 0 is not allowed. Allowed: 32 to 1024"),
        ({"size": "big"}, "size: 'big' is not allowed. Allowed: a whole number"),
        ({"stages.0.optimiser.lr": 0}, "stages.0.optimiser.lr: 0 is not allowed. Allowed: above 0, at most 100"),
        ({"stages.0.optimiser.lr": float("nan")}, "stages.0.optimiser.lr: nan is not allowed. Allowed: a finite number"),
        ({"stages.0.optimiser": "adam"}, "stages.0.optimiser: 'adam' is not allowed. Allowed: keys and values"),
        ({"stages.0.batch": 1}, "stages.0.batch: 1 is not allowed. Allowed: 2 to 4096"),
        ({"stages.0.name": "a/b"}, "stages.0.name: 'a/b' is not allowed. Allowed: letters, digits, - and _"),
        ({"device": "gpu"}, "device: 'gpu' is not allowed. Allowed: auto, cpu, cuda"),
        ({"channels": 2}, "channels: 2 is not allowed. Allowed: 1, 3"),
        ({"backbone": "densenet12"}, "backbone: backbone 'densenet12' is not known. Did you mean densenet121"),
        ({"stages": []}, "stages: 'list' is not allowed. Allowed: a list of 1 or more"),
        ({"stages.0.label": "findings"}, "stages.0: task 'single-label' does not fit label 'findings'. Allowed: multi-label"),
        ({"stages.0.label": "findings", "stages.0.task": "multi-label"}, "the last stage is multi-label. Allowed: single-label"),
        ({"stages.0.keep_neurons": True}, "stages.0.keep_neurons: true has nothing to keep"),
        ({"stages.0.train": "block"}, "stages.0.train: 'block' is not allowed. Allowed: all, head, block-<number>"),
        ({"stages.0.unfreeze": {2: "bloc-1"}}, "stages.0.unfreeze.2: 'bloc-1' is not allowed"),
        ({"stages.0.unfreeze": {99: "all"}}, "stages.0: unfreeze: 99 is not a later epoch. Allowed: 2 to 48"),
        ({"stages.0.class_weights": "rare"}, "stages.0.class_weights: 'rare' is not allowed. Allowed: none, balanced, or a number"),
        ({"stages.0.class_weights": {"covid19": 0}}, "stages.0.class_weights"),
        ({"stages.0.loss": "bce"}, "stages.0: loss 'bce' does not fit task 'single-label'. Allowed: auto, cross-entropy, focal"),
        ({"stages.0.loss": "focal", "stages.0.label_smoothing": 0.1}, "stages.0: label_smoothing 0.1 is for cross-entropy"),
        ({"stages.0.ema": 1}, "stages.0.ema: 1 is not allowed. Allowed: above 0, below 1"),
        ({"stages.0.early_stop": 0}, "stages.0.early_stop: 0 is not allowed. Allowed: at least 1"),
        ({"devices": 4, "stages.0.accumulate": 4}, "stages.0.batch: 16 is too small for devices 4 and accumulate 4. Allowed: 32 or more"),
        ({"stages.9.epochs": 1}, "stages.9.epochs: '9' is not a stage. Allowed: 0 to 0"),
        ({"size": 1, "stages.0.batch": 1}, "size: 1 is not allowed. Allowed: 32 to 1024 (and 1 more)"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_its_value_and_what_is_allowed_in_one_line(changes, said):
    with pytest.raises(RecipeError) as refusal:
        load_recipe("demo").changed(changes)
    assert str(refusal.value).startswith(said)
    assert "\n" not in str(refusal.value)


def test_stages_need_different_names():
    with pytest.raises(RecipeError, match=r"stages are named final, final\. Allowed: different names"):
        load_recipe("twice").changed({"stages.*.name": "final"})


def test_a_recipe_that_is_no_preset_and_no_file_is_answered_with_the_presets():
    with pytest.raises(RecipeError, match=r"unknown recipe 'dmeo'\. Available: demo, scratch, .*or a YAML file"):
        load_recipe("dmeo")


@pytest.mark.parametrize("text", ["a: [", "just words", "- 1\n- 2", "", "\x00"])
def test_a_file_that_is_no_recipe_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as refusal:
        load_recipe(tmp_path / "r.yaml")
    assert "\n" not in str(refusal.value)


def test_yaml_that_would_run_code_is_refused(tmp_path):
    (tmp_path / "r.yaml").write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(RecipeError, match="is not YAML"):
        load_recipe(tmp_path / "r.yaml")


def test_changes_reach_one_stage_or_all():
    recipe = load_recipe("twice").changed({"size": 64, "stages.*.epochs": 2, "stages.-1.batch": 8})
    assert (recipe.size, [s.epochs for s in recipe.stages], [s.batch for s in recipe.stages]) == (64, [2, 2], [32, 8])


def test_a_recipe_that_was_recorded_before_there_was_a_choice_of_padding_keeps_black():
    recorded = load_recipe("twice").model_dump(mode="json")
    for stage in recorded["stages"]:
        assert stage["augment"].pop("padding") == "reflection"
    again = load_recipe(recorded)
    assert [stage.augment.padding for stage in again.stages] == ["black", "black"]
    assert "padding" not in recorded["stages"][0]["augment"], "the record itself is left alone"
    assert load_recipe(again.model_dump(mode="json")) == again
    assert [s.augment.padding for s in load_recipe("twice").stages] == ["reflection", "reflection"]
    short = load_recipe({"stages": [{"augment": {"rotate": 5}}]})
    assert short.stages[0].augment.padding == "reflection"


def test_changes_are_not_changed_themselves():
    changes = {"stages.0.augment": {"rotate": 5}, "stages.0.augment.padding": "edge"}
    assert load_recipe("demo").changed(changes).stages[0].augment.padding == "edge"
    assert changes["stages.0.augment"] == {"rotate": 5}


def test_each_preset_of_the_paper_is_there_for_both_of_its_networks():
    for name in ("scratch", "imagenet", "twice", "twice-keep"):
        small, large = load_recipe(name), load_recipe(f"{name}-densenet201")
        assert (small.backbone, large.backbone) == ("densenet121", "densenet201")
        assert small.stages == large.stages


def test_what_is_trained_changes_at_the_epochs_that_are_named():
    changes = {"stages.0.epochs": 5, "stages.0.train": "head", "stages.0.unfreeze": {3: "block-4", 5: "all"}}
    stage = load_recipe("demo").changed(changes).stages[0]
    assert [stage.trained_in(epoch) for epoch in range(5)] == ["head", "head", "block-4", "block-4", "all"]
