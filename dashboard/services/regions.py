"""What a network says of an X-ray without a region that somebody drew, and of random places of the same shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cxr.data.images.resize import fit_square
from cxr.evaluation import predict
from cxr.explain.quality.localisation import Localisation, localise

from services import computing, explaining
from services.explaining import Xray

RANDOM = 5
"""As many places of the same shape are compared with."""
_RING, _RADIUS, _LONG_SIDE = 0.25, 5.0, 1024
FILLS = {"mean": "filled with the mean around it", "inpaint": "inpainted"}
Points = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Without:
    """The answers without a region.

    Attributes
    ----------
    logits
        (K,) by fill.
    random
        (:data:`RANDOM`, K), each with a random place filled with the mean around it.
    places
        Those places as ``x0, y0, x1, y1``.
    relevance, random_relevance
        How the map agrees with the region, and with each random place.
    """

    logits: dict[str, np.ndarray]
    random: np.ndarray
    places: list[tuple[int, int, int, int]]
    relevance: Localisation
    random_relevance: list[Localisation]


def mask_of(kind: str, points: Points, shape: tuple[int, int]) -> np.ndarray:
    """Return a box (two corners) or a lasso (its outline) as bool (H, W); points in pixels, clipped to the X-ray."""
    mask = np.zeros(shape, np.uint8)
    corners = np.clip(np.array(points, np.int64), 0, np.array(shape[::-1]))
    if kind == "box":
        (left, top), (right, bottom) = corners.min(0), corners.max(0)
        mask[top:bottom, left:right] = 1
    else:
        cv2.fillPoly(mask, [corners.astype(np.int32)], (1,))
    return mask.astype(bool)


def filled(pixels: np.ndarray, mask: np.ndarray, fill: str) -> np.ndarray:
    """Return a copy of an X-ray, uint8 (H, W), whose pixels inside the mask are taken from around it."""
    out = pixels.copy()
    if fill == "mean":
        out[mask] = round(float(_around(pixels, mask).mean()))
        return out
    scale = min(1.0, _LONG_SIDE / max(pixels.shape))
    size = tuple(max(1, round(n * scale)) for n in pixels.shape[::-1])
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    hidden = (cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    painted = cv2.inpaint(small, hidden, _RADIUS, cv2.INPAINT_TELEA)
    out[mask] = cv2.resize(painted, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)[mask]
    return out


def _around(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a ring around a mask, a quarter of its shorter side wide."""
    ys, xs = np.nonzero(mask)
    wide = max(1, round(_RING * min(np.ptp(ys) + 1, np.ptp(xs) + 1)))
    kernel = np.ones((2 * wide + 1, 2 * wide + 1), np.uint8)
    ring = (cv2.dilate(mask.astype(np.uint8), kernel) > 0) & ~mask
    if ring.any():
        return pixels[ring]
    return pixels[~mask] if not mask.all() else np.zeros(1, np.uint8)


def random_places(mask: np.ndarray, n: int = RANDOM) -> list[np.ndarray]:
    """Return ``n`` masks of the same shape at random places, off the mask where there is room; always the same."""
    ys, xs = np.nonzero(mask)
    top, left, bottom, right = ys.min(), xs.min(), ys.max() + 1, xs.max() + 1
    part = mask[top:bottom, left:right]
    draws = np.random.default_rng([top, left, bottom, right])
    placed = []
    for _ in range(n):
        best, least = mask, np.inf
        for _ in range(50):
            y = int(draws.integers(0, mask.shape[0] - part.shape[0] + 1))
            x = int(draws.integers(0, mask.shape[1] - part.shape[1] + 1))
            overlap = int((mask[y : y + part.shape[0], x : x + part.shape[1]] & part).sum())
            if overlap < least:
                best, least = np.zeros_like(mask), overlap
                best[y : y + part.shape[0], x : x + part.shape[1]] = part
            if not overlap:
                break
        placed.append(best)
    return placed


def without(network_ref: str, xray: Xray, relevance: np.ndarray, kind: str, points: Points) -> Without:
    """Ask the network again without a region, and without random places of its shape; points in pixels of the X-ray."""
    shape = (xray.pixels.shape[0], xray.pixels.shape[1])
    mask = mask_of(kind, points, shape)
    if not mask.any():
        raise ValueError("the region has no pixel inside the X-ray")
    places = random_places(mask)
    versions = [filled(xray.pixels, mask, fill) for fill in FILLS]
    versions += [filled(xray.pixels, place, "mean") for place in places]

    def answer(network: explaining.XrayClassifier) -> np.ndarray:
        return predict(network, np.stack([fit_square(version, network.card.size) for version in versions]))

    logits = computing.compute(network_ref, answer).value
    return Without(
        logits=dict(zip(FILLS, logits, strict=False)),
        random=logits[len(FILLS) :],
        places=[_box(place) for place in places],
        relevance=localise(relevance, mask),
        random_relevance=[localise(relevance, place) for place in places],
    )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
