"""An X-ray divided into regions that do not overlap and leave nothing out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxr.errors import RegionError, wrong_use
from cxr.regions.lungs import Lungs, checked, checked_mask
from cxr.text.boxes import TextBox, coverage, grow
from cxr.text.mask_modes import DEFAULT_MARGIN

REGIONS = ("text", "lungs", "border", "elsewhere")
"""Names of the regions, in the order in which a pixel is given to one: text on a lung is text."""
BORDER = 0.08
"""Width of the border on each side, as a fraction of the picture's height or width."""


@dataclass(frozen=True)
class Regions:
    """The regions of an X-ray.

    Attributes
    ----------
    masks
        ``{name: bool (H, W)}``, disjoint, together every pixel; names of other masks first, then :data:`REGIONS` in
        their order. A region may be empty.
    lungs_source
        Where the lungs are from; see :class:`cxr.regions.Lungs`.
    """

    masks: dict[str, np.ndarray]
    lungs_source: str

    def areas(self) -> dict[str, float]:
        """Return the share of the picture that each region covers; they add up to 1."""
        return {name: float(mask.mean()) for name, mask in self.masks.items()}


def regions_of(
    image: np.ndarray,
    lungs: Lungs,
    text_boxes: Sequence[TextBox] = (),
    *,
    border: float = BORDER,
    others: Mapping[str, np.ndarray] | None = None,
    text_margin: float = DEFAULT_MARGIN,
) -> Regions:
    """Divide an X-ray into regions.

    A pixel belongs to the first of: the other masks in their order, the text boxes, the lungs, the border, elsewhere.

    Parameters
    ----------
    image
        uint8 (H, W); only its shape counts.
    text_boxes
        As :func:`cxr.text.detect_text` returns them, in pixels of the image.
    border
        Width of the border as a fraction of the height (above and below) and of the width (left and right), 0 to 0.5.
    others
        Further masks, bool (H, W), such as ``{"lesion": mask}``.
    text_margin
        How far a text box grows first; as in :func:`cxr.text.mask_text`.

    Raises
    ------
    RegionError
        For a mask of another kind or shape, a name that is taken, or a border out of range.
    """
    shape = checked(image).shape
    if not 0 <= border <= 0.5:
        raise wrong_use(RegionError(f"border {border!r} is out of range. Accepted: 0 to 0.5 of the picture's sides"))
    named = dict(others or {})
    if taken := [name for name in named if name in REGIONS]:
        raise wrong_use(RegionError(f"the name {taken[0]!r} is taken: {', '.join(REGIONS)} are made here"))
    candidates = {name: checked_mask(mask, shape, name) for name, mask in named.items()}
    candidates["text"] = coverage([grow(box, text_margin, shape) for box in text_boxes], shape)
    candidates["lungs"] = checked_mask(lungs.mask, shape)
    candidates["border"] = border_mask((shape[0], shape[1]), border)
    free = np.ones(shape, dtype=bool)
    masks: dict[str, np.ndarray] = {}
    for name, mask in candidates.items():
        masks[name] = mask & free
        free &= ~mask
    return Regions(masks | {"elsewhere": free}, lungs.source)


def border_mask(shape: tuple[int, int], border: float = BORDER) -> np.ndarray:
    """Return a frame along the picture's edges, bool (H, W); ``border`` as in :func:`regions_of`."""
    height, width = shape
    rows, columns = math.ceil(border * height), math.ceil(border * width)
    mask = np.ones(shape, dtype=bool)
    mask[rows : height - rows, columns : width - columns] = False
    return mask
