"""The Python calls of a command, made from its words as the command line reads them.

A command that starts a run is followed up to :func:`cxr.runs.start`, which is told to start nothing: the call has the
parameters that the command would give. For the others :mod:`cxr.cli.python_calls.templates` has the lines.
"""

from __future__ import annotations

import pprint
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cxr.cli.python_calls.templates import TEMPLATES, Values
from cxr.errors import CxrError
from cxr.runs.kinds import kind_of
from cxr.runs.starting import Call, NotStarted, nothing_started

if TYPE_CHECKING:
    from cxr.data import Manifest

_WIDTH = 100
_Unreadable: type[Exception] = typer.BadParameter.__bases__[
    0
]  # wrong use of any kind; typer gives it no name of its own
_BY_ITSELF = {("demo",), ("data", "import")}  # they work here unless they are told to leave a run behind
_START_A_RUN = {
    *_BY_ITSELF,
    ("evaluate",),
    ("audit",),
    ("explain",),
    ("clusters",),
    ("relevance",),
    *(("text", name) for name in ("experiment", "stamp", "vocabulary")),
    *(("data", name) for name in ("audit", "check", "probe", "duplicates")),
}


def python_call(words: Sequence[object], *, read: Callable[[str], Manifest] | None = None) -> str:
    """Return Python lines that do the same as a command; "" where it cannot be read, as with a name still to fill in.

    Nothing is started or written. The data set and the network that the command names are looked up.

    Parameters
    ----------
    words
        The command, with ``cxr`` as the first word.
    read
        Reads the manifest of a data set, by its path. By default its file is read.
    """
    try:
        path, values, context = _read([str(word) for word in words[1:]], read)
        template = TEMPLATES.get(path)
        lines = template(values) if template else []
        if lines:
            return "\n".join(lines)
        return _of_run(_asked(context)) if path in _START_A_RUN else ""
    except (CxrError, _Unreadable, typer.Exit, typer.Abort, OSError):
        return ""


@cache
def _command() -> Any:
    from cxr.cli import app

    return typer.main.get_command(app)


def _read(words: list[str], read: Callable[[str], Manifest] | None) -> tuple[tuple[str, ...], Values, Any]:
    """Return the command's path, the values of its parameters, and its context."""
    command, path = _command(), []
    context = command.context_class(command, info_name="cxr")
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, words)
        path.append(name)
        if hasattr(command, "commands"):
            context = command.context_class(command, info_name=name, parent=context)
    if tuple(path) in _BY_ITSELF:
        words = [*words, "--detach"]
    context = command.make_context(path[-1], list(words), parent=context)
    return tuple(path), Values(context.params, read), context


def _asked(context: Any) -> Call:
    """Return what a command that starts a run asks for."""
    with nothing_started():
        try:
            context.command.invoke(context)
        except NotStarted as asked:
            return asked.call
    raise CxrError("the command starts no run")


def _of_run(call: Call) -> str:
    """Return the call that starts a run and waits for it, without what is the default."""
    given = pprint.pformat(_short(call), width=_WIDTH, sort_dicts=False)
    inner = given.replace("\n", "\n    ")
    more = [f"    name={call.name!r},"] if call.name else []
    more += [f"    where=cxr.runs.Slurm.parse({call.where.option()!r}),"] if call.where is not None else []
    more += [f"    shards={call.shards},"] if call.shards > 1 else []
    lines = ["import cxr", "", "run = cxr.runs.start(", f"    {call.kind!r},", f"    {inner},", *more]
    return "\n".join([*lines, "    detached=False,", ")", 'print(run.status()["message"])'])


def _short(call: Call) -> dict[str, object]:
    """Return the parameters as plain values, without those that are as they would be if nothing was said."""
    fields = kind_of(call.kind).params_model().model_fields
    values = {name: _plain(value) for name, value in call.params.items()}
    return {
        name: value
        for name, value in values.items()
        if value is not None
        and (name not in fields or value != _plain(fields[name].get_default(call_default_factory=True)))
    }


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
