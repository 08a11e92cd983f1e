"""Commands that say what could fool a network."""

from __future__ import annotations

import typer

from cxr.cli.audits.appearance import check
from cxr.cli.audits.data_audit import audit, report
from cxr.cli.audits.duplicates import duplicates


def add_to(data: typer.Typer) -> None:
    """Add the commands on data sets to ``cxr data``."""
    data.command("duplicates")(duplicates)
    data.command("audit")(audit)
    data.command("report")(report)
    data.command("check")(check)
