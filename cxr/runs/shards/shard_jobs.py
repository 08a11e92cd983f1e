"""The shards of a run on a cluster: elements of one job array, and the run's own job, which merges after them."""

from __future__ import annotations

import contextlib

from cxr.errors import RunError
from cxr.runs.folder import RunFolder
from cxr.runs.kinds import kind_of
from cxr.runs.shards.folders import shards_of
from cxr.runs.shards.processes import prepare
from cxr.runs.slurm import client
from cxr.runs.slurm.settings import Slurm
from cxr.runs.slurm.submit import submit, submit_array


def submit_shards(run: RunFolder) -> None:
    """Submit those shards of a run that are not done as a job array, and the run itself to begin once they are over.

    Raises
    ------
    RunError
        If Slurm refuses; nothing is left in its queue then.
    """
    cancel(run)  # what may be left of an earlier turn
    spec = run.spec
    slurm, restarts = Slurm.of(spec["slurm"]), not kind_of(spec["kind"]).resumes
    missing = [shard for shard in shards_of(run) if shard.read_status().state != "finished"]
    for shard in missing:
        prepare(shard)
    try:
        jobs = submit_array(missing, slurm, run.path, spec["name"], restarts=restarts, at_once=slurm.at_once)
        submit(run, restarts, after=client.array_of(jobs[0]) if jobs else "")
    except RunError:
        cancel(run)
        raise


def cancel(run: RunFolder) -> None:
    """End the jobs of a run's shards at once, whether they wait or work; what their statuses say is corrected later."""
    for array in _arrays(run):
        with contextlib.suppress(RunError):  # over already
            client.cancel(array)


def cancel_waiting(run: RunFolder) -> None:
    """Take the shards of a run that wait out of Slurm's queue; those that work see that their run is to stop."""
    for array in _arrays(run):
        with contextlib.suppress(RunError):  # over already
            client.cancel_waiting_elements(array)


def _arrays(run: RunFolder) -> list[str]:
    """Return the arrays, or single jobs, that shards which are not over were submitted in."""
    statuses = [shard.read_status() for shard in shards_of(run) if shard.path.is_dir()]
    return sorted({client.array_of(status.job) for status in statuses if status.active and status.job})
