"""Where the lungs are on one X-ray: a given mask, the shipped segmentation, or two boxes where lungs mostly are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from cxr.data.images.decode import read_xray
from cxr.errors import RegionError
from cxr.regions.segmentation.picture import mask_of

if TYPE_CHECKING:
    from cxr.regions.lung_store import LungStore

Source = Literal["manifest", "segmentation", "box"]

LUNG_BOXES: tuple[tuple[float, float, float, float], ...] = ((0.12, 0.1, 0.45, 0.7), (0.55, 0.1, 0.88, 0.7))
"""x0, y0, x1, y1 of two boxes as fractions of the picture: where more than half of the lungs of the Montgomery X-rays
lie, rounded to fit frontal X-rays of others."""

_SAME_ASPECT = 0.02  # a mask of other proportions than its X-ray belongs to another picture


@dataclass(frozen=True)
class Lungs:
    """The lungs of an X-ray.

    Attributes
    ----------
    mask
        bool (H, W) of the X-ray as decoded, True inside a lung. Never empty.
    source
        ``manifest``: a mask file; ``segmentation``: the shipped network; ``box``: :data:`LUNG_BOXES`, because there
        was nothing better. Whether the lungs behind the heart and the diaphragm are inside differs between sources.
    """

    mask: np.ndarray
    source: Source


def lungs_of(
    image: np.ndarray, mask_file: Path | None = None, *, segment: bool = True, store: LungStore | None = None
) -> Lungs:
    """Return the lungs of an X-ray.

    A mask file that marks nothing counts as none. Where the segmentation is implausible, boxes are taken.

    Parameters
    ----------
    image
        uint8 (H, W), as :func:`cxr.data.read_xray` decodes it.
    mask_file
        An image of the X-ray's proportions, bright inside the lungs.
    segment
        False never asks the network: boxes where there is no mask file.
    store
        Where the network's answers are kept; None keeps none.

    Raises
    ------
    RegionError
        For another array than one X-ray, or a mask of other proportions.
    ImageError
        For a mask file that cannot be read.
    """
    xray = checked(image)
    if mask_file is not None:
        mask = read_mask(mask_file, (xray.shape[0], xray.shape[1]))
        if mask.any():
            return Lungs(mask, "manifest")
    segmented = _segmented(xray, store) if segment else None
    return box_lungs((xray.shape[0], xray.shape[1])) if segmented is None else Lungs(segmented, "segmentation")


def _segmented(xray: np.ndarray, store: LungStore | None) -> np.ndarray | None:
    from cxr.regions.segmentation.lung_segmentation import lung_probability

    probability = lung_probability(xray) if store is None else store.probability(xray)
    return mask_of(probability, (xray.shape[0], xray.shape[1]))


def box_lungs(shape: tuple[int, int]) -> Lungs:
    """Return :data:`LUNG_BOXES` on a picture of ``shape`` (H, W): a guess that knows nothing of the picture."""
    height, width = shape
    mask = np.zeros(shape, dtype=bool)
    for x0, y0, x1, y1 in LUNG_BOXES:
        mask[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = True
    return Lungs(mask, "box")


def read_mask(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask file as bool (H, W) at the size of its X-ray; 128 and more of 255 is inside.

    Raises
    ------
    RegionError
        If its proportions differ from the X-ray's by more than two per cent.
    ImageError
        If it cannot be read.
    """
    mask = read_xray(file)
    height, width = shape
    if mask.shape == shape:
        return mask > 127
    if abs(mask.shape[1] / mask.shape[0] * height / width - 1) > _SAME_ASPECT:
        raise RegionError(
            f"{file}: a mask of {mask.shape[1]} x {mask.shape[0]} pixels does not fit an X-ray of {width} x {height}"
        )
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) > 127


def checked(image: np.ndarray) -> np.ndarray:
    """Return an array if it is one X-ray, uint8 (H, W); raise a RegionError for any other."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 2 or not array.size:
        raise RegionError(f"regions are of one X-ray, uint8 (H, W), not of {array.dtype} of shape {array.shape}")
    return array


def checked_mask(mask: np.ndarray, shape: tuple[int, ...], name: str = "lungs") -> np.ndarray:
    """Return a mask if it is bool and of the X-ray's ``shape``; raise a RegionError for any other."""
    if mask.dtype != np.bool_ or mask.shape != shape:
        raise RegionError(
            f"the mask of {name} is {mask.dtype} of shape {mask.shape}. Accepted: bool of the X-ray's shape {shape}"
        )
    return mask
