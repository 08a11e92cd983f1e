"""The text detector in a process of its own, for a server: the memory that it takes ends with that process.

What libraries keep for good, and what is left in a process once their models are gone, is 160 MB of some 320
(benchmarks/results/text_memory.md).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from cxr.data.images.pool import Worker, WorkerDied
from cxr.errors import TextError
from cxr.machine import cores
from cxr.text.boxes import TextBox, checked_xray
from cxr.text.detection import ocr
from cxr.text.detection.detector import Detector

_Question = tuple[int, str, str, tuple[Any, ...]]


class DetectorElsewhere(Detector):
    """A detector whose process starts at the first question and ends when nobody has asked for a while.

    Parameters as of :class:`Detector`. Its answers are the same. A question raises TextError too where the process
    ends without an answer; the next one starts another.
    """

    def __init__(self, threads: int | None = None, operating_point: str = "careful") -> None:
        super().__init__(threads, operating_point=operating_point)
        self._cores = threads or int(os.environ.get("OMP_NUM_THREADS") or 0) or cores()
        self._named = operating_point
        self._lock = threading.RLock()
        self._worker: Worker | None = None
        self._used = 0.0
        ocr.remember(self)

    def detect_boxes(self, image: np.ndarray) -> list[TextBox]:
        """Return the tokens of a uint8 image (H, W) unread, as :meth:`Detector.detect_boxes` does."""
        found: list[TextBox] = self._ask("detect_boxes", checked_xray(image, "text is found"))
        return found

    def recognise(self, image: np.ndarray, boxes: Sequence[TextBox]) -> list[TextBox]:
        """Return the boxes with ``text`` and ``kind``, as :meth:`Detector.recognise` does."""
        read: list[TextBox] = self._ask("recognise", checked_xray(image, "text is found"), list(boxes))
        return read

    def reading_scores(self, image: np.ndarray, boxes: Sequence[TextBox]) -> list[float | None]:
        """Return how sure the reading of each box is, as :meth:`Detector.reading_scores` does."""
        scores: list[float | None] = self._ask("reading_scores", checked_xray(image, "text is found"), list(boxes))
        return scores

    def __call__(self, image: np.ndarray) -> list[TextBox]:
        """Detect, then read."""
        found: list[TextBox] = self._ask("__call__", checked_xray(image, "text is found"))
        return found

    def give_back(self, buffers_for_s: float, models_for_s: float) -> bool:
        """End the process if nobody has asked for ``models_for_s`` seconds; return whether it did. As of an engine."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._worker is None or time.monotonic() - self._used < models_for_s:
                return False
            self._end()
            return True
        finally:
            self._lock.release()

    def _ask(self, name: str, *arguments: Any) -> Any:
        with self._lock:
            if self._worker is None:
                ocr.require_libraries()
                self._worker = Worker()
            question: _Question = (self._cores, self._named, name, arguments)
            try:
                answer = self._worker.ask(_answer, question)
            finally:
                self._used = time.monotonic()
            if isinstance(answer, WorkerDied):
                self._end()
                raise TextError("the process that finds text ended without an answer: too little memory is left?")
            return answer

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _answer(question: _Question) -> Any:
    """Answer a question in the process that finds text."""
    threads, operating_point, name, arguments = question
    return getattr(_detector(threads, operating_point), name)(*arguments)


@lru_cache(maxsize=2)
def _detector(threads: int, operating_point: str) -> Detector:
    return Detector(threads, operating_point=operating_point)
