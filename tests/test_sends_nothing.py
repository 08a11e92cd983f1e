"""Libraries that report to their makers how they are used are told not to, in each process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr import TOLD_TO_SEND_NOTHING

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a user's machine: a home folder, and none that continuous integration sets."""
    left_out = {*TOLD_TO_SEND_NOTHING, "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME", "ORT_RUNNING_UNIT_TESTS"}
    home = tmp_path / "home"
    home.mkdir()
    return {name: value for name, value in os.environ.items() if name not in left_out} | {"HOME": str(home)}


def test_reading_text_prepares_no_report_to_the_maker_of_onnx_runtime(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    image = np.zeros((256, 256), np.uint8)
    cv2.putText(image, "PA 16:12", (30, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 3)
    cv2.imwrite(str(tmp_path / "xray.png"), image)
    command = [sys.executable, "-m", "cxr", "text", "detect", str(tmp_path / "xray.png")]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert "number" in done.stdout  # a token was found
    # It writes an identifier of the machine and what it is going to send before any network is asked for.
    made = {path.name for path in Path(environment["HOME"]).rglob("*")}
    assert not {"deviceid", "onnxruntime.db", "Microsoft"} & made


@pytest.mark.parametrize("variable", TOLD_TO_SEND_NOTHING)
def test_what_the_user_has_set_holds(variable: str, environment: dict[str, str]) -> None:
    program = f"import cxr, os; print(os.environ[{variable!r}])"
    for given, expected in ({}, "1"), ({variable: "0"}, "0"):
        told = subprocess.run(
            [sys.executable, "-c", program], cwd=PROJECT, env=environment | given, capture_output=True, text=True
        )
        assert told.stdout.strip() == expected
