"""Pickers whose choice stands in the URL as an id, so that a page can be shared and reloaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data.library import DataSet, list_data_sets
from cxr.errors import CxrError
from cxr.networks import list_networks
from cxr.paths import runs_root
from cxr.runs import Run, get_run, is_run_id, list_runs, told_apart

from services import load
from widgets import address, page, pages

_LAST_DATA = "pick:last-data"

Sentence = Callable[[str], str]
"""Returns why an id is not offered; may itself refuse it, with a button of its own."""


def from_url(
    label: str,
    ids: Sequence[str],
    labels: Mapping[str, str],
    param: str,
    *,
    missing: Sentence | None = None,
    stays: bool | Callable[[str], bool] = False,
    resets: Sequence[str] = (),
    default: str | None = None,
    **options: Any,
) -> str:
    """Return the chosen id of ``ids``; the choice and the URL's ``param`` follow each other.

    Parameters
    ----------
    missing
        Says why an id that the URL names is not among ``ids``.
    stays
        An id that was chosen and is gone from ``ids`` is refused too, or those for which this is true; else the first
        one takes its place.
    resets
        Parameters that get their defaults when another id is chosen.
    default
        What is shown at first, the first of ``ids`` by default.

    Raises
    ------
    AddressError
        If the URL names what is not among ``ids``. The picker is then there without a choice.
    """
    labels = told_apart({i: labels.get(i, i) for i in ids} | dict(labels))  # a picker knows its choice by its label
    key = f"pick:{param}"
    value = address.take(param, key)
    current = st.session_state.get(key)
    if address.is_refused(param) and current in ids:  # chosen below the refusal
        address.accept(param)
        value = None
    elif value in ids:
        address.accept(param)
        st.session_state[key], value = value, None
    elif value is None and current is not None and current not in ids:
        value = current if (stays(current) if callable(stays) else stays) else None
    draw: dict[str, Any] = {
        "label": label,
        "options": ids,
        "format_func": lambda i: labels.get(i, i),
        "key": key,
        "on_change": address.forget,
        "args": tuple(resets),
        **options,
    }
    if value is not None:
        st.session_state[key] = None
        st.selectbox(**draw, index=None, placeholder="choose")
        text = missing(value) if missing else address.unknown(param, value, ids)
        instead = f"Show {labels.get(ids[0], ids[0])} instead" if ids else "Show the page without it"
        address.refuse(param, text, instead, value=value)
    first = ids[0] if default is None else default
    remember(key, first, ids)
    chosen = st.selectbox(**draw)
    address.say(param, chosen, ids[0])
    return chosen


def arrive(
    key: str,
    param: str,
    default: Any,
    parse: Callable[[str], Any] = str,
    allowed: Collection | None = None,
    *,
    accepted: str = "",
) -> None:
    """Give the widget ``key`` what the URL's ``param`` asks for where that is new, as :func:`remember` otherwise.

    ``parse`` turns the text into the widget's value.

    Raises
    ------
    AddressError
        If ``parse`` refuses the text (ValueError, KeyError) or its value is not ``allowed``; says what would be
        ``accepted``.
    """
    text = address.take(param, key)
    if text is not None:
        try:
            value = parse(text)
        except (ValueError, KeyError):
            value = None
        if value is None or (allowed is not None and value not in allowed):
            few = allowed if allowed is not None and all(isinstance(name, str) for name in allowed) else ()
            more = f" Accepted: {accepted}." if accepted else ""
            address.refuse(param, address.unknown(param, text, [name for name in few if name]) + more)
        address.accept(param)
        st.session_state[key] = value
    remember(key, default, allowed)


def leave(param: str, value: str | None, default: str) -> None:
    """Have the URL name a widget's value, unless it is the default (or None), which needs no naming."""
    address.say(param, default if value is None else value, default)


