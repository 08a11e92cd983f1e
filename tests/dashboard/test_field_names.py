"""Sentences of the package that pages show name the page's fields, not the options of a command."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cxr.data.importers.import_options import declarations
from cxr.data.importers.importing import unknown_sources
from cxr.data.importers.registry import SOURCES
from cxr.data.manifest import Manifest

from services import field_names  # isort: skip  - found through the path that conftest sets


@pytest.mark.parametrize(
    ("sentence", "on_page"),
    [
        (
            "no column 'image'. (map one with --column image='name of yours')",
            "no column 'image'. (map one with “Columns of the file with unusual names”: image='name of yours')",
        ),
        (
            "(`--allow-modality SC` takes it)",
            "(“Modalities besides those of X-rays”: SC takes it)",
        ),
        ("used (--splits none). `source_split` remembers them", "used (“Splits”: none). `source_split` remembers them"),
        ("give the result a name with --name", "give the result a name with “Name of the data set”"),
        ("what no field does stays: `--images-only`", "what no field does stays: `--images-only`"),
    ],
)
def test_options_of_an_import_are_called_as_their_fields(sentence: str, on_page: str) -> None:
    assert field_names.on_page(sentence, field_names.of_kind("import")) == on_page


def test_every_option_of_every_importer_has_the_title_of_its_field() -> None:
    for importer in SOURCES.values():
        for option in declarations(importer.options).values():
            assert field_names.on_page(f"with {option.flag}.", field_names.of_import()) == f"with “{option.title}”."


def test_what_an_import_says_of_unknown_sources_names_the_field(demo: Manifest) -> None:
    demo.table["source"] = ""
    said = field_names.on_page(unknown_sources(demo), field_names.of_import())
    assert said.endswith("give it with “Hospital or data set that all X-rays come from”.")
    assert "--" not in said


def test_options_of_a_measure_are_called_as_the_buttons_and_fields_that_stand_for_them() -> None:
    seen = field_names.on_page("(`--include-seen` measures it too)", field_names.of_kind("train"))
    assert seen == "(“Measure also the X-rays seen before” measures it too)"
    said = field_names.on_page("`--alias 'covid 19=covid19'` measures it as such.", field_names.of_kind("evaluate"))
    assert said == "“Measure with covid 19 as covid19” measures it as such."
    table = "Accepted: `--scale logits`; `--task multi-label`; `--positive CLASS`"
    said = field_names.on_page(table, field_names.of_kind("evaluate-predictions"))
    assert said == "Accepted: “Values”: logits; “Task”: multi-label; “Class of the only column”: CLASS"


@pytest.mark.parametrize(
    ("names", "sentence", "on_page"),
    [
        (
            field_names.of_kind("audit-network"),
            "Import X-rays of another hospital and audit again with --external.",
            "Import X-rays of another hospital and audit again with “X-rays from elsewhere” (under “Options”).",
        ),
        (
            field_names.of_kind("text-experiment"),
            "(trained on). `--include-seen` keeps it.",
            "(trained on). “Include X-rays that the network has seen” keeps it.",
        ),
        (
            field_names.of_kind("explain"),
            "`--include-seen` keeps them.",
            "`--include-seen` on the command line keeps them.",
        ),
        (field_names.of_kind("study"), "--open-locked looks at it", "“Open the locked split” looks at it"),
        (
            field_names.of_page("weights"),
            "give it with --backbone (DenseNets, ResNets and VGGs are recognised)",
            "give it with “Backbone (timm's name)” (DenseNets, ResNets and VGGs are recognised)",
        ),
        (
            field_names.of_page("weights"),
            "x already exists: give --force to replace it, or another --name",
            "x already exists: give “Replace weights of this name” to replace it, or another “Name”",
        ),
        (
            field_names.of_page("weights"),
            "give --size (side of the input)",
            "give “Image size (pixels)” (side of the input)",
        ),
        (
            field_names.of_page("data"),
            "`--keep test` leaves it as it is.",
            "“Splits that stay as they are”: test leaves it as it is.",
        ),
        (
            field_names.of_page("home"),
            "no Slurm here; leave --slurm away",
            "no Slurm here; leave “Where it runs”: Slurm away",
        ),
        (
            field_names.of_page("data"),
            "run `cxr data split x --name y --keep test`",
            "run `cxr data split x --name y --keep test`",
        ),
    ],
)
def test_options_in_what_a_run_or_a_page_says_are_called_as_its_fields(
    names: Mapping[str, str], sentence: str, on_page: str
) -> None:
    assert field_names.on_page(sentence, names) == on_page
