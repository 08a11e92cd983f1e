"""An evaluation that lasts until a file ``hurry`` lies beside the manifest, and that obeys stops."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from cxr.evaluation import job
from cxr.evaluation.settings import EvaluationParams
from cxr.runs import RunFolder, Stopped

WORKER = """
import sys, cxr.runs.worker
from dataclasses import replace
from cxr.runs import kinds, local
from tests.audits import slow_evaluation
local.worker_command = slow_evaluation.command
kinds.KINDS["evaluate"] = replace(kinds.KINDS["evaluate"], job="tests.audits.slow_evaluation:evaluate")
sys.exit(cxr.runs.worker.main(sys.argv[1]))
"""


def command(folder: Path) -> list[str]:
    """The worker's command, for audits whose evaluations are slow."""
    return [sys.executable, "-c", WORKER, str(folder)]


def evaluate(folder: RunFolder, params: EvaluationParams, *, progress: Any) -> None:
    """Wait, then measure."""
    progress(0.1, "waiting")
    while not (params.manifest.parent / "hurry").exists():
        if folder.stop_requested():
            raise Stopped
        time.sleep(0.05)
    job.evaluate(folder, params, progress=progress)
