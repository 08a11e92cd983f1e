"""A real Chromium in front of a real dashboard over a small set of synthetic X-rays."""

from __future__ import annotations

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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        folders = {"CXR_DATA": str(self.folder / "data"), "CXR_RUNS": str(self.folder / "runs")}
        return {**os.environ, **folders, "CXR_WARM_UP": "off"}

    def cxr(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cxr", *words],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "dashboard/Home.py", f"--server.port={self.port}"]
        with (self.folder / "dashboard.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1)
                return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"no dashboard after 60 s: {(self.folder / 'dashboard.log').read_text()[-2000:]}")

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


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    here = Dashboard(tmp_path_factory.mktemp("dashboard"), free_port())
    here.cxr("demo", "--n", "120", "--size", "192", "--correlation", "1")
    here.start()
    yield here
    here.kill()
    from cxr.runs import list_runs

    for run in list_runs(here.folder / "runs"):
        if run.status()["state"] in ("queued", "running", "stopping"):
            run.kill()


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
    opened.set_default_timeout(60_000)
    yield opened
    context.close()
