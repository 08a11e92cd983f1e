"""Pickers whose choice stands in the URL as an id, so that a page can be shared and reloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data.library import DataSet, list_data_sets
from cxr.models import list_weights
from cxr.runs import Run, list_runs

from components import load, page, pages


def from_url(label: str, ids: Sequence[str], labels: dict[str, str], param: str, **options: object) -> str:
    """Return the chosen id of ``ids``; the choice and the URL's ``param`` follow each other.

    A value of the URL that is not among ``ids`` is ignored.
    """
    key, seen = f"pick:{param}", f"seen:{param}"
    asked = st.query_params.get(param)
    arrived = key not in st.session_state  # the page was left in between, which forgets its widgets but not ``seen``
    if asked in ids and (arrived or asked != st.session_state.get(seen)):
        st.session_state[key] = asked
    remember(key, ids[0], ids)
    chosen = st.selectbox(label, ids, format_func=lambda i: labels.get(i, i), key=key, **options)
    st.query_params[param] = chosen
    st.session_state[seen] = chosen
    return chosen


def arrive(key: str, param: str, default: object, parse: Callable[[str], object] = str, allowed: Any = None) -> None:
    """Give the widget ``key`` what the URL's ``param`` asks for where that is new, as :func:`remember` otherwise.

    ``parse`` turns the text into the widget's value; what it refuses (ValueError) or is not ``allowed`` is ignored.
    """
    asked = st.query_params.get(param)
    if asked is not None and (key not in st.session_state or asked != st.session_state.get(f"seen:{param}")):
        with contextlib.suppress(ValueError):
            value = parse(asked)
            if allowed is None or value in allowed:
                st.session_state[key] = value
    remember(key, default, allowed)


def leave(param: str, value: str, default: str) -> None:
    """Have the URL name a widget's value, unless it is the default, which needs no naming."""
    if value == default:
        st.query_params.pop(param, None)
    else:
        st.query_params[param] = value
    st.session_state[f"seen:{param}"] = value


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
    return f"{run.name} · {load.local_time(run.spec['created'])}"


def is_run(reference: str) -> bool:
    """Tell whether a network's reference is a run's id and not the name of weights."""
    return any(r.id == reference for r in list_runs(kind="train"))


def run(*kinds: str, label: str = "Run", empty: str = "") -> Run:
    """Let the user choose a run of one of ``kinds``; without one, say what to do and end the page."""
    known = list_runs()
    before = st.session_state.get("pick:run")
    if before and all(r.id != before for r in known):
        st.toast(f"{before} has been deleted", icon=":material/error:")
    runs = [r for r in known if r.kind in kinds]
    if not runs:
        page.nothing_yet(empty or "No training has been run yet.", pages.TRAIN, "Start a training")
    by_id = {r.id: r for r in runs}
    return by_id[from_url(label, list(by_id), {i: describe_run(r) for i, r in by_id.items()}, "run")]


def data_set(*, label: str = "Data set") -> DataSet:
    """Let the user choose a data set; without one, say what to do and end the page."""
    sets = {d.name: d for d in list_data_sets()}
    if not sets:
        page.nothing_yet("No data set yet: make the synthetic X-rays or import your own.", pages.DATA, "Go to Data")
    labels = {name: " · ".join(filter(None, (name, f"{d.n} X-rays", d.kind))) for name, d in sets.items()}
    return sets[from_url(label, list(sets), labels, "data")]


def model(*, label: str = "Network", where: DeltaGenerator | None = None) -> str:
    """Let the user choose a trained network: a run's best checkpoint or weights from a file. Returns its reference.

    ``where`` is the column that takes the widget; what to do without a network is said across the page.
    """
    trained = [r for r in list_runs(kind="train") if load.has_checkpoint(r)]
    labels = {r.id: describe_run(r) for r in trained}
    labels |= {name: f"{name} · from the folder of weights" for name, _, _ in list_weights()}
    if not labels:
        page.nothing_yet("No trained network yet.", pages.TRAIN, "Start a training")
    with where or st.container():
        return from_url(label, list(labels), labels, "model")


def split(manifest_splits: Sequence[str], *, label: str = "Split") -> str:
    """Let the user choose one of the splits, the test split first; "" where there are none, which is every X-ray."""
    ranked = sorted(manifest_splits, key=lambda s: (s != "test", s != "val", s))
    if not ranked:
        st.caption("No splits: every X-ray")
        return ""
    return from_url(label, ranked, {}, "split")
