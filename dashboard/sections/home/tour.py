"""A tour through the tool: a few stops, each a page and what to look at there. It can be closed at any time."""

from __future__ import annotations

from pathlib import PurePath

import streamlit as st

from sections.home.next_step import Step
from widgets import address, pages, pick

_PARAM, _KEY = "tour", "tour:stop"
_DEMO = {"model": "demo", "data": "demo", "split": "test"}


STOPS: tuple[Step, ...] = (
    Step(
        pages.DATA,
        "Look at the X-rays.",
        "Each class has words burned in that the others seldom have. Click on an X-ray to see it large.",
        {"data": "demo"},
    ),
    Step(
        pages.EXPLORER,
        "Look at a heatmap.",
        "Red speaks for the class, blue against it. How much lies on the letters, not the lungs?",
        _DEMO,
    ),
    Step(
        pages.TEXT,
        "Take its text away.",
        "The same X-ray with its text filled in, and what the network says then.",
        _DEMO,
    ),
    Step(
        pages.TEXT,
        "Do that to all of them.",
        "One X-ray proves little. Press the button: the text of a whole split against random boxes.",
        _DEMO | {"look": "Whole split"},
    ),
    Step(
        pages.TRUST,
        "Can this be trusted?",
        "Quick look gathers what is known of this network, the weightiest finding first.",
        _DEMO,
    ),
    Step(
        pages.TRAIN,
        "Train your own.",
        "Choose a recipe and start. Your own X-rays come in on the page Data, under Import.",
        {"data": "demo", "recipe": "demo"},
    ),
)


def link(label: str) -> None:
    """Link to the first stop."""
    st.page_link(STOPS[0].page, label=label, icon=":material/tour:", query_params=_query(1))


def banner(page: str) -> None:
    """Show the stop that the address names, with ways onward, back and out, where it belongs to this page.

    Parameters
    ----------
    page
        The page's name in the address, such as ``"explorer"``.
    """
    here = [number for number, stop in enumerate(STOPS, 1) if PurePath(stop.page).stem == page]
    if not here:
        return
    pick.arrive(_KEY, _PARAM, 0, int, (0, *here), accepted=", ".join(map(str, here)))
    number = st.session_state[_KEY]
    pick.leave(_PARAM, str(number), "0")
    if not number:
        return
    stop = STOPS[number - 1]
    with st.container(border=True, key="tour"):
        words, ways = st.columns([5, 2], vertical_alignment="center")
        words.markdown(f"**{number} of {len(STOPS)} · {stop.label}** {stop.why}")
        with ways.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"):
            if number > 1:
                _way(number, number - 1, "Back", "arrow_back")
            if number < len(STOPS):
                _way(number, number + 1, "Next", "arrow_forward")
            st.button(
                "Close",
                icon=":material/close:",
                type="tertiary",
                key="tour:close",
                on_click=_close,
                help="Ends the tour",
            )


def _way(here: int, there: int, label: str, icon: str) -> None:
    stop = STOPS[there - 1]
    if stop.page == STOPS[here - 1].page:
        # Streamlit's link to the page that is shown leaves the browser's address as it was.
        key = f"tour:{label}"
        help_ = stop.label
        st.button(label, icon=f":material/{icon}:", key=key, type="tertiary", help=help_, on_click=_turn, args=(there,))
    else:
        st.page_link(stop.page, label=label, icon=f":material/{icon}:", query_params=_query(there), help=stop.label)


def _turn(number: int) -> None:
    """Show another stop of the page that is shown."""
    address.forget(*(name for stop in STOPS for name in stop.query if name not in STOPS[number - 1].query))
    address.ask(**_query(number))


def _query(number: int) -> dict[str, str]:
    return {**STOPS[number - 1].query, _PARAM: str(number)}


def _close() -> None:
    st.session_state[_KEY] = 0
    address.forget(_PARAM)
