"""What all commands that start a run share: where it works, and how it is watched from the terminal.

A followed run shows a bar with the newest numbers; Ctrl-C asks for a stop, twice kills.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from cxr.cli.output import bar, duration, emit, note, say
from cxr.errors import RunError
from cxr.json_types import JsonObject
from cxr.runs import ENDED, Run, Slurm, Status
from cxr.runs.metrics.metrics_file import MetricsRow
from cxr.runs.spec import Spec

_POLL_S = 0.3
_SHOWN = ("loss", "val_loss", "val_accuracy", "val_auc")


def _parse(text: str) -> Slurm:
    try:
        return Slurm.parse(text)
    except RunError as error:
        raise typer.BadParameter(str(error)) from error


SlurmOption = Annotated[
    Slurm | None,
    typer.Option(
        "--slurm",
        parser=_parse,
        metavar="KEY=VALUE,...",
        help="Submit it to a cluster: partition=gpu,time=120,gpus=1,cpus=4,mem=16,account=... and other options of "
        "sbatch. Time in minutes, gpus and mem (GiB) for each node, cpus for each process. See docs/cluster.md.",
    ),
]
"""Options of sbatch for the run; None for this machine."""

ShardsOption = Annotated[
    int,
    typer.Option(
        "--shards",
        min=1,
        help="Cut the X-rays into so many slices, a process for each, on a GPU each or as many at once as there are "
        "cores. What is done is kept slice by slice.",
    ),
]
"""In how many slices a run works."""

Detach = Annotated[bool, typer.Option("--detach", help="Return at once and leave it running.")]


def follow(run: Run) -> Status:
    """Show the progress of ``run`` on stderr until it is over, and return its status."""
    stopping = False
    with bar(f"{run.kind} {run.id}") as move:
        reader, numbers = run.folder.metrics_reader(), ""
        while True:
            try:
                status = run.status()
                numbers = _numbers(reader.read()) or numbers
                move(status["progress"] or 0.0, " ".join(filter(None, [status["state"], status["message"], numbers])))
                if status["state"] in ENDED:
                    return status
                time.sleep(_POLL_S)
            except KeyboardInterrupt:
                _interrupt(run, stopping)
                stopping = True


def follow_or_leave(run: Run, detach: bool, as_json: bool, show_finished: Callable[[Run], None] | None = None) -> None:
    """Follow ``run`` to its end, or just tell its id; a run that failed is an error.

    ``show_finished`` prints a run that finished, in place of what is printed of every run.
    """
    status = end_of(run, detach, as_json)
    if status is not None and show_finished is not None and status["state"] == "finished":
        show_finished(run)
    elif status is not None:
        emit(describe(run), as_json, lambda _: _show_end(run, status))


def end_of(run: Run, detach: bool, as_json: bool) -> Status | None:
    """Follow ``run`` to its end and return its status; if it is to be left, tell its id and return None.

    Raises
    ------
    RunError
        If it fails.
    """
    if detach:
        emit(describe(run), as_json, lambda _: say(f"{run.id} started; `cxr runs show {run.id}` shows its progress"))
        return None
    status = follow(run)
    if status["state"] == "failed":
        raise RunError(f"run {run.id} failed: {status['error']}")
    return status


class RunDescription(Spec):
    """What ``--json`` tells of a run: its spec, and how it stands."""

    folder: str
    status: Status
    results: JsonObject | None


def describe(run: Run) -> RunDescription:
    """Return what ``--json`` tells of a run: spec, status, folder and results."""
    return {**run.spec, "folder": str(run.folder.path), "status": run.status(), "results": run.results()}


def _show_end(run: Run, status: Status) -> None:
    took = duration((status["ended"] or time.time()) - (status["started"] or run.spec["created"]))
    say(f"{run.id} {status['state']} after {took}")
    if status["state"] == "stopped":
        say(f"`cxr runs resume {run.id}` continues it")
        return
    from cxr.cli.results import show_results

    show_results(run.results())


def _interrupt(run: Run, stopping: bool) -> None:
    try:
        if stopping:
            run.kill()
        else:
            run.stop()
            note("stopping after the current step; press Ctrl-C again to kill it")
    except RunError as error:  # it came to its end in the meantime
        note(str(error))


def _numbers(rows: Sequence[MetricsRow]) -> str:
    if not rows:
        return ""
    numbers = {key: value for row in rows for key, value in row.items()}
    shown = [
        f"{key} {numbers[key]:.4g}"
        for key in ("loss", "val_loss", "val_accuracy", "val_auc")
        if _is_number(numbers.get(key))
    ]
    return ", ".join(shown)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
