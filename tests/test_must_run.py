"""Where browser and cluster tests must run, a skipped one is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
TESTS = """
import pytest

@pytest.mark.browser
def test_that_needs_a_browser():
    {body}

def test_that_needs_nothing():
    pass
"""
SKIPPED, RUN = "pytest.skip('no browser')", "assert True"
SLOW = pytest.mark.slow


ONE, WORKERS = (), ("-p", "xdist", "-n", "1")


@pytest.mark.parametrize(
    ("workers", "body", "required", "code", "words"),
    [
        (ONE, SKIPPED, None, 0, ""),
        (ONE, SKIPPED, "browser", 1, "test_that_needs_a_browser was skipped"),
        (ONE, RUN, "browser", 0, ""),
        (ONE, RUN, "browser slurm", 1, "no test of kind 'slurm' ran"),
        pytest.param(WORKERS, SKIPPED, "browser slurm", 1, "test_that_needs_a_browser was skipped", marks=SLOW),
        pytest.param(WORKERS, RUN, "browser", 0, "", marks=SLOW),
    ],
)
def test_a_kind_that_must_run_and_does_not_is_a_failure(tmp_path, workers, body, required, code, words):
    (tmp_path / "test_it.py").write_text(TESTS.format(body=body))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser\n")
    # Nothing of the run that this test belongs to: neither its workers nor plugins that would measure or time it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CXR_", "PYTEST", "COV"))}
    environment |= {"PYTHONPATH": str(PROJECT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment |= {"CXR_MUST_RUN": required} if required else {}
    command = [sys.executable, "-m", "pytest", "-p", "tests.must_run", "-p", "no:cacheprovider", *workers, "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout
    assert words in done.stdout
