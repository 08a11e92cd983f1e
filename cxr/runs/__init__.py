"""Runs: everything long happens in a process of its own that writes one folder, which any number of readers watch."""

from cxr.runs.cluster import Slurm
from cxr.runs.folder import ACTIVE, ENDED, MetricsReader, RunFolder, Stopped, is_run_id, new_run_id
from cxr.runs.queue import DeviceQueue
from cxr.runs.run import KINDS, Run, get_run, list_runs, start

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
