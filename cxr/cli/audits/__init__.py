"""Commands that say what could fool a network."""

from __future__ import annotations

import typer

from cxr.cli.audits.appearance import check
from cxr.cli.audits.data_audit import audit, report
from cxr.cli.audits.duplicates import duplicates
from cxr.cli.audits.network_audit import audit as audit_network
from cxr.cli.audits.openings import lock, openings, unlock
from cxr.cli.audits.probes import probe
from cxr.cli.audits.relevance import relevance

__all__ = ["add_to", "audit_network"]


def add_to(data: typer.Typer) -> None:
    """Add the commands on data sets to ``cxr data``."""
    data.command("duplicates")(duplicates)
    data.command("check")(check)
    data.command("audit")(audit)
    data.command("probe")(probe)
    data.command("report")(report)
    data.command("openings")(openings)
    data.command("lock")(lock)
    data.command("unlock")(unlock)


def add_to_all(app: typer.Typer) -> None:
    """Add the commands on networks to ``cxr``."""
    app.command("relevance")(relevance)
