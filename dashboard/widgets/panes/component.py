"""The viewer as a part of a page: what it is given, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import cv2
import numpy as np
import streamlit as st

from cxr.data import Manifest
from cxr.explain import render

from services import load
from widgets import address, viewer
from widgets.panes import look, media
from widgets.panes.look import Look

_HERE = Path(__file__).parent
SCRIPTS = (
    "colours.js",
    "raster.js",
    "panes.js",
    "controls.js",
    "export.js",
    "hearing.js",
    "elements.js",
    "ahead.js",
    "viewer.js",
)
"""Parts of one module, in the order in which they are joined."""
_mount = st.components.v2.component(
    "cxr_viewer",
    js="\n".join((_HERE / name).read_text(encoding="utf-8") for name in SCRIPTS),
    css=(_HERE / "viewer.css").read_text(encoding="utf-8"),
)
Kind = Literal["xray", "heatmap", "overlay"]


@dataclass(frozen=True)
class Pane:
    """A pane: a kind of picture of an X-ray, and of a map unless it is the X-ray alone.

    ``base`` panes are those of the explained X-ray, which buttons of the viewer switch on and off; the others stay.
    ``image`` and ``map`` are places in the lists of the :class:`Scene`.
    """

    kind: Kind
    title: str
    image: int = 0
    map: int | None = None
    base: bool = False


class ClassRow(TypedDict):
    """A class in the network's answer."""

    name: str
    probability: float
    logit: float
    explained: bool


class Prediction(TypedDict):
    """What stands beside the picture. ``right`` is None where the truth is unknown."""

    verdict: str
    truth: str
    doubt: str
    right: bool | None
    classes: list[ClassRow]


class Thumb(TypedDict):
    """A neighbour in the list of X-rays."""

    id: str
    url: str
    caption: str
    here: bool
    wrong: bool


class Extra(TypedDict):
    """A button beside those of the panes, for what the page has to add; the page is told ``what``."""

    what: str
    text: str
    title: str
    on: bool


class Region(TypedDict):
    """What the network says without a region; points in pixels of the X-ray."""

    title: str
    kind: str
    points: list[list[int]]
    random: list[list[int]]
    columns: list[str]
    rows: list[list[str]]
    lines: list[str]


@dataclass(frozen=True)
class Scene:
    """What the viewer shows.

    Attributes
    ----------
    subject
        Changes with the X-ray: zoom and shapes begin anew.
    images
        X-rays, uint8 (H, W), each with a stamp that changes with its content.
    maps
        Relevance (h, w), signed, each with what it is made by: maps of one network and method share a scale.
    outlines
        Files of masks of the first X-ray by name, above 127 inside.
    position, total
        Place in the list of X-rays, from 1 on; ``total`` 0: there is none.
    legend
        Lines below a picture that is copied.
    name
        Of files that are saved.
    context
        Changes with all that decides what an X-ray of the list looks like but the X-ray itself: network, method, class,
        list.
    heard
        Number of the last step that the page had heard of when it made this scene, see :func:`heard`.
    frames
        Address where the browser asks for what is stored, see :mod:`widgets.panes.frames`; "" where nothing is.
    """

    subject: str
    images: Sequence[tuple[str, np.ndarray]]
    maps: Sequence[tuple[str, np.ndarray]]
    panes: Sequence[Pane]
    prediction: Prediction | None = None
    outlines: Mapping[str, Path] = field(default_factory=dict)
    position: int = 0
    total: int = 0
    strip: Sequence[Thumb] = ()
    sentence: str = ""
    legend: Sequence[str] = ()
    name: str = "figure"
    extras: Sequence[Extra] = ()
    region: Region | None = None
    regions: bool = True
    context: str = ""
    heard: int = 0
    frames: str = ""


Act = Callable[[Mapping[str, object]], None]


