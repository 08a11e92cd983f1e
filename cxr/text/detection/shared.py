"""The text detector that a process shares, and what is asked of it most."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from cxr.text.boxes import TextBox
from cxr.text.detection import ELSEWHERE
from cxr.text.detection.detector import Detector
from cxr.text.detection.elsewhere import DetectorElsewhere


def shared_detector(threads: int | None = None, operating_point: str = "careful") -> Detector:
    """Return this process's detector; the models are loaded at its first use."""
    return _shared_detector(threads, operating_point, ELSEWHERE.is_set())


@lru_cache(maxsize=8)
def _shared_detector(threads: int | None, operating_point: str, elsewhere: bool) -> Detector:
    # lru_cache holds f(), f(None) and f(threads=None) for three calls, so it is asked in one way alone.
    if elsewhere:
        return DetectorElsewhere(threads, operating_point)
    return Detector(threads, operating_point=operating_point)


def detect_boxes(image: np.ndarray) -> list[TextBox]:
    """Return the tokens of ``image`` (uint8, (H, W)) in its own pixels, unread. Raises TextError for other arrays."""
    return shared_detector().detect_boxes(image)


def reading_scores(image: np.ndarray, boxes: Sequence[TextBox]) -> list[float | None]:
    """Return how sure the reading of each box is, 0 to 1; None where nothing is read."""
    return shared_detector().reading_scores(image, boxes)


def recognise(image: np.ndarray, boxes: Sequence[TextBox]) -> list[TextBox]:
    """Return ``boxes`` with their transcription and kind."""
    return shared_detector().recognise(image, boxes)


def detect_text(image: np.ndarray, operating_point: str = "careful") -> list[TextBox]:
    """Return the burned-in tokens of ``image`` (uint8, (H, W)), read, in pixels of that image.

    ``operating_point`` is a name in :data:`cxr.text.detection.detector.OPERATING_POINTS`. No model is downloaded:
    RapidOCR's wheel and this package carry them. Safe to call from several threads.
    """
    return shared_detector(operating_point=operating_point)(image)
