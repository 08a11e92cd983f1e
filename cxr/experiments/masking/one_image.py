"""One X-ray with its tokens masked and with its controls, as a page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.experiments.masking.conditions import Masking, controls_of, versions
from cxr.experiments.masking.settings import Setting
from cxr.text.boxes import TextBox, coverage
from cxr.text.mask import grown_boxes, mask_text

CONDITIONS = ("before", "after", "control")
"""What ``predictions.parquet`` holds of each image: nothing, tokens, random boxes (the first draw) masked."""


@dataclass(frozen=True)
class Versions:
    """One image at the network's size, uint8 (size, size), by condition of :data:`CONDITIONS`."""

    images: dict[str, np.ndarray]
    masked_share: float
    control_boxes: list[TextBox]


def masked_versions(
    manifest: Manifest, image_id: str, boxes: Sequence[TextBox], setting: Setting, size: int
) -> Versions:
    """Decode one image, mask it at its own size, and bring every version to the network's size as the cache does."""
    return versions_of(read_xray(manifest.image_path(image_id)), image_id, boxes, setting, size)


def versions_of(image: np.ndarray, image_id: str, boxes: Sequence[TextBox], setting: Setting, size: int) -> Versions:
    """Do the same with an image (uint8 (H, W)) that is decoded; the id and the setting's seed place the controls."""
    masking = Masking(setting.masking.modes[:1], setting.masking.margin, 1, setting.masking.seed)
    controls = controls_of(image_id, image, boxes, masking, size)
    names = {"tokens": "after", "random": "control"}
    pictures = dict.fromkeys(CONDITIONS, fit_square(image, size))
    for condition, picture in versions(image, boxes, controls, masking, size):
        pictures[names[condition.name]] = fit_square(picture, size)
    random = controls[masking.modes[0]].random[0]
    return Versions(pictures, masked_share(boxes, masking, image.shape), list(random))


def before_and_after(
    image: np.ndarray, boxes: Sequence[TextBox], setting: Setting, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two of :func:`versions_of`, as it is and with its tokens masked, which take no search.

    Controls are searched among hundreds of places, so a page shows these two first.
    """
    masking = setting.masking
    masked = mask_text(image, boxes, masking.modes[0], masking.margin) if boxes else image
    return fit_square(image, size), fit_square(masked, size)


def masked_share(boxes: Sequence[TextBox], masking: Masking, shape: Sequence[int]) -> float:
    """Return the share of the pixels of an image of ``shape`` that masking changes."""
    return float(coverage(grown_boxes(boxes, masking.margin, shape), shape).mean()) if boxes else 0.0
