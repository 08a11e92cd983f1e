"""Second opinion on a candidate box: is there a burned-in token in it, and of what kind?

A small convolutional network looks at the box with some of its surroundings and with more of them, both scaled to
:data:`SIZE` with the box's long side level: a letter stands alone where a wire goes on. It was trained by
``tools/train_token_classifier.py`` on tokens drawn over synthetic and real X-rays, against drawn clips, wires, tubes
and film borders and against candidates on anatomy, and on candidates of real X-rays that were sorted by eye. Its
weights lie beside this file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from cxr.errors import require
from cxr.text.boxes import TextBox, grow
from cxr.text.detection.views import LONG_SIDE, resized

CLASSES = ("nothing", "word", "letter", "arrow")
"""The network's outputs in their order; a number is a word here."""
SIZE = (48, 96)
"""Height and width of the network's picture of a box."""
N_FEATURES = 4
"""Numbers beside the picture: short side, aspect, contrast, distance to the border."""

N_CHANNELS = 3
"""Grey levels in units of their spread, the same of wider surroundings, and grey levels in 0..1."""

_AROUND, _WIDELY = 0.4, 2.0  # surroundings on every side, in short sides of the box
_FIRST_LOOK, _MORE_LOOKS = (
    0.1,
    (0.0, 0.2),
)  # margins around a box, in short sides: a score must not depend on a single pixel
_CLEARLY_NOTHING = 0.2  # probability of a token below which one look is enough
_BATCH = 64
_RANKS = [round(share * (SIZE[0] * SIZE[1] - 1)) for share in (0.02, 0.5, 0.98)]  # percentiles of a picture


@dataclass(frozen=True)
class TokenScore:
    """Probability in 0..1 that a box holds a token of any kind, and the likeliest kind of token."""

    token: float
    kind: str


