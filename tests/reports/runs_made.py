"""Runs that tests of reports make: an evaluation, and a training of one small epoch."""

from __future__ import annotations

from pathlib import Path

from configurations import CONFIGURATIONS

from cxr.evaluation.job import evaluate
from cxr.paths import runs_root
from cxr.runs import Run
from cxr.runs.folder import RunFolder
from cxr.training import load_recipe, train


def measured(network: Path, manifest: Path, **params: object) -> Run:
    """Evaluate a network on a data set."""
    values = {"weights": str(network), "manifest": str(manifest), **params}
    folder = RunFolder.create(runs_root(), "evaluate", values, "own")
    evaluate(folder, folder.params)
    folder.update_status(state="finished")
    return Run(folder)


def trained(manifest: Path, epochs: int = 1, batch: int = 6) -> Run:
    """Train on a data set with the classes of the first configuration."""
    tiny = {"backbone_args": {"block_config": [1, 1, 1, 1]}, "size": 32, "weights": None, "device": "cpu", "seed": 5}
    tiny |= {"stages.*.epochs": epochs, "stages.*.batch": batch, "stages.*.classes": list(CONFIGURATIONS[0].classes)}
    recipe = load_recipe("demo").changed(tiny).model_dump(mode="json")
    folder = RunFolder.create(runs_root(), "train", {"recipe": recipe, "manifest": str(manifest), "data_name": "own"})
    train(folder, folder.params)
    folder.update_status(state="finished")
    return Run(folder)
