"""Kinds of test that must run: with ``CXR_MUST_RUN="browser slurm"`` a skipped one, or none at all, is a failure.

A browser or a cluster that is missing is no reason to fail on somebody's laptop, and would be an unseen hole where
everything is checked before it lands.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

VARIABLE = "CXR_MUST_RUN"
_ran: Counter[str] = Counter()
_skipped: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for kind in _required():
        if kind not in report.keywords:
            continue
        if report.skipped:
            _skipped[report.nodeid] = kind
        elif report.when == "call":
            _ran[kind] += 1


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if hasattr(session.config, "workerinput"):  # the process that started the workers hears of all their tests
        return
    problems = [f"{name} was skipped, and tests of kind {kind!r} must run here" for name, kind in _skipped.items()]
    problems += [f"no test of kind {kind!r} ran" for kind in _required() if not _ran[kind]]
    if problems and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    for problem in problems:
        reporter.write_line(f"{VARIABLE}: {problem}", red=True)


def _required() -> list[str]:
    return os.environ.get(VARIABLE, "").replace(",", " ").split()
