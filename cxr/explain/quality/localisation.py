"""Localisation: how much of a heatmap lies where it should, given a mask of that place.

It says something about a map only where one knows that the network looks there: on synthetic X-rays, for a mark that
was put in on purpose. A map beside a lesion may be right about a network that looks beside it.

Measures, as Arras et al. 2022 name them ("CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural
Network Explanations"): relevance mass accuracy and relevance rank accuracy; and the pointing game of Zhang et al. 2016
("Top-down Neural Attention by Excitation Backprop").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from cxr.data.images.resize import fit_square
from cxr.errors import ExplainError
from cxr.explain.render import relevance_2d


@dataclass(frozen=True)
class Localisation:
    """How one map agrees with one mask. All but ``area`` are NaN for an empty mask.

    Attributes
    ----------
    mass
        Relevance mass accuracy, 0 to 1: share of the positive relevance inside the mask. NaN without any.
    absolute_mass
        The same for absolute values of relevance. NaN for a map of zeros.
    gain
        ``mass`` divided by ``area``: 1 is chance. NaN where ``mass`` is.
    rank
        Relevance rank accuracy, 0 to 1: of the K most relevant pixels the share inside the mask, which has K pixels.
        NaN without positive relevance.
    pointing
        Pointing game: 1 if the most relevant pixel lies inside the mask, 0 if not; of several that are equally
        relevant the share inside. NaN without positive relevance.
    area
        Share of the map's pixels inside the mask: what ``mass``, ``rank`` and ``pointing`` are by chance.
    """

    mass: float
    absolute_mass: float
    gain: float
    rank: float
    pointing: float
    area: float


def localise(relevance: np.ndarray, mask: np.ndarray, *, tolerance: float = 0.0, fit: str = "stretch") -> Localisation:
    """Measure how a heatmap agrees with a mask.

    Parameters
    ----------
    relevance
        (H, W) or (C, H, W), signed. Channels are added up first. Of a sensitivity, such as a gradient, the absolute
        values are to be given: its sign says which way a pixel would have to change.
    mask
        bool, or uint8 that counts from 128 up: (H, W), or of the X-ray's own size (h, w), which :func:`mask_at` then
        brings to a square map.
    tolerance
        For the pointing game alone: a maximum this many pixels of the map off the mask still counts (Zhang et al. took
        15, for boxes of objects in photographs).
    fit
        How the X-ray was brought to the network's square, where the mask has another size than the map.

    Raises
    ------
    ExplainError
        For values that are not finite, a mask of another kind, or one of another size for a map that is not square.
    """
    flat, inside = _map_and_mask(relevance, mask, fit)
    area = float(inside.mean())
    mass = relevance_mass(flat, inside)
    return Localisation(
        mass=mass,
        absolute_mass=relevance_mass(np.abs(flat), inside),
        gain=mass / area if area else float("nan"),
        rank=relevance_rank(flat, inside),
        pointing=pointing_game(flat, inside, tolerance),
        area=area,
    )


def relevance_mass(relevance: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of positive relevance inside the mask (relevance mass accuracy); arguments as localise's."""
    flat, inside = _map_and_mask(relevance, mask)
    positive = flat.clip(min=0).astype(np.float64)
    total = positive.sum()
    return float(positive[inside].sum() / total) if total > 0 and inside.any() else float("nan")


def relevance_rank(relevance: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of the K most relevant pixels that lie inside a mask of K pixels (relevance rank accuracy).

    Where equal values straddle the K-th place, each of them counts by its chance to be drawn for one of the places
    left, so that the position of pixels plays no part. Arguments as localise's.
    """
    flat, inside = _map_and_mask(relevance, mask)
    k = int(inside.sum())
    if not k or not (flat > 0).any():
        return float("nan")
    last = np.partition(flat, flat.size - k, axis=None)[flat.size - k]
    above, tied = flat > last, flat == last
    drawn = (k - above.sum()) / tied.sum()
    return float(((above & inside).sum() + drawn * (tied & inside).sum()) / k)


def pointing_game(relevance: np.ndarray, mask: np.ndarray, tolerance: float = 0.0) -> float:
    """Return 1 if the most relevant pixel hits the mask, else 0; the share of hits among several. As localise."""
    flat, inside = _map_and_mask(relevance, mask)
    if not tolerance >= 0:
        raise ExplainError(f"tolerance {tolerance!r} is not allowed. Accepted: 0 or more pixels")
    highest = flat.max()
    if not inside.any() or highest <= 0:
        return float("nan")
    near = distance_transform_edt(~inside) <= tolerance if tolerance else inside
    return float(near[flat == highest].mean())


def mask_at(mask: np.ndarray, size: int, fit: str = "stretch") -> np.ndarray:
    """Bring an X-ray's mask to a network's input, bool (size, size), by the way that its pixels went.

    The mask is shrunk as :func:`cxr.data.images.resize.fit_square` shrinks the X-ray; a pixel is inside where at least
    half of it was. Structures thinner than half a pixel of the input disappear, and the mask may become empty.

    Parameters
    ----------
    mask
        bool, or uint8 that counts from 128 up, (h, w) of the X-ray's file.
    fit
        ``stretch``, ``pad`` or ``crop``, as the image cache was built (it stretches unless told otherwise).
    """
    return fit_square(_inside(mask).astype(np.uint8) * 255, size, fit) > 127


def _map_and_mask(relevance: np.ndarray, mask: np.ndarray, fit: str = "stretch") -> tuple[np.ndarray, np.ndarray]:
    flat, inside = relevance_2d(relevance), _inside(mask)
    if flat.ndim != 2:
        raise ExplainError(f"relevance of shape {np.shape(relevance)} is not one map. Accepted: (H, W) or (C, H, W)")
    if not np.isfinite(flat).all():
        raise ExplainError("relevance holds values that are not finite: its share in a mask is not defined")
    if inside.shape == flat.shape:
        return flat, inside
    if flat.shape[0] != flat.shape[1]:
        raise ExplainError(f"a mask of shape {inside.shape} does not fit relevance of shape {flat.shape}")
    return flat, mask_at(inside, len(flat), fit)


def _inside(mask: np.ndarray) -> np.ndarray:
    try:
        mask = np.asarray(mask)
    except ValueError:  # lists of several lengths
        raise ExplainError(f"a mask is a {type(mask).__name__}. Accepted: bool or uint8 (h, w)") from None
    if mask.ndim != 2 or mask.dtype not in (np.bool_, np.uint8) or not mask.size:
        raise ExplainError(f"a mask of {mask.dtype} and shape {mask.shape} is unknown. Accepted: bool or uint8 (h, w)")
    return mask if mask.dtype == np.bool_ else mask > 127
