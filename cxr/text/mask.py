"""Take tokens out of an X-ray: seven ways, each of which changes pixels inside the boxes, grown by a margin, only.

The controls that an effect must be held against are in :mod:`cxr.text.controls`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from cxr.errors import TextError, unknown, wrong_use
from cxr.text.boxes import TextBox, checked_xray, coverage, grow
from cxr.text.controls import control_boxes
from cxr.text.mask_modes import DEFAULT_MARGIN, DEFAULT_MODE, MASK_MODES, MOST_MARGIN

_RING = 0.5
_INPAINT_RADIUS = 5.0
_INPAINT_LONG_SIDE = 1024
_PLACES = 20
_BLUR = 0.5  # standard deviation in shorter sides of the box: strokes are a tenth of it wide

Fill = Callable[[np.ndarray, Sequence[TextBox]], np.ndarray]


def _black(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    return np.zeros_like(image)


def _around(image: np.ndarray, box: TextBox, tokens: np.ndarray) -> np.ndarray:
    """Return the pixels of a ring around a box; neighbouring tokens do not count."""
    wide = grow(box, _RING, image.shape)
    window = np.s_[wide.y0 : wide.y1, wide.x0 : wide.x1]
    around = image[window][~tokens[window]]
    if not around.size:  # tokens are all there is: the whole image speaks
        around = image[~tokens]
    return around if around.size else np.zeros(1, np.uint8)


def _local_mean(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    out, tokens = image.copy(), coverage(boxes, image.shape)
    for box in boxes:
        out[_inside(box)] = round(float(_around(image, box, tokens).mean()))
    return out


def _noise(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    out, tokens = image.copy(), coverage(boxes, image.shape)
    for box in boxes:
        around = _around(image, box, tokens).astype(np.float32)
        drawn = _draws(box).normal(around.mean(), around.std(), (box.height, box.width))
        out[_inside(box)] = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    return out


def _blur(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    out = image.copy()
    for box in boxes:
        sigma = max(1.0, _BLUR * min(box.width, box.height))
        wide = grow(box, float(np.ceil(3 * sigma)) + 1, image.shape)  # what lies beyond has no weight
        blurred = cv2.GaussianBlur(image[_inside(wide)], (0, 0), sigma)
        out[_inside(box)] = blurred[box.y0 - wide.y0 : box.y1 - wide.y0, box.x0 - wide.x0 : box.x1 - wide.x0]
    return out


def _swap(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    out, tokens = image.copy(), coverage(boxes, image.shape)
    for box in boxes:
        draws, grey = _draws(box), _around(image, box, tokens).mean()
        places = [control_boxes([box], image.shape, draws, avoid=boxes, anywhere=True)[0] for _ in range(_PLACES)]
        # Of several free places the one of the nearest grey: a patch of lung on the shoulder would be a mark.
        best = min(places, key=lambda place: abs(float(image[_inside(place)].mean()) - grey))
        out[_inside(box)] = image[_inside(best)]
    return out


def _draws(box: TextBox) -> np.random.Generator:
    """Return random numbers that are the same whenever the same box is masked."""
    return np.random.default_rng([box.x0, box.y0, box.x1, box.y1])


def _inside(box: TextBox) -> tuple[slice, slice]:
    return np.s_[box.y0 : box.y1, box.x0 : box.x1]


def _inpaint(image: np.ndarray, boxes: Sequence[TextBox], method: int) -> np.ndarray:
    """Fill with OpenCV's inpainting, at no more than 1024 px: its time grows with the masked pixels."""
    mask = coverage(boxes, image.shape)
    scale = min(1.0, _INPAINT_LONG_SIDE / max(image.shape))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Any small pixel that a token touches is masked, so that no ink is mixed into the fill.
    small_mask = (cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.inpaint(small, small_mask, _INPAINT_RADIUS, method)
    return cv2.resize(filled, image.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _telea(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    return _inpaint(image, boxes, cv2.INPAINT_TELEA)


def _navier_stokes(image: np.ndarray, boxes: Sequence[TextBox]) -> np.ndarray:
    return _inpaint(image, boxes, cv2.INPAINT_NS)


FILLS: dict[str, Fill] = {
    "black": _black,
    "mean": _local_mean,
    "blur": _blur,
    "noise": _noise,
    "inpaint": _telea,
    "inpaint-ns": _navier_stokes,
    "swap": _swap,
}
"""``fill(image, grown boxes)`` of each mask mode: it returns a new image."""


def mask_text(
    image: np.ndarray, boxes: Sequence[TextBox], mode: str = DEFAULT_MODE, margin: float = DEFAULT_MARGIN
) -> np.ndarray:
    """Return ``image`` (uint8, (H, W)) with the boxes masked; the given array is left alone.

    Parameters
    ----------
    mode
        A name in :data:`cxr.text.mask_modes.MASK_MODES`.
    margin
        How far a box grows first: below 1 a fraction of its shorter side, from 1 to 100 pixels.

    Raises
    ------
    TextError
        Unknown mode, a margin below 0 or above 100, or an image that is not uint8 (H, W).
    """
    if mode not in MASK_MODES:
        raise wrong_use(TextError(unknown("mask mode", mode, MASK_MODES)))
    image = checked_xray(image, "tokens are masked")
    grown = grown_boxes(boxes, margin, image.shape)
    if not grown:
        return image.copy()
    filled = FILLS[mode](image, grown)
    if not MASK_MODES[mode].soft:
        return np.where(coverage(grown, image.shape), filled, image)
    weight = _weights(boxes, margin, image.shape)
    blended = image + weight * (filled.astype(np.float32) - image)
    return np.rint(blended).astype(np.uint8)


def _weights(boxes: Sequence[TextBox], margin: float, shape: Sequence[int]) -> np.ndarray:
    """Return (H, W) in 0..1: 1 over boxes and the inner half of their margin, falling to 0 over the outer half."""
    weights = np.zeros(tuple(shape[:2]), np.float32)
    for box in boxes:
        wide = grow(box, margin, shape)
        by = _margin_in_pixels(box, margin)
        beyond = [
            np.maximum(np.maximum(low - np.arange(first, last), np.arange(first, last) - (high - 1)), 0)
            for low, high, first, last in ((box.y0, box.y1, wide.y0, wide.y1), (box.x0, box.x1, wide.x0, wide.x1))
        ]
        distance = np.maximum(beyond[0][:, None], beyond[1][None, :])
        weight = np.clip((by + 1 - distance) / (by // 2 + 1), 0, 1)
        np.maximum(weights[_inside(wide)], weight, out=weights[_inside(wide)])
    return weights


def _margin_in_pixels(box: TextBox, margin: float) -> int:
    return int(np.ceil(margin * min(box.width, box.height))) if margin < 1 else round(margin)


def grown_boxes(boxes: Sequence[TextBox], margin: float, shape: Sequence[int]) -> list[TextBox]:
    """Return the boxes as masking covers them: grown by ``margin``, cut to the image, empty ones dropped."""
    if not 0 <= margin <= MOST_MARGIN:
        raise wrong_use(
            TextError(
                f"margin {margin!r} is not allowed. Accepted: 0 to {MOST_MARGIN} (below 1 a share of the box's shorter "
                "side, from 1 on pixels)"
            )
        )
    return [box for box in (grow(b, margin, shape) for b in boxes) if box.area]
