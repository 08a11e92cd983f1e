"""What an effect of masked tokens must be held against: boxes that cover as much of an X-ray, but no token.

A masked token leaves a patch behind, and a network may answer to the patch. Random boxes of the same number and sizes
off the tokens tell what patches do. Boxes of another image tell what patches do at the places where text tends to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxr.text.boxes import TextBox, clip, grow, intersection

_TRIES = 100


def control_boxes(
    boxes: Sequence[TextBox],
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    margin: float = 0.0,
    avoid: Sequence[TextBox] | None = None,
) -> list[TextBox]:
    """Return boxes of the same number and sizes at random places off the tokens and off each other.

    Where no free place turns up in 100 draws, the draw that overlaps the least is taken.

    Parameters
    ----------
    margin
        By which all boxes will grow when they are masked: grown, they do not overlap either.
    avoid
        The tokens; by default ``boxes``.
    """
    height, width = shape[:2]
    taken = [grow(box, margin, shape) for box in (boxes if avoid is None else avoid)]
    placed: list[TextBox] = []
    for box in sorted((clip(box, shape) for box in boxes), key=lambda b: -b.area):
        best, least = box, np.inf
        for _ in range(_TRIES):
            x0 = int(rng.integers(0, width - box.width + 1))
            y0 = int(rng.integers(0, height - box.height + 1))
            draw = replace(box, x0=x0, y0=y0, x1=x0 + box.width, y1=y0 + box.height, text="", kind="symbol")
            overlap = sum(intersection(grow(draw, margin, shape), other) for other in taken)
            if overlap < least:
                best, least = draw, overlap
            if not overlap:
                break
        placed.append(best)
        taken.append(grow(best, margin, shape))
    return placed


def borrowed_boxes(
    boxes: Sequence[TextBox], theirs: Sequence[int], shape: Sequence[int], own: Sequence[TextBox], margin: float = 0.0
) -> list[TextBox]:
    """Return the boxes of another image of shape ``theirs`` at the same relative places of this one.

    Those that meet a token of this image (``own``, all grown by ``margin``) are left out: they would mask text.
    """
    down, across = shape[0] / theirs[0], shape[1] / theirs[1]
    tokens = [grow(box, margin, shape) for box in own]
    moved = []
    for box in boxes:
        x0, x1, y0, y1 = (round(v) for v in (box.x0 * across, box.x1 * across, box.y0 * down, box.y1 * down))
        placed = clip(replace(box, x0=x0, y0=y0, x1=x1, y1=y1, text="", kind="symbol"), shape)
        if placed.area and not any(intersection(grow(placed, margin, shape), token) for token in tokens):
            moved.append(placed)
    return moved
