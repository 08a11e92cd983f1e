"""Pictures of relevance: one signed, symmetric colour map everywhere, always with its scale.

Red is positive (speaks for the target), blue negative, white zero; the scale is the value at full colour, the same on
both sides. Relevance comes at the network's input size, X-rays at their own: overlays bring the map to the X-ray.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxr.errors import ExplainError

# Steps of ColorBrewer's RdBu, from -1 to 1: even in lightness on both sides and safe for the colour-blind.
_STOPS = np.array(
    [
        (5, 48, 97),
        (33, 102, 172),
        (67, 147, 195),
        (146, 197, 222),
        (209, 229, 240),
        (255, 255, 255),
        (253, 219, 199),
        (244, 165, 130),
        (214, 96, 77),
        (178, 24, 43),
        (103, 0, 31),
    ],
    dtype=np.float64,
)
COLOUR_STOPS: dict[str, list[list[int]]] = {
    "red-blue": _STOPS.astype(int).tolist(),
    "purple-green": [
        [0, 68, 27], [27, 120, 55], [90, 174, 97], [166, 219, 160], [217, 240, 211], [255, 255, 255],
        [231, 212, 232], [194, 165, 207], [153, 112, 171], [118, 42, 131], [64, 0, 75],
    ],
    "orange-purple": [
        [45, 0, 75], [84, 39, 136], [128, 115, 172], [178, 171, 210], [216, 218, 235], [255, 255, 255],
        [254, 224, 182], [253, 184, 99], [224, 130, 20], [179, 88, 6], [127, 59, 8],
    ],
}  # fmt: skip
"""Steps of three diverging colour maps of ColorBrewer from -1 to 1, as rows of (R, G, B): what a viewer may choose."""
_LINE = 16
_GAP = 8


def relevance_2d(relevance: np.ndarray) -> np.ndarray:
    """Sum relevance over channels: (..., C, H, W) to (..., H, W); (H, W) is returned as it is."""
    relevance = as_numbers(relevance, "relevance")
    if relevance.ndim < 2:
        raise ExplainError(f"relevance of shape {relevance.shape} is not a map. Accepted: (H, W) or (..., C, H, W)")
    return relevance if relevance.ndim == 2 else relevance.sum(axis=-3)


def as_numbers(values: Any, noun: str) -> np.ndarray:
    """Return values as an array, or raise an ExplainError unless they are numbers (yes and no are none)."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # lists of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "iuf" or not array.size:
        kind = type(values).__name__ if array.dtype == object else f"{array.dtype} of shape {array.shape}"
        raise ExplainError(f"{noun} is a {kind}. Accepted: one array of numbers")
    return array


def colour_scale(relevance: np.ndarray, percentile: float = 100.0) -> float:
    """Return the relevance that gets full colour: the given percentile of the absolute values (100: the largest).

    0 where there is nothing but zeros. A percentile below 100 shows more of weak parts and saturates the strongest.
    """
    if not 0 < percentile <= 100:
        raise ExplainError(f"percentile {percentile!r} is out of range. Accepted: above 0 and up to 100")
    values = np.abs(relevance_2d(relevance))
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, percentile)) if finite.size else 0.0


def heatmap_rgb(relevance: np.ndarray, scale: float | None = None, percentile: float = 100.0) -> np.ndarray:
    """Return uint8 RGB (H, W, 3) of relevance (H, W) or (C, H, W); ``scale`` defaults to :func:`colour_scale`."""
    return _coloured(_unit(relevance_2d(relevance), scale, percentile))


def _unit(flat: np.ndarray, scale: float | None, percentile: float) -> np.ndarray:
    """Return relevance in -1..1 of the scale; what is not a number becomes 0."""
    scale = colour_scale(flat, percentile) if scale is None else scale
    flat = np.nan_to_num(flat.astype(np.float64), nan=0.0, posinf=scale, neginf=-scale)
    return np.clip(flat / scale, -1.0, 1.0) if scale > 0 else np.zeros_like(flat)


