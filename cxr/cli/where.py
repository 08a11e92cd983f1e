"""Where the run of a command works: the options ``--slurm`` and ``--detach``, one of each for all commands."""

from __future__ import annotations

from typing import Annotated

import typer

from cxr.errors import RunError
from cxr.runs import Slurm


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

Detach = Annotated[bool, typer.Option("--detach", help="Return at once, leave it running.")]
