"""Where clusters look: the part of the picture that they use more than the others, in words and as boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cxr.text.boxes import TextBox

SHARE = 0.6
"""Of what a cluster uses more than the others, so much lies in its region."""
MOST_AREA = 0.25
"""No region covers more of the picture."""

_BAND, _CORNER = 0.15, 0.3  # of the side
_MOSTLY = 0.5


class Box(NamedTuple):
    """A rectangle in shares of the picture's width and height, from the upper left corner."""

    x0: float
    y0: float
    x1: float
    y1: float


def excess(mean: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return by how much a mean map is above that of the others (grid, grid), with the sum 1; zeros where it is not."""
    above = np.clip(mean.astype(np.float64) - others, 0, None)
    return above / above.sum() if above.sum() > 0 else above


def place_in_words(above: np.ndarray) -> str:
    """Return where most of a map (grid, grid) of sum 1 lies; left and right are those of the picture.

    >>> corner = np.zeros((10, 10)); corner[1, 8] = 1
    >>> place_in_words(corner)
    'upper right corner'
    """
    if not above.sum():
        return ""
    grid = len(above)
    corner, band = max(1, round(_CORNER * grid)), max(1, round(_BAND * grid))
    names = {
        "upper left corner": above[:corner, :corner],
        "upper right corner": above[:corner, -corner:],
        "lower left corner": above[-corner:, :corner],
        "lower right corner": above[-corner:, -corner:],
    }
    best = max(names, key=lambda name: float(names[name].sum()))
    if names[best].sum() >= _MOSTLY:
        return best
    edges = {
        "left edge": above[:, :band],
        "right edge": above[:, -band:],
        "upper edge": above[:band],
        "lower edge": above[-band:],
    }
    best = max(edges, key=lambda name: float(edges[name].sum()))
    if edges[best].sum() >= _MOSTLY:
        return best
    cells = (np.arange(grid) + 0.5) / grid
    row, column = float(above.sum(1) @ cells), float(above.sum(0) @ cells)
    down = "upper" if row < 0.4 else "lower" if row > 0.6 else ""
    across = "left" if column < 0.4 else "right" if column > 0.6 else ""
    return " ".join(filter(None, (down, across))) + (" part" if down or across else "middle")


def region(above: np.ndarray) -> np.ndarray:
    """Return the cells (grid, grid), bool, that hold :data:`SHARE` of a map of sum 1, as few as possible.

    Cells that touch no other one of the region are left out, unless nothing else remains.
    """
    order = np.argsort(-above, axis=None, kind="stable")
    sums = np.cumsum(above.ravel()[order])
    n = min(int(np.searchsorted(sums, SHARE)) + 1, int(MOST_AREA * above.size))
    chosen = np.zeros(above.size, bool)
    chosen[order[:n]] = above.ravel()[order[:n]] > 0
    cells = chosen.reshape(above.shape)
    count, parts = cv2.connectedComponents(cells.astype(np.uint8), connectivity=8)
    sizes = np.bincount(parts.ravel(), minlength=count)
    large = cells & (sizes[parts] > 1)
    return large if large.any() else cells


def boxes_of(cells: np.ndarray) -> list[Box]:
    """Return rectangles that cover exactly the cells (grid, grid) of a region, few rather than many."""
    left, grid = cells.copy(), len(cells)
    boxes = []
    while left.any():
        y, x = map(int, np.argwhere(left)[0])
        best = (0, y, x)
        x1 = grid
        for y1 in range(y, grid):
            row = left[y1, x:x1]
            width = int(row.argmin()) if not row.all() else len(row)
            if not width:
                break
            x1 = x + width
            best = max(best, ((y1 - y + 1) * width, y1 + 1, x1))
        _, y_end, x_end = best
        left[y:y_end, x:x_end] = False
        boxes.append(Box(x / grid, y / grid, x_end / grid, y_end / grid))
    return boxes


def in_pixels(boxes: Sequence[Sequence[float]], shape: Sequence[int]) -> list[TextBox]:
    """Return boxes in the pixels of an X-ray of ``shape`` (H, W)."""
    height, width = shape[:2]
    placed = [
        TextBox(round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height))
        for x0, y0, x1, y1 in boxes
    ]
    return [box for box in placed if box.area]


def mask_of(boxes: Sequence[Sequence[float]], side: int) -> np.ndarray:
    """Return the region as a picture, uint8 (side, side): 255 inside, 0 outside."""
    mask = np.zeros((side, side), np.uint8)
    for box in in_pixels(boxes, (side, side)):
        mask[box.y0 : box.y1, box.x0 : box.x1] = 255
    return mask
