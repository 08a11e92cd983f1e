"""Pickers for the options of a composite, made from its registration; each option stands in the URL by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.explain.composites import Choice, InputValue, Number, Option, Whole, composite_of, option_names
from cxr.explain.composites.composite import Settings

from widgets import address, pick

LARGEST = 10_000
"""The largest whole number that a page takes: a million steps would keep it busy for a day."""


def choose(composite: str, where: DeltaGenerator) -> Settings:
    """Let the user set the options of a composite in a popover; returns all of them by name."""
    options = composite_of(composite).options
    with where:
        values, cells = {}, st.columns(2 if len(options) > 2 else 1)
        for place, (name, option) in enumerate(options.items()):
            with cells[place % len(cells)]:
                values[name] = _PICKERS[type(option)](name, option)
        st.button(
            "Defaults",
            icon=":material/restart_alt:",
            key="options:defaults",
            disabled=not changed(composite, values),
            on_click=address.forget,
            args=tuple(option_names()),
        )
    return values


def changed(composite: str, values: Settings) -> Settings:
    """Return the options that are not at their defaults."""
    return {name: value for name, value in values.items() if value != composite_of(composite).defaults[name]}


def command_words(composite: str, values: Settings) -> list[str]:
    """Return what the command line takes for options that are not at their defaults."""
    return [
        word for name, value in changed(composite, values).items() for word in ("--option", f"{name}={_text(value)}")
    ]


def _choice(name: str, option: Choice) -> str:
    words = sorted(option.words, key=lambda word: word != option.default)
    return pick.from_url(name, words, {option.default: f"{option.default} (default)"}, name, help=option.meaning)


def _number(name: str, option: Number) -> float:
    step = 10.0 ** math.floor(math.log10(option.default)) if option.default else 0.1

    def read(text: str) -> float:
        return float(option.checked(name, text))

    return _numeric(name, option, read, option.accepted, min_value=option.least, step=step, format="%g")


def _whole(name: str, option: Whole) -> int:
    def read(text: str) -> int:
        value = int(option.checked(name, int(text)))
        if value > LARGEST:
            raise ValueError(text)
        return value

    accepted = f"{option.least} to {LARGEST}"
    return int(_numeric(name, option, read, accepted, min_value=option.least, max_value=LARGEST, step=1))


def _input_value(name: str, option: InputValue) -> float | None:
    """One number for all channels; without a default the field may be left empty."""

    def read(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value

    bounds: dict[str, Any] = {"min_value": None, "step": 0.1, "format": "%g"}
    if option.default is None:
        bounds |= {"value": None, "placeholder": "by default"}
    return _numeric(name, option, read, "a number in values of the network's input", **bounds)


def _numeric(name: str, option: Option, read: Callable[[str], Any], accepted: str, **bounds: Any) -> Any:
    key = f"option:{name}"
    pick.arrive(key, name, option.default, read, accepted=accepted)
    default = "" if option.default is None else f" Default: {_text(option.default)}."
    value = st.number_input(name, key=key, help=f"{option.meaning}{default} Accepted: {accepted}.", **bounds)
    pick.leave(name, None if value is None else _text(value), _text(option.default))
    return value


def _text(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


_PICKERS: dict[type[Option], Callable[[str, Any], Any]] = {
    Choice: _choice,
    InputValue: _input_value,
    Number: _number,
    Whole: _whole,
}
