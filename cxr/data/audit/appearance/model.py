"""The model that tells how a chest X-ray lies, and whether it is one: two small networks over :mod:`.features`.

The first gives each of the 16 views of a picture one number, how much it looks like an upright chest with the heart on
the picture's right and dark lungs; softmax over the views is the probability of each. So a picture and the same one
turned get the same answer, turned. The second looks at the likeliest view and tells a whole frontal chest from a part
of one, a lateral and anything else.

``tools/train_appearance.py`` makes the weights beside this file, on real and synthetic X-rays, and sets the thresholds
on X-rays of other patients.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.data.audit.appearance.features import VIEWS, features, in_views

WEIGHTS = Path(__file__).with_name("appearance.safetensors")
"""The shipped model."""

CLASSES = ("frontal", "cut", "lateral", "not-a-chest")
"""What the second network tells apart, in the order of its outputs."""


class Appearance(TypedDict):
    """Probabilities 0 to 1 that a picture is what the key says; ``view`` is the likeliest of the 16.

    ``other``: that it is no whole frontal chest, so that it is one of the three after it.
    """

    view: int
    inverted: float
    rotated_90: float
    rotated_180: float
    rotated_270: float
    mirrored: float
    other: float
    cut: float
    lateral: float
    not_a_chest: float


@dataclass(frozen=True)
class Model:
    """Weights of the networks, by name, and the thresholds by kind."""

    weights: dict[str, NDArray[np.float32]]
    thresholds: dict[str, float]

    def look(self, images: NDArray[np.uint8]) -> list[Appearance]:
        """Return how pictures uint8 (N, 64, 64) appear."""
        views = in_views(features(images))
        chances = softmax(self._network("view", views)[..., 0])
        best = chances.argmax(1)
        upright = views[np.arange(len(views)), best]
        classes = softmax(self._network("class", upright))
        return [_appearance(*row) for row in zip(best.tolist(), chances, classes, strict=True)]

    def _network(self, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        w = self.weights
        hidden = np.maximum(x @ w[f"{name}.0.weight"].T + w[f"{name}.0.bias"], 0)
        return np.asarray(hidden @ w[f"{name}.1.weight"].T + w[f"{name}.1.bias"], np.float32)


def _appearance(best: int, chances: NDArray[np.float32], classes: NDArray[np.float32]) -> Appearance:
    def chance(**of: object) -> float:
        chosen = [all(getattr(view, key) == value for key, value in of.items()) for view in VIEWS]
        return float(chances[chosen].sum())

    return Appearance(
        view=best,
        inverted=chance(inverted=True),
        rotated_90=chance(turned=90),
        rotated_180=chance(turned=180),
        rotated_270=chance(turned=270),
        mirrored=chance(mirrored=True),
        other=float(classes[1:].sum()),
        cut=float(classes[1]),
        lateral=float(classes[2]),
        not_a_chest=float(classes[3]),
    )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities along the last axis."""
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(shares / shares.sum(-1, keepdims=True))


def load(path: Path) -> Model:
    """Return the model of a file that ``tools/train_appearance.py`` wrote."""
    from safetensors import safe_open

    with safe_open(str(path), "numpy") as file:
        weights = {key: np.asarray(file.get_tensor(key), np.float32) for key in file.keys()}  # noqa: SIM118
        thresholds = json.loads((file.metadata() or {})["thresholds"])
    return Model(weights, thresholds)


@lru_cache(maxsize=1)
def shipped_model() -> Model:
    """Return the model that comes with the package."""
    return load(WEIGHTS)
