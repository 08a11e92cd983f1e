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
ALONE = ""
# Workers run tests and send what became of them to the process that started them, which judges. That all of it works
# with real ones is seen wherever kinds must run: workers inside the test of a worker have hung, once in some thousand.
STARTED_WORKERS = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item):
    report = yield
    sent = item.config.hook.pytest_report_to_serializable(config=item.config, report=report)
    return item.config.hook.pytest_report_from_serializable(config=item.config, data=sent)
"""
IS_A_WORKER = """
def pytest_configure(config):
    config.workerinput = {}
"""


@pytest.mark.parametrize(
    ("process", "body", "required", "code", "words"),
    [
        (ALONE, SKIPPED, None, 0, ""),
        (ALONE, SKIPPED, "browser", 1, "test_that_needs_a_browser was skipped"),
        (ALONE, RUN, "browser", 0, ""),
        (ALONE, RUN, "browser slurm", 1, "no test of kind 'slurm' ran"),
        (STARTED_WORKERS, SKIPPED, "browser slurm", 1, "test_that_needs_a_browser was skipped"),
        (STARTED_WORKERS, RUN, "browser", 0, ""),
        (IS_A_WORKER, SKIPPED, "browser slurm", 0, ""),
    ],
    ids=["nothing-required", "skipped", "run", "other-kind", "workers-skipped", "workers-run", "in-a-worker"],
)
def test_a_kind_that_must_run_and_does_not_is_a_failure(tmp_path, process, body, required, code, words):
    (tmp_path / "test_it.py").write_text(TESTS.format(body=body))
    (tmp_path / "conftest.py").write_text(process)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser\n")
    # Nothing of the run that this test belongs to: neither its workers nor plugins that would measure or time it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CXR_", "PYTEST", "COV"))}
    environment |= {"PYTHONPATH": str(PROJECT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment |= {"CXR_MUST_RUN": required} if required else {}
    command = [sys.executable, "-m", "pytest", "-p", "tests.must_run", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout
    assert words in done.stdout
