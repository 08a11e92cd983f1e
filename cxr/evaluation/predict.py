"""Predictions of a network for many images, and the table that pages and metrics read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from cxr.evaluation.metrics import softmax
from cxr.models.backbone import XrayClassifier

if TYPE_CHECKING:
    from cxr.data import ImageCache, Manifest
    from cxr.data.image_store import Images


def predict(
    model: XrayClassifier,
    images: ImageCache | np.ndarray,
    ids: Sequence[str] | None = None,
    batch: int = 32,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return logits (N, K), float32, of a network in evaluation mode (its mode is restored afterwards).

    Parameters
    ----------
    images
        The cache that holds ``ids`` (None for all of its images), or an array (N, H, W) of uint8, which is taken whole.
    progress
        Called with the number of images done and their total.
    """
    if isinstance(images, np.ndarray):
        return predict_rows(model.to(device), images, np.arange(len(images)), batch, progress)
    rows = np.array([images.index(i) for i in (images.ids if ids is None else ids)], dtype=np.int64)
    return predict_rows(model.to(device), images.images, rows, batch, progress)


@torch.no_grad()
def predict_rows(
    model: XrayClassifier,
    pixels: Images,
    rows: np.ndarray,
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return logits (N, K) of the images ``pixels[rows]``, on the model's own device."""
    was_training = model.training
    model.eval()
    logits = np.zeros((len(rows), len(model.classes)), np.float32)
    try:
        for start in range(0, len(rows), batch):
            chosen = rows[start : start + batch]
            logits[start : start + len(chosen)] = model(pixels[chosen]).float().cpu().numpy()
            if progress is not None:
                progress(start + len(chosen), len(rows))
    finally:
        model.train(was_training)
    return logits


def predictions_table(
    manifest: Manifest, ids: Sequence[str], logits: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Return one row per image: image_id, split, label, predicted, correct, confidence, patient_id, source,
    ``logit_<class>`` and ``prob_<class>`` (softmax).

    ``confidence`` is the probability of the predicted class; ``correct`` is False where there is no label.
    """
    ids, classes = list(ids), list(classes)
    rows = manifest.table.set_index("image_id").loc[ids]
    probabilities = softmax(logits)
    table = pd.DataFrame({"image_id": ids})
    for column in ("split", "label"):
        table[column] = rows[column].to_numpy()
    table["predicted"] = [classes[i] for i in logits.argmax(1)] if ids else []
    table["correct"] = table["predicted"].to_numpy() == table["label"].to_numpy()
    table["confidence"] = probabilities.max(1) if ids else []
    for column in ("patient_id", "source"):
        table[column] = rows[column].to_numpy()
    for prefix, values in (("logit", logits), ("prob", probabilities)):
        for position, name in enumerate(classes):
            table[f"{prefix}_{name}"] = values[:, position]
    return table
