"""``cxr study``: several recipes x several seeds, and what they say about each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer
from typer.core import TyperGroup

from cxr.cli.follow import Detach, SlurmOption, follow_or_leave
from cxr.cli.output import Json, emit, percent, say, show_table, stdout
from cxr.runs import Run, get_run, list_runs


class _RunsAFile(TyperGroup):
    """Lets ``cxr study STUDY.yaml`` mean ``cxr study run STUDY.yaml``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


app = typer.Typer(
    cls=_RunsAFile,
    help="Compare recipes over seeds: `cxr study STUDY.yaml --data D`. `cxr study show claim` prints an example.",
    no_args_is_help=True,
)
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A YAML file, or an example: claim.")]
StudyId = Annotated[str, typer.Argument(metavar="ID", help="A study's id, see `cxr study list`.")]


def _example(print_example: bool) -> None:
    if print_example:
        from cxr.experiments.study import EXAMPLES

        stdout().print(EXAMPLES["claim"], markup=False, end="")
        raise typer.Exit


@app.callback()
def _root(
    example: Annotated[
        bool, typer.Option("--example", callback=_example, is_eager=True, help="Print a study to start from.")
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


@app.command()
def run(
    study: StudyName,
    data: Annotated[
        str | None, typer.Option(help=("A data set's name or a manifest; by default the one in the study."))
    ] = None,
    slurm: SlurmOption = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Check all trainings of a study, then run them. Ctrl-C stops the study; running trainings save a checkpoint.

    With --slurm all trainings are submitted as one job array; at-once=4 lets four of them run at a time.
    """
    from cxr.experiments.study import load_plan, start_study

    follow_or_leave(start_study(load_plan(study), data, where=slurm), detach, as_json)


@app.command()
def show(study: StudyName, as_json: Json = False) -> None:
    """Print a study as YAML, as a start for your own."""
    from cxr.experiments.study import EXAMPLES, load_plan

    plan = load_plan(study)
    text = EXAMPLES.get(study) or plan.to_yaml()
    emit(plan.to_dict(), as_json, lambda _: stdout().print(text, markup=False, end=""))


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the studies, newest first."""
    rows = [_summary(study) for study in list_runs(kind="study")]
    emit(rows, as_json, lambda _: _show_list(rows))


@app.command()
def report(
    study: StudyId,
    out: Annotated[
        Path | None, typer.Option(help="File to write: .html, .md or .csv; .svg, .png or .pdf for the figures.")
    ] = None,
    first: Annotated[
        list[int] | None,
        typer.Option(min=1, help=("Number of first epochs that count as the beginning; may be repeated.")),
    ] = None,
    accuracy: Annotated[list[float] | None, typer.Option(help="Level of the metric to reach; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Show a study's results so far: tables, differences with intervals, and the claim."""
    from cxr.experiments.study.comparison import report as report_of

    comparison = report_of(get_run(study), first_epochs=first or (), accuracy=accuracy or ())
    if out is None:
        emit(comparison.to_dict(), as_json, lambda _: _show(comparison))
        return
    from cxr.reports.study import write

    files = [str(path) for path in write(comparison, out.expanduser())]
    emit({"files": files}, as_json, lambda _: say("\n".join(files)))


@app.command()
def stop(
    study: StudyId,
    kill: Annotated[bool, typer.Option(help="Kill all at once; work since the last checkpoints is lost.")] = False,
    as_json: Json = False,
) -> None:
    """Stop a study and its trainings, even if the study's own process has died."""
    from cxr.experiments.study import members, stop_study

    chosen = get_run(study)
    stop_study(chosen, kill=kill)
    for run in [chosen, *(member.run for member in members(chosen) if member.run is not None)]:
        run.wait()
    emit(_summary(chosen), as_json, lambda row: say(f"{chosen.id} {row['state']}"))


class StudyRow(TypedDict):
    """What lists tell of a study; ``trainings``, ``finished`` and ``failed`` are numbers of its trainings."""

    id: str
    name: str
    state: str
    progress: float
    trainings: int
    finished: int
    failed: int
    message: str


def _summary(study: Run) -> StudyRow:
    from cxr.experiments.study import members

    states = [member.state for member in members(study)]
    status = study.status()
    return {
        "id": study.id,
        "name": study.name,
        "state": status["state"],
        "progress": status["progress"],
        "trainings": len(states),
        "finished": states.count("finished"),
        "failed": states.count("failed"),
        "message": status["error"] or status["message"],
    }


def _show_list(rows: list[StudyRow]) -> None:
    if not rows:
        say("no studies yet; `cxr study show claim > study.yaml` and then `cxr study study.yaml --data D`")
        return
    cells = [
        [r["id"], r["state"], percent(r["progress"]), f"{r['finished']} of {r['trainings']}", r["failed"], r["message"]]
        for r in rows
    ]
    show_table("", ["study", "state", "progress", "finished", "failed", "message"], cells)


def _show(comparison: Any) -> None:
    from cxr.reports.study import measure_tables

    for measure in comparison.measures:
        title = measure.title
        for _, columns, rows in measure_tables(comparison, measure):
            show_table(title, columns, rows)
            title = ""
    for sentence in (*comparison.sentences, "", *comparison.notes):
        say(sentence)