def patches(
    image: np.ndarray, boxes: Sequence[TextBox], scaled: tuple[np.ndarray, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the network is given of each box.

    ``scaled`` is what :func:`at_its_scale` returns of the image, for who asks about the same image again and again.

    Returns
    -------
    Float32 pictures (n, 3, 48, 96): grey levels about their median in units of their spread, the same of a window with
    more surroundings, and grey levels in 0..1 of the first; float32 features (n, 4), each about -1..1.
    """
    small, scale = at_its_scale(image) if scaled is None else scaled
    pictures = np.zeros((len(boxes), N_CHANNELS, *SIZE), np.float32)
    features = np.zeros((len(boxes), N_FEATURES), np.float32)
    for i, box in enumerate(boxes):
        corners = np.array([box.x0, box.y0, box.x1, box.y1]) * scale
        near, wide = _picture(small, corners, _AROUND), _picture(small, corners, _WIDELY)
        dark, middle, bright = np.partition(near, _RANKS, axis=None)[_RANKS]
        spread = max(bright - dark, 12.0)
        pictures[i] = (near - middle) / spread, (wide - middle) / spread, near / 255
        features[i] = _features(box, image.shape, spread)
    return pictures, features


def at_its_scale(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the image at the size that the network looks at, and the factor it was scaled by."""
    return resized(image, min(LONG_SIDE, max(image.shape)))


def _picture(small: np.ndarray, corners: np.ndarray, share: float) -> np.ndarray:
    """Return float32 (48, 96): x0, y0, x1, y1 and ``share`` of the short side around it.

    What lies beyond the border repeats the border.
    """
    x0, y0, x1, y1 = corners
    w, h = max(x1 - x0, 2.0), max(y1 - y0, 2.0)
    around = share * min(w, h) + 2
    tall, wide = min(w, h) + 2 * around, max(w, h) + 2 * around
    wide = max(wide, tall * SIZE[1] / SIZE[0])
    half = np.array([wide, tall] if w >= h else [tall, wide]) / 2
    centre = np.array([x0 + x1, y0 + y1]) / 2
    low, high = np.floor(centre - half).astype(int), np.ceil(centre + half).astype(int)
    if (low >= 0).all() and (high <= small.shape[::-1]).all():
        region = small[low[1] : high[1], low[0] : high[0]]
    else:
        columns = np.clip(np.arange(low[0], high[0]), 0, small.shape[1] - 1)
        rows = np.clip(np.arange(low[1], high[1]), 0, small.shape[0] - 1)
        region = small[rows[:, None], columns]
    if h > w:
        region = np.ascontiguousarray(np.rot90(region))
    method = cv2.INTER_AREA if region.shape[0] > SIZE[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(region, SIZE[::-1], interpolation=method), np.float32)


def _features(box: TextBox, shape: Sequence[int], spread: float) -> tuple[float, float, float, float]:
    long_side, (height, width) = max(shape), shape[:2]
    short, long = min(box.width, box.height), max(box.width, box.height)
    border = min(box.x0, box.y0, width - box.x1, height - box.y1) / long_side
    return (
        float(np.log2(max(short, 1) / long_side) + 5.5) / 2,
        float(np.log2(max(long, 1) / max(short, 1))) / 2,
        spread / 255,
        float(np.clip(border, 0, 0.3)) * 3,
    )


class TokenClassifier:
    """The trained network on ONNX Runtime; calls from several threads may share one.

    Parameters
    ----------
    threads
        Cores for one call; None takes ``OMP_NUM_THREADS`` if that is set, else all.
    path
        ONNX file; default the one that comes with the package.
    """

    def __init__(self, threads: int | None = None, path: Path | None = None) -> None:
        self._session = _new_session(path or WEIGHTS, threads or int(os.environ.get("OMP_NUM_THREADS") or 0))

    def __call__(self, image: np.ndarray, boxes: Sequence[TextBox]) -> list[TokenScore]:
        """Return one score per box of a uint8 image (H, W)."""
        if not boxes:
            return []
        scaled = at_its_scale(image)
        logits = self._logits_of(image, boxes, scaled, _FIRST_LOOK)
        scores = [_token_score(row) for row in logits]
        unclear = [i for i, score in enumerate(scores) if score.token >= _CLEARLY_NOTHING]
        if unclear:
            again = [self._logits_of(image, [boxes[i] for i in unclear], scaled, margin) for margin in _MORE_LOOKS]
            for i, row in zip(unclear, np.mean([logits[unclear], *again], axis=0), strict=True):
                scores[i] = _token_score(row)
        return scores

    def _logits_of(
        self, image: np.ndarray, boxes: Sequence[TextBox], scaled: tuple[np.ndarray, float], margin: float
    ) -> np.ndarray:
        """Return the logits (n, 4) of boxes with a margin around them."""
        pictures, features = patches(image, [grow(box, margin, image.shape) for box in boxes], scaled)
        parts = range(0, len(boxes), _BATCH)
        return np.concatenate([self._logits(pictures[i : i + _BATCH], features[i : i + _BATCH]) for i in parts])

    def _logits(self, pictures: np.ndarray, features: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {"picture": pictures, "features": features})[0])


def _token_score(logits: np.ndarray) -> TokenScore:
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    return TokenScore(float(1 - shares[0]), CLASSES[1 + int(shares[1:].argmax())])


class Session(Protocol):
    """What runs the network: ONNX Runtime's session, or one that is called alike."""

    def run(self, output_names: None, input_feed: dict[str, np.ndarray], /) -> Sequence[Any]:
        """Return the outputs of the network, the logits (n, 4) first."""


def _new_session(path: Path, threads: int) -> Session:
    require("onnxruntime", extra="text")
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session: Session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session


WEIGHTS = Path(__file__).with_name("token_classifier.onnx")
"""The shipped network."""


@lru_cache(maxsize=4)
def shared_classifier(threads: int | None = None) -> TokenClassifier:
    """Return this process's token classifier."""
    return TokenClassifier(threads)
