"""Runs whose work is one of ``tests.runs.jobs``, in real worker processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxr.runs import Run, kinds, list_runs, local
from cxr.runs.slurm import client
from tests.runs import jobs, slurm

WORKER = """
import sys, cxr.runs.worker
from cxr.runs import kinds, local
from tests.runs import jobs
kinds.KINDS.update(jobs.KINDS)
local.worker_command = lambda folder: [*sys.orig_argv[:-1], str(folder)]  # of shards: the same
sys.exit(cxr.runs.worker.main(sys.argv[1]))
"""


CLUSTER_WORKER = """
import sys, cxr.runs.worker
from dataclasses import replace
from cxr.runs import kinds
from tests.runs import cluster_jobs, jobs
kinds.KINDS.update(jobs.KINDS | {"train": replace(jobs.KINDS["train"], job="tests.runs.%s")})
sys.exit(cxr.runs.worker.main(sys.argv[1]))
"""


@pytest.fixture
def job_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Make the kinds of ``tests.runs.jobs`` startable; whatever still runs afterwards is ended."""
    monkeypatch.setattr(kinds, "KINDS", jobs.KINDS)
    monkeypatch.setattr(local, "worker_command", lambda folder: [sys.executable, "-c", WORKER, str(folder)])
    yield
    for run in list_runs(tmp_path / "runs"):
        if run.active:
            run.kill()


@pytest.fixture(scope="session")
def loopback() -> Iterator[Path]:
    """A Slurm of one node; where there is none the test is skipped with the reason."""
    reason = slurm.why_not()
    if reason:
        pytest.skip(reason)
    with slurm.loopback_slurm() as conf:
        yield conf


@pytest.fixture
def real_slurm(loopback: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The Slurm, for this test and its processes; whatever still runs or waits afterwards is cancelled."""
    monkeypatch.setenv("SLURM_CONF", str(loopback))
    monkeypatch.setattr(client, "CACHE_S", 0.3)
    monkeypatch.setattr(client, "_cache", {})
    yield
    for run in list_runs(tmp_path / "runs"):
        if run.active:
            run.kill()
    subprocess.run(["scancel", "--user=root"], check=True)


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the kinds of ``tests.runs.jobs`` startable, also as jobs of Slurm."""
    monkeypatch.setattr(kinds, "KINDS", jobs.KINDS)
    work_as(monkeypatch, "jobs:count")


def work_as(monkeypatch: pytest.MonkeyPatch, train: str) -> None:
    """Have the processes of runs do the small jobs, a training as the one that ``train`` names."""
    monkeypatch.setattr(
        local, "worker_command", lambda folder: [sys.executable, "-c", CLUSTER_WORKER % train, str(folder)]
    )


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition, fail after some seconds."""

    def wait(condition: Callable[[], object], timeout: float = 300.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    return wait


@pytest.fixture
def has_rows(until) -> Callable[[Run, int], None]:
    """Wait until a run has written some rows."""
    return lambda run, n=3: until(lambda: len(run.metrics()[0]) >= n)
