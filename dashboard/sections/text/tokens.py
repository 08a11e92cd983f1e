"""Burned-in tokens of one X-ray: found, masked, and what the network says before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cxr.evaluation import predict
from cxr.experiments.masking.one_image import CONDITIONS, before_and_after, masked_versions
from cxr.experiments.masking.settings import Setting
from cxr.explain.heatmap import Method
from cxr.text import (
    DEFAULT_MARGIN,
    DEFAULT_MODE,
    MASK_MODES,
    Reviews,
    TextBox,
    detect_cached,
    mask_text,
    reading_scores,
    tokens_of,
)

from services import computing, explaining, load
from services.explaining import Xray
from widgets import page, pick, tables, viewer
from widgets.panes import component, scenes
from widgets.subject import Subject

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

CONDITION_TITLES = dict(zip(CONDITIONS, ("before", "text masked", "random boxes"), strict=True))
"""What the page calls the conditions of :data:`cxr.experiments.masking.one_image.CONDITIONS`."""

_MARGIN_STEP, _WIDEST = 0.05, 0.5
_CHANCES = ("prob. before", "prob. masked", "prob. random")
_MOVES = ("Δ logit masked", "Δ logit random")
CHANGES_FORMAT = {
    **{name: st.column_config.NumberColumn(name, format="%.3f") for name in _CHANCES},
    **{name: st.column_config.NumberColumn(name, format="%+.3f") for name in _MOVES},
}
# Of the readings below, 8 of 25 were right, from there on 30 of 30 (benchmarks/results/reading_scores.md).
_SURE = 0.9
TABLE_FORMAT = {
    "reading": st.column_config.TextColumn(
        help=f"How sure the reading is, 0 to 1. Below {_SURE:g} it is marked as doubtful: compare it with the picture. "
        "On 26 X-rays read by hand 32 % of the doubtful readings were right (95 % interval 19 to 50), of the others "
        "100 % (77 to 100)."
    ),
    "score": st.column_config.NumberColumn(
        format="%.2f",
        help="How sure the detector is that there is text, 0 to 1. It does not say that the text was read rightly.",
    ),
}


class MaskedBy(TypedDict):
    """How tokens are masked: the name of a mode, and how far boxes grow."""

    mode: str
    margin: float


def masking(for_mode: DeltaGenerator, for_margin: DeltaGenerator) -> MaskedBy:
    """Let the user choose how tokens are masked; returns ``mode`` and ``margin``."""
    with for_mode:
        titles = {name: mode.title for name, mode in MASK_MODES.items()}
        ranked = sorted(MASK_MODES, key=lambda name: name != DEFAULT_MODE)
        help_ = " ".join(f"**{mode.title}:** {mode.description}" for mode in MASK_MODES.values())
        mode = pick.from_url("Mask", ranked, titles, "mode", help=help_)
    reach = (0.0, _WIDEST, _MARGIN_STEP)
    pick.arrive("tokens:margin", "margin", DEFAULT_MARGIN, pick.number(*reach), accepted=pick.in_steps(*reach))
    margin = for_margin.slider(
        "Margin",
        0.0,
        _WIDEST,
        step=_MARGIN_STEP,
        key="tokens:margin",
        help="Each box grows by this fraction of its shorter side: letters have soft rims.",
    )
    pick.leave("margin", f"{margin:g}", f"{DEFAULT_MARGIN:g}")
    return {"mode": mode, "margin": margin}


@st.cache_data(max_entries=256, show_spinner="Looking for text …")
def _boxes(image_id: str, stamp: str, _pixels: np.ndarray) -> list[TextBox]:
    return detect_cached(_pixels)


def boxes_of(xray: Xray) -> list[TextBox]:
    """Return the tokens on an X-ray, in its own pixels."""
    return _boxes(xray.id, xray.stamp, xray.pixels)


def corrected_or_found(subject: Subject, xray: Xray) -> tuple[list[TextBox], bool]:
    """Return the tokens on an X-ray of a data set, corrected by hand where they were, and whether they were."""
    return tokens_of(xray.pixels, xray.id, Reviews.beside(subject.manifest_path), lambda _: boxes_of(xray))


@st.cache_data(max_entries=256, show_spinner=False)
def _before_and_after(
    network_ref: str,
    model_stamp: int,
    image_id: str,
    stamp: str,
    how: MaskedBy,
    _pixels: np.ndarray,
    boxes: list[TextBox],
) -> dict[str, np.ndarray]:
    network, _ = load.model(network_ref)
    setting = Setting.of({"model": network_ref, "manifest": "", **how})
    pictures = np.stack(before_and_after(_pixels, boxes, setting, network.card.size))
    logits = computing.compute(network_ref, lambda on_device: predict(on_device, pictures)).value
    return dict(zip(CONDITIONS, logits, strict=False))


def before_and_masked(subject: Subject, xray: Xray, boxes: Sequence[TextBox], how: MaskedBy) -> dict[str, np.ndarray]:
    """Return logits (K,) before and with the text masked, without the search for controls."""
    network_ref = subject.network_ref
    stamp = load.model_stamp(network_ref)
    return _before_and_after(network_ref, stamp, xray.id, xray.stamp, how, xray.pixels, list(boxes))


@st.cache_data(max_entries=256, show_spinner=False)
def _logits(
    network_ref: str,
    model_stamp: int,
    image_id: str,
    stamp: str,
    how: MaskedBy,
    _subject: Subject,
    boxes: list[TextBox],
) -> dict[str, np.ndarray]:
    network, _ = load.model(network_ref)
    setting = Setting.of({"model": network_ref, "manifest": str(_subject.manifest_path), **how})
    versions = masked_versions(_subject.data, image_id, boxes, setting, network.card.size)
    pictures = np.stack([versions.images[condition] for condition in CONDITIONS])
    logits = computing.compute(network_ref, lambda on_device: predict(on_device, pictures)).value
    return dict(zip(CONDITIONS, logits, strict=True))


def logits(subject: Subject, xray: Xray, boxes: Sequence[TextBox], how: MaskedBy) -> dict[str, np.ndarray]:
    """Return logits (K,) before, with the text masked, and with random boxes masked."""
    network_ref = subject.network_ref
    return _logits(network_ref, load.model_stamp(network_ref), xray.id, xray.stamp, how, subject, list(boxes))


def changes(network: XrayClassifier, by_condition: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return one row per class: probability before and after, and how the logit moved, also under the control."""
    chances = {name: explaining.probabilities(network, values) for name, values in by_condition.items()}
    before = by_condition["before"]
    moves = (by_condition["after"] - before, by_condition["control"] - before)
    columns = zip((*_CHANCES, *_MOVES), (*(chances[name] for name in CONDITIONS), *moves), strict=True)
    return pd.DataFrame({"class": network.classes, **dict(columns)})


