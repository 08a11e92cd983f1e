"""What a stage of a training has seen, as its weights file carries it."""

from __future__ import annotations

import numpy as np

from cxr.data import ImageCache
from cxr.errors import ImageError
from cxr.models.seen_images import CHOSEN, TRAINED, Digests, SeenImages, sorted_digests
from cxr.training.data.stages import StageData


def seen_in_stage(run: str, stage: str, data: StageData) -> tuple[SeenImages, ...]:
    """Return what a stage learns from and what its best epoch is chosen on."""
    return tuple(
        _entry(run, stage, use, data, rows) for use, rows in ((TRAINED, data.train_rows), (CHOSEN, data.val_rows))
    )


def _entry(run: str, stage: str, use: str, data: StageData, rows: np.ndarray) -> SeenImages:
    files, pictures = data.cache.digests(rows)
    if data.text:  # the pictures in this cache are masked, those that will be measured are not
        pictures = _unmasked(data, rows)
    return SeenImages(run, stage, use, len(rows), data.cache.form, sorted_digests(files), sorted_digests(pictures))


def _unmasked(data: StageData, rows: np.ndarray) -> Digests:
    """Return digests of pictures as their files show them; none where they do not fit into the image cache."""
    ids = [data.cache.ids[row] for row in rows]
    try:
        cache = ImageCache.build(data.manifest.select(ids=ids), data.cache.size)
    except ImageError:
        return np.zeros(0, np.uint64)
    return cache.digests(np.arange(len(cache)))[1]