def arrive_some(
    key: str, param: str, options: Sequence[str], default: Sequence[str] = (), gone: Callable[[str], str] | None = None
) -> None:
    """Do as :func:`arrive` for a widget of several choices among ``options``.

    What was chosen and is no option any more is dropped without a word, unless ``gone`` says why it is not there.
    """
    text = address.take(param, key)
    if text is not None:
        values = address.parted(text)
        strangers = [value for value in values if value not in options]
        if strangers:
            if gone and (why := gone(strangers[0])):
                _refuse_gone(param, values, options, why)
            address.refuse(param, address.unknown(param, strangers[0], options))
        address.accept(param)
        st.session_state[key] = list(dict.fromkeys(values))
    st.session_state.setdefault(key, list(default))
    before = st.session_state[key]
    remember_some(key, options)
    lost = [why for value in before if value not in options and gone and (why := gone(value))]
    if lost:
        _refuse_gone(param, before, options, lost[0])


def _refuse_gone(param: str, values: Sequence[str], options: Collection[str], why: str) -> NoReturn:
    """Say why one of several is gone; the button goes on with the rest of them."""
    rest = [value for value in values if value in options]
    act = partial(address.ask, **{param: address.joined(rest)}) if rest else None
    address.refuse(param, why, "Go on without it", act, value=address.joined(values))


def gone_run(run_id: str) -> str:
    """Return why there is no such run any more, "" if there is."""
    return "" if is_run_id(run_id) and (runs_root() / run_id).is_dir() else missing_run(run_id, ())


def leave_some(param: str, values: Sequence[str]) -> None:
    """Have the URL name the values of a widget of several choices, if there are any."""
    address.say(param, address.joined(values), "")


def page_number(total: int, *, key: str, param: str = "page") -> int:
    """Let the user choose a page of a list that has ``total``, and return its number; the URL's ``param`` follows."""
    last = max(1, total)
    arrive(key, param, 1, int, range(1, last + 1), accepted=f"1 to {last}")
    number = 1
    if last > 1:
        number = int(st.number_input(f"Page (of {last:,})", 1, last, key=key, width=140))
    leave(param, str(number), "1")
    return number


def switched(text: str) -> bool:
    """Read 1 or 0 of a URL; ValueError for anything else."""
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def number(low: float, high: float, step: float) -> Callable[[str], float]:
    """Return what reads a number of a URL from ``low`` to ``high`` in steps; ValueError for any other."""

    def read(text: str) -> float:
        value = float(text)
        steps = round((value - low) / step) if low <= value <= high else 0
        nearest = round(low + steps * step, 10)
        if not low <= value <= high or abs(nearest - value) > 1e-9:
            raise ValueError(text)
        return nearest

    return read


def in_steps(low: float, high: float, step: float) -> str:
    """Return in words what :func:`number` reads."""
    return f"{low:g} to {high:g} in steps of {step:g}"


def remember(key: str, default: object, allowed: Collection | None = None) -> None:
    """Give the widget ``key`` its value anew, ``default`` where it has none that is ``allowed``.

    A script that ends early (``st.stop``) leaves out the widgets below: the browser then forgets their values and the
    server does not. Setting them at every run keeps both the same. The widget itself must get no default.
    """
    value = st.session_state.get(key, default)
    st.session_state[key] = default if allowed is not None and value not in allowed else value


def remember_some(key: str, options: Collection) -> None:
    """Do the same for a widget of several choices; what is not among ``options`` any more is dropped."""
    st.session_state[key] = [value for value in st.session_state.get(key, []) if value in options]


def describe_run(run: Run) -> str:
    """Return a run's one-line label: name and time of creation; its state would go stale in a picker."""
    return f"{run.name} · {load.local_time(run.created)}"


def describe_runs(runs: Sequence[Run]) -> dict[str, str]:
    """Return the labels of runs that are shown together, by their ids: each has the name that it has in the charts."""
    names = told_apart({run.id: run.name for run in runs})
    return {run.id: f"{names[run.id]} · {load.local_time(run.created)}" for run in runs}


