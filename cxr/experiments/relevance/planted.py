"""A mark that a network cannot know, stamped at the border: what heatmaps say of something that was never learnt.

Relevance propagation gives some relevance to any bright mark, learnt or not. How much tells the background against
which the relevance of burned-in text is to be read. The mark is an hourglass, as bright as the brightest of the X-ray,
in a square as wide as three quarters of the border.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr.evaluation.predict import predict
from cxr.experiments.masking.effects import decisions_differ, limits_of
from cxr.experiments.relevance.picture_regions import TEXT
from cxr.explain.quality.region_shares import region_shares

if TYPE_CHECKING:
    from cxr.experiments.relevance.measure import Measure, Subject

MOST_MARKED = 60
"""X-rays that are stamped: each costs a heatmap more."""
WIDTH = 0.75
"""Of the border's width."""
_LEAST = 5  # pixels
_BRIGHT = 99.9  # percentile of the picture's grey values
_TRIES = 50


@dataclass(frozen=True)
class PlantedRow:
    """What a planted mark does on one image.

    Attributes
    ----------
    area
        Share of the pixels in the mark's square.
    share, absolute
        Of positive and absolute relevance in the square, with the mark.
    share_without
        Of positive relevance there without the mark.
    logit_change
        Of the explained class, with the mark less without.
    changed
        1 where what the network decides changes, else 0.
    """

    area: float
    share: float
    absolute: float
    share_without: float
    logit_change: float
    changed: float


def mark_side(size: int, border: float) -> int:
    """Return the side of the mark's square on a picture of ``size`` pixels with a border of a share of it."""
    return max(_LEAST, round(WIDTH * border * size))


def hourglass(side: int) -> np.ndarray:
    """Return the mark, bool (side, side): two triangles that meet in the middle."""
    steps = np.abs(np.arange(side) - (side - 1) / 2)
    return np.asarray(steps[None, :] <= steps[:, None])


def stamped(
    picture: np.ndarray, border: float, avoid: np.ndarray, key: Sequence[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a picture with the mark at a random place of its border, uint8 (H, W), and its square, bool (H, W).

    None where no place off ``avoid`` (H, W) turns up.
    """
    size = len(picture)
    side = mark_side(size, border)
    rng = np.random.default_rng(key)
    for _ in range(_TRIES):
        along, inwards = int(rng.integers(0, size - side + 1)), int(rng.integers(0, 2)) * (size - side)
        top, left = (along, inwards) if rng.integers(0, 2) else (inwards, along)
        window = np.s_[top : top + side, left : left + side]
        if avoid[window].any():
            continue
        square = np.zeros(picture.shape, bool)
        square[window] = True
        out = picture.copy()
        out[window][hourglass(side)] = round(float(np.percentile(picture, _BRIGHT)))
        return out, square
    return None


def planted_rows(
    measure: Measure, subject: Subject, targets: Sequence[str], maps: Sequence[np.ndarray], logits: np.ndarray
) -> Mapping[str, PlantedRow]:
    """Return by explained class what a mark does on an image; empty where there is no place for it.

    ``maps`` and ``logits`` (K,) are those of the image without the mark.
    """
    size = len(subject.picture)
    avoid = subject.regions.get(TEXT, np.zeros((size, size), bool))
    key = [measure.seed, zlib.crc32(subject.image_id.encode()), 99]
    result = stamped(subject.picture, measure.border, avoid, key)
    if result is None:
        return {}
    picture, square = result
    after = predict(measure.model, picture[None])[0]
    with_mark = measure.method.explain(measure.model, picture[None], [list(targets)]).relevance[0]
    card = measure.model.card
    changed = float(decisions_differ(logits[None], after[None], card.task, limits_of(card))[0])
    rows = {}
    for target, own, other in zip(targets, with_mark, maps, strict=True):
        share, absolute = region_shares(own, {"": square})[""]
        column = measure.model.classes.index(target)
        rows[target] = PlantedRow(
            area=float(square.mean()),
            share=share,
            absolute=absolute,
            share_without=region_shares(other, {"": square})[""][0],
            logit_change=float(after[column]) - float(logits[column]),
            changed=changed,
        )
    return rows
