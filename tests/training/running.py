"""Starting a training of the tiny set in a folder, and reading what it left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from cxr.paths import runs_root
from cxr.runs.folder import RunFolder, Stopped
from cxr.training import load_recipe, train

TIMES = ("time", "images_per_s", "wait_s")
SMALL: dict[str, Any] = {
    "backbone": "densenet-small",
    "backbone_args": {"block_config": [1, 1, 1, 1], "drop_rate": 0.2},
    "size": 32,
    "weights": None,
    "device": "cpu",
    "stages.*.epochs": 3,
    "stages.*.batch": 8,
    "stages.*.augment": {"rotate": 5, "noise": 0.05},
}
STEPS = 4  # in an epoch of the 30 training images


class StopsAt(RunFolder):
    """A folder that asks to stop at the n-th time the loop looks."""

    looks_left = -1

    def stop_requested(self) -> bool:
        self.looks_left -= 1
        return self.looks_left == -1


def start(tiny: Path, preset: Any = "demo", changes: dict[str, Any] | None = None, **params: Any) -> RunFolder:
    recipe = load_recipe(preset).changed(SMALL | (changes or {}))
    spec = {"recipe": recipe.model_dump(mode="json"), "manifest": str(tiny), "data_name": "tiny", **params}
    return RunFolder.create(runs_root(), "train", spec, "test")


def run(folder: RunFolder, **options: Any) -> RunFolder:
    train(folder, folder.params, **options)
    return folder


def interrupted(folder: RunFolder, looks: int) -> RunFolder:
    """Train until the loop has looked ``looks`` times whether it should stop."""
    stopping = StopsAt(folder.path)
    stopping.looks_left = looks
    try:
        train(stopping, folder.params)
    except Stopped:
        return folder
    raise AssertionError(f"it ended before it had looked {looks} times")


def rows(folder: RunFolder, kind: str | None = None) -> list[dict[str, Any]]:
    told = [{k: v for k, v in row.items() if k not in TIMES} for row in folder.metrics()[0]]
    return [row for row in told if kind in (None, row["kind"])]


def best(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.checkpoints / "best.safetensors")


def last(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(_last_folder(folder) / "last.safetensors")


def last_state(folder: RunFolder) -> dict[str, Any]:
    return torch.load(_last_folder(folder) / "last.state.pt", weights_only=True)


def change_last_state(folder: RunFolder, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what the last checkpoint holds, as if another version or machine had written it."""
    state = last_state(folder)
    change(state)
    torch.save(state, _last_folder(folder) / "last.state.pt")


def _last_folder(folder: RunFolder) -> Path:
    return folder.checkpoints / json.loads((folder.checkpoints / "last.json").read_text())["last"]


def assert_same(one: RunFolder, other: RunFolder) -> None:
    """Two runs ended with the same weights, bit for bit, and told the same story."""
    for read in (best, last):
        ours, theirs = read(one), read(other)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert rows(one) == rows(other)
    assert one.predictions().equals(other.predictions())


def furthest(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference between two networks' weights, relative to the size of each tensor."""
    assert ours.keys() == theirs.keys()
    floats = [n for n, t in ours.items() if t.is_floating_point()]
    return max(((ours[n] - theirs[n]).norm() / theirs[n].norm().clamp(min=1e-6)).item() for n in floats)
