"""How much of each heatmap's positive relevance lies in the text, the lungs, the border and elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from cxr.data import read_xray
from cxr.data.images.pool import WorkerDied, default_workers, map_in_order
from cxr.data.images.resize import fit_square
from cxr.errors import CxrError
from cxr.regions import REGIONS, lungs_of, regions_of
from cxr.text.boxes import TextBox

if TYPE_CHECKING:
    from cxr.data import Manifest

_Item = tuple[Path, Path | None, Sequence[TextBox], np.ndarray]


@dataclass(frozen=True)
class RegionShares:
    """Shares of maps in regions.

    Attributes
    ----------
    rows
        (M,) numbers of the maps that were measured.
    names
        (R,) of the regions.
    shares
        (M, R) of the positive relevance; the rows sum to 1.
    areas
        (M, R) of the picture; the rows sum to 1.
    lungs
        How many X-rays' lungs are from the manifest, the segmentation, or a box.
    """

    rows: np.ndarray
    names: tuple[str, ...]
    shares: np.ndarray
    areas: np.ndarray
    lungs: dict[str, int]


def region_shares(
    manifest: Manifest,
    rows: Sequence[tuple[int, str, np.ndarray]],
    boxes: Mapping[str, Sequence[TextBox]],
    text: bool,
    step: Callable[[float], object],
    stopped: Callable[[], bool],
    workers: int | None = None,
) -> RegionShares:
    """Measure maps in regions; ends early once ``stopped``.

    Parameters
    ----------
    rows
        (number of the map, image id, relevance (H, W)) of each map.
    boxes
        Burned-in text by image id, in pixels of the file.
    text
        Whether it was searched for; without, there is no such region. An X-ray that cannot be read is left out.
    """
    own_masks = bool((manifest.table["lung_mask"] != "").all())  # of some X-rays alone they would tell the class
    items: list[_Item] = [
        (
            manifest.image_path(i),
            manifest.mask_path(i, "lung") if own_masks else None,
            list(boxes.get(i, ())),
            relevance,
        )
        for _, i, relevance in rows
    ]
    if workers is None:
        workers = default_workers() if len(items) > 8 else 0
    answers = cast("Generator[tuple[np.ndarray, str] | str | WorkerDied]", map_in_order(_measure, items, workers))
    numbers, measured, lungs = [], [], dict[str, int]()
    with closing(answers):
        for done, ((number, _, _), answer) in enumerate(zip(rows, answers, strict=True), 1):
            step(done / len(items))
            if isinstance(answer, tuple):
                numbers.append(number)
                measured.append(answer[0])
                lungs[answer[1]] = lungs.get(answer[1], 0) + 1
            if stopped():
                break
    values = np.array(measured).reshape(-1, 2, len(REGIONS))
    kept = [k for k, name in enumerate(REGIONS) if text or name != "text"]
    names = tuple(REGIONS[k] for k in kept)
    return RegionShares(np.array(numbers, np.int64), names, values[:, 0, kept], values[:, 1, kept], lungs)


def _measure(item: _Item) -> tuple[np.ndarray, str] | str:
    """Return the shares and areas (2, R) of a map in the regions of its X-ray, and where the lungs are from."""
    path, mask_file, boxes, relevance = item
    try:
        image = read_xray(path)
        regions = regions_of(image, lungs_of(image, mask_file), boxes)
    except CxrError as error:
        return str(error)
    positive = np.nan_to_num(relevance.astype(np.float64), posinf=0.0).clip(min=0)
    size = len(positive)
    # Pixels of the network that lie half in a region count by half: thin letters would vanish otherwise.
    weights = np.stack([fit_square(regions.masks[name].astype(np.uint8) * 255, size) / 255 for name in REGIONS])
    weights /= np.maximum(weights.sum(0, keepdims=True), 1e-9)
    shares = (weights * positive).sum((1, 2)) / max(positive.sum(), 1e-300)
    return np.stack([shares, weights.mean((1, 2))]), regions.lungs_source
