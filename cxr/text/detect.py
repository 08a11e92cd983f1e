"""Find burned-in tokens on an X-ray with RapidOCR's text detector, and read them with its recogniser.

Detection and reading are kept apart: lone, mirrored or rotated markers are found by the detector and often cannot be
read, so the detector's own confidence decides and an unreadable token stays a token.

One pass over the whole picture misses lone letters at the borders, vertical words, and large circled letters, so the
detector runs on several views of the image (:data:`VIEWS`): the long side at 1000 and at 500 pixels, turned by 90
degrees, and four contrast-enhanced border strips. Boxes of all views are mapped back to the image, filtered and
merged.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from cxr.errors import TextError
from cxr.text.boxes import TextBox, clip, grow, kind_of, merge

if TYPE_CHECKING:
    from rapidocr import RapidOCR

#: Changes whenever the same image could give other boxes; cached detections carry it.
DETECTOR_VERSION = "rapidocr3.10-ppocr6small-views1"

MIN_SCORE = 0.4
"""A box the detector trusts less is dropped."""
MAX_AREA = 0.05
"""Share of the image above which a box is refused: now and then the detector boxes the whole picture."""
MIN_SIDE = 5
"""Pixels: nothing flatter can be a letter."""
MIN_EDGE = 28.0
"""Grey levels: the 92nd percentile of the gradient inside a token; below it there is nothing sharp enough to be ink."""
MIN_READ_SCORE = 0.5
"""A transcription that the recogniser trusts less is left empty."""

_LONG_SIDE, _STRIP_SIDE = 1000, 1600
_MOST_ENLARGED, _STRIP_MOST_ENLARGED = 3.0, 4.0  # more only costs time: small pictures gain nothing
_PADDING = 32

Corners = np.ndarray
"""Float array (n, 4, 2): four corners (x, y) of n boxes."""


@dataclass(frozen=True)
class View:
    """A picture made from the image for one detector pass, and the way back.

    ``pixels`` is uint8 (h, w); ``to_image`` maps corners (n, 4, 2) in it to pixels of the image.
    """

    pixels: np.ndarray
    to_image: Callable[[Corners], Corners]


def _resized(image: np.ndarray, long_side: float) -> tuple[np.ndarray, float]:
    scale = long_side / max(image.shape)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method), scale


def _view(region: np.ndarray, long_side: float, left: int = 0, top: int = 0, enhance: bool = False) -> View:
    pixels, _ = _resized(region, long_side)
    if enhance:
        pixels = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(pixels)
    scale = np.array([region.shape[1] / pixels.shape[1], region.shape[0] / pixels.shape[0]])
    shift = np.array([left, top])
    # Tokens cut by the border are found only when something lies beyond it.
    fill = float(np.median(pixels))
    padded = cv2.copyMakeBorder(pixels, _PADDING, _PADDING, _PADDING, _PADDING, cv2.BORDER_CONSTANT, value=fill)
    return View(padded, lambda corners: (corners - _PADDING) * scale + shift)


def _turned(view: View) -> View:
    """Return the view turned by 90 degrees clockwise: vertical words become horizontal."""
    height = view.pixels.shape[0]
    turned = np.ascontiguousarray(np.rot90(view.pixels, k=-1))
    return View(turned, lambda corners: view.to_image(np.stack([corners[..., 1], height - corners[..., 0]], axis=-1)))


def _strips(image: np.ndarray, long_side: float) -> Iterator[View]:
    height, width = image.shape
    top, bottom, side = (max(1, round(share)) for share in (0.18 * height, 0.12 * height, 0.18 * width))
    yield _view(image[:top], long_side, enhance=True)
    yield _view(image[height - bottom :], long_side, top=height - bottom, enhance=True)
    yield _view(image[:, :side], long_side, enhance=True)
    yield _view(image[:, width - side :], long_side, left=width - side, enhance=True)


def _long_side(image: np.ndarray, wanted: int = _LONG_SIDE) -> float:
    return min(wanted, _MOST_ENLARGED * max(image.shape))


def _whole(image: np.ndarray) -> Iterator[View]:
    yield _view(image, _long_side(image))


def _half(image: np.ndarray) -> Iterator[View]:
    yield _view(image, _long_side(image, _LONG_SIDE // 2))


def _quarter_turn(image: np.ndarray) -> Iterator[View]:
    yield _turned(_view(image, _long_side(image)))


def _borders(image: np.ndarray) -> Iterator[View]:
    yield from _strips(image, min(_STRIP_SIDE, _STRIP_MOST_ENLARGED * max(image.shape)))


VIEWS: dict[str, Callable[[np.ndarray], Iterator[View]]] = {
    "whole": _whole,
    "half": _half,
    "turned": _quarter_turn,
    "borders": _borders,
}
"""Detector passes by name."""

DEFAULT_VIEWS = tuple(VIEWS)


class Detector:
    """RapidOCR's detector and recogniser behind one lock, so that any number of threads may share one.

    Parameters
    ----------
    threads
        Cores for one call; None takes ``OMP_NUM_THREADS`` if that is set, else all. Processes that work side by side
        take 1 each.
    views
        Names in :data:`VIEWS`.
    """

    def __init__(self, threads: int | None = None, views: Sequence[str] = DEFAULT_VIEWS) -> None:
        self.views = tuple(views)
        self._threads = threads
        self._lock = threading.RLock()
        self._engine: RapidOCR | None = None

    def detect_boxes(self, image: np.ndarray) -> list[TextBox]:
        """Return the tokens of a uint8 image (H, W) without reading them (kind "symbol", text "")."""
        image = _checked(image)
        if min(image.shape) < MIN_SIDE:
            return []
        found = [box for name in self.views for view in VIEWS[name](image) for box in self._boxes(view, image.shape)]
        largest = MAX_AREA * image.size
        sharp = _sharpness(image)
        sized = [box for box in found if min(box.width, box.height) >= MIN_SIDE and box.area <= largest]
        plausible = [box for box in sized if sharp(box) >= MIN_EDGE]
        return merge(plausible, max_area=largest)

    def recognise(self, image: np.ndarray, boxes: Sequence[TextBox]) -> list[TextBox]:
        """Return the boxes with ``text`` and ``kind`` filled in; a token that cannot be read keeps text ""."""
        image = _checked(image)
        if not boxes:
            return []
        crops = [_crop(image, box) for box in boxes]
        with self._lock:
            read = self._loaded().recognize_txt(crops)
        pairs = zip(read.txts or (), read.scores or (), strict=True)
        texts = [text.strip() if score >= MIN_READ_SCORE else "" for text, score in pairs]
        return [replace(box, text=text, kind=kind_of(text)) for box, text in zip(boxes, texts, strict=True)]

    def __call__(self, image: np.ndarray) -> list[TextBox]:
        """Detect, then read."""
        return self.recognise(image, self.detect_boxes(image))

    def _boxes(self, view: View, shape: Sequence[int]) -> list[TextBox]:
        with self._lock:
            # RapidOCR remembers these three flags from call to call, so every call names them all.
            result: Any = self._loaded()(_bgr(view.pixels), use_det=True, use_cls=False, use_rec=False)
        if result.boxes is None:
            return []
        corners = view.to_image(np.asarray(result.boxes, dtype=float))
        pairs = zip(corners, result.scores, strict=True)
        return [clip(_axis_aligned(c, score), shape) for c, score in pairs if score >= MIN_SCORE]

    def _loaded(self) -> RapidOCR:
        with self._lock:
            if self._engine is None:
                self._engine = _new_engine(self._threads)
            return self._engine


def _new_engine(threads: int | None) -> RapidOCR:
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    from rapidocr import RapidOCR

    # limit_side_len is a *lower* bound that enlarges: 64 leaves the size of every view alone.
    threads = threads or int(os.environ.get("OMP_NUM_THREADS") or -1)
    params = {
        "Global.log_level": "error",
        "Global.use_preprocess_img": False,
        "Global.use_vertical_padding": False,
        "Det.limit_side_len": 64,
        "Det.limit_type": "min",
        "Det.thresh": 0.25,
        "Det.box_thresh": 0.3,
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
    }
    return RapidOCR(params=params)


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 2 or not image.size:
        raise TextError(f"text is found on uint8 images of shape (H, W), not {image.dtype} of shape {image.shape}")
    return image


def _bgr(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=2)


def _axis_aligned(corners: np.ndarray, score: float) -> TextBox:
    x0, y0 = np.floor(corners.min(axis=0)).astype(int)
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int)
    return TextBox(int(x0), int(y0), int(x1), int(y1), score=round(float(score), 4))


def _sharpness(image: np.ndarray) -> Callable[[TextBox], float]:
    """Return a function box -> 92nd percentile of the gradient inside it, measured at the detector's scale."""
    small, scale = _resized(image, min(_LONG_SIDE, max(image.shape)))
    dx = cv2.Sobel(small, cv2.CV_32F, 1, 0, ksize=3) / 4
    dy = cv2.Sobel(small, cv2.CV_32F, 0, 1, ksize=3) / 4
    gradient = cv2.magnitude(dx, dy)

    def sharp(box: TextBox) -> float:
        y0, x0 = int(box.y0 * scale), int(box.x0 * scale)
        inside = gradient[y0 : max(y0 + 1, round(box.y1 * scale)), x0 : max(x0 + 1, round(box.x1 * scale))]
        return float(np.percentile(inside, 92)) if inside.size else 0.0

    return sharp


