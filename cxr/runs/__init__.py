"""Runs: everything long happens in a process of its own that writes one folder, which any number of readers watch."""

from cxr.runs.folder import ACTIVE, ENDED, RunFolder, Stopped, is_run_id, new_run_id
from cxr.runs.metrics import MetricsReader
from cxr.runs.queue import DeviceQueue
from cxr.runs.run import KINDS, Run, get_run, list_runs, start
from cxr.runs.slurm.settings import Slurm

__all__ = [
    "ACTIVE",
    "ENDED",
    "KINDS",
    "DeviceQueue",
    "MetricsReader",
    "Run",
    "RunFolder",
    "Slurm",
    "Stopped",
    "get_run",
    "is_run_id",
    "list_runs",
    "new_run_id",
    "start",
]
