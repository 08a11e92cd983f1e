"""The address of a page: the one place that reads what a link names, and that writes what is shown.

Each page has its parameters (:data:`PARAMETERS`). An address *arrives* when a page is opened from the sidebar, by a
link, by a reload, or with Back and Forward. Every choice is then taken from it: what it names is shown or refused with
a sentence, never replaced; what it leaves out has its default. From there on the choices follow the widgets and the
address follows the choices, once per run of the page, at its end. A step of the user adds one entry to the browser's
history. Completing an address that has just arrived adds none.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cxr.errors import CxrError

from widgets.parameters import PARAMETERS

_LONGEST = 80  # letters of a value that a message repeats
_IN_FLIGHT_S = 2.0  # as long after a step the browser may still send the address from before it
_STATE, _HANDED = "address", "address:handed"


class Ended(BaseException):
    """Ends a page early, as ``st.stop`` does. After that the address could not be written, which this allows."""


class Unfinished(Ended):
    """Ends a page that could not be shown as far as it would have read its address."""


class AddressError(CxrError):
    """What an address names is not there. Carries what the user can do instead."""

    def __init__(self, text: str, param: str, instead: str = "", act: Callable[[], object] | None = None) -> None:
        super().__init__(text)
        self.param, self.instead, self.act = param, instead, act

    def press(self) -> None:
        """Do what the button says: by default, leave the parameter out."""
        if self.act is None:
            forget(self.param)
        else:
            self.act()


Query = dict[str, list[str]]


@dataclass
class _State:
    page: str
    query: Query
    """What the browser sends as the page's address."""
    pending: Query
    """What the address names and no widget has taken yet."""
    shown: Query | None = None
    """The address of what is shown; None until a run has been through."""
    completed: bool = False  # whether the browser was told to complete the address
    before: tuple[Query, ...] = ()  # what the browser may have sent as the address before the last step
    stepped: float = 0.0
    in_flight: bool = False  # whether a part of the page has just run with one of these
    declared: dict[str, str | None] = field(default_factory=dict)
    refused: Query = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    """What each widget had, also while another section is looked at."""
    open: bool = False
    notice: DeltaGenerator | None = None
    arrival: str = field(default_factory=lambda: uuid.uuid4().hex)


# --- of a run of a page --------------------------------------------------------------------------------------------


@contextmanager
def in_step(page: str) -> Iterator[None]:
    """Read the address before a page runs and write it afterwards."""
    state = _arrive(page)
    state.declared, state.open, state.notice, was_read = {}, True, None, True
    try:
        try:
            yield
        except Ended as end:
            was_read = not isinstance(end, Unfinished)
        if not state.refused:  # a page that refuses its address stops reading it there
            _tell_what_is_left(state, was_read)
        _write(state)
        st.html(_ONCE, unsafe_allow_javascript=True)
    finally:
        state.open = False


@contextmanager
def in_step_in_fragment() -> Iterator[bool]:
    """Write the address after a part of a page that runs by itself; with the whole page, which it tells, do nothing."""
    state = _state()
    if state.open:
        yield True
        return
    state.in_flight = _query() in state.before
    with contextlib.suppress(Ended):
        yield False
    _write(state)


def _arrive(page: str) -> _State:
    state: _State | None = st.session_state.get(_STATE)
    query = _query()
    handed_to, handed = st.session_state.pop(_HANDED, ("", {}))
    if handed_to == page:
        query_of_page = handed
    elif state is None or _is_new(state, page, query):
        query_of_page = query
    else:
        state.query = query if query == state.shown else state.query
        state.in_flight = False
        return state
    for key in state.keys.values() if state else ():
        st.session_state.pop(key, None)
    state = st.session_state[_STATE] = _State(page, query, {name: [*values] for name, values in query_of_page.items()})
    return state


def _is_new(state: _State, page: str, query: Query) -> bool:
    context = get_script_run_ctx()
    if state.page != page or (context is not None and context.is_history_navigation):
        return True
    in_flight = query in state.before and (state.in_flight or time.monotonic() - state.stepped < _IN_FLIGHT_S)
    return query not in (state.query, state.shown) and not in_flight


def _query() -> Query:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def _state() -> _State:
    return st.session_state[_STATE]