def show(
    scene: Scene,
    drawn: Look | None = None,
    *,
    key: str,
    on_act: Act | None = None,
) -> None:
    """Show the viewer.

    ``drawn`` are the settings from the address; without it they are the browser's alone. ``on_act`` is told what the
    user wants of the page: ``what`` is ``show`` (``to``, a place in the list from 1 on, or ``id``; ``name`` of a class;
    ``classes``, one or all of them; each where it is to be another one), ``explain`` (``name``), ``extra`` (``name``),
    ``region`` (``kind``, ``points``) or ``forget``. The first has a ``number``, and the viewer passes over what was
    made before the page heard of it.

    Where the scene has ``frames``, the browser asks there for the neighbours when the page stands, and for what a
    click leads to, and shows what is stored at once.
    """

    def asked(name: str) -> Any:
        # A viewer speaks of itself, and its page may be left by the time that the server hears of it.
        return (st.session_state.get(key) or {}).get(name)

    def heard_look() -> None:
        values = asked("look")
        if drawn is not None and isinstance(values, Mapping) and values.get("arrival") == address.arrival():
            look.changed(values, list(scene.outlines))

    def heard_act() -> None:
        values = asked("act")
        if on_act is None or not isinstance(values, Mapping):
            return
        number = values.get("number")
        if isinstance(number, int):  # where a step leads does not depend on what is shown meanwhile
            st.session_state[_heard_key(key)] = number
            on_act(values)
        elif values.get("subject") == scene.subject:
            on_act(values)

    data = data_of(scene, media.url, key) | {"arrival": address.arrival(), "look": asdict(drawn or look.DEFAULT)}
    _mount(key=key, data=data, on_look_change=heard_look, on_act_change=heard_act)


def heard(key: str) -> int:
    """Return the number of the last step that a viewer has told, 0 before there was any."""
    return int(st.session_state.get(_heard_key(key), 0))


def _heard_key(key: str) -> str:
    return f"{key}:heard"


def data_of(scene: Scene, url: media.Url, key: str = "") -> dict[str, object]:
    """Return a scene as the browser takes it, but for the settings of the picture, which are the browser's own."""
    images = [
        {"url": media.xray_url(pixels, stamp, f"{key}:image:{k}", url)}
        for k, (stamp, pixels) in enumerate(scene.images)
    ]
    maps = [
        {
            "url": media.map_url(flat, f"{key}:map:{k}", url),
            "width": flat.shape[1],
            "height": flat.shape[0],
            "group": group,
        }
        for k, (group, flat) in enumerate(scene.maps)
    ]
    outlines = [
        {"name": name, "colour": viewer.mask_colour(name), "image": 0, "polygons": outline(file)}
        for name, file in scene.outlines.items()
    ]
    return {
        "subject": scene.subject,
        "defaults": asdict(look.DEFAULT),
        "stops": render.COLOUR_STOPS,
        "images": images,
        "maps": maps,
        "panes": [asdict(pane) for pane in scene.panes],
        "outlines": outlines,
        "prediction": scene.prediction,
        "list": {"position": scene.position, "total": scene.total},
        "strip": list(scene.strip),
        "sentence": scene.sentence,
        "legend": list(scene.legend),
        "name": scene.name,
        "extras": list(scene.extras),
        "region": scene.region,
        "regions": scene.regions,
        "context": scene.context,
        "heard": scene.heard,
        "frames": scene.frames,
    }


def thumb_url(data: Manifest, image_id: str, place: str) -> str:
    """Return where the browser finds a small picture of an X-ray."""
    return media.xray_url(load.thumbnail(data, image_id), f"{stamp(data, image_id)}:small", place)


def stamp(data: Manifest, image_id: str) -> str:
    """Return what changes with the file of an X-ray."""
    path = data.image_path(image_id)
    return f"{path}:{path.stat().st_mtime_ns if path.exists() else 0}"


def outline(mask_file: Path) -> list[list[list[float]]]:
    """Return the outline of a mask as polygons, in shares of its width and height."""
    return _outline(str(mask_file), mask_file.stat().st_mtime_ns)


@st.cache_data(max_entries=256, show_spinner=False)
def _outline(mask_file: str, stamp: int) -> list[list[list[float]]]:
    mask = load.mask(Path(mask_file))
    found, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    size = np.array(mask.shape[::-1])
    return [((polygon[:, 0] + 0.5) / size).round(5).tolist() for polygon in found]
