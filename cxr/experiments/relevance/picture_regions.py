"""Regions of an X-ray at a network's size: text, lungs, border, the rest, and lesions where the data mark them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.regions import lungs_of, regions_of
from cxr.text.boxes import TextBox

TEXT, LUNGS, BORDER, ELSEWHERE, LESION = "text", "lungs", "border", "elsewhere", "lesion"
TITLES: Mapping[str, str] = {
    "lesion": "marked lesions",
    "devices": "devices",
    TEXT: "burned-in text",
    LUNGS: "the lungs",
    BORDER: "the border",
    ELSEWHERE: "the rest",
}
"""Regions as people call them, in their order."""

MANIFEST, SEGMENTATION, BOX = "manifest", "segmentation", "box"


@dataclass(frozen=True)
class RegionMaker:
    """Makes the regions of the X-rays of a manifest, the lungs of all of them in the same way.

    Attributes
    ----------
    lungs
        ``manifest``, ``segmentation`` or ``box``.
    text
        Whether text is a region of its own.
    border
        Width of the border as a share of the shorter side.
    """

    manifest: Manifest
    lungs: str
    text: bool
    border: float

    @classmethod
    def of(cls, manifest: Manifest, lungs: str, text: bool, border: float) -> RegionMaker:
        """Settle where the lungs come from: ``auto`` takes the manifest's masks where no X-ray lacks one."""
        if lungs == "auto":
            masks = [manifest.mask_path(image_id, "lung") for image_id in manifest.ids]
            lungs = MANIFEST if all(path is not None and path.is_file() for path in masks) else SEGMENTATION
        return cls(manifest, lungs, text, border)

    def regions(self, image_id: str, boxes: Sequence[TextBox], size: int) -> tuple[dict[str, np.ndarray], str]:
        """Return disjoint masks bool (size, size) by name, which together cover the picture, and the lungs' source."""
        image = read_xray(self.manifest.image_path(image_id))
        mask_file = self.manifest.mask_path(image_id, "lung") if self.lungs == MANIFEST else None
        lungs = lungs_of(image, mask_file, segment=self.lungs != BOX)
        lesion = _mask(self.manifest.mask_path(image_id, "lesion"), image.shape)
        others = {} if lesion is None else {LESION: lesion}
        regions = regions_of(image, lungs, boxes if self.text else (), border=self.border, others=others)
        return at_size(regions.masks, size), lungs.source


def _mask(path: Path | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a mask, bool (H, W), None where there is none of the X-ray's shape."""
    if path is None or not path.is_file():
        return None
    mask = read_xray(path) > 127
    return mask if mask.shape == shape and mask.any() else None


def at_size(masks: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Return disjoint masks (H, W) that cover a picture at a square's size, bool (size, size), each pixel in one.

    A pixel is of the region that covers most of it, the first of equal ones. Empty regions are left out.
    """
    names = list(masks)
    cover = np.stack([fit_square(masks[name].astype(np.uint8) * 255, size) for name in names])
    owner = cover.argmax(0)
    return {name: owner == k for k, name in enumerate(names) if (owner == k).any()}
