"""Runs: everything long happens in a process of its own that writes one folder, which any number of readers watch."""

from cxr.runs.folder import RunFolder, Stopped
from cxr.runs.kinds import KINDS, Kind, Params
from cxr.runs.metrics.metrics_file import MetricsReader
from cxr.runs.queue import DeviceQueue
from cxr.runs.run import Run, get_run, list_runs, members_of
from cxr.runs.slurm.settings import Slurm
from cxr.runs.spec import is_run_id, mark_of, new_run_id, told_apart
from cxr.runs.starting import start
from cxr.runs.status import ACTIVE, ENDED, Status

__all__ = [
    "ACTIVE",
    "ENDED",
    "KINDS",
    "DeviceQueue",
    "Kind",
    "MetricsReader",
    "Params",
    "Run",
    "RunFolder",
    "Slurm",
    "Status",
    "Stopped",
    "get_run",
    "is_run_id",
    "list_runs",
    "mark_of",
    "members_of",
    "new_run_id",
    "start",
    "told_apart",
]
