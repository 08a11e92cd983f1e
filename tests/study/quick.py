"""A training that needs no network: it writes rows of epochs, obeys stops and goes on, and fails where it is told to.

The recipe's description says what it does: ``slow`` takes long, ``fails`` fails, ``fails once`` only before a file
``mended`` lies beside the manifest.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from cxr.errors import RunError
from cxr.runs import RunFolder, Stopped

WORKER = """
import sys, cxr.experiments.study.job, cxr.runs.worker
from cxr.runs import local
from tests.study import quick
local.worker_command = quick.command
cxr.experiments.study.job._POLL_S = 0.05
cxr.runs.worker.KINDS["train"] = "tests.study.quick:train"
sys.exit(cxr.runs.worker.main(sys.argv[1]))
"""


def command(folder: Path) -> list[str]:
    """The worker's command, for studies whose members are quick."""
    return [sys.executable, "-c", WORKER, str(folder)]


def train(folder: RunFolder, spec: dict[str, Any], *, progress: Any) -> None:
    recipe, manifest = spec["params"]["recipe"], Path(spec["params"]["manifest"])
    how, stages = recipe["description"], recipe["stages"]
    if how == "fails" or (how == "fails once" and not (manifest.parent / "mended").exists()):
        raise RunError("the data are on a disk that is gone")
    done = len(folder.metrics()[0])
    epochs = 10_000 if how == "slow" and not (manifest.parent / "hurry").exists() else stages[-1]["epochs"]
    for epoch in range(done + 1, epochs + 1):
        if folder.stop_requested():
            raise Stopped
        row = {"kind": "epoch", "stage": stages[-1]["name"], "stage_index": len(stages) - 1, "epoch": epoch}
        value = min(0.99, 0.3 + 0.1 * epoch + 0.01 * recipe["seed"])
        folder.append_metrics([row | {"val_accuracy": value, "val_loss": 1 - value}])
        progress(epoch / (epochs + 1), f"epoch {epoch}")
        time.sleep(0.02)
    folder.write_json("results.json", {"splits": {"test": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}}})