def _crop(image: np.ndarray, box: TextBox) -> np.ndarray:
    around = grow(box, 0.1, image.shape)
    crop = image[around.y0 : around.y1, around.x0 : around.x1]
    if crop.shape[0] > 1.5 * crop.shape[1]:  # a vertical word is read along its long side
        crop = np.rot90(crop)
    return _bgr(np.ascontiguousarray(crop))


@lru_cache(maxsize=4)
def shared_detector(threads: int | None = None) -> Detector:
    """Return this process's detector; the models are loaded at its first use."""
    return Detector(threads)


def detect_boxes(image: np.ndarray) -> list[TextBox]:
    """Return the tokens of ``image`` (uint8, (H, W)) in its own pixels, unread. Raises TextError for other arrays."""
    return shared_detector().detect_boxes(image)


def recognise(image: np.ndarray, boxes: Sequence[TextBox]) -> list[TextBox]:
    """Return ``boxes`` with their transcription and kind."""
    return shared_detector().recognise(image, boxes)


def detect_text(image: np.ndarray) -> list[TextBox]:
    """Return the burned-in tokens of ``image`` (uint8, (H, W)), read, in pixels of that image.

    No model is downloaded: RapidOCR's wheel carries them. Safe to call from several threads.
    """
    return shared_detector()(image)
