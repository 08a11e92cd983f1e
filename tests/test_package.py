"""The package as its users import it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import typer

from cxr.cli import app


def test_parts_are_there_after_importing_the_package_alone_and_cost_nothing_before() -> None:
    script = (
        "import sys, cxr\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules\n"
        "assert cxr.data.Manifest.load and cxr.models.keep_output_neurons and cxr.runs.start\n"
        "assert 'streamlit' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_an_unknown_part_is_an_attribute_error() -> None:
    import cxr

    assert not hasattr(cxr, "no_such_part")


# What `cxr` promised before its modules moved: public names by part, and commands.
EARLIER = {
    "data": "CLASSES SOURCES DataSet Excluded ImageCache ImportResult Manifest import_data list_data_sets "
    "open_data_set read_xray resolve_manifest save_data_set split_manifest",
    "evaluation": "evaluate_predictions load_trained predict predictions_table share_intervals summarise wilson",
    "explain": "BIASES COMPOSITES DEFAULT_COMPOSITE Composite Explanation explain",
    "models": "LoadReport ModelCard XrayClassifier backbones build keep_output_neurons kept_neurons list_weights "
    "load_model save_model with_classes",
    "runs": "ACTIVE ENDED KINDS DeviceQueue MetricsReader Run RunFolder Slurm Stopped get_run is_run_id list_runs "
    "new_run_id start",
    "study": "EXAMPLES METRICS Member Plan check load_plan members parse_plan retry start_study stop_study",
    "text": "DEFAULT_MARGIN DEFAULT_MODE KINDS MASK_MODES DetectionStore MaskMode Patch Review Reviews TextBox "
    "borrowed_boxes control_boxes cut_patch detect_boxes detect_cached detect_text kind_of mask_text recognise "
    "stamp_patch tokens_of word_patch",
    "training": "PRESETS Recipe Stage check check_labels check_weights load_recipe train",
}
COMMANDS = """demo train evaluate explain heatmaps dashboard
data kinds;data import;data split;data list;data show;recipe list;recipe show;study run;study show;study list
study report;study stop;runs list;runs show;runs queue;runs move;runs stop;runs resume;runs delete;runs log
text detect;text experiment;text report;text vocabulary;text stamp;weights list;weights show;weights import
weights export;cache show;cache clear"""


@pytest.mark.parametrize("part", EARLIER)
def test_public_names_of_earlier_versions_are_still_there(part: str) -> None:
    import cxr

    module = importlib.import_module(f"cxr.{part}")
    assert getattr(cxr, part) is module
    assert [name for name in EARLIER[part].split() if not hasattr(module, name)] == []


def test_commands_of_earlier_versions_are_still_there() -> None:
    root = typer.main.get_command(app)
    first, *rest = COMMANDS.splitlines()
    for words in [*((word,) for word in first.split()), *(c.split() for line in rest for c in line.split(";"))]:
        command = root
        for word in words:
            command = command.commands[word]


def test_names_that_moved_are_one_thing_under_both_names() -> None:
    from cxr import study
    from cxr.experiments.study import load_plan

    assert study.load_plan is load_plan


def test_parameters_of_earlier_versions_are_still_taken() -> None:
    import cxr

    box = cxr.text.TextBox(10, 20, 30, 40, "L", 0.9, "letter")
    placed = cxr.text.borrowed_boxes([box], theirs=(100, 100), shape=(200, 100), own=[])
    assert placed == cxr.text.borrowed_boxes([box], source_shape=(100, 100), shape=(200, 100), own_boxes=[])
    assert placed[0].y1 == 80
    network, _ = cxr.evaluation.load_trained(source="demo")
    assert network.classes
