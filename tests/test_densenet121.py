"""The paper's network from end to end: a DenseNet121 of three channels by the recipe ``twice``, at 64 px.

It is trained for two steps on findings and two on classes, then measured, explained, asked about its text, stamped and
shown on the pages: once as the classifier, once as the network of several findings that it was in between.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.evaluation.job import evaluate
from cxr.experiments.masking.job import run as run_masking
from cxr.experiments.stamping.job import run as run_stamping
from cxr.explain.job import explain_run
from cxr.explain.run_files import read_map
from cxr.models import load_model
from cxr.reports import masking
from cxr.reports.identities import Privacy
from cxr.runs import get_run
from cxr.runs.folder import RunFolder
from cxr.training import train
from cxr.training.recipe import load_recipe

sys.path[:0] = [str(Path(__file__).parents[1] / "dashboard"), str(Path(__file__).parent / "dashboard")]

from apps import opened, said  # noqa: E402 - it lies beside the tests of the pages

CLASSES = ("normal", "silicosis", "tuberculosis")
FINDINGS = ("Effusion|Mass", "Mass", "No Finding", "Effusion")
CHANGES = {
    "weights": None,
    "size": 64,
    "channels": 3,
    "device": "cpu",
    "threads": 1,
    "stages.*.epochs": 1,
    "stages.*.batch": 4,
    "stages.0.no_finding": False,
    "stages.-1.aliases": {},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/mine``, a finished training and the network that it was between its stages."""
    home = tmp_path_factory.mktemp("densenet121")
    with pytest.MonkeyPatch.context() as patch:
        _live_in(home, patch)
        save_data_set("mine", Manifest.load(_xrays(home / "xrays")))
        recipe = load_recipe("twice").changed(CHANGES)
        params = {"recipe": recipe.model_dump(mode="json"), "manifest": str(home / "data" / "mine" / "manifest.csv")}
        folder = _done("train", train, params, home)
    (home / "weights").mkdir()
    for ending in ("safetensors", "json"):
        shutil.copy(folder.checkpoints / f"stage-0-findings.{ending}", home / "weights" / f"between.{ending}")
    return home


def _xrays(folder: Path) -> Path:
    """Write 8 X-rays to train, 4 to validate and 6 to test on, half of these with text, and 10 with findings."""
    folder.mkdir()
    rng, rows = np.random.default_rng(0), []
    for k in range(28):
        split = "train" if k < 8 else "val" if k < 12 else "test" if k < 18 else ""
        image = cv2.GaussianBlur(rng.integers(40, 160, (96, 96), dtype=np.uint8), (9, 9), 0)
        if split == "test" and k % 2 == 0:
            cv2.putText(image, "PORTABLE", (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 96 / 220, 255, 2)
        cv2.imwrite(str(folder / f"{k}.png"), image)
        findings = FINDINGS[k % 4]
        row = {
            "image": f"{k}.png",
            "image_id": f"x{k}",
            "patient_id": f"p{k}",
            "source": "clinic",
            "findings": findings,
        }
        row |= {"label": CLASSES[k % 3], "split": split} if split else {"role": "intermediate"}
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def _live_in(home: Path, patch: pytest.MonkeyPatch) -> None:
    for name, folder in (("CXR_DATA", "data"), ("CXR_RUNS", "runs"), ("CXR_WEIGHTS", "weights")):
        patch.setenv(name, str(home / folder))


def _done(kind: str, job, params: dict[str, object], home: Path) -> RunFolder:
    """Do a run in this process, as a worker does it, and return its folder."""
    folder = RunFolder.create(home / "runs", kind, params)
    job(folder, folder.params, progress=lambda fraction, message: None)
    folder.update_status(state="finished", message="finished")
    return folder


def test_two_steps_of_each_stage_were_trained(home: Path) -> None:
    (trained,) = (home / "runs").glob("*-train*")
    steps = [row for row in RunFolder(trained).metrics()[0] if row["kind"] == "step"]
    assert [row["stage"] for row in steps].count("final") == 2
    assert [row["stage"] for row in steps].count("findings") >= 2
    for network, task in (
        (trained / "checkpoints" / "best", "single-label"),
        (home / "weights/between", "multi-label"),
    ):
        card = load_model(network.with_suffix(".safetensors")).card
        assert (card.backbone, card.channels, card.size, card.task) == ("densenet121", 3, 64, task)


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_the_network_is_measured_explained_asked_stamped_reported_and_shown(
    home: Path, task: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _live_in(home, monkeypatch)
    (trained,) = (path.name for path in (home / "runs").glob("*-train*"))
    model = trained if task == "single-label" else "between"
    classes = load_model(home / "weights/between.safetensors").classes if task == "multi-label" else CLASSES
    shared = {"model": model, "manifest": str(home / "data" / "mine" / "manifest.csv"), "split": "test", "workers": 0}

    on = {"weights": model, "manifest": shared["manifest"], "splits": ["test"]}
    measured = _done("evaluate", evaluate, on, home)
    summary = measured.read_json("results.json")["splits"]["test"]
    assert (summary["n"], list(summary["per_class"])) == (6, list(classes))
    assert ("accuracy" in summary) == (task == "single-label")

    asks = {name: value for name, value in shared.items() if name != "workers"}
    explained = _done("explain", explain_run, asks | {"targets": "all", "n": 2, "previews": 1}, home)
    index = pd.read_parquet(explained.path / "index.parquet")
    assert list(index["target"]) == list(classes) * 2
    assert read_map(explained, "x12", classes[0])[0].shape == (64, 64)
    booked = index["positive"] + index["negative"] + index["absorbed"] + index["lost"] + index["residual"]
    assert np.allclose(booked, index["logit"])
    assert (index["residual"].abs() < 1e-3 * (index["positive"] - index["negative"] + 1)).all()

    asked = _done("text-experiment", run_masking, shared | {"draws": 1, "explained": 3}, home)
    results = asked.read_json("results.json")
    assert (results["n_images"], results["n_with_text"], results["relevance"]["n"]) == (6, 3, 3)
    page = masking.write(get_run(asked.id), tmp_path / "text.html", Privacy(with_images=True)).read_text(
        encoding="utf-8"
    )
    assert page.count('<input type="range"') == 2
    assert all(re.search(f"<(td|th)( [^>]*)?>{name}</", page) for name in classes)

    words = {"word": "DX", "avoid": False, "towards": classes[0], "sizes": [0.2], "contrasts": [1.0]}
    stamped = _done("text-stamping", run_stamping, shared | words, home)
    assert stamped.read_json("results.json")["towards"] == classes[0]

    where = {"model": model, "data": "mine", "split": "test"}
    for view, query in (
        ("explorer", where | {"image": "x12", "classes": "all"}),
        ("text", {"run": asked.id}),
        ("text", where | {"look": "Stamp", "stamping": stamped.id, "towards": classes[0], "cover": "1"}),
        ("results", {"run": measured.id}),
    ):
        app = opened(view, **query)
        assert not app.exception, (view, app.exception)
        assert not app.error, (view, app.error)
    assert results["finding"] in said(opened("text", run=asked.id))
