"""What is wrong with plain values that do not fit a pydantic model, in one line for people.

``stages.0.optimiser.lr: 0 is not allowed. Allowed: above 0, at most 100``
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_NO_KEYS = ("function-", "literal[", "dict[", "[key]")  # what pydantic adds to a path
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true, false",
    "string": "text",
    "list": "a list",
    "dict": "keys and values",
    "model": "keys and values",
    "finite": "a finite number",
}


def why_not_yaml(error: yaml.YAMLError) -> str:
    """Return what is wrong with a text of YAML and where, in one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or not problem:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def one_line(error: ValidationError, root: type[BaseModel], forms: Mapping[str, str] | None = None) -> str:
    """Return the first error (unknown keys first, since they may be the cause of others): key, value, what is allowed.

    Parameters
    ----------
    root
        The model that was to be made, from which known keys and ranges are read.
    forms
        What is allowed for keys whose type does not say it, by the key's name.
    """
    first, *others = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    more = f" (and {len(others)} more)" if others else ""
    return _described(first, root, forms or {}) + more


def _described(error: Any, root: type[BaseModel], forms: Mapping[str, str]) -> str:
    keys = [key for key in error["loc"] if isinstance(key, int) or not key.startswith(_NO_KEYS)]
    path = ".".join(map(str, keys))
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key ({_suggestion(keys, root)})"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{path}: {message}" if path else message
    if error["type"] == "missing":
        return f"{path}: missing, it is needed"
    value = error["input"] if isinstance(error["input"], str | int | float | None) else type(error["input"]).__name__
    return f"{path}: {value!r} is not allowed. Allowed: {_allowed(error, keys, root, forms) or message}"


def _allowed(error: Any, keys: Sequence[Any], root: type[BaseModel], forms: Mapping[str, str]) -> str:
    """Return what a key may hold, from the kind of error and the field's own limits; empty if they do not say."""
    kind, context = error["type"], error.get("ctx", {})
    union = any(isinstance(key, str) and key.startswith(("literal[", "dict[")) for key in error["loc"])
    if union or kind == "string_pattern_mismatch":
        form = next((forms[key] for key in reversed(keys) if key in forms), "")
        if form:
            return form
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "").replace(" or ", ", ")
    if kind == "too_short":
        return f"a list of {context['min_length']} or more"
    if kind.startswith(("greater_than", "less_than")):
        return _range_of(keys, root)
    return _TYPES.get(kind.partition("_")[0], "")


def _range_of(keys: Sequence[Any], root: type[BaseModel]) -> str:
    """Return the range of a field in words, such as ``32 to 1024`` or ``above 0, at most 100``."""
    field = _fields_at(keys[:-1], root).get(keys[-1])
    names = ("Ge", "Gt", "Le", "Lt")
    limits = {n: getattr(m, n.lower()) for m in getattr(field, "metadata", []) for n in names if type(m).__name__ == n}
    if "Ge" in limits and "Le" in limits:
        return f"{limits['Ge']} to {limits['Le']}"
    words = {"Ge": "at least", "Gt": "above", "Le": "at most", "Lt": "below"}
    return ", ".join(f"{words[name]} {limits[name]}" for name in words if name in limits)


def _suggestion(keys: Sequence[Any], root: type[BaseModel]) -> str:
    key_names = list(_fields_at(keys[:-1], root))
    close = difflib.get_close_matches(str(keys[-1]), key_names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(key_names)}"


def _fields_at(keys: Sequence[Any], root: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields, by the names that users write, of the part that a path of keys leads to."""
    part = root
    for key in keys:
        field = _keys_of(part).get(key)
        part = (field and _part_in(field.annotation)) or part
    return _keys_of(part)


def _keys_of(part: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in part.model_fields.items()}


def _part_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, list, Union, UnionType):
        return next((part for inner in get_args(annotation) if (part := _part_in(inner))), None)
    return None
