"""What tests of audits share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxr.runs import list_runs


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until a condition holds."""

    def wait(condition: Callable[[], object], timeout: float = 300.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.05)

    return wait


@pytest.fixture(autouse=True)
def no_weights_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of this machine's user are out of sight; those that the project ships stay."""
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture(autouse=True)
def end_all_runs(tmp_path: Path) -> Iterator[None]:
    yield
    for run in list_runs(tmp_path / "runs"):
        if run.active:
            run.kill()
