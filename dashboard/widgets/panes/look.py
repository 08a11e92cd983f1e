"""The settings of the picture: read from the address, changed in the browser, written into the address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from widgets import address, pick

KINDS = {"xray": "X-ray", "heatmap": "Heatmap", "overlay": "Overlay"}
"""What a pane may show, with its title."""
COLOURS = ("red-blue", "purple-green", "orange-purple")
SCALES = ("row", "image", "fixed")
_OPACITY, _PERCENTILE, _THRESHOLD = (0.0, 1.0, 0.05), (95.0, 100.0, 0.1), (0.0, 0.95, 0.05)


@dataclass(frozen=True)
class Look:
    """How X-rays and relevance are drawn.

    Attributes
    ----------
    opacity
        How much of the X-ray full colour covers, 0 to 1.
    percentile
        The absolute relevance at this percentile gets full colour.
    threshold
        Relevance below this share of the scale is not shown.
    scale, fixed
        Whether all maps share a scale (``row``), each has its own (``image``), or ``fixed`` is the relevance at full
        colour.
    centre, width
        The window: which grey values go from black to white.
    shown
        Of the explained X-ray: X-ray, heatmap, overlay.
    """

    opacity: float = 0.8
    percentile: float = 99.5
    threshold: float = 0.0
    colours: str = COLOURS[0]
    scale: str = SCALES[0]
    fixed: float = 0.0
    centre: float = 127.5
    width: float = 255.0
    invert: bool = False
    shown: tuple[str, ...] = tuple(KINDS)
    outlines: tuple[str, ...] = ()


DEFAULT = Look()


def arrive(outlines: Sequence[str]) -> Look:
    """Return the settings that the address asks for, where it has just arrived, else those of the browser.

    Raises
    ------
    AddressError
        If the address names what there is not; says what would be accepted.
    """
    number = pick.number
    _arrive("opacity", DEFAULT.opacity, number(*_OPACITY), pick.in_steps(*_OPACITY))
    _arrive("percentile", DEFAULT.percentile, number(*_PERCENTILE), pick.in_steps(*_PERCENTILE))
    _arrive("threshold", DEFAULT.threshold, number(*_THRESHOLD), pick.in_steps(*_THRESHOLD))
    pick.arrive(_key("colours"), "colours", DEFAULT.colours, allowed=COLOURS)
    _arrive("scale", (DEFAULT.scale, DEFAULT.fixed), _scale, "row, image or a relevance above 0")
    _arrive("window", (DEFAULT.centre, DEFAULT.width), _window, "centre,width: 0 to 255, and 2 to 510")
    _arrive("invert", DEFAULT.invert, pick.switched, "0, 1")
    pick.arrive_some(_key("panes"), "panes", list(KINDS), DEFAULT.shown)
    pick.arrive_some(_key("outlines"), "outlines", outlines)
    state = st.session_state
    scale, fixed = state[_key("scale")]
    centre, width = state[_key("window")]
    return Look(
        opacity=state[_key("opacity")],
        percentile=state[_key("percentile")],
        threshold=state[_key("threshold")],
        colours=state[_key("colours")],
        scale=scale,
        fixed=fixed,
        centre=centre,
        width=width,
        invert=state[_key("invert")],
        shown=tuple(state[_key("panes")]) or DEFAULT.shown,
        outlines=tuple(state[_key("outlines")]),
    )


def leave(look: Look) -> None:
    """Have the address name the settings that are not at their defaults."""
    pick.leave("opacity", f"{look.opacity:g}", f"{DEFAULT.opacity:g}")
    pick.leave("percentile", f"{look.percentile:g}", f"{DEFAULT.percentile:g}")
    pick.leave("threshold", f"{look.threshold:g}", f"{DEFAULT.threshold:g}")
    pick.leave("colours", look.colours, DEFAULT.colours)
    pick.leave("scale", f"{look.fixed:g}" if look.scale == "fixed" else look.scale, DEFAULT.scale)
    pick.leave("window", f"{look.centre:g},{look.width:g}", f"{DEFAULT.centre:g},{DEFAULT.width:g}")
    pick.leave("invert", str(int(look.invert)), "0")
    kinds = [kind for kind in KINDS if kind in look.shown]
    pick.leave("panes", address.joined(kinds), address.joined(list(DEFAULT.shown)))
    pick.leave_some("outlines", look.outlines)


def changed(values: Mapping[str, object], outlines: Sequence[str]) -> None:
    """Take over what the browser tells of its settings; what is out of range stays as it was."""
    state = st.session_state
    for param, (low, high, _) in (("opacity", _OPACITY), ("percentile", _PERCENTILE), ("threshold", _THRESHOLD)):
        value = values.get(param)
        if isinstance(value, int | float) and low <= value <= high:
            state[_key(param)] = round(float(value), 3)
    if values.get("colours") in COLOURS:
        state[_key("colours")] = values["colours"]
    scale, fixed = values.get("scale"), values.get("fixed")
    if scale in SCALES and isinstance(fixed, int | float) and (fixed > 0 or scale != "fixed"):
        state[_key("scale")] = (scale, float(fixed))
    centre, width = values.get("centre"), values.get("width")
    if isinstance(centre, int | float) and isinstance(width, int | float) and _is_window(centre, width):
        state[_key("window")] = (float(centre), float(width))
    state[_key("invert")] = bool(values.get("invert"))
    for param, name, known in (("panes", "shown", list(KINDS)), ("outlines", "outlines", list(outlines))):
        chosen = values.get(name)
        if isinstance(chosen, list):
            state[_key(param)] = [word for word in known if word in chosen]


def _arrive(param: str, default: object, parse: Callable[[str], object], accepted: str) -> None:
    pick.arrive(_key(param), param, default, parse, accepted=accepted)


def _key(param: str) -> str:
    return f"viewer:{param}"


def _scale(text: str) -> tuple[str, float]:
    if text in SCALES[:2]:
        return text, DEFAULT.fixed
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return "fixed", value


def _window(text: str) -> tuple[float, float]:
    centre, width = map(float, text.split(","))
    if not _is_window(centre, width):
        raise ValueError(text)
    return centre, width


def _is_window(centre: float, width: float) -> bool:
    return 0 <= centre <= 255 and 2 <= width <= 510
