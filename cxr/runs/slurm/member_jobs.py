"""The members of a run on a cluster: new ones and those to go on with are submitted together, as one job array."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Sequence

from cxr.errors import RunError
from cxr.runs.kinds import kind_of
from cxr.runs.run import Run
from cxr.runs.slurm.settings import Slurm
from cxr.runs.slurm.submit import submit_array

log = logging.getLogger(__name__)


def submit_members(starter: Run, new: Sequence[Run], stopped: Sequence[Run], slurm: Slurm) -> None:
    """Submit members of ``starter``; each is an element of the array and a run that is stopped and resumed alone.

    A stopped member that somebody else has just resumed is passed over. Members that need another number of processes
    make an array of their own.

    Parameters
    ----------
    new
        Members whose folders were just made (:func:`cxr.runs.starting.prepare`).
    stopped
        Stopped or failed members, which go on.
    slurm
        What each of them asks for; ``at_once`` of them run at the same time.

    Raises
    ------
    RunError
        If Slurm is not here or refuses. The folders of new members are removed, the others are as they were.
    """
    try:
        with contextlib.ExitStack() as stack:
            queued = [*new, *(run for run in stopped if _entered(stack, run, slurm))]
            for tasks, runs in _by_tasks(queued, slurm).items():
                restarts = not kind_of(runs[0].kind).resumes
                folders = [run.folder for run in runs]
                at_once = min(slurm.at_once, len(runs))
                submit_array(
                    folders, slurm, starter.folder.path, starter.name, tasks=tasks, restarts=restarts, at_once=at_once
                )
    except RunError:
        for run in new:
            if not run.status().job:
                shutil.rmtree(run.folder.path, ignore_errors=True)
        raise


def _entered(stack: contextlib.ExitStack, run: Run, slurm: Slurm) -> bool:
    try:
        stack.enter_context(run.queued_again(slurm))
    except RunError:
        if not run.active:
            raise
        log.info("%s was resumed by somebody else", run.id)
        return False
    return True


def _by_tasks(runs: Sequence[Run], slurm: Slurm) -> dict[int, list[Run]]:
    """Return the runs by the number of processes that each needs: all elements of an array have the same."""
    by_tasks: dict[int, list[Run]] = {}
    for run in runs:
        by_tasks.setdefault(slurm.tasks(kind_of(run.kind), run.spec["params"]), []).append(run)
    return by_tasks
