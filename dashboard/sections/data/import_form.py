"""The form that imports X-rays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from cxr.data.importers.import_options import Declaration, declarations
from cxr.data.importers.registry import SOURCES
from cxr.data.jobs import SPLITS
from cxr.data.library import is_taken, proposed_name
from cxr.errors import CxrError

from sections.data import import_guess, try_out
from widgets import page, where
from widgets.access import acts
from widgets.run_state import start


def mapping(text: str, option_name: str) -> dict[str, str]:
    """Read lines of ``a = b``; an error names the line that is not one."""
    pairs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = map(str.strip, line.partition("="))
        if not (name and equals and value):
            raise CxrError(f"{option_name}: {line!r} is not of the form name = value")
        pairs[name] = value
    return pairs


def show() -> None:
    """Ask what to import, show what it is, and start it. No ``st.form``: there, Enter in a field would import."""
    form = key = f"import:{st.session_state.setdefault('import:number', 0)}"  # new fields after an import
    path = st.text_input(
        "Folder or file on this machine", placeholder="/home/me/covid-chestxray-dataset", key=f"{key}:path"
    ).strip()
    guesses = import_guess.looked_at(path)
    kind, path, made = import_guess.choose(path, guesses, key)
    key = f"{key}:{kind}"  # fields of their own for every kind
    declared = declarations(SOURCES[kind].options)
    mapped: dict[str, dict[str, str]] = {}
    if made is not None:
        import_guess.show_previews(made)
        mapped = import_guess.mapping(made, declared, key)
    with st.expander("Options", icon=":material/tune:", expanded=bool(path) and made is None):
        fields = {name: option_field(option, key) for name, option in declared.items()}
    options = {name: _with_mapping(read, mapped.get(name, {})) for name, read in fields.items()}
    splits = st.selectbox(
        "Splits",
        list(SPLITS),
        format_func=lambda choice: SPLITS[choice].capitalize(),
        help="The column source_split keeps the splits that came with the data, whatever you choose here. Splits can "
        "also be made later, under *Counts and splits*.",
        key=f"{key}:splits",
    )
    try_out.show(kind, path, splits, options, key)
    name = _ask_name(path if guesses else "", f"{form}:name")
    overwrite = _overwrite(name, key)
    find_duplicates = st.checkbox(
        "Find X-rays that are there more than once",
        key=f"{key}:duplicates",
        help="Also cropped, turned a little, inverted, brightened or saved again. Splits then keep them together.",
    )
    place = where.choose("import")
    pressed = acts.button("Import", type="primary", icon=":material/download:")
    with contextlib.suppress(CxrError):  # what cannot be read yet is said when it is to start
        words = [word for name, read in options.items() for word in option_words(declared[name], read())]
        words += ["--find-duplicates"] * find_duplicates + ["--overwrite"] * overwrite + [*where.words(place)]
        arguments = (path or "FOLDER", "--name", name or "NAME", "--splits", splits)
        page.commands(("cxr", "data", "guess", path or "FOLDER"), ("cxr", "data", "import", kind, *arguments, *words))
    if not pressed:
        return
    if not path:
        raise CxrError("no folder or file given: enter its full path")
    params = {
        "kind": kind,
        "path": path,
        "name": name,
        **{name: read() for name, read in options.items()},
        "splits": splits,
        "find_duplicates": find_duplicates,
        "overwrite": overwrite,
    }
    start("import", params, where=place)
    st.session_state["import:number"] += 1
    st.rerun()


def _with_mapping(read: Callable[[], Any], mapped: dict[str, str]) -> Callable[[], Any]:
    """Return what reads a field of pairs together with those that were chosen from what was found."""
    return (lambda: {**mapped, **read()}) if mapped else read


def option_words(option: Declaration, value: Any) -> list[str]:
    """Return an importer's option as the command line has it, nothing for its default."""
    if value in (None, option.default) or not value:
        return []
    if option.form == "flag":
        return [option.flag]
    values = {"pairs": lambda: [f"{a}={b}" for a, b in value.items()], "words": lambda: list(value)}
    return [word for text in values.get(option.form, lambda: [value])() for word in (option.flag, text)]


def option_field(option: Declaration, key: str) -> Callable[[], Any]:
    """Show the field of an importer's option; what is returned reads it, and raises for text that cannot be read."""
    field_key = f"{key}:{option.name}"
    if option.form == "choice":
        chosen = st.selectbox(option.title, option.choices, help=option.help, key=field_key)
        return lambda: chosen
    if option.form == "flag":
        checked = st.checkbox(option.title, help=option.help, key=field_key)
        return lambda: checked
    if option.form == "pairs":
        lines = st.text_area(option.title, placeholder=option.placeholder, height=80, help=option.help, key=field_key)
        return lambda: mapping(lines, option.name)
    text = st.text_input(option.title, placeholder=option.placeholder, help=option.help, key=field_key)
    return lambda: text.replace(",", " ").split() if option.form == "words" else text.strip()


def _ask_name(path: str, key: str) -> str:
    """Ask for the data set's name; the folder's is there until the user types another."""
    before = st.session_state.get(f"{key}:proposed", "")
    if st.session_state.get(key, "") == before:
        proposed = proposed_name(Path(path)) if path else ""
        st.session_state[key] = st.session_state[f"{key}:proposed"] = proposed
    return st.text_input("Name of the data set", placeholder="letters, digits, - and _", key=key).strip()


def _overwrite(name: str, key: str) -> bool:
    """Where the name is taken, offer to replace that data set; return whether it shall be."""
    if not name:
        return False
    if not is_taken(name):  # or it cannot be a name, which is said here
        return False
    st.warning(f"There is a data set {name} already.", icon=":material/warning:")
    return st.checkbox(f"Replace the data set {name}", key=f"{key}:overwrite:{name}")
