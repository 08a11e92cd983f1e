"""The command."""

from __future__ import annotations

import typer

from cxr.cli.follow import follow_or_leave
from cxr.runs import start

app = typer.Typer()


@app.command()
def brightness(data: str, by: str = "label", as_json: bool = False) -> None:
    """Measure how bright X-rays are."""
    follow_or_leave(start("brightness", {"manifest": data, "by": by}), detach=False, as_json=as_json)
