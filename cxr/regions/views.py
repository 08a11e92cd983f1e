"""X-rays of which only a part is shown, to see what that part tells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxr.errors import RegionError, unknown, wrong_use
from cxr.regions.division import regions_of
from cxr.regions.lungs import Lungs, checked, checked_mask
from cxr.regions.view_names import VIEWS
from cxr.text.boxes import TextBox

HIDDEN = 0
"""What hidden pixels become: black, on every X-ray alike, so that their grey tells nothing of what they hid."""
_AROUND = 0.02  # of the height and width: lung markings begin before the mask


def view_of(image: np.ndarray, lungs: Lungs, text_boxes: Sequence[TextBox], view: str) -> np.ndarray:
    """Return a copy of an X-ray, uint8 (H, W), of which only a part is shown; the rest is black.

    - ``full``: everything
    - ``no-lungs``: all but one upright rectangle around both lungs, 2 % wider on each side. A rectangle tells four
      numbers of the lungs, and not their outline; what lies between the lungs is hidden with them
    - ``lungs``: the lungs without text. Their outline is seen, and may tell the class by itself
    - ``border``: the frame along the edges, without lungs and text
    - ``text``: the text boxes with their margin; wholly black where there is no text. Where the boxes lie is seen

    The last three are the regions of :func:`cxr.regions.regions_of`.

    Raises
    ------
    RegionError
        For an unknown view, or a mask of another shape.
    """
    xray = checked(image)
    if view not in VIEWS:
        raise wrong_use(RegionError(unknown("view", view, VIEWS)))
    if view == "full":
        return xray.copy()
    if view == "no-lungs":
        shown = ~around_lungs(checked_mask(lungs.mask, xray.shape))
    else:
        shown = regions_of(xray, lungs, text_boxes).masks[view]
    return np.where(shown, xray, np.uint8(HIDDEN))


def around_lungs(mask: np.ndarray) -> np.ndarray:
    """Return the upright rectangle around the lungs of a mask (H, W), 2 % of the picture wider on each side."""
    height, width = mask.shape
    around = np.zeros(mask.shape, dtype=bool)
    if not mask.any():
        return around
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    dy, dx = round(_AROUND * height), round(_AROUND * width)
    top, left = max(rows[0] - dy, 0), max(columns[0] - dx, 0)
    around[top : rows[-1] + 1 + dy, left : columns[-1] + 1 + dx] = True
    return around
