"""Runs whose work is one of ``tests.runs.jobs``, in real worker processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest

from cxr.runs import Run, kinds, list_runs, local
from tests.runs import jobs

WORKER = """
import sys, cxr.runs.worker
from cxr.runs import kinds
from tests.runs import jobs
kinds.KINDS.update(jobs.KINDS)
sys.exit(cxr.runs.worker.main(sys.argv[1]))
"""


@pytest.fixture
def job_kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the kinds of ``tests.runs.jobs`` startable; whatever still runs afterwards is ended."""
    monkeypatch.setattr(kinds, "KINDS", jobs.KINDS)
    monkeypatch.setattr(local, "worker_command", lambda folder: [sys.executable, "-c", WORKER, str(folder)])
    yield
    for run in list_runs():
        if run.active:
            run.kill()


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition, fail after some seconds."""

    def wait(condition: Callable[[], object], timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    return wait


@pytest.fixture
def has_rows(until) -> Callable[[Run, int], None]:
    """Wait until a run has written some rows."""
    return lambda run, n=3: until(lambda: len(run.metrics()[0]) >= n)
