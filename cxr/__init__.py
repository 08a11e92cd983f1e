"""Chest X-ray classifiers, their heatmaps, and what burned-in text does to them."""

import importlib
import os
from types import ModuleType

# GNU OpenMP, which torch brings along, lets waiting threads spin for long. Beside another busy process (a second
# training, text detection) that slows a training many times over; this many spins cost nothing when it is alone.
# It is read when torch is first imported, so it must stand here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Some libraries report to their makers how they are used, ONNX Runtime's wheel the names and the hashes of models too.
# This tool works in hospitals: it sends nothing. Each reads its variable when it is first imported or used.
TOLD_TO_SEND_NOTHING = (
    "ORT_DISABLE_TELEMETRY",
    "MLFLOW_DISABLE_TELEMETRY",
    "HF_HUB_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
)
for _variable in TOLD_TO_SEND_NOTHING:
    os.environ.setdefault(_variable, "1")

__version__ = "0.1.0"

_PARTS = (
    *("data", "evaluation", "experiments", "explain", "models", "networks", "reports", "runs", "text", "training"),
    "study",  # as `cxr.experiments.study` was called
)


def __getattr__(name: str) -> ModuleType:
    """Import a part when it is first used: ``import cxr`` is quick, and ``cxr.data.Manifest`` works all the same."""
    if name in _PARTS:
        return importlib.import_module(f"cxr.{name}")
    raise AttributeError(f"module 'cxr' has no attribute {name!r}")
