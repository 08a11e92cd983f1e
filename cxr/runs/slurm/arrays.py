"""Several runs as one job array of Slurm, one element each: the shards of a run, or the members of a study.

Slurm queues, starts, ends and queues again each element as a job of its own, called ``<array>_<index>``; to the status,
a stop and a kill it is a job like any other.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit.core.core import Job
from submitit.core.utils import DelayedSubmission, JobPaths
from submitit.slurm.slurm import SlurmJob

from cxr.runs.folder import RunFolder
from cxr.runs.slurm.client import FOLDER
from cxr.runs.slurm.job import Executor, parameters, refusal_of_sbatch, task_of
from cxr.runs.slurm.settings import Slurm


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
    """Submit runs as one job array and return the number of each one's job, such as ``["17_0", "17_1"]``.

    A single run becomes a plain job. The statuses of the runs are left to the caller.

    Parameters
    ----------
    slurm
        What each element asks for.
    home
        The folder of the run or study that they belong to; the array's script and pickles go below it.
    name
        What the array is called in Slurm's lists.
    tasks
        Processes of each element.
    restarts
        Whether a run restarts from the beginning when it is queued again.
    at_once
        How many elements may run at the same time; 0 leaves it to the cluster.

    Raises
    ------
    subprocess.CalledProcessError
        If sbatch refuses; it holds what sbatch said.
    """
    executor = _ArrayExecutor(home.resolve() / FOLDER, max_num_timeout=slurm.requeues + 1)
    executor.update_parameters(**parameters(slurm, tasks, name), array_parallelism=at_once or len(folders))
    with refusal_of_sbatch():
        jobs = executor.submit_array([task_of(folder.path.resolve(), slurm, restarts) for folder in folders])
    return [str(job.job_id) for job in jobs]


class _ArrayExecutor(Executor):
    """submitit's executor for arrays, which would otherwise submit them by an executor that is not ours."""

    def _internal_process_submissions(self, delayed_submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(delayed_submissions)
        folder = JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        pickles = [folder / f"{uuid.uuid4().hex}.pkl" for _ in delayed_submissions]
        for submission, path in zip(delayed_submissions, pickles, strict=True):
            submission.set_timeout(self.parameters["time"], self.max_num_timeout)
            submission.dump(path)
        self.parameters["map_count"] = len(pickles)
        first: Job[Any] = self._submit_command(self._submitit_command_str)
        tasks = list(range(first.num_tasks))
        jobs: list[Job[Any]] = [SlurmJob(self.folder, f"{first.job_id}_{k}", tasks) for k in range(len(pickles))]
        for job, path in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(path, "submitted_pickle")
        return jobs
