"""Whether what a file holds is what its type says."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from cxr.training.data.masked_text import TextSummary

OF_TYPE_CHECKERS = {"TextSummary": TextSummary}
"""Names that modules import for type checkers alone."""


def misfits(value: object, hint: Any, place: str = "results") -> Iterator[str]:
    """Yield each place where a value read from JSON is not what a type says, keys that the type lacks among them."""
    if is_typeddict(hint):
        yield from _misfits_of_keys(value, hint, place)
    elif get_origin(hint) in (Union, types.UnionType):
        if all(list(misfits(value, choice, place)) for choice in get_args(hint)):
            yield f"{place}: {value!r:.80} is not {hint}"
    elif get_origin(hint) is Literal:
        if value not in get_args(hint):
            yield f"{place}: {value!r:.80} is not {hint}"
    elif get_origin(hint) in (dict, list):
        if not isinstance(value, get_origin(hint)):
            yield f"{place}: {value!r:.80} is not {hint}"
            return
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for name, entry in entries:
            yield from misfits(entry, get_args(hint)[-1], f"{place}.{name}")
    elif hint is not Any:
        accepted = (int, float) if hint is float else hint
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            yield f"{place}: {value!r:.80} is not {hint}"


def _misfits_of_keys(value: object, hint: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r:.80} is not an object"
        return
    hints = get_type_hints(hint, localns=OF_TYPE_CHECKERS, include_extras=True)
    optional = {name for name, of in hints.items() if get_origin(of) is NotRequired or not hint.__total__}
    yield from (f"{place}: {name} is missing" for name in sorted(hints.keys() - value.keys() - optional))
    yield from (
        f"{place}.{name} is not among the keys of {hint.__name__}" for name in sorted(value.keys() - hints.keys())
    )
    for name in filter(hints.__contains__, value):
        of = get_args(hints[name])[0] if get_origin(hints[name]) is NotRequired else hints[name]
        yield from misfits(value[name], of, f"{place}.{name}")
