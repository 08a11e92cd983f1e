"""RapidOCR's text detector and recogniser behind one lock, so that any number of threads may share one engine.

The detector runs on OpenVINO, which needs a quarter less time for it than ONNX Runtime. The recogniser stays on ONNX
Runtime: OpenVINO reads in half the time, but takes 700 MB more for each process and reads a few tokens otherwise
(benchmarks/results/text_engines.md). Both run the models of RapidOCR's wheel, in single precision.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cxr.errors import require
from cxr.text.boxes import TextBox, clip, grow
from cxr.text.detection.views import View

if TYPE_CHECKING:
    from rapidocr import RapidOCR

MIN_READ_SCORE = 0.5
"""A transcription that the recogniser trusts less is left empty."""
BUFFERS_FOR_S, MODELS_FOR_S = 10.0, 40.0
"""Seconds without a call after which :func:`give_back_idle` gives back buffers, and models too."""


class _Holder(Protocol):
    def give_back(self, buffers_for_s: float, models_for_s: float) -> bool: ...


_holders: weakref.WeakSet[_Holder] = weakref.WeakSet()


class Engine:
    """One RapidOCR; its models are loaded at the first use, from its wheel: nothing is downloaded.

    Parameters
    ----------
    threads
        Cores for one call; None takes ``OMP_NUM_THREADS`` if that is set, else all.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._lock = threading.RLock()
        self._engine: RapidOCR | None = None
        self._used = 0.0
        self._holds_buffers = False
        remember(self)

    def detect(self, view: View, shape: Sequence[int], min_score: float) -> list[TextBox]:
        """Return a view's boxes with a score of ``min_score`` or more, in pixels of its image of ``shape`` (H, W)."""
        with self._lock:
            # RapidOCR remembers these three flags from call to call, so every call names them all.
            result: Any = self._loaded()(_bgr(view.pixels), use_det=True, use_cls=False, use_rec=False)
        if result.boxes is None:
            return []
        corners = view.to_image(np.asarray(result.boxes, dtype=float))
        pairs = zip(corners, result.scores, strict=True)
        return [clip(_axis_aligned(c, score), shape) for c, score in pairs if score >= min_score]

    def read(self, image: np.ndarray, boxes: Sequence[TextBox]) -> list[str]:
        """Return the transcription of each box, "" where it cannot be read."""
        return [text for text, _ in self.read_with_scores(image, boxes)]

    def read_with_scores(self, image: np.ndarray, boxes: Sequence[TextBox]) -> list[tuple[str, float]]:
        """Return the transcription of each box and how sure RapidOCR is of it, 0 to 1; "" where it cannot be read."""
        if not boxes:
            return []
        crops = [_crop(image, box) for box in boxes]
        with self._lock:
            texts = self._loaded().recognize_txt(crops)
        pairs = zip(texts.txts or (), texts.scores or (), strict=True)
        return [(text.strip() if score >= MIN_READ_SCORE else "", float(score)) for text, score in pairs]

    def _loaded(self) -> RapidOCR:
        with self._lock:
            if self._engine is None:
                self._engine = _new_engine(self._threads)
            self._used, self._holds_buffers = time.monotonic(), True
            return self._engine

    def give_back(self, buffers_for_s: float, models_for_s: float) -> bool:
        """Give back what the last call has left if it is that long ago; return whether anything was.

        Buffers come again, and models are loaded again, with the next call, which takes longer for it
        (benchmarks/results/text_memory.md). An engine at work is left alone.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            idle_s = time.monotonic() - self._used
            if self._engine is None or idle_s < min(models_for_s, buffers_for_s):
                return False
            if idle_s >= models_for_s:
                self._engine, self._holds_buffers = None, False
                return True
            detector: Any = self._engine.text_det  # None as long as it has only read
            if detector is None or not self._holds_buffers:
                return False
            detector.session.session.get_compiled_model().release_memory()
            self._holds_buffers = False
            return True
        finally:
            self._lock.release()


@lru_cache(maxsize=8)
def shared_engine(threads: int | None) -> Engine:
    """Return this process's engine for so many cores a call: each holds models and buffers of its own."""
    return Engine(threads)


def remember(holder: _Holder) -> None:
    """Ask what holds models for them in :func:`give_back_idle`, as long as it is there."""
    _holders.add(holder)


def give_back_idle(buffers_for_s: float = BUFFERS_FOR_S, models_for_s: float = MODELS_FOR_S) -> bool:
    """Give back the memory of this process's engines that have not been used for so long; return whether any was."""
    given_back = [holder.give_back(buffers_for_s, models_for_s) for holder in list(_holders)]
    return any(given_back)


def require_libraries() -> None:
    """Say in one line what is not installed, before a process is started for it; see :func:`cxr.errors.require`."""
    require("rapidocr", "openvino", "onnxruntime", extra="text")


def _new_engine(threads: int | None) -> RapidOCR:
    require_libraries()
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    from rapidocr import RapidOCR

    return RapidOCR(params=_parameters(threads))


def _parameters(threads: int | None) -> dict[str, object]:
    from rapidocr import EngineType

    # limit_side_len is a *lower* bound that enlarges: 64 leaves the size of every view alone.
    threads = threads or int(os.environ.get("OMP_NUM_THREADS") or -1)
    return {
        "Global.log_level": "error",
        "Global.use_preprocess_img": False,
        "Global.use_vertical_padding": False,
        "Det.limit_side_len": 64,
        "Det.limit_type": "min",
        "Det.thresh": 0.25,
        "Det.box_thresh": 0.3,
        "Det.engine_type": EngineType.OPENVINO,
        "EngineConfig.openvino.inference_num_threads": threads,
        "EngineConfig.openvino.performance_hint": "LATENCY",
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
    }


def _bgr(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=2)


def _axis_aligned(corners: np.ndarray, score: float) -> TextBox:
    x0, y0 = np.floor(corners.min(axis=0)).astype(int)
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int)
    return TextBox(int(x0), int(y0), int(x1), int(y1), score=round(float(score), 4))


def _crop(image: np.ndarray, box: TextBox) -> np.ndarray:
    surroundings = grow(box, 0.1, image.shape)
    crop = image[surroundings.y0 : surroundings.y1, surroundings.x0 : surroundings.x1]
    if crop.shape[0] > 1.5 * crop.shape[1]:  # a vertical word is read along its long side
        crop = np.rot90(crop)
    return _bgr(np.ascontiguousarray(crop))
