"""What the network is given of an X-ray, and how its answer becomes a mask; no network is needed here."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr.data.images.resize import fit_square

SIDE = 128
"""Side of the network's picture in pixels; the whole X-ray is stretched to it."""

_CONTRAST, _TILES = 2.0, (8, 8)
_SPECK = 0.01  # of the picture: smaller pieces of an answer are no lung
_AREA = (0.06, 0.7)  # of the picture; lungs by hand cover 0.09 to 0.62 of real X-rays
_BALANCE = 0.12  # the smaller lung in parts of the larger; by hand 0.57 at least on 516 real X-rays
_SURE = 0.75  # mean probability inside the mask


def picture_of(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an X-ray, uint8 (H, W), as the network takes it: float32 (SIDE, SIDE) of mean 0 and deviation 1.

    Contrast is equalised locally (CLAHE), so that under- and overexposed X-rays look alike.
    """
    return standardised(fit_square(image, SIDE))


def standardised(square: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Equalise and standardise a square that has the network's size already."""
    equalised = cv2.createCLAHE(_CONTRAST, _TILES).apply(square).astype(np.float32)
    return (equalised - equalised.mean()) / max(float(equalised.std()), 1.0)


def mask_of(probability: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return the lungs, bool (H, W) of ``shape``, or None where an answer is implausible.

    Parameters
    ----------
    probability
        The network's answer, uint8 (SIDE, SIDE), 255 for sure.

    Notes
    -----
    The two largest pieces stay, their holes are filled. Implausible are: fewer than two pieces of 1 % of the picture, a
    lung below 12 % of the other, an area below 6 % or above 70 % of the picture, and a mean probability below 0.75
    inside the mask.
    """
    lungs = _two_lungs(probability > 127)
    if lungs is None or not _AREA[0] <= lungs.mean() <= _AREA[1] or probability[lungs].mean() < 255 * _SURE:
        return None
    kept = np.where(lungs, np.maximum(probability, 128), np.minimum(probability, 127)).astype(np.uint8)
    return cv2.resize(kept, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR) > 127


def _two_lungs(marked: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = [number for number in np.argsort(-areas) if areas[number] >= _SPECK * marked.size][:2]
    if count < 2 or len(order) < 2 or areas[order[1]] < _BALANCE * areas[order[0]]:
        return None
    lungs = np.zeros(marked.shape, np.uint8)
    for number in order:
        outlines, _ = cv2.findContours(
            (labels == number + 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(lungs, outlines, -1, 1, cv2.FILLED)
    return lungs.astype(bool)
