"""Public names that are others now keep working, or fail with the new name in the message."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

import cxr
from cxr.cli import app
from cxr.earlier_names import dropped, renamed, replaced
from cxr.errors import ManifestError
from cxr.evaluation import bootstrap, summarise
from cxr.explain import COMPOSITES
from cxr.models import LoadReport
from cxr.runs import RunFolder
from cxr.text import MASK_MODES, TextBox, borrowed_boxes
from cxr.training import train
from cxr.training.settings import TrainingParams


def test_a_parameter_is_taken_by_its_earlier_name_and_by_its_name():
    @renamed(source="network_ref")
    def load(network_ref: str, size: int = 1) -> tuple[str, int]:
        """Load."""
        return network_ref, size

    assert load(source="a", size=2) == load(network_ref="a", size=2) == load("a", 2) == ("a", 2)
    assert (load.__name__, load.__doc__) == ("load", "Load.")
    with pytest.raises(TypeError, match="multiple values"):
        load("a", source="b")


def test_a_parameter_that_decides_nothing_any_more_may_still_be_given():
    measure = dropped("n_bootstrap")(lambda table: table)
    assert measure("a", n_bootstrap=10) == "a"
    with pytest.raises(TypeError):
        measure("a", bootstraps=10)


def test_a_function_that_is_gone_says_what_does_its_work():
    with pytest.raises(NotImplementedError, match=r"x\.old is gone: use x\.new"):
        replaced("x.old", "x.new")(1, a=2)
    with pytest.raises(NotImplementedError, match=r"cxr\.evaluation\.bootstrap is gone: use summarise, or share_"):
        bootstrap(lambda weights: weights, ["a", "b"], n_bootstrap=10)


def test_intervals_are_given_whatever_number_of_draws_is_requested():
    table = pd.DataFrame(
        {
            "label": ["ill", "well"] * 3,
            "predicted": ["ill", "well", "ill", "ill", "ill", "well"],
            "image_id": list("uvwxyz"),
            "patient_id": list("abcdef"),
            "prob_ill": [0.9, 0.2, 0.8, 0.7, 0.6, 0.1],
            "prob_well": [0.1, 0.8, 0.2, 0.3, 0.4, 0.9],
        }
    )
    assert summarise(table, ["ill", "well"], n_bootstrap=50) == summarise(table, ["ill", "well"])


def test_a_mask_mode_says_where_its_function_is():
    with pytest.raises(AttributeError, match=r"MaskMode\.fill is cxr\.text\.mask\.FILLS\[name\] now"):
        _ = MASK_MODES["black"].fill


def test_a_report_of_loaded_weights_has_the_ignored_tensors_under_their_earlier_name():
    report = LoadReport(ignored=(("criterion.weight", (3,)),))
    assert report.aside == report.ignored


def test_boxes_are_borrowed_by_the_earlier_names_of_shape_and_boxes():
    boxes = [TextBox(2, 2, 12, 8)]
    expected = borrowed_boxes(boxes, source_shape=(64, 64), shape=(64, 64), own_boxes=[])
    assert borrowed_boxes(boxes, theirs=(64, 64), shape=(64, 64), own=[]) == expected


def test_composites_take_their_settings_by_the_earlier_names():
    composite = COMPOSITES["epsilon-plus-flat"]
    assert composite.bias_mode(asked="keep") == composite.bias_mode("keep") == "keep"
    settings = composite.settings("epsilon-plus-flat", given={"epsilon": 0.5})
    assert settings == composite.settings("epsilon-plus-flat", {"epsilon": 0.5})
    assert composite.layers("keep", options=settings) == composite.layers("keep", settings)


def test_a_training_is_given_a_whole_spec_as_once(tmp_path):
    values = {"recipe": "demo", "manifest": str(tmp_path / "nowhere.csv")}
    folder = RunFolder(tmp_path / "run")
    for call in (
        lambda: train(folder, spec={"kind": "train", "params": values}),
        lambda: train(folder, {"kind": "train", "params": values}),
        lambda: train(folder, params=values),
        lambda: train(folder, TrainingParams.of(values)),
    ):
        with pytest.raises(ManifestError, match=r"nowhere\.csv"):
            call()


def test_the_part_about_studies_has_its_earlier_name_with_its_modules():
    assert cxr.study.load_plan is cxr.experiments.study.load_plan
    assert cxr.study.statistics.half_width(5, 60) == cxr.experiments.study.statistics.half_width(5, 60)
    with pytest.raises(AttributeError, match=r"'cxr\.study' has no attribute 'nothing'"):
        _ = cxr.study.nothing


@pytest.mark.parametrize("name", ["conditions", "effects", "shrinking"])
def test_modules_that_documentation_named_elsewhere_say_where_they_are(name):
    with pytest.raises(AttributeError, match=rf"cxr\.text\.{name} is cxr\.experiments\.masking\.\w+ now"):
        getattr(cxr.text, name)


def test_an_import_takes_the_option_that_was_the_default(tmp_path):
    refused = CliRunner().invoke(app, ["data", "import", "manifest", str(tmp_path / "x"), "--name", "x", "--split"])
    assert "is not there" in str(refused.exception)
    assert "--split " not in CliRunner().invoke(app, ["data", "import", "--help"]).stdout