def run(*kinds: str, label: str = "Run", empty: str = "", first: Callable[[Run], bool] | None = None) -> Run:
    """Let the user choose a run of one of ``kinds``; without one, say what to do and end the page.

    The newest run is shown at first, or the newest for which ``first`` is true, where there is one.
    """
    by_id = {r.id: r for r in list_runs() if r.kind in kinds}
    if not by_id and not address.asks("run"):
        page.nothing_yet(empty or "No training has been run yet.", pages.TRAIN, "Start a training")
    labels = describe_runs(list(by_id.values()))
    default = next((i for i, r in by_id.items() if first(r)), None) if first else None
    missing = partial(missing_run, kinds=kinds)
    return by_id[from_url(label, list(by_id), labels, "run", missing=missing, stays=True, default=default)]


def missing_run(run_id: str, kinds: Collection[str]) -> str:
    """Return why a run is not among those of ``kinds``: deleted, damaged, or of another kind."""
    short = repr(run_id[:80])
    if not is_run_id(run_id) or not (runs_root() / run_id).is_dir():
        return f"There is no run {short} here: it has been deleted, or it was made on another machine."
    try:
        kind = get_run(run_id).spec.get("kind")
    except (CxrError, OSError) as error:
        return f"The run {short} cannot be read: {error}"
    if kind in kinds:
        return f"The run {short} cannot be read: its spec.json is damaged."
    return f"The run {short} is of the kind {kind!r}; here are runs of the kind {', '.join(kinds)}."


def data_set(*, label: str = "Data set") -> DataSet:
    """Let the user choose a data set, at first the one chosen last; without any, say what to do and end the page."""
    sets = {d.name: d for d in list_data_sets()}
    if not sets and not address.asks("data"):
        page.nothing_yet("No data set yet. Make the synthetic X-rays or import your own.", pages.DATA, "Go to Data")
    labels = {name: " · ".join(filter(None, (name, f"{d.n:,} X-rays", d.kind))) for name, d in sets.items()}
    last = st.session_state.get(_LAST_DATA)
    chosen = from_url(label, list(sets), labels, "data", stays=True, default=last if last in sets else None)
    st.session_state[_LAST_DATA] = chosen
    return sets[chosen]


def model(*, label: str = "Network", where: DeltaGenerator | None = None, resets: Sequence[str] = ()) -> str:
    """Let the user choose a trained network: a run's best checkpoint or weights from a file. Returns what it is called.

    ``where`` is the column that takes the widget; what to do without a network is said across the page. The
    parameters ``resets`` get their defaults when another network is chosen.
    """
    labels = {
        network.ref: describe_run(network.run) if network.run else f"{network.ref} · weights file"
        for network in list_networks()
    }
    if not labels and not address.asks("model"):
        page.nothing_yet("No trained network yet.", pages.TRAIN, "Start a training")
    with where or st.container():
        return from_url(label, list(labels), labels, "model", missing=missing_network, stays=True, resets=resets)


def missing_network(network_ref: str) -> str:
    """Return why a network cannot be shown: its run has no checkpoint, is no training, or is not here."""
    short = repr(network_ref[:80])
    try:
        run = get_run(network_ref)
        kind, state = run.spec.get("kind"), run.status()["state"]
    except (CxrError, OSError):
        if is_run_id(network_ref) and (runs_root() / network_ref).is_dir():
            return f"The run {short} cannot be read: its spec.json is damaged or missing."
        return f"There is no network {short} here: neither a run nor weights have this name."
    if kind != "train":
        return f"{short} is a run of the kind {kind!r}, which has no network of its own."
    return f"The training {short} ({state}) has no checkpoint yet, so there is no network to show."


def split(manifest_splits: Sequence[str], *, label: str = "Split") -> str:
    """Let the user choose one of the splits, the test split first; "" where there are none, which is every X-ray."""
    ranked = sorted(manifest_splits, key=lambda s: (s != "test", s != "val", s))
    if not ranked:
        st.caption("No splits: every X-ray")
        return ""
    return from_url(label, ranked, {}, "split")
