"""What several tests share: real X-rays where they are at hand, and folders that no test shares with another."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import cxr  # noqa: F401 - before any test imports torch: it sets how threads wait
from tests import warm
from tests.must_run import pytest_runtest_logreport, pytest_sessionfinish  # noqa: F401 - hooks

# The same examples each time: a run that fails can be done again, and one that is green says the same tomorrow.
# How fast examples are made says how busy the machine is, and nothing of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real X-rays (``CXR_REAL_DATA``, else ``../shared/data``); the test is skipped without it."""
    folder = Path(os.environ.get("CXR_REAL_DATA", PROJECT.parent / "shared" / "data"))
    if not (folder / "manifest.csv").exists():
        pytest.skip(f"no real X-rays at {folder} (set CXR_REAL_DATA to a folder that holds manifest.csv)")
    return folder


@pytest.fixture(name="cxr")
def command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process and return (exit code, stdout, stderr)."""
    from cxr.cli import main

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cxr", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), *capsys.readouterr()

    return command


@pytest.fixture(scope="session", autouse=True)
def warm_workers() -> Iterator[None]:
    """Processes of runs are forked from one that has everything imported (see ``tests/warm.py``)."""
    with warm.warm_workers():
        yield


@pytest.fixture
def cold_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes of runs as users do: these tests ask how such a process begins, or what it imports."""
    monkeypatch.setenv(warm.COLD, "1")


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that commands print keep their lines whole."""
    monkeypatch.setenv("COLUMNS", "250")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take longest (make test SLOW=1)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what drives a browser or a cluster by the fixture that brings it; leave the slow ones for those who ask.

    Files with such tests come first: one that began last would keep a single process busy while the others wait.
    """
    if not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    for item in items:
        names = getattr(item, "fixturenames", ())
        for fixture, kind in (("browser", "browser"), ("loopback", "slurm")):
            if fixture in names:
                item.add_marker(kind)
    heavy = {item.path for item in items if any(map(item.get_closest_marker, ("slow", "browser", "slurm")))}
    items.sort(key=lambda item: item.path not in heavy)  # the order within each half stays


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets and runs of a test live in its own temporary folder."""
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CXR_RUNS", str(tmp_path / "runs"))
