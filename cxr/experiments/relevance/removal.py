"""An X-ray without a region, and the same X-ray changed as much elsewhere: what a removed region is held against.

A region is filled by linear imputation, a smooth continuation of what is left of the picture
(:mod:`cxr.explain.quality.imputation`). Any removal moves a network a little. So the same area is removed elsewhere,
and the change of grey there is made as large as that of the region, as far as it can be. Tokens and other small parts
go to places of their depth in the picture that change alike (:mod:`cxr.experiments.masking.matched_controls`); for
large regions, of which no second place exists, blobs of the same area are drawn from what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from cxr.experiments.masking.matched_controls import LARGEST_GAIN, MaskedChange, candidates, enlarged, matched_boxes
from cxr.explain.quality.imputation import road
from cxr.text.boxes import TextBox

SMALLEST_GAIN = 0.2
"""The least share of a control's change that is taken where it is larger than the region's."""
LARGEST_PART, LARGEST_TOTAL = 0.05, 0.2
"""Of the picture: a region whose parts are no larger, nor all of them together, is moved to other places as it is."""

_MOST_PARTS = 40
_BLOB = 1 / 12  # standard deviation of the field that blobs are cut from, as a share of the side
_MODE = "mean"  # a quick fill, by which places are compared


def filled(picture: np.ndarray, holes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return pictures (N, H, W), uint8, with each of the holes (N, H, W) of ``picture`` (H, W) imputed."""
    image = torch.from_numpy(picture.astype(np.float32))[None]
    with torch.inference_mode():
        imputed = road(image, torch.from_numpy(np.ascontiguousarray(holes)), seed)[:, 0].numpy()
    return np.clip(np.rint(imputed), 0, 255).astype(np.uint8)


def removed(picture: np.ndarray, region: np.ndarray, controls: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return pictures (1 + D, H, W), uint8: without the region, then without each control, changed as much.

    Parameters
    ----------
    picture
        uint8 (H, W) at the network's size.
    region, controls
        bool (H, W) and (D, H, W).
    """
    without, *others = filled(picture, np.concatenate([region[None], controls]), seed)
    change = grey_change(picture, without)
    pictures = [without]
    for other in others:
        own = grey_change(picture, other)
        gain = float(np.clip(change / own, SMALLEST_GAIN, LARGEST_GAIN)) if own > 0 else 1.0
        pictures.append(enlarged(picture, other, gain))
    return np.stack(pictures)


def grey_change(picture: np.ndarray, other: np.ndarray) -> float:
    """Return the mean absolute difference of two pictures, uint8 (H, W)."""
    return float(np.abs(other.astype(np.int16) - picture).mean())


def control_masks(
    picture: np.ndarray, region: np.ndarray, avoid: np.ndarray, draws: int, key: Sequence[int]
) -> np.ndarray:
    """Return up to ``draws`` masks bool (D, H, W) of the region's area, off it and off ``avoid``.

    Parameters
    ----------
    picture
        uint8 (H, W).
    region, avoid
        bool (H, W).
    key
        Seeds of the draws.

    Returns
    -------
    No masks where there is no room for them.
    """
    parts = _parts(region)
    if parts is not None:
        masks = _moved(picture, region, parts, avoid, draws, key)
        if masks:
            return np.stack(masks)
    return _blobs(region, region | avoid, draws, key)


def _parts(region: np.ndarray) -> list[TextBox] | None:
    """Return the boxes around the parts of a region that is small enough to lie elsewhere too, else None."""
    if region.mean() > LARGEST_TOTAL:
        return None
    n, _, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    if n - 1 > _MOST_PARTS or stats[1:, cv2.CC_STAT_AREA].max(initial=0) > LARGEST_PART * region.size:
        return None
    return [TextBox(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, _ in stats[1:]]


def _moved(
    picture: np.ndarray,
    region: np.ndarray,
    parts: Sequence[TextBox],
    avoid: np.ndarray,
    draws: int,
    key: Sequence[int],
) -> list[np.ndarray]:
    """Return masks with each part of the region at another place of its depth, where it changes the picture alike."""
    others = [TextBox(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, _ in _boxes_around(avoid & ~region)]
    rng = np.random.default_rng(key)
    pools = [candidates(part, picture.shape, [*parts, *others], rng) for part in parts]
    change = MaskedChange(picture, max(picture.shape), _MODE, 0.0)
    rngs = [np.random.default_rng([*key, draw]) for draw in range(draws)]
    order = sorted(range(len(parts)), key=lambda k: -parts[k].area)  # as matched_boxes gives its boxes
    masks = []
    for placed in matched_boxes(parts, pools, change, picture.shape, rngs):
        mask = np.zeros_like(region)
        for k, box in zip(order, placed, strict=True):
            part = parts[k]
            crop = region[part.y0 : part.y1, part.x0 : part.x1]
            crop = crop if crop.shape == (box.height, box.width) else crop.T
            mask[box.y0 : box.y1, box.x0 : box.x1] |= crop
        mask &= ~(region | avoid)
        if mask.sum() >= 0.5 * region.sum():
            masks.append(mask)
    return masks


def _boxes_around(mask: np.ndarray) -> np.ndarray:
    return cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2][1:]


def _blobs(region: np.ndarray, taken: np.ndarray, draws: int, key: Sequence[int]) -> np.ndarray:
    """Return masks of the region's area cut from smooth random fields, off what is taken."""
    free, wanted = ~taken, int(region.sum())
    if not wanted or free.sum() < wanted:
        return np.zeros((0, *region.shape), bool)
    masks = []
    for draw in range(draws):
        noise = np.random.default_rng([*key, draw]).normal(size=region.shape)
        field = np.where(free, gaussian_filter(noise, _BLOB * max(region.shape), mode="nearest"), -np.inf)
        last = np.partition(field, region.size - wanted, axis=None)[region.size - wanted]
        masks.append(field >= last)
    return np.stack(masks)
