"""Who may change things: guards that a server sets, asked before runs, data sets, text boxes or weights are changed.

Whoever runs Python or the command line may do what the file system lets them. A dashboard that several people use sets
a guard, so that one place decides, whatever a page does or forgets.
"""

from __future__ import annotations

from collections.abc import Callable

from cxr.errors import CxrError


class NotAllowedError(CxrError, PermissionError):
    """What this person may not do here; the text names who may."""


Guard = Callable[[str], None]
"""Called with what is about to be done, such as ``"start a run"``; raises :class:`NotAllowedError` to refuse it."""

_guards: list[Guard] = []


def guard_with(guard: Guard) -> None:
    """Ask this guard, too, before anything is changed in this process; a guard that is set already is set once."""
    if guard not in _guards:
        _guards.append(guard)


def ask(what: str) -> None:
    """Ask every guard whether ``what``, a verb with its object, may be done now.

    Raises
    ------
    NotAllowedError
        If a guard refuses.
    """
    for guard in _guards:
        guard(what)
