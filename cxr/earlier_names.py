"""Parameters that have another name now: calls by the earlier name keep working."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
