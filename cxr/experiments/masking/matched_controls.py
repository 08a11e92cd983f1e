"""Control boxes that change an X-ray as much as its tokens do, at the size at which the network sees it.

Tokens are ink, and lie on edges: masking one changes the picture more than masking a box of its size elsewhere. A
control that changes less is no control. So each box is chosen among many places of the token's depth in the picture for
how much masking it changes, and what is still missing is made up for by enlarging the change (:func:`enlarged`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from cxr.data.images.resize import fit_square
from cxr.text.boxes import TextBox, grow, intersection
from cxr.text.controls import Place, centred_at, control_boxes, placed_at
from cxr.text.mask import mask_text

N_CANDIDATES = 40
"""Places that are tried for each token; no draw takes one that an earlier draw took, while there are others."""
DEPTH_TOLERANCE = 0.1
"""By how much (as a share of the picture) a control may lie nearer to the frame, or farther from it, than its token."""
LARGEST_GAIN = 3.0
"""How many times the change of control boxes may be enlarged."""
_LENDERS_PLACES, _FEWEST_LENT = 20, 10
MARKS = ("black",)
"""Modes that leave a mark, which a network may know by its place: their controls lie where text lies."""
_DRAWN = 1200
_CONTEXT = 8  # pixels around a box that inpainting reads
_LONG_SIDE = 256


class MaskedChange:
    """Mean absolute change of grey (0 to 255) of a network's picture by masking boxes of an X-ray in one mode.

    Measured on a smaller copy, since thousands of boxes are tried: an estimate, the same for tokens and controls.

    Parameters
    ----------
    image
        uint8 (H, W).
    size
        Side of the network's picture.
    """

    def __init__(self, image: np.ndarray, size: int, mode: str, margin: float) -> None:
        self._shape, self._mode, self._margin, self._size = image.shape, mode, margin, size
        self._scale = min(1.0, max(_LONG_SIDE, 2 * size) / max(image.shape))
        height, width = (max(1, round(side * self._scale)) for side in image.shape)
        self._small: np.ndarray = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        self._down, self._across = (_resizing(side, size) for side in (height, width))

    def of_box(self, box: TextBox) -> float:
        """Return the change by one box; its surroundings alone are looked at."""
        small, shape = self._placed(box), self._small.shape
        x0, y0, (y1, x1) = 0, 0, shape
        if self._mode != "swap":  # which takes its patch from anywhere
            around = grow(grow(small, 0.5, shape), _CONTEXT, shape)
            x0, y0, x1, y1 = around.x0, around.y0, around.x1, around.y1
        crop = np.ascontiguousarray(self._small[y0:y1, x0:x1])
        inner = replace(small, x0=small.x0 - x0, x1=small.x1 - x0, y0=small.y0 - y0, y1=small.y1 - y0)
        change = mask_text(crop, [inner], self._mode, 0).astype(np.float32) - crop
        return float(np.abs(self._down[:, y0:y1] @ change @ self._across[:, x0:x1].T).sum()) / self._size**2

    def of(self, boxes: Sequence[TextBox]) -> float:
        """Return the change by several boxes together."""
        masked = mask_text(self._small, [self._placed(box) for box in boxes], self._mode, 0)
        return changed_by(self._small, masked, self._size)

    def _placed(self, box: TextBox) -> TextBox:
        grown = grow(box, self._margin, self._shape)
        height, width = self._small.shape
        x0, y0 = min(int(grown.x0 * self._scale), width - 1), min(int(grown.y0 * self._scale), height - 1)
        x1, y1 = (int(np.ceil(value * self._scale)) for value in (grown.x1, grown.y1))
        return replace(grown, x0=x0, y0=y0, x1=max(x0 + 1, min(x1, width)), y1=max(y0 + 1, min(y1, height)))


def _resizing(side: int, size: int) -> np.ndarray:
    """Return the matrix (size, side) that brings a column of pixels to the network's size."""
    how = cv2.INTER_AREA if size <= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.eye(side, dtype=np.float32), (side, size), interpolation=how))


def depth(box: TextBox, shape: Sequence[int]) -> float:
    """Return how far from the nearest side of the frame a box's centre lies, as a share of the side: 0 to 0.5."""
    height, width = shape[:2]
    x, y = (box.x0 + box.x1) / 2 / width, (box.y0 + box.y1) / 2 / height
    return min(x, 1 - x, y, 1 - y)


