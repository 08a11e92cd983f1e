"""How commands speak: results to stdout (tables, or one JSON value), progress and errors to stderr."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from cxr.errors import CxrError
from cxr.runs.storage import to_json

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value to stdout instead of text.")]
WithImages = Annotated[bool, typer.Option("--with-images", help="Show the X-rays themselves, not only their heatmaps.")]
WithIds = Annotated[bool, typer.Option("--with-ids", help="Call X-rays by their ids in place of running numbers.")]


def stdout() -> Console:
    """Return the console of results."""
    return Console(soft_wrap=True, highlight=False)


def stderr() -> Console:
    """Return the console of progress and errors."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def emit(value: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Print ``value`` as one JSON value, or let ``show`` print it for people."""
    if as_json:
        print(to_json(value))
    else:
        show(value)


def say(text: str) -> None:
    """Print a line to stdout, taken literally."""
    stdout().print(escape(text))


def note(text: str) -> None:
    """Print a line to stderr, taken literally."""
    stderr().print(escape(text))


class WrongUse(CxrError):
    """Options and arguments that do not go together."""

    wrong_use = True


def fail(error: Exception, as_json: bool) -> NoReturn:
    """Print an error that the user can mend in one line, and end with exit code 1, or 2 for wrong use.

    Wrong use is a name or value that is not accepted (:func:`cxr.errors.wrong_use`), wherever that was noticed.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"error: {text}", file=sys.stderr)
    if as_json:
        print(to_json({"error": text}))
    sys.exit(2 if isinstance(error, CxrError) and error.wrong_use else 1)


_NEVER_NARROWER = 10  # columns of a terminal


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers stand right, text left; the first column is never broken.

    A whole number is a count and gets its separators, ``1,680``; what is none, as a place in pixels, comes as text.
    On a terminal too narrow for that, each row becomes a few lines of its own.
    """
    rows = [list(row) for row in rows]
    table, needed = Table(header_style="bold"), 1
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        widest = max(len(line) for cell in (column, *(row[index] for row in rows)) for line in _text(cell).split("\n"))
        # A long text gives way, not the short columns beside it.
        least = widest if index == 0 else min(widest, _NEVER_NARROWER)
        needed += least + 3
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*(escape(_text(cell)) for cell in row))
    if title:
        say(title)
    console = Console(highlight=False)
    if needed <= console.width:
        console.print(table)
        return
    for row in rows:
        say(_text(row[0]))
        cells = [f"{column}: {_text(cell)}" for column, cell in zip(columns[1:], row[1:], strict=True) if _text(cell)]
        lines = textwrap.wrap(
            ", ".join(cells), max(console.width - 2, 20), break_long_words=False, break_on_hyphens=False
        )
        say(textwrap.indent("\n".join(lines), "  "))


def _is_number(cell: Any) -> bool:
    return cell.replace(",", "").isdecimal() if isinstance(cell, str) else isinstance(cell, int | float)


def _text(cell: Any) -> str:
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return "" if cell is None else str(cell)


@contextmanager
def bar(title: str) -> Iterator[Callable[[float, str], None]]:
    """Show a progress bar on stderr and give the function (fraction, text) that moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(escape(title), total=1.0)

        def move(fraction: float, text: str = "") -> None:
            progress.update(task, completed=fraction, description=escape(text or title))

        yield move


@contextmanager
def counted(title: str) -> Iterator[Callable[[int, int], None]]:
    """As :func:`bar`, for work that reports (done, total)."""
    with bar(title) as move:
        yield lambda done, total: move(done / max(total, 1), f"{title} {done:,}/{total:,}")


def assignments(values: Sequence[str] | None, option: str) -> dict[str, str]:
    """Return ``["a=b", ...]`` as a mapping; anything else is wrong use of ``option``."""
    pairs = {}
    for value in values or ():
        name, equals, meaning = value.partition("=")
        if not (name.strip() and equals):
            raise typer.BadParameter(f"{value!r} is not of the form name=value", param_hint=f"'{option}'")
        pairs[name.strip()] = meaning.strip()
    return pairs


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal."""
    return "" if value is None else f"{100 * value:.1f} %"


def duration(seconds: float | None) -> str:
    """Return seconds as ``1 h 02 min``, ``3 min 04 s`` or ``5 s``."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