def _write(state: _State) -> None:
    if state.refused:  # an address that cannot be shown stays as it is
        if state.shown is None:
            state.shown = dict(state.query)
        return
    address = state.pending | {name: [value] for name, value in state.declared.items() if value is not None}
    if state.shown is not None and address != state.shown:
        state.before, state.stepped = (state.shown, state.query), time.monotonic()
        if _changes_in_place(state, address):
            _complete(state.page, state.shown, address)
            state.shown = address
            return
        state.query = address
        st.query_params.from_dict(address)
    state.shown = address
    if state.query == address or not state.open:
        return
    if not state.completed:
        _complete(state.page, state.query, address)
        state.completed = True
    else:  # the browser has it; now Streamlit's own part of the browser takes it over too, without a new entry
        state.query = address
        st.query_params.from_dict(address)


def _changes_in_place(state: _State, address: Query) -> bool:
    before, known = state.shown or {}, PARAMETERS[state.page]
    changed = [name for name in before.keys() | address.keys() if before.get(name) != address.get(name)]
    return all(name in known and known[name].in_place for name in changed)


_COMPLETE = """<script>
(() => {
  const path = location.pathname, own = new URLSearchParams(location.search), embed = new URLSearchParams();
  for (const name of ["embed", "embed_options"])
    for (const value of own.getAll(name)) embed.append(name, value);
  own.delete("embed"); own.delete("embed_options");
  if (path.split("/").pop() !== PAGE || own.toString() !== new URLSearchParams(FROM).toString()) return;
  const query = [TO, embed.toString()].filter(Boolean).join("&");
  history.replaceState(history.state, "", path + (query ? "?" + query : ""));
})();
</script>"""


_ONCE = f"<script>{Path(__file__).with_name('once.js').read_text(encoding='utf-8')}</script>"


def _complete(page: str, query: Query, address: Query) -> None:
    """Have the browser complete the address in place: Streamlit's own way would add an entry to the history."""
    script = _COMPLETE
    for word, value in (("PAGE", page), ("FROM", _encoded(query)), ("TO", _encoded(address))):
        script = script.replace(word, json.dumps(value).replace("<", "\\u003c"), 1)
    st.html(script, unsafe_allow_javascript=True)


def _encoded(query: Query) -> str:
    return urlencode(query, doseq=True)


def page() -> str:
    """Return what the address calls the page that is shown."""
    return _state().page


def arrival() -> str:
    """Return what tells the arrival of this address from every other one."""
    return _state().arrival


def notice_here() -> None:
    """Say at this place of the page what the address names and the page does not show.

    Raises
    ------
    AddressError
        For a parameter's name in the wrong case.
    """
    state = _state()
    parameters = PARAMETERS[state.page]
    for name in state.pending:
        meant = name.strip().lower()
        if name not in parameters and meant in parameters:
            text = f"The address names {_short(name)}, which this page does not know. Did you mean {meant!r}?"
            state.refused[name] = state.pending[name]
            raise AddressError(text, name, "Show the page without it")
    state.notice = st.container()


def notice_place() -> DeltaGenerator | None:
    """Return the place below the page's heading, None before there is one."""
    return _state().notice


def _tell_what_is_left(state: _State, was_read: bool) -> None:
    parameters = PARAMETERS[state.page]  # none where there is no page
    foreign = [_short(name) for name in state.pending if name not in parameters]
    unseen = [f"{parameters[n].noun} {_short(v[-1])}" for n, v in state.pending.items() if n in parameters and was_read]
    parts = [f"{', '.join(unseen)}: not part of what is shown here"] if unseen else []
    parts += [f"{', '.join(foreign)}: unknown to this page"] if foreign else []
    if parts and parameters and state.notice is not None:
        state.notice.warning(plain(f"The address also names {'; '.join(parts)}."), icon=":material/link_off:")


# --- of a parameter ------------------------------------------------------------------------------------------------


def take(param: str, key: str) -> str | None:
    """Return what the address asks of a parameter whose widget has this ``key``, None where it asks nothing.

    A value is asked until :func:`accept` or :func:`refuse` is called.

    Raises
    ------
    AddressError
        If the address names it without a value, or with several.
    """
    state = _state()
    assert param in PARAMETERS[state.page], f"{param!r} is no parameter of the page {state.page}: list it in PARAMETERS"
    state.keys[param] = key
    if key not in st.session_state and key in state.values:
        st.session_state[key] = state.values[key]
    values = state.pending.get(param) or state.refused.get(param)
    if values is None:
        return None
    noun = PARAMETERS[state.page][param].noun
    if len(set(values)) > 1:
        named = " and ".join(map(_short, dict.fromkeys(values)))
        refuse(param, f"The address names more than one {noun}: {named}. Keep one of them.")
    if not values[0]:
        refuse(param, f"The address names no {noun}: {param}= has no value.")
    return values[0]


