"""What is not loaded: lists of names and forms must not wait for torch, and each public name is found all the same."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr.data import Manifest
from cxr.models.backbones import NAMES, installed_backbones
from cxr.runs import start

PROJECT = Path(__file__).resolve().parents[1]
NETWORKS = {"torch", "timm", "torchvision", "zennit", "lightning_fabric", "sklearn", "onnxruntime", "openvino"}
ARRAYS = {"numpy", "pandas", "scipy", "cv2", "pyarrow", "PIL", "plotly"}
LAZY = ("cxr.evaluation", "cxr.explain", "cxr.models", "cxr.regions", "cxr.text", "cxr.training")

COMMAND = """
import json, sys
from cxr.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)))
"""
PAGES = """
import json, sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(sys.argv[1], default_timeout=60).run()
assert not app.exception and not app.error
app.switch_page("views/train.py")
for data, recipe in (("two", "scratch"), ("findings", "twice-keep")):
    app.query_params["data"], app.query_params["recipe"] = data, recipe
    app.run()
    assert not app.exception and not app.error, app.error
    assert "densenet121" in {box.value for box in app.selectbox if box.label == "Backbone"}
print(json.dumps(sorted(sys.modules)))
"""

EVERY_PAGE = """
import json, sys
from urllib.parse import parse_qs
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(sys.argv[1], default_timeout=60)
for address in sys.argv[2:]:
    page, _, query = address.partition("?")
    app.query_params.clear()
    app.query_params.update(parse_qs(query))
    app.switch_page(f"views/{page}.py")
    app.run()
    assert not app.exception and not app.error, (address, app.exception, app.error)
    slow = sorted({"torch", "timm", "sklearn", "scipy.stats"} & set(sys.modules))
    assert not slow, f"{address} loads {', '.join(slow)}"
print(json.dumps(sorted(sys.modules)))
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """Run code in a process of its own and return the packages that it has loaded, and the modules of ours."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout.splitlines()[-1])
    return {name if name.startswith("cxr.") else name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["recipe", "list"], ["recipe", "show", "twice-keep", "--set", "backbone=resnet18"], ["runs", "list"]],
    ids=" ".join,
)
def test_commands_that_read_names_and_recipes_load_neither_networks_nor_arrays(arguments: Sequence[str]):
    assert not loaded(COMMAND, *arguments) & (NETWORKS | ARRAYS)


def test_weights_are_listed_with_their_cards_without_torch():
    assert not loaded(COMMAND, "weights", "list") & NETWORKS


def test_the_first_page_and_the_form_of_a_recipe_load_no_networks(tmp_path: Path):
    rows = [(n, ("cats", "dogs")[n % 2], ("train", "train", "val", "test")[n // 2 % 4]) for n in range(32)]
    columns = {"image": [f"{n}.png" for n, _, _ in rows], "patient_id": [f"p{n}" for n, _, _ in rows]}
    columns |= {"label": [label for _, label, _ in rows], "split": [split for _, _, split in rows]}
    for name, findings in (("two", ""), ("findings", "Mass|Hernia")):
        folder = tmp_path / "data" / name
        table = pd.DataFrame(columns | {"findings": [findings] * len(rows)})
        Manifest.from_table(table, folder).save(folder / "manifest.csv")
    modules = loaded(PAGES, str(PROJECT / "dashboard" / "every_page.py"))
    assert "cxr.training.recipe" in modules
    assert not modules & NETWORKS


def predictions_of_somebody_else(folder: Path, name: str, targets: pd.DataFrame, classes: Sequence[str]) -> str:
    """Measure a table with the columns ``targets`` and random probabilities; return the run's id."""
    chances = np.random.default_rng(0).dirichlet(np.ones(len(classes)), len(targets))
    about = pd.DataFrame({"image": [f"{n}.png" for n in range(len(targets))]})
    table = pd.concat([about, targets, pd.DataFrame(chances, columns=list(classes))], axis=1)
    table.to_csv(folder / f"{name}.csv", index=False)
    run = start("evaluate-predictions", {"predictions": folder / f"{name}.csv"}, name=name, detached=False)
    assert run.status()["state"] == "finished", run.status()
    return run.id


def test_no_page_loads_networks_before_it_shows_what_one_says(tmp_path: Path):
    n, labels = 24, ("cats", "dogs", "birds")
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(n)], "label": [labels[k % 3] for k in range(n)]})
    for image in table["image"]:
        cv2.imwrite(str(tmp_path / image), np.full((40, 40), 100, np.uint8))
    folder = tmp_path / "data" / "pets"
    Manifest.from_table(table.assign(split="test", source="home"), tmp_path).save(folder / "manifest.csv")
    findings = pd.DataFrame({"findings": [("Mass", "Hernia", "Mass|Hernia")[k % 3] for k in range(n)]})
    one = predictions_of_somebody_else(tmp_path, "labels", table[["label"]], labels)
    shutil.copytree(tmp_path / "runs" / one, tmp_path / "runs" / f"{one}-again")
    several = predictions_of_somebody_else(tmp_path, "findings", findings, ("Mass", "Hernia"))
    looks = [f"data?data=pets&look={look}" for look in ("xrays", "splits", "audit", "check")]
    results = [f"results?run={one}", f"results?run={several}", f"compare?runs={one},{one}-again"]
    rest = ["home", "live", "study", "weights", "glossary", "trust", "data?tab=Import"]
    loaded(EVERY_PAGE, str(PROJECT / "dashboard" / "every_page.py"), *looks, *results, *rest)


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_of_a_package_is_found_and_none_is_hidden_by_a_module(package: str):
    module = importlib.import_module(package)
    folder = Path(str(module.__file__)).parent
    files = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    for file in files:
        importlib.import_module(f"{package}.{file}")
    for name in module.__all__:
        assert type(getattr(module, name)) is not type(module), f"{package}.{name} is a module"
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = module.nonsense


def test_public_names_are_listed_before_they_are_used():
    names = loaded("import json, cxr.training; print(json.dumps([*dir(cxr.training), 'cxr.training']))")
    assert names >= {"load_recipe", "train", "check"}


def test_the_list_of_backbones_is_that_of_the_installed_timm():
    assert NAMES.read_text().split() == list(installed_backbones()), "run tools/list_backbones.py"
