"""What is wrong with plain values that do not fit a model of pydantic, in one line for people."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true, false",
    "string": "text",
    "list": "a list",
    "dict": "keys and values",
    "model": "keys and values",
}


def one_line(error: ValidationError, root: type[BaseModel]) -> str:
    """Return the first error (unknown keys first, since they may be the cause of others): key, value, what is allowed.

    Parameters
    ----------
    root
        The model that was to be made, from which known keys and ranges are told.
    """
    first, *others = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    more = f" (and {len(others)} more)" if others else ""
    return _told(first, root) + more


def _told(error: Any, root: type[BaseModel]) -> str:
    keys = list(error["loc"])
    path, context = ".".join(map(str, keys)), error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key ({_suggestion(keys, root)})"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{path}: {message}" if path else message
    if error["type"] == "missing":
        return f"{path}: missing, it is needed"
    value = error["input"] if isinstance(error["input"], str | int | float | None) else type(error["input"]).__name__
    return f"{path}: {value!r} is not allowed. Allowed: {_allowed(error['type'], context, message)}"


def _allowed(kind: str, context: Mapping[str, Any], message: str) -> str:
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "").replace(" or ", ", ")
    if kind.startswith(("greater_than", "less_than")):
        return message.removeprefix("Input should be ")
    return _TYPES.get(kind.partition("_")[0], message)


def _suggestion(keys: Sequence[Any], root: type[BaseModel]) -> str:
    known = _keys_at(keys[:-1], root)
    close = difflib.get_close_matches(str(keys[-1]), known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"


def _keys_at(keys: Sequence[Any], root: type[BaseModel]) -> list[str]:
    """Return the keys that may stand where a path of keys leads to."""
    part = root
    for key in keys:
        found = next((f for name, f in part.model_fields.items() if key in (name, f.alias)), None)
        part = (found and _model_in(found.annotation)) or part
    return [field.alias or name for name, field in part.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, list, Union, UnionType):
        return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)
    return None
