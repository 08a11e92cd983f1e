"""A run is submitted to Slurm; what sbatch refuses is told in one line."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

from cxr.errors import RunError
from cxr.runs.folder import RunFolder
from cxr.runs.kinds import kind_of
from cxr.runs.slurm.client import need_slurm, one_line, partitions
from cxr.runs.slurm.settings import Slurm

SUBMITTING = "submitting to Slurm"
SUBMITTING_S = 120.0  # how long sbatch may take to answer


def prepared(slurm: Slurm, kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored parameters with their number of devices set to that of the job's processes.

    Raises
    ------
    RunError
        If there is no Slurm here, or the settings and the parameters do not fit (see :meth:`Slurm.tasks`).
    """
    need_slurm()
    if kind_of(kind).members:  # the settings are those of its members
        return dict(params)
    tasks = slurm.tasks(kind_of(kind), params)
    return kind_of(kind).with_devices(params, tasks) if tasks > 1 else dict(params)


def submit(folder: RunFolder, restarts: bool) -> str:
    """Submit the run in ``folder`` and return the number of its job; ``restarts`` if it
    restarts from the beginning when queued again.

    Raises
    ------
    RunError
        If there is no Slurm here or sbatch refuses; the text quotes it.
    """
    need_slurm()
    from cxr.runs.slurm.job import submit as submit_task

    spec = folder.spec
    slurm = Slurm.of(spec["slurm"])
    try:
        job = submit_task(folder, slurm, slurm.tasks(kind_of(spec["kind"]), spec["params"]), restarts)
    except subprocess.CalledProcessError as error:
        raise RunError(_refusal(slurm, str(error.stderr or error.output or error))) from error
    folder.update_status(job=job)
    return job


def _refusal(slurm: Slurm, told: str) -> str:
    text = f"Slurm refused the run: {one_line(told)}"
    known = partitions()
    if known:
        text += f". Partitions: {', '.join(f'{item.name} (up to {item.limit})' for item in known)}"
    return f"{text} (asked for {slurm.option()})"
