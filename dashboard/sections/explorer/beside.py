"""What stands beside the explained X-ray: other classes, other composites, a second network, a second X-ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from cxr.explain import COMPOSITES
from cxr.explain.composites import COMPARISON, LRP, names_of
from cxr.explain.heatmap import Heatmap, Method
from cxr.networks import list_networks

from sections.explorer import masked_text
from services import explaining, load
from services.explaining import Xray
from widgets import pick
from widgets.panes.component import Extra
from widgets.subject import Subject

ONE, ALL = "one", "all"
MOST_CLASSES = 12
MOST_COMPOSITES = 4
NOTHING = "none"


@dataclass(frozen=True)
class Beside:
    """What the user chose to see beside the explained X-ray; "" is nothing."""

    all_classes: bool = False
    masked: bool = False
    composites: tuple[str, ...] = ()
    network_ref: str = ""
    image_id: str = ""

    @property
    def n(self) -> int:
        """How many things these are."""
        return self.all_classes + self.masked + len(self.composites) + bool(self.network_ref) + bool(self.image_id)


@dataclass(frozen=True)
class Neighbour:
    """A map beside the first one, and the X-ray that it is of; ``made_by`` as in a scene's maps."""

    title: str
    xray: Xray
    heatmap: Heatmap
    made_by: str = "first"


def choose(chosen: Subject | None, network_ref: str, composite: str, ids: Sequence[str], here: str) -> Beside:
    """Let the user choose; all of it stands in the address."""
    shown = pick.from_url("Classes", [ONE, ALL], {ONE: "this class", ALL: "all classes"}, "classes")
    masked = chosen is not None and shown == ONE and masked_text.switch()
    names = [name for name in (*names_of(LRP), *names_of(COMPARISON)) if name != composite]
    pick.arrive_some("explorer:beside", "beside", names)
    composites = st.multiselect(
        "Other composites",
        names,
        format_func=lambda name: COMPOSITES[name].label,
        key="explorer:beside",
        max_selections=MOST_COMPOSITES,
        placeholder="none",
    )
    pick.leave_some("beside", composites)
    networks = {known.ref: pick.describe_run(known.run) if known.run else known.ref for known in list_networks()}
    offered = [NOTHING, *(ref for ref in networks if ref != network_ref)]
    second = pick.from_url("Second network", offered, networks, "second", stays=lambda ref: ref not in networks)
    others = [image_id for image_id in ids if image_id != here]
    other = pick.from_url("Second X-ray", [NOTHING, *others], {}, "other") if chosen else NOTHING
    second, other = ("" if choice == NOTHING else choice for choice in (second, other))
    return Beside(shown == ALL, masked, tuple(composites), second, other)


def extras(beside: Beside, chosen: Subject | None) -> list[Extra]:
    """Return the buttons of the viewer for what is chosen most often."""
    classes: Extra = {
        "what": "classes",
        "text": "All classes",
        "title": "Overlays of all classes",
        "on": beside.all_classes,
    }
    masked: Extra = {
        "what": "masked",
        "text": "Without text",
        "title": "The same with its burned-in text masked",
        "on": beside.masked,
    }
    return [classes] if chosen is None else [classes, masked]


def turn(name: object, beside: Beside) -> None:
    """Switch what one of these buttons is for: for use in a callback."""
    if name == "classes":
        st.session_state["pick:classes"] = ONE if beside.all_classes else ALL
    elif name == "masked":
        st.session_state["pick:classes"] = ONE
        st.session_state[masked_text.KEY] = not beside.masked


def neighbours(
    beside: Beside, chosen: Subject | None, network_ref: str, xray: Xray, method: Method, target: str
) -> list[Neighbour]:
    """Return the maps of other composites, of a second network and of a second X-ray."""
    found = []
    for name in beside.composites:
        heatmap = explaining.heatmaps(network_ref, xray, Method.of(name), [target]).heatmaps[target]
        found.append(Neighbour(name, xray, heatmap, name))
    if beside.network_ref:
        found.append(_of_network(beside.network_ref, xray, method, target))
    if beside.image_id and chosen is not None:
        other = explaining.of_manifest(chosen.data, beside.image_id)
        heatmap = explaining.heatmaps(network_ref, other, method, [target]).heatmaps[target]
        found.append(Neighbour(f"{beside.image_id} · logit {heatmap.logit:+.2f}", other, heatmap))
    return found


def _of_network(network_ref: str, xray: Xray, method: Method, target: str) -> Neighbour:
    """Return what a second network says of the X-ray: of the same class, or of its own prediction where it has none."""
    network, _ = load.model(network_ref)
    if target not in network.classes:
        target = network.classes[int(explaining.logits(network_ref, xray).argmax())]
    heatmap = explaining.heatmaps(network_ref, xray, method, [target]).heatmaps[target]
    return Neighbour(f"{network_ref} · {target} {heatmap.logit:+.2f}", xray, heatmap, network_ref)