def accept(param: str) -> None:
    """Say that what the address asks of a parameter is shown."""
    _state().pending.pop(param, None)
    _state().refused.pop(param, None)


def is_refused(param: str) -> bool:
    """Tell whether the address asks what could not be shown at the last run."""
    return param in _state().refused


def refuse(
    param: str, text: str, instead: str = "", act: Callable[[], object] | None = None, value: str = ""
) -> NoReturn:
    """Say that what the address asks of a parameter cannot be shown; ends the page with ``text`` and a button.

    The button ``instead`` does ``act``, by default it leaves the parameter out. ``value`` is what was shown until it
    was gone.
    """
    state = _state()
    values = state.pending.pop(param, None)
    if values is not None:
        state.refused[param] = values
    state.refused.setdefault(param, [value])
    raise AddressError(text, param, instead or f"Show the default {PARAMETERS[state.page][param].noun}", act)


def unknown(param: str, value: str, available: Sequence[str] = ()) -> str:
    """Return the sentence for a value that is not among those ``available``, which are listed where they are few."""
    noun = PARAMETERS[_state().page][param].noun
    text = f"The address names the {noun} {_short(value)}, which is not here."
    shown = [_short(name) for name in available[:12]]
    if not shown:
        return text
    return f"{text} Available: {', '.join(shown)}{f' and {len(available) - 12} more' if len(available) > 12 else ''}."


def say(param: str, value: str, default: str | None = None) -> None:
    """Have the address name a parameter's value, where it is not the default or is always named."""
    state = _state()
    always = PARAMETERS[state.page][param].always
    state.declared[param] = value if always or value != default else None
    key = state.keys.get(param)
    if key is not None and key in st.session_state:
        state.values[key] = st.session_state[key]


def ask(**values: str) -> None:
    """Have the next run of this page show these values, as if the address had named them; the others stay."""
    state = _state()
    state.pending |= {name: [value] for name, value in values.items()}
    for name in values:
        state.refused.pop(name, None)


def forget(*params: str) -> None:
    """Give these parameters their defaults at the next run of the page."""
    state = _state()
    for param in params:
        for held in (state.pending, state.refused, state.declared):
            held.pop(param, None)
        key = state.keys.pop(param, None)
        if key is not None:
            state.values.pop(key, None)
            st.session_state.pop(key, None)


def last(key: str) -> Any:
    """Return what the widget ``key`` had when it was last shown, None where it never was."""
    return _state().values.get(key)


def asks(param: str) -> str | None:
    """Return what the address asks of a parameter, shown or refused, without taking it."""
    values = _state().pending.get(param) or _state().refused.get(param)
    return values[-1] if values else None


def switch(page: str, **values: str) -> NoReturn:
    """Open another page with these parameters, as one step in the browser's history.

    Streamlit would write the parameters into this page's address first, which is a step of its own. So the browser
    gets the address that it has, and the other page completes its own.
    """
    state = _state()
    st.session_state[_HANDED] = (Path(page).stem, {key: [value] for key, value in values.items()})
    st.switch_page(page, query_params=state.shown or state.query)


# --- values as text ------------------------------------------------------------------------------------------------


def joined(values: Sequence[str]) -> str:
    """Return several values as one text: separated by commas, with those that hold one written as %2C."""
    return ",".join(value.replace("%", "%25").replace(",", "%2C") or "%" for value in values)


def parted(text: str) -> list[str]:
    """Return the values of a text that :func:`joined` made."""
    return ["" if part == "%" else part.replace("%2C", ",").replace("%25", "%") for part in text.split(",")]


def _short(value: str) -> str:
    return repr(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")


def plain(text: str) -> str:
    """Return text whose marks Markdown leaves as they are, outside of `code`; e-mail addresses are code, not links."""
    parts = text.replace("\n", " ").split("`")
    if len(parts) % 2 == 0:  # a lone mark
        parts = ["\\`".join(parts)]
    for place in range(0, len(parts), 2):
        parts[place] = re.sub(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", r"`\g<0>`", re.sub(r"([*\[\]$~])", r"\\\1", parts[place]))
    return "`".join(parts)
