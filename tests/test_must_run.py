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


@pytest.mark.parametrize(
    "workers", [(), pytest.param(("-n", "1"), marks=pytest.mark.slow)], ids=["one process", "workers"]
)
@pytest.mark.parametrize(
    ("body", "required", "code", "words"),
    [
        (SKIPPED, None, 0, ""),
        (SKIPPED, "browser", 1, "test_that_needs_a_browser was skipped"),
        (RUN, "browser", 0, ""),
        (RUN, "browser slurm", 1, "no test of kind 'slurm' ran"),
    ],
)
def test_a_kind_that_must_run_and_does_not_is_a_failure(tmp_path, workers, body, required, code, words):
    (tmp_path / "test_it.py").write_text(TESTS.format(body=body))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser\n")
    environment = {name: value for name, value in os.environ.items() if name != "CXR_MUST_RUN"}
    environment |= {"PYTHONPATH": str(PROJECT)} | ({"CXR_MUST_RUN": required} if required else {})
    command = [sys.executable, "-m", "pytest", "-p", "tests.must_run", "-p", "no:cacheprovider", *workers, "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout
    assert words in done.stdout
