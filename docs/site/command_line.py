"""The reference of the command line in Markdown, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from cxr.cli import app

_HEAD = """# Command line

Every command with what it takes, as `cxr COMMAND --help` prints it. Each takes `--json` where it prints results.
The exit code is 0 when it is done, 1 when it failed, and 2 when it was called wrongly: an option that does not exist, a
value that is not accepted, or a name (of a data set, run, network, split, class ...) that does not exist. One line says
why. A file that cannot be read is a failure.
"""


def page() -> str:
    """Return the page with every command of ``cxr``, groups before their commands."""
    root = typer.main.get_command(app)
    return _HEAD + "\n" + "\n".join(_command(root, root.context_class(root, info_name="cxr"), 2))


def _command(command: Any, context: Any, level: int) -> Iterator[str]:
    """Yield the section of a command and those of the commands below it."""
    yield f"{'#' * level} {context.command_path}\n"
    yield f"{command.help or ''}\n"
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    rows = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    if rows:
        yield "| argument or option | what it means |\n|---|---|"
        yield "\n".join(f"| <code>{_cell(name)}</code> | {_cell(text)} |" for name, text in rows) + "\n"
    for name, below in getattr(command, "commands", {}).items():
        nested = below.context_class(below, info_name=name, parent=context)
        yield from _command(below, nested, 3 if context.parent else 2)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "&#124;").replace("[", "\\[").replace("<", "&lt;")
