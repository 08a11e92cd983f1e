"""What a stage of a training has seen, as its weights file carries it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.data import ImageCache
from cxr.data.fingerprints import FORM, LEAST_SIDE, fingerprints_of
from cxr.errors import CxrError
from cxr.models.seen_images import CHOSEN, TRAINED, SeenImages, patient_digests, sorted_digests
from cxr.training.data.stages import StageData


def seen_in_stage(run: str, stage: str, data: StageData) -> tuple[SeenImages, ...]:
    """Return what a stage learns from and what its best epoch is chosen on."""
    return tuple(
        _entry(run, stage, use, data, rows) for use, rows in ((TRAINED, data.train_rows), (CHOSEN, data.val_rows))
    )


def _entry(run: str, stage: str, use: str, data: StageData, rows: np.ndarray) -> SeenImages:
    files, pictures = data.cache.digests(rows)
    ids = [data.cache.ids[row] for row in rows]
    shown = _as_filed(data, ids)
    if data.text:  # the pictures in this cache are masked, those that will be measured are not
        unmasked = _cache(data, ids, data.cache.size)
        pictures = unmasked.digests(np.arange(len(unmasked)))[1] if unmasked else np.zeros(0, np.uint64)
    table = data.manifest.table.set_index("image_id").loc[ids]
    return SeenImages(
        run,
        stage,
        use,
        len(rows),
        data.cache.form,
        sorted_digests(files),
        sorted_digests(pictures),
        patients=sorted_digests(patient_digests(run, zip(table["source"], table["patient_id"], strict=True))),
        fingerprints=fingerprints_of(shown),
        fingerprint_form=FORM if ids and len(shown) else "",
    )


def _as_filed(data: StageData, ids: list[str]) -> Sequence[NDArray[np.uint8]]:
    """Return pictures with their text, large enough for fingerprints; none where they do not fit into the cache."""
    if not data.text and data.cache.size >= LEAST_SIDE:
        return [data.cache[image_id] for image_id in ids]  # views of files
    cache = _cache(data, ids, max(data.cache.size, LEAST_SIDE))
    return [cache[image_id] for image_id in cache.ids] if cache else ()


def _cache(data: StageData, ids: list[str], size: int) -> ImageCache | None:
    """Return pictures as their files show them, None where they do not fit into the image cache."""
    try:
        return ImageCache.build(data.manifest.select(ids=ids), size)
    except CxrError:
        return None
