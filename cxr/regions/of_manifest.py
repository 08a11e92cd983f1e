"""The lungs of X-rays of a data set: with its own masks only where all X-rays have one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cxr.data.images.base import Refusal
from cxr.data.images.decode import read_xray
from cxr.data.images.pool import WorkerDied, map_in_order
from cxr.data.manifest import Manifest
from cxr.errors import CxrError, ImageError, RegionError, unknown, wrong_use
from cxr.regions.lung_store import LungStore
from cxr.regions.lungs import Lungs, Source, lungs_of
from cxr.regions.view_names import MASKS


def lungs_in(manifest: Manifest, image_id: str, image: np.ndarray, *, masks: str = "uniform") -> Lungs:
    """Return the lungs of an X-ray of a data set; the segmentation's answer is kept on disk.

    Parameters
    ----------
    image
        uint8 (H, W), the X-ray as decoded.
    masks
        ``uniform``: the manifest's masks if every X-ray of the manifest has one, else the segmentation for all. Where
        one class has masks by hand and another has none, the kind of mask would tell the class.
        ``manifest``: the manifest's mask where there is one. ``segmentation``: never a mask of the manifest; the safer
        choice where masks by hand may have been drawn in several ways.

    Raises
    ------
    ManifestError, RegionError, ImageError
        For an unknown id; an unknown choice or a mask of other proportions; a mask that cannot be read.
    """
    file = manifest.mask_path(image_id, "lung") if _uses_masks(manifest, masks) else None
    return lungs_of(image, file, store=LungStore())


def lungs_many(
    manifest: Manifest,
    ids: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    *,
    masks: str = "uniform",
) -> Iterator[tuple[str, Lungs]]:
    """Yield ``(image_id, lungs)`` of many X-rays in their order, decoded and segmented in worker processes.

    What was segmented before is read from disk. ``dict(lungs_many(...))`` holds them all: a byte per
    pixel.

    Parameters
    ----------
    ids
        None means all of the manifest.
    progress
        Called with ``(done, total)``.
    workers
        Number of processes; 0 works in this one; None chooses.
    masks
        As in :func:`lungs_in`.

    Raises
    ------
    ManifestError, RegionError, ImageError
        As :func:`lungs_in`; an X-ray that cannot be read is named.
    """
    chosen = manifest.ids if ids is None else list(ids)
    with_masks = _uses_masks(manifest, masks)
    items = [(manifest.image_path(name), manifest.mask_path(name) if with_masks else None) for name in chosen]
    for name, (file, _), answer in zip(chosen, items, map_in_order(_lungs_at, items, workers, progress), strict=True):
        if isinstance(answer, WorkerDied):
            raise ImageError(f"{file}: {answer}")
        if isinstance(answer, CxrError):
            raise answer
        packed, shape, source = answer
        count = shape[0] * shape[1]
        yield name, Lungs(np.unpackbits(packed, count=count).reshape(shape).astype(bool), source)


def _uses_masks(manifest: Manifest, masks: str) -> bool:
    if masks not in MASKS:
        raise wrong_use(RegionError(unknown("choice of lung masks", masks, MASKS)))
    return masks == "manifest" or (masks == "uniform" and bool((manifest.table["lung_mask"] != "").all()))


def _lungs_at(item: tuple[Path, Path | None]) -> tuple[np.ndarray, tuple[int, int], Source] | CxrError:
    """Work on one file in a worker; a mask travels as bits, and an error for people as a value."""
    file, mask_file = item
    try:
        lungs = lungs_of(read_xray(file), mask_file, store=LungStore())
    except (CxrError, Refusal) as error:
        return error if isinstance(error, CxrError) else ImageError(f"{file}: {error}")
    height, width = lungs.mask.shape
    return np.packbits(lungs.mask), (height, width), lungs.source
