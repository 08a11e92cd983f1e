"""``cxr runs``: list, show, queue, move, stop, resume, delete, log, export."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypedDict

import typer

from cxr.cli.follow import Detach, RunDescription, SlurmOption, describe, follow_or_leave
from cxr.cli.output import Json, WrongUse, duration, emit, percent, say, show_table
from cxr.runs import ENDED, DeviceQueue, Run, Status, get_run, list_runs
from cxr.runs.kinds import kind_of
from cxr.runs.queue import QueueRow

app = typer.Typer(help="See, stop, resume, queue and delete runs.", no_args_is_help=True)
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, see `cxr runs list`.")]


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help="Only runs of this kind, such as train.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="At most this many, newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List the runs, newest first."""
    if kind is not None:
        kind_of(kind)
    listed = [(run, run.status()) for run in list_runs(kind=kind)[:n]]
    rows = [_summary(run, status) for run, status in listed]
    emit(rows, as_json, lambda _: _show_list(rows))


@app.command()
def show(run: RunId, as_json: Json = False) -> None:
    """Show the state and the results of a run."""
    chosen = get_run(run)
    emit(describe(chosen), as_json, _show_run)


@app.command()
def queue(as_json: Json = False) -> None:
    """Show which run uses which device of this machine, and which runs wait, in order."""
    rows = DeviceQueue().rows()
    emit(rows, as_json, lambda _: _show_queue(rows))


@app.command()
def move(
    run: RunId,
    first: Annotated[bool, typer.Option("--first", help="To the front: next as soon as its device is free.")] = False,
    last: Annotated[bool, typer.Option("--last", help="To the end.")] = False,
    before: Annotated[str | None, typer.Option(metavar="RUN", help="In front of this waiting run.")] = None,
    as_json: Json = False,
) -> None:
    """Move a waiting run to another place in the queue."""
    if first + last + (before is not None) != 1:
        raise typer.BadParameter("give exactly one of --first, --last and --before RUN")
    moved = get_run(run)
    DeviceQueue().move(moved.id, before=None if before is None else get_run(before).id, last=last)
    rows = DeviceQueue().rows()
    emit(rows, as_json, lambda _: _show_queue(rows))


@app.command()
def stop(
    run: RunId,
    wait: Annotated[bool, typer.Option(help="Wait until it has stopped.")] = True,
    kill: Annotated[bool, typer.Option(help="Kill it at once; work since its last checkpoint is lost.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a run to save its work and stop."""
    chosen = get_run(run)
    if kill:
        chosen.kill()
    else:
        chosen.stop()
    status = chosen.wait() if wait else chosen.status()
    emit(_summary(chosen, status), as_json, lambda _: say(f"{chosen.id} {status['state']}"))


@app.command()
def resume(
    run: RunId,
    slurm: SlurmOption = None,
    here: Annotated[bool, typer.Option("--here", help="On this machine, even if it ran on a cluster before.")] = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Resume a stopped or failed run, where it ran before or elsewhere.

    Trainings, studies, audits, probes, checks, heatmaps, clusters and searches for text continue from where they
    stopped, others restart from the beginning.
    """
    if here and slurm is not None:
        raise WrongUse("--here and --slurm name two places: give one of them")
    follow_or_leave(get_run(run).resume("here" if here else slurm), detach, as_json)


@app.command()
def delete(runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids.")], as_json: Json = False) -> None:
    """Remove runs and all their files."""
    chosen = [get_run(run) for run in runs]
    for run in chosen:
        run.delete()
    emit({"deleted": runs}, as_json, lambda _: say(f"{len(runs):,} deleted"))


@app.command()
def log(
    run: RunId,
    n: Annotated[int, typer.Option("-n", "--lines", min=1, help="Number of lines.")] = 50,
    as_json: Json = False,
) -> None:
    """Print the end of a run's log."""
    lines = get_run(run).folder.log_tail(n)
    emit(lines, as_json, lambda _: say("\n".join(lines)))


@app.command()
def export(
    run: RunId,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write event files for TensorBoard into FOLDER/RUN.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Log it in MLflow: a folder, or the address of a server.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hand a run to TensorBoard or MLflow: settings, curves, figures, drawings, and to MLflow the network.

    No picture of an X-ray and no id of one goes out.
    """
    if tensorboard is None and mlflow is None:
        raise WrongUse("give --tensorboard FOLDER or --mlflow URI")
    chosen, written = get_run(run), dict[str, str]()
    if tensorboard is not None:
        from cxr.reports.exports.tensorboard import to_tensorboard

        written["tensorboard"] = str(to_tensorboard(chosen, tensorboard))
    if mlflow is not None:
        from cxr.reports.exports.mlflow import to_mlflow

        written["mlflow"] = to_mlflow(chosen, mlflow)
    emit(written, as_json, lambda _: say("\n".join(f"{name}: {place}" for name, place in written.items())))


class RunRow(TypedDict):
    """What lists tell of a run: what it is, and how it stands (:class:`cxr.runs.Status`)."""

    id: str
    kind: str
    name: str
    state: str
    progress: float
    message: str
    eta_s: float | None
    error: str | None
    started: float | None
    ended: float | None


def _summary(run: Run, status: Status) -> RunRow:
    return {
        "id": run.id,
        "kind": run.kind,
        "name": run.name,
        "state": status.state,
        "progress": status.progress,
        "message": status.message,
        "eta_s": status.eta_s,
        "error": status.error,
        "started": status.started,
        "ended": status.ended,
    }


def _show_list(rows: list[RunRow]) -> None:
    if not rows:
        say("no runs yet; `cxr demo` and then `cxr train demo --data demo` makes the first")
        return
    cells = [
        [
            row["id"],
            row["kind"],
            row["state"],
            percent(row["progress"]),
            _took(row["started"], row["ended"], row["state"]),
            row["error"] or row["message"],
        ]
        for row in rows
    ]
    show_table("", ["run", "kind", "state", "progress", "time", "message"], cells)


def _show_queue(rows: list[QueueRow]) -> None:
    if not rows:
        say("no run is using or waiting for a device of this machine")
        return
    cells = [[row["id"], row["name"], row["place"] or "runs", row["wish"], _since(row["since"])] for row in rows]
    show_table("", ["run", "name", "place", "device", "since"], cells)


def _since(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment):%m-%d %H:%M:%S}"


def _took(started: float | None, ended: float | None, state: str) -> str:
    if not started:
        return ""
    end = ended if state in ENDED else time.time()
    return duration(end - started) if end else ""


def _show_run(description: RunDescription) -> None:
    from cxr.cli.results import show_results

    status = description["status"]
    say(f"{description['id']}  {description['kind']}  {description['name']}")
    say(f"created   {datetime.fromtimestamp(description['created']):%Y-%m-%d %H:%M:%S}")
    say(f"folder    {description['folder']}")
    say(f"state     {status['state']}, {percent(status['progress'])}, {status['message']}")
    where = f"{status['host'] or 'a cluster'}, Slurm job {status['job']}" if status["job"] else ""
    for title, value in (
        ("where", where),
        ("time", _took(status.started, status.ended, status.state)),
        ("left", duration(status["eta_s"])),
        ("error", status["error"]),
    ):
        if value:
            say(f"{title:<9} {value}")
    for key in ("predictions", "manifest", "run", "model", "weights", "split", "mode"):
        if description["params"].get(key):
            say(f"{key:<9} {description['params'][key]}")
    show_results(description["results"])
