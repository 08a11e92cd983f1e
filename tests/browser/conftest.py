"""A real Chromium in front of a real dashboard over a small set of synthetic X-rays.

The X-rays and an evaluation of the shipped network on them are made once for all processes of pytest. A module has a
dashboard of its own on a copy of them (``dashboard``, ``measured``), or shares one with others of its process that
leave everything as it is (``shared_dashboard``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cxr.locks import FileLock
from tests import warm

PROJECT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


def chromium_path() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Dashboard:
    """A dashboard in a process of its own, which tests may kill and start again on the same folders."""

    folder: Path
    port: int
    process: subprocess.Popen | None = None
    base: str = ""
    """A path below which everything stands, as behind a proxy that serves other things too."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base}"

    @property
    def environment(self) -> dict[str, str]:
        folders = {"CXR_DATA": str(self.folder / "data"), "CXR_RUNS": str(self.folder / "runs")}
        return {**os.environ, **folders, "CXR_WARM_UP": "off", warm.WARM: "1"}

    def cxr(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cxr", *words],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "dashboard/Home.py", f"--server.port={self.port}"]
        command += [f"--server.baseUrlPath={self.base.strip('/')}"] if self.base else []
        with (self.folder / "dashboard.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1)
                return
            except OSError:
                assert self.process.poll() is None, self._log()
                time.sleep(0.5)
        raise AssertionError(f"no dashboard after 300 s: {self._log()}")

    def _log(self) -> str:
        return (self.folder / "dashboard.log").read_text()[-2000:]

    def kill(self) -> None:
        """Kill the dashboard and whatever shares its process group, as a logout or a crash does."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder with ``data/demo`` and ``runs`` with one evaluation, made by the first process that needs it."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if hasattr(request.config, "workerinput") else base
    done, folder = root / "prepared.done", root / "prepared"
    lock = FileLock(root / "prepared.lock")
    assert lock.acquire(timeout=600)
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "runs").mkdir(parents=True)
        maker = Dashboard(folder, 0)
        maker.cxr("demo", "--n", "120", "--size", "192", "--correlation", "1")
        maker.cxr("evaluate", "demo", "--data", "demo")
        done.touch()
    lock.release()
    return folder


@contextlib.contextmanager
def running(folder: Path, prepared: Path, evaluated: bool) -> Iterator[Dashboard]:
    """A dashboard on a copy of what was prepared; the runs that are left at its end are ended."""
    shutil.copytree(prepared / "data", folder / "data")
    if evaluated:
        shutil.copytree(prepared / "runs", folder / "runs")
        for file in (folder / "runs").glob("*/*.json"):  # they name files by their whole path
            file.write_text(file.read_text().replace(str(prepared), str(folder)))
    here = Dashboard(folder, free_port())
    here.start()
    yield here
    here.kill()
    from cxr.runs import list_runs

    for run in list_runs(folder / "runs"):
        if run.status()["state"] in ("queued", "running", "stopping"):
            run.kill()


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Dashboard]:
    """This module's own dashboard, without any run."""
    with running(tmp_path_factory.mktemp("dashboard"), prepared, evaluated=False) as here:
        yield here


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Dashboard]:
    """This module's own dashboard, with an evaluation of the shipped network."""
    with running(tmp_path_factory.mktemp("dashboard"), prepared, evaluated=True) as here:
        yield here


@pytest.fixture(scope="session")
def shared_dashboard(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Dashboard]:
    """The dashboard of modules that change neither data nor runs, with an evaluation of the shipped network."""
    with running(tmp_path_factory.mktemp("dashboard"), prepared, evaluated=True) as here:
        yield here


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    path = chromium_path()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI must install Chromium")
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: object) -> Iterator[object]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(180_000)
    yield opened
    context.close()
