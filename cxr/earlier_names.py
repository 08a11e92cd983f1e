"""Public names that are others now: calls by the earlier name keep working, or fail with the new one in the message."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of a function whose parameters were called otherwise, as ``earlier="now"``."""

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            for earlier, now in names.items():
                if earlier in kwargs:
                    kwargs[now] = kwargs.pop(earlier)
            return function(*args, **kwargs)

        return called

    return decorated


def dropped(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of a function that took further parameters by name, which decide nothing any more."""

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in names:
                kwargs.pop(name, None)
            return function(*args, **kwargs)

        return called

    return decorated


def replaced(name: str, by: str) -> Callable[..., NoReturn]:
    """Return a function in place of one that is gone: it can be imported, and a call says what does its work now."""

    def called(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError(f"{name} is gone: use {by}")

    return called
