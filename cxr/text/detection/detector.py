"""Find burned-in tokens on an X-ray, and read them.

Three stages:

1. Candidates. RapidOCR's text detector on some views of the image (:mod:`cxr.text.detection.views`), components that
   look like glyphs (:mod:`cxr.text.detection.components`), and scale bars (:mod:`cxr.text.detection.scale_bars`).
2. A token classifier (:mod:`cxr.text.detection.token_classifier`) that looks at each candidate; an operating point says
   which scores a candidate must reach.
3. RapidOCR's recogniser. Lone, mirrored or turned markers often cannot be read: they stay tokens with an empty text,
   and the token classifier names their kind.

No box covers more than :data:`MAX_AREA` of the image: a larger one is refused, and its region searched again, at a
finer scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cxr.errors import TextError, unknown, wrong_use
from cxr.text.boxes import TextBox, checked_xray, grow, intersection, iou, kind_of, merge
from cxr.text.detection.components import components
from cxr.text.detection.ocr import shared_engine
from cxr.text.detection.scale_bars import scale_bars
from cxr.text.detection.token_classifier import TokenScore, shared_classifier
from cxr.text.detection.views import LONG_SIDE, VIEWS, resized, view_of

#: Changes whenever the same image could give other boxes; cached detections carry it.
DETECTOR_VERSION = "rapidocr3.10-ppocr6small-judge6"

MAX_AREA = 0.05
"""Share of the image above which a box is refused: now and then the detector boxes the whole picture."""
SECOND_SEARCH_SIDE = 736
"""Pixels of the long side when the region of a refused box is searched again."""
MIN_SIDE = 5
"""Pixels: nothing flatter can be a letter."""
MIN_EDGE = 22.0
"""Grey levels: the 92nd percentile of the gradient inside a token; below it there is nothing sharp enough to be ink."""

_SAME_INK = 0.5  # IoU from which a component and a box of RapidOCR are the same token


@dataclass(frozen=True)
class OperatingPoint:
    """What a candidate must reach to be kept.

    ``min_score`` is the confidence of RapidOCR below which its boxes are not looked at; ``min_mean`` the least mean of
    that confidence and the token classifier's probability; ``alone`` the least probability of a component that RapidOCR
    did not find.
    ``views`` are the pictures that RapidOCR searches, names in :data:`cxr.text.detection.views.VIEWS`.
    """

    views: tuple[str, ...]
    min_score: float
    min_mean: float
    alone: float


OPERATING_POINTS = {
    "careful": OperatingPoint(("small",), min_score=0.3, min_mean=0.5, alone=0.78),
    "mask-all": OperatingPoint(("small", "borders"), min_score=0.3, min_mean=0.35, alone=0.5),
}
"""``careful`` gives few false boxes and is fast; ``mask-all`` finds more, at the price of some anatomy and of time."""


class Detector:
    """Candidates, token classifier and recogniser; any number of threads may share one.

    Parameters
    ----------
    threads
        Cores for one call; None takes ``OMP_NUM_THREADS`` if that is set, else all. Processes that work side by side
        take 1 each.
    views
        Names in :data:`cxr.text.detection.views.VIEWS`; default those of the operating point.
    operating_point
        Name in :data:`OPERATING_POINTS`.

    Raises
    ------
    TextError : an unknown view or operating point.
    """

    def __init__(
        self,
        threads: int | None = None,
        views: Sequence[str] | None = None,
        operating_point: str = "careful",
    ) -> None:
        if operating_point not in OPERATING_POINTS:
            raise wrong_use(TextError(unknown("operating point", operating_point, OPERATING_POINTS)))
        self.point = OPERATING_POINTS[operating_point]
        self.views = self.point.views if views is None else tuple(views)
        for name in self.views:
            if name not in VIEWS:
                raise wrong_use(TextError(unknown("view", name, VIEWS)))
        self._threads = threads
        self._engine = shared_engine(threads)

    def detect_boxes(self, image: np.ndarray) -> list[TextBox]:
        """Return the tokens of a uint8 image (H, W) unread: text "", kind from the token classifier."""
        image = checked_xray(image, "text is found")
        if min(image.shape) < MIN_SIDE:
            return []
        scales = scale_bars(image)
        sharp = _sharpness(image)
        candidates = [box for box in self._ocr_boxes(image, sharp) if not _lies_in(box, scales)]
        fitting = [box for box in components(image) if box.area <= MAX_AREA * image.size]
        glyphs = [box for box in fitting if not _lies_in(box, scales) and sharp(box) >= MIN_EDGE]
        scores = shared_classifier(self._threads)(image, candidates + glyphs)
        tokens = [
            _classified(box, score, (box.score + score.token) / 2)
            for box, score in zip(candidates, scores, strict=False)
        ]
        tokens = [box for box in tokens if box.score >= self.point.min_mean]
        alone = [
            _classified(box, score, score.token)
            for box, score in zip(glyphs, scores[len(candidates) :], strict=True)
            if score.token >= self.point.alone and (box.kind != "arrow" or score.kind == "arrow")
        ]
        tokens = [_named_by_its_ink(box, alone) for box in tokens]
        # A box of RapidOCR that was rejected does not hide a letter in it.
        alone = [box for box in alone if not _lies_in(box, tokens)]
        alone = self._without_neighbours_ink(image, alone, tokens)
        return merge(tokens + merge(alone, MAX_AREA * image.size) + scales, max_area=MAX_AREA * image.size)

    def recognise(self, image: np.ndarray, boxes: Sequence[TextBox]) -> list[TextBox]:
        """Return the boxes with ``text`` and ``kind``; a token that cannot be read keeps text "" and its kind."""
        image = checked_xray(image, "text is found")
        legible = [box for box in boxes if box.kind != "scale"]
        text_of = dict(zip(legible, self._engine.read(image, legible), strict=True))
        return [_with_text(box, text_of.get(box, "")) for box in boxes]

    def reading_scores(self, image: np.ndarray, boxes: Sequence[TextBox]) -> list[float | None]:
        """Return how sure RapidOCR is of what it reads in each box, 0 to 1; None where nothing is read.

        A box's own ``score`` says how sure it is that there is text, not that it was read rightly.
        """
        image = checked_xray(image, "text is found")
        legible = [box for box in boxes if box.kind != "scale"]
        read = dict(zip(legible, self._engine.read_with_scores(image, legible), strict=True))
        scores = (read.get(box, ("", 0.0)) for box in boxes)
        return [score if text else None for text, score in scores]

    def __call__(self, image: np.ndarray) -> list[TextBox]:
        """Detect, then read."""
        return self.recognise(image, self.detect_boxes(image))

    def _ocr_boxes(self, image: np.ndarray, sharp: Callable[[TextBox], float]) -> list[TextBox]:
        """Return what RapidOCR finds in the views, each token once and none larger than allowed."""
        views = (view for name in self.views for view in VIEWS[name](image))
        boxes = [box for view in views for box in self._engine.detect(view, image.shape, self.point.min_score)]
        largest = MAX_AREA * image.size
        fitting = [box for box in boxes if box.area <= largest]
        for box in _worth_a_second_search(boxes, largest):
            fitting += [inner for inner in self._searched_within(image, box) if inner.area <= largest]
        plausible = [box for box in fitting if min(box.width, box.height) >= MIN_SIDE and sharp(box) >= MIN_EDGE]
        return merge(plausible, max_area=largest)

    def _without_neighbours_ink(self, image: np.ndarray, alone: list[TextBox], tokens: list[TextBox]) -> list[TextBox]:
        """Leave out components that stop being tokens once their stronger neighbours are painted out.

        What the token classifier sees around a box may hold another token, so that the gap between two words looks like
        text.
        """
        tokens_alone: list[TextBox] = []
        for box in sorted(alone, key=lambda box: -box.score):
            surroundings = grow(box, 0.9, image.shape)
            neighbours = [
                token
                for token in tokens + tokens_alone
                if intersection(surroundings, token) and not _lies_in(box, [token]) and not _lies_in(token, [box])
            ]
            if neighbours:
                (score,) = shared_classifier(self._threads)(_painted_out(image, surroundings, neighbours, box), [box])
                if score.token < self.point.alone:
                    continue
            tokens_alone.append(box)
        return tokens_alone

    def _searched_within(self, image: np.ndarray, box: TextBox) -> list[TextBox]:
        """Return what is found in the region of a box that covers too much, at a finer scale."""
        region = image[box.y0 : box.y1, box.x0 : box.x1]
        view = view_of(region, min(SECOND_SEARCH_SIDE, 3 * max(region.shape)), left=box.x0, top=box.y0)
        return self._engine.detect(view, image.shape, self.point.min_score)


def _worth_a_second_search(boxes: Sequence[TextBox], largest: float) -> list[TextBox]:
    """Return the two likeliest boxes that are too large, up to half of the image.

    Beyond that the detector took the picture's own frame for a box, mostly on images without text: that is refused, and
    so is what it doubts itself.
    """
    large = [box for box in boxes if largest < box.area <= 0.5 / MAX_AREA * largest and box.score >= 0.5]
    return sorted(merge(large), key=lambda box: -box.score)[:2]


def _painted_out(image: np.ndarray, surroundings: TextBox, others: Sequence[TextBox], box: TextBox) -> np.ndarray:
    """Return a copy of the image in which other boxes have the median grey of the surroundings; ``box`` stays."""
    painted = image.copy()
    fill = np.median(image[surroundings.y0 : surroundings.y1, surroundings.x0 : surroundings.x1])
    for other in others:
        painted[other.y0 : other.y1, other.x0 : other.x1] = fill
    painted[box.y0 : box.y1, box.x0 : box.x1] = image[box.y0 : box.y1, box.x0 : box.x1]
    return painted


def _lies_in(box: TextBox, others: Sequence[TextBox]) -> bool:
    """Whether half of ``box`` lies in one of the others."""
    return any(2 * intersection(box, other) >= box.area for other in others)


def _named_by_its_ink(box: TextBox, glyphs: Sequence[TextBox]) -> TextBox:
    """Return a token with the kind of the component that lies on it, whose outline is closer; none: as it is."""
    closest = max(glyphs, key=lambda other: iou(box, other), default=box)
    return replace(box, kind=closest.kind) if iou(box, closest) >= _SAME_INK else box


def _classified(box: TextBox, score: TokenScore, confidence: float) -> TextBox:
    return replace(box, score=round(confidence, 4), kind=score.kind)


def _with_text(box: TextBox, text: str) -> TextBox:
    """Return the box with what was read; one sign read off an arrow is its shaft, not a letter."""
    legible = sum(c.isalnum() for c in text)
    if not legible or (box.kind == "arrow" and legible == 1):
        return replace(box, text="" if box.kind == "arrow" else text)
    return replace(box, text=text, kind=kind_of(text))


def _sharpness(image: np.ndarray) -> Callable[[TextBox], float]:
    """Return a function box -> 92nd percentile of the gradient inside it, measured at the detector's scale."""
    small, scale = resized(image, min(LONG_SIDE, max(image.shape)))
    dx = cv2.Sobel(small, cv2.CV_32F, 1, 0, ksize=3) / 4
    dy = cv2.Sobel(small, cv2.CV_32F, 0, 1, ksize=3) / 4
    gradient = cv2.magnitude(dx, dy)

    def sharp(box: TextBox) -> float:
        y0, x0 = int(box.y0 * scale), int(box.x0 * scale)
        inside = gradient[y0 : max(y0 + 1, round(box.y1 * scale)), x0 : max(x0 + 1, round(box.x1 * scale))]
        return float(np.percentile(inside, 92)) if inside.size else 0.0

    return sharp
