"""Which X-rays are not what they seem: kinds of flags, when each is raised, and how it is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from cxr import formatting
from cxr.data.audit.appearance.children import CHILD
from cxr.data.audit.appearance.model import Appearance
from cxr.data.audit.appearance.picture import Picture

KINDS = (
    "inverted",
    "rotated-90",
    "rotated-180",
    "rotated-270",
    "mirrored",
    "lateral",
    "not-a-chest",
    "child",
    "empty",
    "cut",
)
"""All kinds of flags, in the order of their counts."""

IN_WORDS = {
    "inverted": "Inverted",
    "rotated-90": "Turned by 90°",
    "rotated-180": "Turned by 180°",
    "rotated-270": "Turned by 270°",
    "mirrored": "Mirrored",
    "lateral": "Lateral",
    "not-a-chest": "Not a chest",
    "child": "Child",
    "empty": "Empty",
    "cut": "Cut",
}
"""Each kind as a heading. Turns are clockwise."""

LEAST_SPREAD = 20.0
"""Grey values between the 1st and 99th percentile below which a picture counts as empty."""
MOST_BLANK_EMPTY, MOST_BLANK_CUT, MOST_BORDER = 0.85, 0.6, 0.36
"""Shares of blank blocks, and of the width or height on one side, from which a picture counts as empty or cut."""
ASPECTS = (0.5, 2.0)
"""Width by height below and above which a picture counts as cut."""


class Look(TypedDict):
    """What is kept of each X-ray: what was measured of its picture, and how it appears to the model."""

    width: int
    height: int
    spread: float
    blank: float
    border: float
    side: str
    appearance: Appearance


class FlaggedImage(TypedDict):
    """One flag of one X-ray; ``score`` from 0 to 1 ranks them, ``sentence`` says what was seen."""

    image_id: str
    kind: str
    score: float
    sentence: str


def look_of(picture: Picture, appearance: Appearance) -> Look:
    """Return what is kept of an X-ray."""
    return Look(
        width=picture["width"],
        height=picture["height"],
        spread=picture["spread"],
        blank=picture["blank"],
        border=picture["border"],
        side=picture["side"],
        appearance=appearance,
    )


def flags_of(image_id: str, look: Look, thresholds: Mapping[str, float]) -> list[FlaggedImage]:
    """Return the flags of an X-ray, but for its age.

    An empty picture gets no other flag. How a picture lies is not said of one that is no frontal chest, and of a cut
    one only whether it is inverted.
    """
    empty = _empty(look)
    if empty is not None:
        return [_flag(image_id, "empty", *empty)]
    own, limits = look["appearance"], thresholds
    what = _other(own, limits)
    cut = _cut(look)
    if cut is None and what is not None and what[0] == "cut":
        cut = what[1], what[2]
    flags = [_flag(image_id, "cut", *cut)] if cut is not None else []
    if what is not None and what[0] != "cut":
        return [*flags, _flag(image_id, *what)]
    if own["inverted"] > limits["inverted"]:
        flags.append(_flag(image_id, "inverted", own["inverted"], "Inverted: bones are dark, air is bright."))
    if cut is not None:
        return flags
    for turn, share in ((90, own["rotated_90"]), (180, own["rotated_180"]), (270, own["rotated_270"])):
        if share > limits[f"rotated_{turn}"]:
            flags.append(_flag(image_id, f"rotated-{turn}", share, f"Turned clockwise by {turn} degrees."))
    if own["mirrored"] > limits["mirrored"]:
        flags.append(_flag(image_id, "mirrored", own["mirrored"], MIRRORED))
    return flags


MIRRORED = "Mirrored: the heart points to the wrong side. A heart that truly does (dextrocardia) looks the same."


_OTHERS = {
    "lateral": "No whole frontal chest: most like one from the side.",
    "not-a-chest": "No whole frontal chest, and like nothing else that the model knows.",
    "cut": "No whole frontal chest: most like a part of one.",
}


def _flag(image_id: str, kind: str, score: float, sentence: str) -> FlaggedImage:
    return FlaggedImage(image_id=image_id, kind=kind, score=round(min(1.0, max(0.0, score)), 4), sentence=sentence)


def _empty(look: Look) -> tuple[float, str] | None:
    if look["spread"] < LEAST_SPREAD:
        return 1 - look["spread"] / (2 * LEAST_SPREAD), f"Empty: its grey values differ by {look['spread']:.0f} of 255."
    if look["blank"] > MOST_BLANK_EMPTY:
        return look["blank"], f"Empty: {formatting.share(look['blank'])} of the picture is of one grey."
    return None


def _cut(look: Look) -> tuple[float, str] | None:
    aspect = look["width"] / look["height"]
    if look["border"] > MOST_BORDER:
        covers = formatting.share(look["border"])
        return 0.5 + look["border"], f"Cut: a blank border covers {covers} of it from the {look['side']}."
    if look["blank"] > MOST_BLANK_CUT:
        return look["blank"], f"Cut: {formatting.share(look['blank'])} of the picture is of one grey."
    if not ASPECTS[0] <= aspect <= ASPECTS[1]:
        strange = max(aspect, 1 / aspect)
        return 1 - 1 / strange, f"Cut: {look['width']} x {look['height']} pixels, {strange:.1f} times as long as wide."
    return None


def _other(own: Appearance, limits: Mapping[str, float]) -> tuple[str, float, str] | None:
    """Return what a picture is other than a whole frontal chest, with the probability that it is none."""
    if own["other"] <= limits["other"]:
        return None
    chances = {"lateral": own["lateral"], "not-a-chest": own["not_a_chest"], "cut": own["cut"]}
    likeliest = max(chances, key=lambda kind: chances[kind])
    return likeliest, own["other"], _OTHERS[likeliest]


def child_flag(image_id: str, age: float) -> FlaggedImage:
    """Return the flag of a child among adults; the younger, the higher its score."""
    years = "less than a year" if age < 1 else f"{age:.0f} year{'' if round(age) == 1 else 's'}"
    return _flag(image_id, "child", 1 - age / (2 * CHILD), f"A child among adults: {years} old.")


def ranked(flags: Iterable[FlaggedImage]) -> list[FlaggedImage]:
    """Return flags with the highest score first; children, whose ages are facts, last."""
    return sorted(flags, key=lambda flag: (flag["kind"] == "child", -flag["score"], flag["image_id"]))


def counts_of(flags: Sequence[FlaggedImage]) -> dict[str, int]:
    """Return how many X-rays have a flag of each kind."""
    return {kind: sum(flag["kind"] == kind for flag in flags) for kind in KINDS}