def show_control(place: DeltaGenerator, network: XrayClassifier, by_condition: dict[str, np.ndarray]) -> None:
    """Show every class before, with the text masked, and under the control."""
    rows = changes(network, by_condition)
    place.dataframe(rows, hide_index=True, column_config=CHANGES_FORMAT, height=tables.height_of(len(rows)))
    place.caption(
        "Control: random boxes of the same areas, off the text and as far from the frame, where masking changes the "
        "picture as much. They show what masking alone does."
    )


def verdict(network: XrayClassifier, by_condition: dict[str, np.ndarray]) -> str:
    """Return the decision before and after in one sentence; of several findings the one that moves most.

    Once the control has been computed, the sentence ends with it.
    """
    with_control = "control" in by_condition
    if explaining.is_of_findings(network):
        name = target_of(network, by_condition)
        at = network.classes.index(name)
        chances = {c: explaining.probabilities(network, values)[at] for c, values in by_condition.items()}
        sentence = (
            f"Masking the text moves **{viewer.plain(name)}** most: its probability goes from {chances['before']:.3f} "
            f"to {chances['after']:.3f}"
        )
        return sentence + (f", with random boxes masked instead to {chances['control']:.3f}." if with_control else ".")
    names = {c: f"**{viewer.plain(network.classes[int(values.argmax())])}**" for c, values in by_condition.items()}
    before, after, control = (names.get(c) for c in CONDITIONS)
    if before != after:
        sentence = f"Masking the text changes the prediction from {before} to {after}"
        with_boxes = f"; masking random boxes instead {'leaves' if control == before else 'gives'} {control}"
    else:
        sentence = f"The prediction stays {before} when the text is masked"
        with_boxes = " or random boxes instead" if control == before else f"; with random boxes masked it is {control}"
    return f"{sentence}{with_boxes if with_control else ''}."


