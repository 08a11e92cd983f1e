"""What a folder that is to be imported holds: the importer that fits, some of its X-rays, its columns and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from cxr.data.importers.guessing import MAPPED, Guess, Guesses, guess
from cxr.data.importers.import_options import Declaration
from cxr.data.importers.previews import Preview
from cxr.data.importers.registry import SOURCES
from cxr.errors import CxrError

from services import load
from widgets import page, viewer

_MOST_LABELS = 12
_SIDE = 176
_NOT_THERE = ""
_SHORT = {"patient_id": "patient"}


@st.cache_data(max_entries=8, ttl=60, show_spinner="Looking at the files …")
def _guess(path: str, stamp: int) -> Guesses:
    return guess(path)


def looked_at(path: str) -> Guesses | None:
    """Return what is guessed of a path, None where there is nothing; what is not there or cannot be listed is said."""
    place = Path(path).expanduser()
    try:
        if not path:
            return None
        if not place.exists():
            raise CxrError(f"There is no file or folder {path} on this machine.")
        return _guess(path, place.stat().st_mtime_ns)
    except (CxrError, OSError) as error:
        st.warning(viewer.plain(page.sentence(error)), icon=":material/warning:")
        return None


def choose(path: str, guesses: Guesses | None, key: str) -> tuple[str, str, Guess | None]:
    """Ask what a path is, the surest guess first; return importer, what it is given, and the guess."""
    made = {_option(guess, path): guess for guess in guesses.guesses} if guesses else {}
    tried = {guess.kind for guess in made.values()}
    options = [*made, *(kind for kind in SOURCES if kind not in tried)]

    def described(option: str) -> str:
        guess = made.get(option)
        if guess is None:
            return SOURCES[option].title
        table = "" if guess.path == path else f" {Path(guess.path).name}"
        n = "" if guess.n is None else f" · {page.counted(guess.n, 'X-ray')}"
        return f"{SOURCES[guess.kind].title}{table}{n}"

    option = st.selectbox("What it is", options, format_func=described, key=f"{key}:what:{path}")
    guess = made.get(option)
    kind = guess.kind if guess else option
    st.caption(SOURCES[kind].description)
    if guesses is not None:
        _explain(guesses, guess)
    return kind, guess.path if guess else path, guess


def _option(guess: Guess, path: str) -> str:
    return guess.kind if guess.path == path or Path(guess.path) == Path(path) else f"{guess.kind}:{guess.path}"


def _explain(guesses: Guesses, guess: Guess | None) -> None:
    endings = ", ".join(f"{n:,} {ending or 'without ending'}" for ending, n in list(guesses.endings.items())[:5])
    among = "" if guesses.complete else " among the first 20,000 files"
    if guess is None and not guesses.guesses:
        reasons = "; ".join(guesses.refused.values())
        text = f"Nothing here is known as X-rays ({endings or 'no file'}{among}). {reasons[:300]}"
        st.warning(viewer.plain(text), icon=":material/help:")
    elif guess is not None:
        left_out = f", {page.counted(guess.left_out, 'file')} left out" if guess.left_out else ""
        st.caption(viewer.plain(f"Files: {endings}{among}{left_out}. Why this: {guess.reason}."))
        if guesses.refused_tables:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in guesses.refused_tables.items())
            st.caption(viewer.plain(f"Looked at too, no table of X-rays: {reasons}"))


def show_previews(guess: Guess) -> None:
    """Show some of the X-rays, of as many classes and sources as fit, and below each what would be imported of it."""
    with st.container(horizontal=True):  # as many beside each other as the window is wide
        for preview in guess.previews:
            with st.container(width=_SIDE, gap="xsmall"):
                _show_preview(preview)


def _show_preview(preview: Preview) -> None:
    file, label = preview["image"], preview["label"].replace("|", ", ")
    try:
        picture = load.thumbnail_of(Path(file), _SIDE)
    except (CxrError, OSError) as error:
        st.caption(viewer.plain(page.sentence(error)))  # which names the file
        return
    st.image(picture, alt=f"{Path(file).name} {label}".strip(), width="stretch")
    known = [f"{_SHORT.get(name, name)} {value}" for name, value in preview["known"].items()]
    st.markdown(f"**{viewer.plain(label or 'no class')}**")
    st.caption(viewer.plain(" · ".join(known) or Path(file).name))


def mapping(guess: Guess, declared: Mapping[str, Declaration], key: str) -> dict[str, dict[str, str]]:
    """Ask which column is what and which label is which class; return what differs from the guess, by option."""
    changed: dict[str, dict[str, str]] = {}
    if guess.columns and "columns" in declared:
        changed["columns"] = _columns(guess, f"{key}:{guess.path}")
    labels = [found for found in guess.labels if found["label"]][:_MOST_LABELS]
    if labels and "aliases" in declared:
        with st.expander(f"Labels ({len(labels)})", icon=":material/label:"):
            st.caption("Each label with the class that it becomes. Two labels with one class are joined.")
            changed["aliases"] = {}
            for place, found in enumerate(labels):
                left, right = st.columns([3, 4], vertical_alignment="center")
                left.markdown(f"{viewer.plain(found['label'])} · {page.counted(found['n'], 'X-ray')}")
                becomes = right.text_input(
                    f"Class of {found['label']}",
                    found["becomes"],
                    key=f"{key}:{guess.path}:label:{place}",
                    label_visibility="collapsed",
                ).strip()
                if becomes and becomes != found["becomes"]:
                    changed["aliases"][found["label"]] = becomes
    return {name: pairs for name, pairs in changed.items() if pairs}


def _columns(guess: Guess, key: str) -> dict[str, str]:
    examples = {facts["column"]: ", ".join(facts["examples"]) for facts in guess.columns}
    taken = guess.mapping
    changed = {}
    with st.expander(f"Columns ({len(taken)} of {len(examples)} are known)", icon=":material/view_column:"):
        st.caption("Which column of the table holds what. Columns that nothing is taken from are kept as they are.")
        cells = st.columns(3)
        for place, ours in enumerate(MAPPED):
            theirs = taken.get(ours, _NOT_THERE)
            options = [*([] if theirs else [_NOT_THERE]), *examples]
            chosen = cells[place % 3].selectbox(
                ours,
                options,
                options.index(theirs),
                format_func=lambda name: f"{name} ({examples[name][:40]})" if name else "(none)",
                key=f"{key}:column:{ours}",
            )
            if chosen != theirs:
                changed[ours] = chosen
    return changed
