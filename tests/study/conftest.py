"""The tiny data set and the small network of the tests of training, as members of studies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr.experiments.study import Plan, parse_plan
from cxr.runs import list_runs
from tests.training.conftest import decoded_once, tiny, tiny_cache

__all__ = ["decoded_once", "tiny", "tiny_cache"]

SMALL: dict[str, Any] = {
    "backbone": "densenet-small",
    "backbone_args": {"growth_rate": 4, "block_config": [1, 1]},
    "size": 32,
    "weights": None,
    "device": "cpu",
    "threads": 1,
    "stages.*.epochs": 3,
    "stages.*.batch": 8,
    "stages.*.augment": {"rotate": 5},
}


def plan(recipes: Any = None, **changes: Any) -> Plan:
    """A study of two recipes and two seeds that takes seconds per member."""
    values = {
        "name": "small",
        "recipes": recipes or {"plain": "demo", "slow": {"recipe": "demo", "set": {"stages.0.optimiser.lr": 1e-5}}},
        "set": SMALL,
        "seeds": [0, 1],
        "first_epochs": 2,
    }
    return parse_plan(values | changes)


@pytest.fixture(autouse=True)
def end_all_runs(tmp_path: Path) -> Iterator[None]:
    yield
    for kind in ("study", "train"):
        for run in list_runs(tmp_path / "runs", kind=kind):
            if run.active:
                run.kill()


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition, fail after some time."""

    def wait(condition: Callable[[], object], timeout: float = 300.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.05)

    return wait