def _coloured(unit: np.ndarray) -> np.ndarray:
    positions = np.linspace(-1.0, 1.0, len(_STOPS))
    channels = [np.interp(unit, positions, _STOPS[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def overlay(
    image: np.ndarray,
    relevance: np.ndarray,
    alpha: float = 0.7,
    scale: float | None = None,
    percentile: float = 100.0,
) -> np.ndarray:
    """Lay relevance over an X-ray: uint8 RGB of the X-ray's own size (H, W, 3).

    Where relevance is zero the X-ray shows unchanged; full colour covers it by ``alpha`` (0..1).
    """
    if not 0 <= alpha <= 1:
        raise ExplainError(f"alpha {alpha!r} is out of range. Accepted: 0 to 1")
    image, unit = _picture(image), _unit(relevance_2d(relevance), scale, percentile)
    unit = cv2.resize(unit, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    # The square root lets weak relevance tint the picture visibly.
    weight = alpha * np.sqrt(np.abs(unit))[..., None]
    return np.rint((1 - weight) * _grey_rgb(image) + weight * _strong(unit)).astype(np.uint8)


def _strong(unit: np.ndarray) -> np.ndarray:
    """Return the two colours of the map at about two thirds: over an X-ray, lightness belongs to the X-ray."""
    return _coloured(np.where(unit >= 0, 0.7, -0.7)).astype(np.float64)


def _picture(image: Any) -> np.ndarray:
    array = as_numbers(image, "the X-ray")
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ExplainError(f"the X-ray is {array.dtype} of shape {array.shape}. Accepted: uint8 (H, W) or (H, W, 3)")
    return array


def _grey_rgb(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]


def colourbar(scale: float, height: int = 224, width: int = 84) -> np.ndarray:
    """Return uint8 RGB (height, width, 3): the colour map from ``scale`` (top) to ``-scale`` with its numbers."""
    bar = Image.new("RGB", (width, height), "white")
    top, bottom = _LINE // 2, height - _LINE // 2
    ramp = _coloured(np.repeat(np.linspace(1, -1, bottom - top)[:, None], 14, axis=1))
    bar.paste(Image.fromarray(ramp), (2, top))
    draw, font = ImageDraw.Draw(bar), _font()
    draw.rectangle((2, top, 16, bottom), outline="black")
    for value, y in ((scale, top), (scale / 2, (3 * top + bottom) / 4), (0.0, height / 2),
                     (-scale / 2, (top + 3 * bottom) / 4), (-scale, bottom)):  # fmt: skip
        draw.text((21, y), f"{value:+.2g}" if value else "0", fill="black", font=font, anchor="lm")
    return np.asarray(bar)


def figure(
    image: np.ndarray,
    relevance: np.ndarray,
    *,
    legend: Sequence[str] = (),
    percentile: float = 100.0,
    alpha: float = 0.7,
    height: int = 320,
    scale: float | None = None,
    overlay_alone: bool = False,
) -> np.ndarray:
    """Return one uint8 RGB picture: X-ray, heatmap, overlay and colour bar, under them the legend.

    Parameters
    ----------
    legend
        Lines under the pictures, such as :func:`cxr.explain.legend.lines`; the colour scale is added to them.
    scale
        Relevance at full colour; by default the percentile of this map.
    overlay_alone
        Leave out X-ray and heatmap beside the overlay.
    """
    image, flat = _picture(image), relevance_2d(relevance)
    scale = colour_scale(flat, percentile) if scale is None else scale
    width = max(1, round(height * image.shape[1] / image.shape[0]))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    heat = cv2.resize(heatmap_rgb(flat, scale), (width, height), interpolation=cv2.INTER_NEAREST)
    beside = [] if overlay_alone else [_grey_rgb(small), heat]
    pictures = [*beside, overlay(small, flat, alpha, scale), colourbar(scale, height)]
    gap = np.full((height, _GAP, 3), 255, np.uint8)
    row = np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)
    return np.concatenate([row, _legend([*legend, scale_line(flat, scale)], row.shape[1])])


def scale_line(relevance: np.ndarray, scale: float) -> str:
    """Return what the colours of a map mean at this scale."""
    beyond = float((np.abs(relevance_2d(relevance)) > scale).mean()) if scale > 0 else 0.0
    cut = f"; {100 * beyond:.2g} % of the pixels lie beyond it" if beyond else ""
    return f"Colours: red for the class, blue against it, full colour at ±{scale:.3g}{cut}"


def _legend(lines: Sequence[str], width: int) -> np.ndarray:
    font = _font()
    wrapped = [part for line in lines for part in _wrapped(line, font, width - 2 * _GAP)]
    page = Image.new("RGB", (width, _LINE * len(wrapped) + 2 * _GAP), "white")
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(wrapped):
        draw.text((_GAP, _GAP + i * _LINE), line, fill="black", font=font)
    return np.asarray(page)


def _wrapped(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    rows = [""]
    for word in line.split():
        longer = f"{rows[-1]} {word}".strip()
        if font.getlength(longer) <= width or not rows[-1]:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=12)


def to_png(picture: np.ndarray) -> bytes:
    """Return a uint8 picture, (H, W) or (H, W, 3), as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG")
    return buffer.getvalue()
