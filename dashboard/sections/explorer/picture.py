"""The viewer of the explorer: the explained X-ray, what stands beside it, and what a region does to the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from cxr.explain import legend
from cxr.explain.heatmap import Heatmap
from cxr.explain.run_files import safe_names

from sections.explorer import beside, masked_text
from sections.explorer.beside import Beside, Neighbour
from sections.explorer.choice import Choice
from services import explaining, load, regions
from services.explaining import Xray
from widgets import address, browse, page
from widgets.panes import component, frames, look, routes, scenes
from widgets.panes.component import Pane, Region, Scene, Thumb
from widgets.subject import Subject

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

KEY = "viewer"
_REGION, _LEAVE = "viewer:region", "viewer:leave"


@dataclass(frozen=True)
class Explanation:
    """What the viewer shows: an X-ray, the network's answer, its maps by class, and the maps beside them."""

    network_ref: str
    xray: Xray
    logits: np.ndarray
    heatmaps: Sequence[Heatmap]
    beside: Beside
    neighbours: Sequence[Neighbour]

    @property
    def network(self) -> XrayClassifier:
        """The network that was asked."""
        return load.model(self.network_ref)[0]


def section(explained: Explanation, chosen: Subject | None, listed: browse.Listed | None, choice: Choice) -> None:
    """Show the viewer; what is done in it runs this part of the page alone, unless another X-ray or class is wanted."""
    _part(explained, chosen, listed, choice, component.heard(KEY))


@page.refreshed(None)
def _part(
    explained: Explanation, chosen: Subject | None, listed: browse.Listed | None, choice: Choice, heard: int
) -> None:
    if st.session_state.pop(_LEAVE, False):
        st.rerun()
    xray = explained.xray
    drawn = look.arrive(list(xray.masks))
    drawn_region = st.session_state.get(_REGION, {})
    region = None
    if drawn_region.get("of") == _subject(explained):
        region = _region(explained, drawn_region["kind"], drawn_region["points"])
    shown = scene(explained, chosen, listed, region, frames.own_token())
    if chosen is not None and listed is not None:
        if not chosen.manifest_path.is_file():  # deleted since: the whole page says so
            st.rerun()
        shown = replace(shown, context=choice.digest(chosen, listed, repr(drawn_region)))
        clicks = Clicks(explained, chosen, listed, choice, drawn_region, shown.context)
        frames.offer(frames.Offer(shown.context, clicks.scene, partial(load.thumbnail, chosen.data)))
    hearing = _hearing(explained, listed, shown.context)
    component.show(replace(shown, heard=heard), drawn, key=KEY, on_act=hearing)
    look.leave(look.arrive(list(xray.masks)))


def _subject(explained: Explanation) -> str:
    return f"{explained.network_ref}:{explained.xray.id}:{explained.xray.stamp}"


@dataclass(frozen=True)
class Clicks:
    """What is stored of what the viewer would show after one more click.

    ``context`` is that of the scene which is shown.
    """

    explained: Explanation
    chosen: Subject
    listed: browse.Listed
    choice: Choice
    region: Mapping[str, object]
    context: str
    bias: str | None = field(default_factory=lambda: address.last("pick:bias"))
    masked: bool = field(default_factory=lambda: bool(address.last(masked_text.KEY)))

    def scene(self, wish: frames.Wish, token: str) -> Scene | None:
        """Return what would be shown, None where its maps are not stored. Its small pictures are those of ``token``.

        ``wish`` says of which X-ray: ``at``, its place in the list from 1 on, ``image``, its id, or ``xray``, what the
        picker calls it; the rest as in :meth:`Choice.with_picked`.
        """
        there = self._place(wish)
        classes = explaining.class_labels(self.explained.network, self.explained.logits)
        choice = self.choice.with_picked(wish, classes, self.bias)
        if there is None or choice is None or (self.masked and not choice.beside.all_classes):
            return None
        xray = explaining.of_manifest(self.chosen.data, there.chosen)
        stored = choice.stored(xray)
        if stored is None:
            return None
        explained = Explanation(choice.network_ref, xray, *stored, choice.beside, [])
        if self.region.get("of") == _subject(explained):  # its region is asked for anew there
            return None
        context = self.context
        if choice != self.choice:
            context = choice.digest(self.chosen, self.listed, repr(self.region))
        return replace(scene(explained, self.chosen, there, None, token), context=context)

    def _place(self, wish: frames.Wish) -> browse.Listed | None:
        if (at := wish.get("at", "")).isdecimal():
            return self.listed.at(int(at))
        image_id = wish.get("image", "")
        if (called := wish.get("xray")) is not None:
            image_id = next((i for i, caption in self.listed.captions.items() if caption == called), "")
        return replace(self.listed, chosen=image_id) if image_id in self.listed.captions else None


