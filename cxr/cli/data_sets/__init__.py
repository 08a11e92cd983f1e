"""``cxr data guess``, ``delete`` and ``export``, and what a dry run prints."""

from __future__ import annotations

import typer

from cxr.cli.data_sets.guess import guess
from cxr.cli.data_sets.keeping import delete, export

__all__ = ["add_to"]


def add_to(data: typer.Typer) -> None:
    """Add the commands to ``cxr data``."""
    data.command("guess")(guess)
    data.command("delete")(delete)
    data.command("export")(export)
