"""What an effect of masked tokens must be held against: boxes that cover as much of an X-ray, but no token.

A masked token leaves a patch behind, and a network may answer to the patch. Random boxes of the same number and sizes
off the tokens tell what patches do. Boxes of another image tell what patches do at the places where text tends to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cxr.text.boxes import TextBox, clip, grow, intersection

_TRIES = 100
MIDDLE = (0.2, 0.8)
"""From where to where, in shares of width and height, the middle of an X-ray reaches: the chest, as a rule."""


Place = tuple[float, float]
"""Where the centre of a token lies, as shares of its X-ray's width and height."""


def control_boxes(
    boxes: Sequence[TextBox],
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    margin: float = 0.0,
    avoid: Sequence[TextBox] | None = None,
    places: Sequence[Place] = (),
    anywhere: bool = False,
) -> list[TextBox]:
    """Return boxes of the same number and areas at random places off the tokens and off each other.

    Text keeps to certain places, and boxes over the lungs would show what hiding the lungs does. So each is centred
    where a token of another X-ray is, as far as ``places`` tell that, and the place is free. Otherwise it lies as far
    from the frame as its token does, along any of the four sides, turned where the side asks for it. Where no free
    place turns up in 100 draws either, the draw that overlaps the least is taken.

    Parameters
    ----------
    margin
        By which all boxes will grow when they are masked: grown, they do not overlap either.
    avoid
        The tokens; by default ``boxes``.
    places
        Of tokens of other X-rays, as :func:`places_of` gives them.
    anywhere
        Places all over the X-ray instead, none of them turned.
    """
    occupied = [grow(box, margin, shape) for box in (boxes if avoid is None else avoid)]
    placed: list[TextBox] = []
    for box in sorted((clip(box, shape) for box in boxes), key=lambda b: -b.area):
        best, least = box, np.inf
        for draw in _draws(box, shape, rng, places, anywhere):
            overlap = sum(intersection(grow(draw, margin, shape), other) for other in occupied)
            if overlap < least:
                best, least = draw, overlap
            if not overlap:
                break
        placed.append(best)
        occupied.append(grow(best, margin, shape))
    return placed


def places_of(boxes: Sequence[TextBox], shape: Sequence[int]) -> list[Place]:
    """Return where the centres of boxes lie on their X-ray of ``shape`` (H, W)."""
    height, width = shape[:2]
    return [((box.x0 + box.x1) / 2 / width, (box.y0 + box.y1) / 2 / height) for box in boxes]


def share_of_middle(boxes: Sequence[TextBox], shape: Sequence[int]) -> float:
    """Return the share of the middle of an X-ray of ``shape`` (H, W) that boxes, which do not overlap, cover."""
    (y0, y1), (x0, x1) = ([round(edge * side) for edge in MIDDLE] for side in shape[:2])
    middle = TextBox(x0, y0, x1, y1)
    return min(1.0, sum(intersection(box, middle) for box in boxes) / middle.area) if middle.area else 0.0


def _draws(
    box: TextBox, shape: Sequence[int], rng: np.random.Generator, places: Sequence[Place], anywhere: bool
) -> Iterator[TextBox]:
    if anywhere:
        yield from (_anywhere(box, shape, rng) for _ in range(_TRIES))
        return
    _height, _width = shape[:2]
    for k in rng.permutation(len(places))[:_TRIES]:
        yield centred_at(box, places[k], shape)
    yield from (_along_the_rim(box, shape, rng) for _ in range(_TRIES))


def _anywhere(box: TextBox, shape: Sequence[int], rng: np.random.Generator) -> TextBox:
    height, width = shape[:2]
    x0 = int(rng.integers(0, width - box.width + 1))
    y0 = int(rng.integers(0, height - box.height + 1))
    return placed_at(box, x0, y0, box.width, box.height)


def _along_the_rim(box: TextBox, shape: Sequence[int], rng: np.random.Generator) -> TextBox:
    """Return the box at a random place whose nearest side of the frame is as far away as the token's."""
    height, width = shape[:2]
    gaps = {"left": box.x0, "right": width - box.x1, "top": box.y0, "bottom": height - box.y1}
    nearest = min(gaps, key=lambda side: gaps[side])
    depth, upright = gaps[nearest], {"left": True, "right": True, "top": False, "bottom": False}
    sides = []  # of the frame, with the box's size there and the places along it that are no nearer to another side
    for side in gaps:
        turned = upright[side] != upright[nearest]
        across, down = (box.height, box.width) if turned else (box.width, box.height)
        inwards, along = (width - across, height - down) if upright[side] else (height - down, width - across)
        if inwards >= 2 * depth and along >= 2 * depth:
            sides.append((side, across, down, along - 2 * depth + 1))
    if not sides:  # a token in the middle, whose turned box is too long: it may go anywhere
        return _anywhere(box, shape, rng)
    places = np.array([places for *_, places in sides], float)
    side, across, down, n = sides[rng.choice(len(sides), p=places / places.sum())]
    offset = depth + int(rng.integers(0, n))
    x0 = {"left": depth, "right": width - depth - across}.get(side, offset)
    y0 = {"top": depth, "bottom": height - depth - down}.get(side, offset)
    return placed_at(box, x0, y0, across, down)


def centred_at(box: TextBox, place: Place, shape: Sequence[int]) -> TextBox:
    """Return a box of the same size centred at a place, as far as the frame of an X-ray of ``shape`` (H, W) allows."""
    height, width = shape[:2]
    x, y = place[0] * width - box.width / 2, place[1] * height - box.height / 2
    x0, y0 = min(max(x, 0), width - box.width), min(max(y, 0), height - box.height)
    return placed_at(box, round(x0), round(y0), box.width, box.height)


def placed_at(box: TextBox, x0: int, y0: int, across: int, down: int) -> TextBox:
    """Return a box without a text whose upper left corner is at (x0, y0), ``across`` x ``down`` pixels large."""
    return replace(box, x0=x0, y0=y0, x1=x0 + across, y1=y0 + down, text="", kind="symbol")


def borrowed_boxes(
    boxes: Sequence[TextBox],
    source_shape: Sequence[int],
    shape: Sequence[int],
    own_boxes: Sequence[TextBox],
    margin: float = 0.0,
) -> list[TextBox]:
    """Return the boxes of another image of shape ``source_shape`` at the same relative places of this one.

    Those that meet a token of this image (``own_boxes``, all grown by ``margin``) are left out: they would mask text.
    """
    down, across = shape[0] / source_shape[0], shape[1] / source_shape[1]
    tokens = [grow(box, margin, shape) for box in own_boxes]
    moved = []
    for box in boxes:
        x0, x1, y0, y1 = (round(v) for v in (box.x0 * across, box.x1 * across, box.y0 * down, box.y1 * down))
        placed = clip(replace(box, x0=x0, y0=y0, x1=x1, y1=y1, text="", kind="symbol"), shape)
        if placed.area and not any(intersection(grow(placed, margin, shape), token) for token in tokens):
            moved.append(placed)
    return moved
