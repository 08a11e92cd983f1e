"""X-rays in a grid; a click on one opens it large, in the viewer, above the page that it stands on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.data import Manifest
from cxr.text import Reviews, detect_cached, mask_text, tokens_of

from services import explaining, load
from services.explaining import Xray
from widgets import address, page, pages, pick, viewer
from widgets.panes import component, scenes
from widgets.panes.component import Scene

_HERE = Path(component.__file__).parent
_mount = st.components.v2.component(
    "cxr_gallery",
    js=(_HERE / "gallery.js").read_text(encoding="utf-8"),
    css=(_HERE / "gallery.css").read_text(encoding="utf-8"),
)
_OPEN, _MASKED, _TARGET = "gallery:open", "gallery:masked", "gallery:target"


def grid(
    data: Manifest,
    ids: Sequence[str],
    caption: Callable[[str], str],
    *,
    key: str,
    columns: int = 6,
    rows: int = 3,
    link: dict[str, str] | None = None,
    picker_below: bool = False,
    param: str = "page",
    on_open: Callable[[str], None] | None = None,
    picker_in: DeltaGenerator | None = None,
) -> None:
    """Show X-rays ``columns`` by ``rows`` a page; the page is chosen above them, or below, and the address calls it
    ``param``.

    ``link`` holds the query parameters (``model``, ``data``, ``split``) with which a picture opens in the explorer;
    where its split is none of the data's (data that were measured whole), an X-ray's own split takes its place. With a
    ``model`` a picture opens with what that network says of it. ``picker_in`` is the place of the choice of page if it
    is another. ``on_open`` gets the id of an X-ray that is chosen, which is then not opened here.
    """
    per_page = columns * rows
    pages_total = -(-len(ids) // per_page)
    pictures = st.container() if picker_below else None
    with picker_in or contextlib.nullcontext():
        page_number = pick.page_number(pages_total, key=f"{key}:page", param=param) - 1
    shown = ids[page_number * per_page : (page_number + 1) * per_page]
    with pictures or contextlib.nullcontext():
        if missing := load.missing_files(data, shown):
            st.warning(
                f"The files of {len(missing)} of these {page.counted(len(shown), 'X-ray')} are missing, the first: "
                f"{viewer.plain(str(missing[0]))}. Put them back, or import the X-rays from where they are now.",
                icon=":material/broken_image:",
            )
        told = _mount(
            key=f"gallery:{key}",
            data={
                "columns": columns,
                "pictures": [
                    {
                        "id": image_id,
                        "url": component.thumb_url(data, image_id, f"gallery:{key}:{place}"),
                        "caption": without_marks(caption(image_id)),
                    }
                    for place, image_id in enumerate(shown)
                ],
            },
            on_open_change=lambda: None,
        )
    if told.open in shown and on_open is not None:
        on_open(told.open)
        st.rerun()
    if told.open in shown:
        st.session_state[_OPEN] = told.open
        _open(data, ids, caption, link)


def opened() -> str:
    """Return the X-ray that was opened last, "" if none was or :func:`forget_opened` was called since."""
    return str(st.session_state.get(_OPEN, ""))


def forget_opened() -> None:
    """Forget which X-ray was opened last; it stays closed."""
    st.session_state.pop(_OPEN, None)


def without_marks(caption: str) -> str:
    """Return a caption as it reads, without the signs of Markdown; its lines stay."""
    return re.sub(r"\\([\\`*_{}\[\]()#+!|~$:<>-])", r"\1", caption.replace("**", "").replace("  \n", "\n"))


@st.dialog("X-ray", width="large")
def _open(data: Manifest, ids: Sequence[str], caption: Callable[[str], str], link: dict[str, str] | None) -> None:
    """Show one X-ray large; keys and buttons lead to its neighbours."""
    with contextlib.suppress(address.Ended), page.told_in_one_line(below_heading=False):
        _show(data, ids, caption, link)


def _show(data: Manifest, ids: Sequence[str], caption: Callable[[str], str], link: dict[str, str] | None) -> None:
    image_id = st.session_state[_OPEN]
    place = list(ids).index(image_id)
    xray = explaining.of_manifest(data, image_id)
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.markdown(f"**{viewer.plain(image_id)}** · {caption(image_id)}")
    if link is not None:
        right.page_link(pages.EXPLORER, label="Explain", query_params=_query(data, image_id, link))
    network_ref = (link or {}).get("model")
    of, target = st.session_state.get(_TARGET, ("", ""))
    scene = scenes.alone(xray)
    if network_ref:
        scene = scenes.explained(network_ref, xray, target if of == image_id else "")
        scene = _with_masked(scene, network_ref, data, xray)

    def act(values: Mapping[str, object]) -> None:
        to = values.get("to")
        if values.get("what") == "extra":
            st.session_state[_MASKED] = not st.session_state.get(_MASKED, False)
        elif values.get("what") == "explain":
            st.session_state[_TARGET] = (image_id, values.get("name"))
        elif isinstance(to, int) and 1 <= to <= len(ids):
            st.session_state[_OPEN] = ids[to - 1]

    key = "gallery:viewer"
    scene = replace(scene, position=place + 1, total=len(ids), heard=component.heard(key))
    component.show(scene, key=key, on_act=act)
    facts = {str(name): str(value) for name, value in data.row(image_id).items() if str(value) not in ("", "nan")}
    with st.expander("What the data set says of it"):
        st.table(facts, border="horizontal")


def _with_masked(scene: Scene, network_ref: str, data: Manifest, xray: Xray) -> Scene:
    """Return a scene with the button for the X-ray without its text and, where it is pressed, its map."""
    on = bool(st.session_state.get(_MASKED, False))
    extra: component.Extra = {
        "what": "masked",
        "text": "Without text",
        "title": "The same with its burned-in text masked",
        "on": on,
    }
    scene = replace(scene, extras=[extra])
    if not on or data.path is None:
        return scene
    boxes, _ = tokens_of(xray.pixels, xray.id, Reviews.beside(data.path), lambda _: detect_cached(xray.pixels))
    if not boxes:
        return replace(scene, extras=[{**extra, "text": "No text found"}])
    return scenes.with_masked(scene, network_ref, xray, mask_text(xray.pixels, boxes))


def _query(data: Manifest, image_id: str, link: dict[str, str]) -> dict[str, str]:
    own = data.row(image_id)["split"]
    if own and link.get("split") not in data.splits:
        link = {**link, "split": own}
    return {**link, "image": image_id}