def _hearing(
    explained: Explanation, listed: browse.Listed | None, context: str
) -> Callable[[Mapping[str, object]], None]:
    """Return what does as the viewer asks; the network may be deleted by then, which the page says that follows."""
    classes = explained.network.classes

    def act(values: Mapping[str, object]) -> None:
        what = values.get("what")
        if what == "region":
            points = _points(values.get("points"))
            kind = "box" if values.get("kind") == "box" else "lasso"
            st.session_state[_REGION] = {"of": _subject(explained), "kind": kind, "points": points}
        elif what == "forget":
            st.session_state.pop(_REGION, None)
        elif what == "extra":
            beside.turn(values.get("name"), explained.beside)
            st.session_state[_LEAVE] = True
        elif what in ("show", "explain"):
            wanted, to = values.get("id"), values.get("to")
            if isinstance(to, int) and listed is not None and values.get("context") == context:
                there = listed.at(to)
                wanted = there.chosen if there else None
            if isinstance(wanted, str) and listed is not None and wanted in listed.captions:
                browse.go(wanted)
            if values.get("name") in classes:
                st.session_state["pick:target"] = values["name"]
            if values.get("classes") in (beside.ONE, beside.ALL):
                st.session_state["pick:classes"] = values["classes"]
            st.session_state[_LEAVE] = True  # also where it led nowhere: the viewer waits for what is shown then

    return act


def _points(given: object) -> list[tuple[int, int]]:
    """Return the corners that the browser tells, in pixels of the X-ray."""
    pairs = given if isinstance(given, list) else []
    return [(int(pair[0]), int(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2]


# --- what the viewer shows -----------------------------------------------------------------------------------------


def scene(
    explained: Explanation,
    chosen: Subject | None,
    listed: browse.Listed | None,
    region: Region | None,
    token: str,
) -> Scene:
    """Return what the viewer shows; the browser finds what is stored by ``token``."""
    xray, first = explained.xray, explained.heatmaps[0]
    images, maps = [(xray.stamp, xray.pixels)], [("first", first.relevance)]
    panes = scenes.base_panes(first.target)
    for heatmap in explained.heatmaps[1:]:
        panes.append(Pane("overlay", f"{heatmap.target} · logit {heatmap.logit:+.3f}", map=len(maps)))
        maps.append(("first", heatmap.relevance))
    for other in explained.neighbours:
        stamps = [stamp for stamp, _ in images]
        if other.xray.stamp not in stamps:
            images.append((other.xray.stamp, other.xray.pixels))
            stamps.append(other.xray.stamp)
        panes.append(Pane("overlay", other.title, stamps.index(other.xray.stamp), len(maps)))
        maps.append((other.made_by, other.heatmap.relevance))
    said = scenes.prediction(explained.network, xray, explained.logits, first.target)
    names = safe_names([xray.id, *explained.network.classes])
    return Scene(
        subject=_subject(explained),
        images=images,
        maps=maps,
        panes=panes,
        prediction=said,
        outlines=xray.masks,
        position=listed.place + 1 if listed else 0,
        total=len(listed.ids) if listed else 0,
        strip=_strip(chosen, listed, token) if chosen and listed else (),
        sentence=scenes.sentence(first.target),
        legend=[f"{xray.id} · {said['verdict']} · {said['truth']}", *legend.lines(first)],
        name=f"{names[xray.id]}_{first.composite}_{names[first.target]}",
        extras=beside.extras(explained.beside, chosen),
        region=region,
        frames=routes.url(token) if listed else "",
    )


def _strip(chosen: Subject, listed: browse.Listed, token: str) -> list[Thumb]:
    """Return the neighbours in the list."""
    thumbs: list[Thumb] = []
    for image_id in listed.neighbours():
        caption = listed.captions[image_id].rsplit(" · ", 1)[0]
        thumbs.append(
            {
                "id": image_id,
                "url": routes.small_url(token, image_id, component.stamp(chosen.data, image_id)),
                "caption": caption,
                "here": image_id == listed.chosen,
                "wrong": caption.endswith("✗"),
            }
        )
    return thumbs


# --- a region --------------------------------------------------------------------------------------------------------


def _region(explained: Explanation, kind: str, points: list[tuple[int, int]]) -> Region | None:
    """Return what the network says without a region, in words and numbers."""
    network, heatmap = explained.network, explained.heatmaps[0]
    mask = regions.mask_of(kind, points, (explained.xray.pixels.shape[0], explained.xray.pixels.shape[1]))
    if len(points) < 2 or not mask.any():
        return None
    answer = regions.without(explained.network_ref, explained.xray, heatmap.relevance, kind, points)
    at = network.classes.index(heatmap.target)

    def row(title: str, logits: np.ndarray) -> list[str]:
        chances = explaining.probabilities(network, logits)
        said = network.classes[int(logits.argmax())]
        return [title, said, f"{chances[at]:.3f}", f"{logits[at]:+.3f}"]

    rows = [row("as it is", explained.logits)]
    rows += [row(regions.FILLS[fill], logits) for fill, logits in answer.logits.items()]
    rows.append(row(f"{regions.RANDOM} random places, mean", answer.random.mean(0)))
    where = answer.relevance
    times = where.absolute_mass / where.area
    random = float(np.mean([place.absolute_mass / place.area for place in answer.random_relevance]))
    return {
        "title": f"Without this {kind}: {100 * where.area:.1f} % of the area",
        "kind": kind,
        "points": [list(point) for point in points],
        "random": [list(place) for place in answer.places],
        "columns": ["", "predicted", f"probability of {heatmap.target}", "logit"],
        "rows": rows,
        "lines": [
            f"It holds {100 * where.absolute_mass:.1f} % of the relevance, {times:.2f} times its share of the area; "
            f"random places of the same shape {random:.2f} times.",
        ],
    }
