"""Predictions of a network for many images, and the table that pages and metrics read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from cxr.models.card import MULTI_LABEL, SINGLE_LABEL

if TYPE_CHECKING:
    import torch

    from cxr.data import ImageCache, Manifest
    from cxr.data.images.image_store import Images
    from cxr.models.classifier import XrayClassifier


def predict(
    model: XrayClassifier,
    images: ImageCache | np.ndarray | Sequence[np.ndarray],
    ids: Sequence[str] | None = None,
    batch: int = 32,
    device: str | torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return logits (N, K), float32, of a network in evaluation mode (its mode is restored afterwards).

    Parameters
    ----------
    images
        The cache that holds ``ids`` (None for all of its images), or an array (N, H, W) of uint8 or a list of such
        images of one shape, which is taken whole.
    progress
        Called with the number of images done and their total.
    device
        Where the network is moved to and works; None for where it is.

    Raises
    ------
    ImageError
        For images that the network cannot take, or of several sizes.
    """
    from cxr.models.image_batch import as_batch

    model = model if device is None else model.to(device)
    if not hasattr(images, "ids"):
        pixels = np.asarray(as_batch(images))
        return predict_rows(model, pixels, np.arange(len(pixels)), batch, progress)
    cache = cast("ImageCache", images)
    rows = np.array([cache.index(i) for i in (cache.ids if ids is None else ids)], dtype=np.int64)
    return predict_rows(model, cache.images, rows, batch, progress)


def predict_rows(
    model: XrayClassifier,
    pixels: Images,
    rows: np.ndarray,
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return logits (N, K) of the images ``pixels[rows]``, on the model's own device."""
    import torch

    was_training = model.training
    model.eval()
    logits = np.zeros((len(rows), len(model.classes)), np.float32)
    try:
        for start in range(0, len(rows), batch):
            chosen = rows[start : start + batch]
            with torch.no_grad():
                logits[start : start + len(chosen)] = model(pixels[chosen]).float().cpu().numpy()
            if progress is not None:
                progress(start + len(chosen), len(rows))
    finally:
        model.train(was_training)
    return logits


def predictions_table(
    manifest: Manifest, ids: Sequence[str], logits: np.ndarray, classes: Sequence[str], task: str = SINGLE_LABEL
) -> pd.DataFrame:
    """Return one row per image, of a network whose outputs exclude each other or of one that finds several things.

    Both hold image_id, split, label, patient_id, source, ``logit_<class>`` and ``prob_<class>`` (see
    :func:`cxr.evaluation.metrics.probabilities`). A ``single-label`` table also holds predicted, correct and
    confidence: the probability of the predicted class; ``correct`` is False where there is no label. A ``multi-label``
    table holds findings instead: what the data say of the image, names joined by ``|``.
    """
    from cxr.evaluation.metrics import probabilities  # with scipy.stats, which a package's name must not load

    ids, classes = list(ids), list(classes)
    rows = manifest.table.set_index("image_id").loc[ids]
    chances = probabilities(logits, task)
    own: dict[str, object] = {name: rows[name].to_numpy() for name in ("split", "label")}
    if task == MULTI_LABEL:
        own["findings"] = rows["findings"].to_numpy()
    else:
        own["predicted"] = [classes[i] for i in logits.argmax(1)] if ids else []
        own["correct"] = np.array(own["predicted"], dtype=object) == own["label"]
        own["confidence"] = chances.max(1) if ids else []
    own |= {name: rows[name].to_numpy() for name in ("patient_id", "source")}
    for prefix, values in (("logit", logits), ("prob", chances)):
        own |= {f"{prefix}_{name}": values[:, position] for position, name in enumerate(classes)}
    return pd.DataFrame({"image_id": ids} | own)