def target_of(network: XrayClassifier, by_condition: dict[str, np.ndarray]) -> str:
    """Return the class whose heatmaps are shown: the one predicted before, of several findings the most moved one."""
    if not explaining.is_of_findings(network):
        return network.classes[int(by_condition["before"].argmax())]
    before, after = (explaining.probabilities(network, by_condition[name]) for name in ("before", "after"))
    return network.classes[int(np.abs(after - before).argmax())]


@st.cache_data(max_entries=256, show_spinner=False)
def _reading_scores(image_id: str, stamp: str, _pixels: np.ndarray, boxes: list[TextBox]) -> list[float | None]:
    return reading_scores(_pixels, boxes)


def table(xray: Xray, boxes: Sequence[TextBox], *, by_hand: bool) -> pd.DataFrame:
    """Return the tokens as a table in reading order; a reading that is not sure is marked."""
    if by_hand:
        readings = ["by hand"] * len(boxes)
    else:
        readings = [reading(score) for score in _reading_scores(xray.id, xray.stamp, xray.pixels, list(boxes))]
    rows = [
        (b.text, read, b.kind, b.score, f"{b.width} × {b.height} at {b.x0}, {b.y0}")
        for b, read in zip(boxes, readings, strict=True)
    ]
    return pd.DataFrame(rows, columns=["text", "reading", "kind", "score", "box"])


def reading(score: float | None) -> str:
    """Return how sure a reading is, as the table has it."""
    if score is None:
        return "not read"
    return f"{score:.2f}" if score >= _SURE else f"doubtful, {score:.2f}"


def masked(xray: Xray, boxes: Sequence[TextBox], how: MaskedBy) -> Xray:
    """Return the X-ray with its tokens masked, as an X-ray of its own for the cache of explanations."""
    pixels = mask_text(xray.pixels, boxes, how["mode"], how["margin"])
    return replace(xray, stamp=f"{xray.stamp}:{how['mode']}:{how['margin']}", pixels=pixels)


def show_pictures(xray: Xray, boxes: Sequence[TextBox], how: MaskedBy) -> None:
    """Show the X-ray with its boxes and, beside it, with a slider from as it is to masked."""
    left, right = st.columns(2)
    title = f"{page.counted(len(boxes), 'token')} found"
    left.image(
        viewer.with_boxes(xray.pixels, boxes), caption=title, alt=f"The X-ray with {title} in boxes", width="stretch"
    )
    pictures = [viewer.at_display_size(pixels) for pixels in (xray.pixels, masked(xray, boxes, how).pixels)]
    with right:
        viewer.show_slider(pictures[0], pictures[1], ("as it is", f"masked: {MASK_MODES[how['mode']].title.lower()}"))


def show_heatmaps(subject: Subject, xray: Xray, boxes: Sequence[TextBox], how: MaskedBy, target: str) -> None:
    """Show what speaks for ``target`` before and after masking, in one colour scale."""
    versions = []
    for title, picture in (("Before", xray), ("Text masked", masked(xray, boxes, how))):
        explained = explaining.heatmaps(subject.network_ref, picture, Method.of(), [target])
        versions.append((title, picture, explained.heatmaps[target]))
    component.show(scenes.before_and_after(versions), key="text:viewer")