def candidates(
    box: TextBox,
    shape: Sequence[int],
    avoid: Sequence[TextBox],
    rng: np.random.Generator,
    margin: float = 0.0,
    places: Sequence[Place] = (),
    elsewhere: bool = True,
) -> list[TextBox]:
    """Return up to 40 boxes of the size of a token, upright or turned, as deep in the picture as it, off all tokens.

    Parameters
    ----------
    avoid
        The tokens; grown by ``margin`` they are not met.
    places
        Of tokens of other X-rays: up to 20 of these come first.
    elsewhere
        Whether other places follow; else they do only where fewer than ten of those are free.
    """
    token_depth, blocked = depth(box, shape), [grow(token, margin, shape) for token in avoid]
    chosen: list[TextBox] = []
    for is_lent, placed in _proposals(box, shape, rng, places):
        if is_lent and elsewhere and len(chosen) >= _LENDERS_PLACES:
            continue
        if not is_lent and not elsewhere and len(chosen) >= _FEWEST_LENT:
            break
        if abs(depth(placed, shape) - token_depth) > DEPTH_TOLERANCE:
            continue
        grown = grow(placed, margin, shape)
        if not any(intersection(grown, other) for other in blocked):
            chosen.append(placed)
        if len(chosen) == N_CANDIDATES:
            break
    return chosen


def _proposals(
    box: TextBox, shape: Sequence[int], rng: np.random.Generator, places: Sequence[Place]
) -> Iterator[tuple[bool, TextBox]]:
    """Yield boxes centred at ``places`` as far as the frame allows (True), then some anywhere, half of them turned."""
    height, width = shape[:2]
    order = rng.permutation(len(places))
    anywhere = rng.uniform(size=(_DRAWN, 2))
    turned = rng.integers(0, 2, _DRAWN).astype(bool)
    for k in order:
        yield True, centred_at(box, places[k], shape)
    turns = box.height <= width and box.width <= height
    for (x, y), turn in zip(anywhere, turned, strict=True):
        across, down = (box.height, box.width) if turn and turns else (box.width, box.height)
        yield False, placed_at(box, round(x * (width - across)), round(y * (height - down)), across, down)


def matched_boxes(
    boxes: Sequence[TextBox],
    pools: Sequence[Sequence[TextBox]],
    change: MaskedChange,
    shape: Sequence[int],
    rngs: Sequence[np.random.Generator],
    margin: float = 0.0,
) -> list[list[TextBox]]:
    """Return for each draw one box per token whose masking changes the picture about as much as the token's does.

    What the boxes chosen before fall short of is asked of the next, and no draw takes the boxes of another. Where a
    pool has no free box, the geometry alone decides (:func:`cxr.text.controls.control_boxes`).

    Parameters
    ----------
    boxes
        Tokens within the picture.
    pools
        Of each token, its :func:`candidates`.
    rngs
        One for each draw, for that.
    """
    order = sorted(range(len(boxes)), key=lambda k: -boxes[k].area)
    token_changes = [change.of_box(box) for box in boxes]
    sizes = [np.array([change.of_box(box) for box in pool]) for pool in pools]
    unused = [set(range(len(pool))) for pool in pools]
    draws = []
    for rng in rngs:
        blocked = [grow(box, margin, shape) for box in boxes]
        placed: list[TextBox] = []
        missing = 0.0
        for k in order:
            missing += token_changes[k]
            chosen = _nearest(pools[k], unused[k], sizes[k] - missing, blocked[len(boxes) :], shape, margin)
            if chosen is None:
                (box,) = control_boxes([boxes[k]], shape, rng, margin=margin, avoid=[*boxes, *placed])
                by = change.of_box(box)
            else:
                box, by = pools[k][chosen], float(sizes[k][chosen])
                unused[k].discard(chosen)
            missing -= by
            placed.append(box)
            blocked.append(grow(box, margin, shape))
        draws.append(placed)
    return draws


def _nearest(
    pool: Sequence[TextBox],
    unused: set[int],
    off: np.ndarray,
    blocked: Sequence[TextBox],
    shape: Sequence[int],
    margin: float,
) -> int | None:
    """Return the place in a pool of the free box that is least off the change that is wanted, an unused one first."""
    for k in sorted(range(len(pool)), key=lambda k: (k not in unused, abs(off[k]))):
        grown = grow(pool[k], margin, shape)
        if not any(intersection(grown, other) for other in blocked):
            return k
    return None


def changed_by(image: np.ndarray, masked: np.ndarray, size: int) -> float:
    """Return the mean absolute change of grey, at the network's size, between two pictures, uint8 (H, W)."""
    before, after = (fit_square(picture, size).astype(np.int16) for picture in (image, masked))
    return float(np.abs(after - before).mean())


def gain_of(tokens: float, control: float) -> float:
    """Return by how many times a control's change is to be enlarged to be that of the tokens: 1 to 3."""
    return float(np.clip(tokens / control, 1.0, LARGEST_GAIN)) if control > 0 else 1.0


def enlarged(image: np.ndarray, masked: np.ndarray, gain: float) -> np.ndarray:
    """Return ``image`` changed ``gain`` times as much as ``masked`` is, within 0 to 255; both uint8 (H, W)."""
    if gain == 1:
        return masked
    change = masked.astype(np.float32) - image
    return np.clip(np.rint(image + gain * change), 0, 255).astype(np.uint8)
