"""Runs are submitted to Slurm; what sbatch refuses is an error of one line."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr.errors import RunError
from cxr.json_types import JsonObject
from cxr.runs.folder import RunFolder
from cxr.runs.kinds import kind_of
from cxr.runs.slurm.client import need_slurm, one_line, partitions
from cxr.runs.slurm.settings import Slurm

SUBMITTING = "submitting to Slurm"
SUBMITTING_S = 120.0  # how long sbatch may take to answer


def prepared(slurm: Slurm, kind: str, params: Mapping[str, Any]) -> JsonObject:
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


def submit(folder: RunFolder, restarts: bool, after: str = "") -> str:
    """Submit the run in ``folder`` and return the number of its job; ``restarts`` if it
    restarts from the beginning when queued again. With ``after`` it waits until that job or array is over.

    Raises
    ------
    RunError
        If there is no Slurm here or sbatch refuses; the text quotes it.
    """
    need_slurm()
    from cxr.runs.slurm.job import submit as submit_task

    spec = folder.spec
    slurm = Slurm.of(spec["slurm"])
    with _refusal_in_one_line(slurm):
        job = submit_task(folder, slurm, slurm.tasks(kind_of(spec["kind"]), spec["params"]), restarts, after)
    folder.update_status(job=job)
    return job


def submit_array(
    folders: Sequence[RunFolder],
    slurm: Slurm,
    home: Path,
    name: str,
    *,
    tasks: int = 1,
    restarts: bool = True,
    at_once: int = 0,
) -> list[str]:
    """Submit runs as one job array, note each one's job in its status, and return their numbers.

    Arguments as for :func:`cxr.runs.slurm.arrays.submit_array`.

    Raises
    ------
    RunError
        If there is no Slurm here or sbatch refuses; the text quotes it.
    """
    need_slurm()
    from cxr.runs.slurm.arrays import submit_array as submit_tasks

    for folder in folders:
        folder.update_status(job="", message=SUBMITTING, submitting=True)
    with _refusal_in_one_line(slurm):
        jobs = submit_tasks(folders, slurm, home, name, tasks=tasks, restarts=restarts, at_once=at_once)
    for folder, job in zip(folders, jobs, strict=True):
        folder.update_status(job=job)
    return jobs


@contextlib.contextmanager
def _refusal_in_one_line(slurm: Slurm) -> Iterator[None]:
    try:
        yield
    except subprocess.CalledProcessError as error:
        raise RunError(_refusal(slurm, str(error.stderr or error.output or error))) from error


def _refusal(slurm: Slurm, output: str) -> str:
    text = f"Slurm refused the run: {one_line(output)}"
    known = partitions()
    if known:
        text += f". Partitions: {', '.join(f'{item.name} (up to {item.limit})' for item in known)}"
    return f"{text} (requested: {slurm.option()})"
