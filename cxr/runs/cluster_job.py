"""The job of a run under the name by which an older version pickled it, for jobs that wait in Slurm's queue."""

from cxr.runs.slurm.job import Task

__all__ = ["Task"]
