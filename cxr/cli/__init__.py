"""The command ``cxr``: everything that the dashboard does, without a browser.

Exit code 0: done; 1: failed; 2: wrong use, to which belong a name that does not exist and a value that is not accepted
(:func:`cxr.errors.wrong_use`). The reason is one line on stderr (with ``--json`` also ``{"error": ...}`` on stdout).
What a command needs is imported inside it, so that ``cxr --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cxr import __version__
from cxr.cli import app_dashboard, audits, cache, data, data_sets, explaining, models, runs, text, training, weights
from cxr.cli.evaluation import checklist, report, slices
from cxr.cli.experiments import clusters, study
from cxr.cli.output import fail
from cxr.errors import CxrError, system_error

app = typer.Typer(
    name="cxr",
    help="Chest X-ray classifiers, their LRP heatmaps, and what burned-in text does to them. Not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(print_version: bool) -> None:
    if print_version:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


app.command("demo")(data.demo)
audits.add_to(data.app)
data_sets.add_to(data.app)
app.add_typer(data.app, name="data")
app.command("train")(training.train)
app.add_typer(training.recipes, name="recipe")
app.add_typer(study.app, name="study")
app.add_typer(runs.app, name="runs")
app.command("evaluate")(models.evaluate)
app.command("slices")(slices.slices)
app.command("audit")(audits.audit_network)
app.command("compare")(models.compare)
app.command("checklist")(checklist.checklist)
app.command("report")(report.report)
app.command("explain")(explaining.explain)
app.command("composites")(explaining.composites)
app.command("heatmaps")(explaining.heatmaps)
audits.add_to_all(app)
app.command("clusters")(clusters.clusters)
app.add_typer(text.app, name="text")
app.add_typer(weights.app, name="weights")
app.add_typer(cache.app, name="cache")
app.command("dashboard")(app_dashboard.dashboard)


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app()
    except CxrError as error:
        fail(error, "--json" in sys.argv)
    except BrokenPipeError:  # `cxr runs list | head` is no failure
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # read-only, full, not permitted: nothing that a traceback would help to mend
        fail(CxrError(system_error(error)), "--json" in sys.argv)
